import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { loadEngine } from "./engine.ts";
import { checkDamage, type Ending, flips, type Outcome, soundLog } from "./flips.ts";
import { isLong, printedSeed } from "./options.ts";

const engine = await loadEngine();
const seed = printedSeed();
const random = seededRandom(seed);
const ROUNDS: number = isLong ? 200 : 3;
const counts: Record<Outcome, number> = {
  refuses: 0,
  "opens without the last batch": 0,
  "opens with everything": 0,
};

function damageAll(ending: Ending, stepsOfLast: number): void {
  for (let round = 0; round < ROUNDS; round += 1) {
    const log = soundLog(engine, random, ending, stepsOfLast);
    for (const damage of flips(log, random, 8)) counts[checkDamage(engine, log, damage)] += 1;
  }
}

test("damage to a log that was closed refuses to open, with its place", () => damageAll("closed", 8));

test("damage to a log that was left refuses to open, except in the last batch", () => damageAll("left", 8));

test("damage refuses to open, in the last batch too once marks know it durable", () =>
  damageAll("left when marks had noted it", 8));

test("damage to a log opened again: the repeated batch is still in its old place", () => damageAll("left", 0));

test("every outcome occurred", () => {
  console.log(`# damages ${JSON.stringify(counts)}`);
  for (const [outcome, count] of Object.entries(counts)) assert.ok(count > 20, outcome);
});

test.run();
