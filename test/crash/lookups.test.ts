import { test } from "uvu";
import { loadEngine } from "./engine.ts";
import { checkDamagedPage, checkLargeBatch, checkLookups, checkLostSegment } from "./lookups.ts";
import { isLong, printedSeed } from "./options.ts";

const engine = await loadEngine();
const seed = printedSeed();
const RUNS: number = isLong ? 20_000 : 300;

test("get and find agree with a list, whatever is given up, used again or lost", () => {
  checkLookups(engine, seed, RUNS);
  console.log(`# ${RUNS} sequences of commands against the list`);
});

test("records of any size are found in batches that are read in pieces", () => checkLargeBatch(engine));

test("a page that changes on the disk after its batch was checked is damage", () => checkDamagedPage(engine));

test("segments given up are no damage, lost ones are", () => checkLostSegment(engine));

test.run();
