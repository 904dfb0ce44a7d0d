import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { loadEngine } from "./engine.ts";
import { isLong, printedSeed } from "./options.ts";
import { failEverything } from "./seam-faults.ts";

const engine = await loadEngine();
const seed = printedSeed();

test("whatever fails, nothing acknowledged is lost, nothing is written afterwards", () => {
  const { fired, states } = failEverything(engine, seededRandom(seed), isLong ? 20 : 3, isLong ? 1 : 2);
  console.log(`# faults fired ${fired} at the storage seam, ${states} states checked after them`);
  assert.ok(fired >= 100, `${fired} faults`);
});

test.run();
