import { test } from "uvu";
import { loadEngine } from "./engine.ts";
import { checkModel } from "./model.ts";
import { isLong, printedSeed } from "./options.ts";

const engine = await loadEngine();
const seed = printedSeed();
const RUNS: number = isLong ? 50_000 : 1000;

test("the log behaves like a list, whatever is done to it in whatever order", () => {
  checkModel(engine, seed, RUNS);
  console.log(`# ${RUNS} sequences of commands against the model`);
});

test.run();
