// Every state that a power cut may leave, at every step of writing and of recovery. Each holds what
// was acknowledged.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { loadEngine } from "./engine.ts";
import { Explorer } from "./explore.ts";
import { liveAndDie } from "./lives.ts";
import { isLong, printedSeed } from "./options.ts";

const engine = await loadEngine();
const seed = printedSeed();
const random = seededRandom(seed);
/** Number of states that `npm test` tries at least; the long form tries many times as many. */
const STATES_MIN: number = isLong ? 2_000_000 : 30_000;

const explorer = new Explorer({
  engine,
  random,
  samples: isLong ? 96 : 48,
  nestedSamples: isLong ? 8 : 3,
  depth: isLong ? 2 : 1,
  nestedEvery: isLong ? 6 : 16,
  killEvery: isLong ? 1 : 4,
});

test("a power cut at any step, also of a recovery, loses nothing that was acknowledged", () => {
  let workloads = 0;
  for (; explorer.states < STATES_MIN; workloads += 1) {
    // Every second disk is small, and full at times.
    const blocksMax = workloads % 2 === 0 ? Infinity : 120 + random.below(80);
    liveAndDie({ engine, random, explorer, name: `seed ${seed}, workload ${workloads}`, steps: 9, blocksMax });
  }
  console.log(`# crash states ${explorer.states}, ${explorer.nestedStates} of them left by cutting off a recovery`);
  console.log(`# deaths of the process at a step ${explorer.kills}, in ${workloads} workloads`);
  console.log(`# openings that needed more room than could be taken ${explorer.refusals}`);
  // Each had less room than it may need: the explorer looks. Most states of a full disk must open.
  assert.ok(explorer.refusals < explorer.states / 4, `${explorer.refusals} openings refused on a full disk`);
  assert.ok(explorer.nestedStates >= STATES_MIN / 10, `${explorer.nestedStates} nested states`);
  assert.ok(explorer.kills > 100, `${explorer.kills} deaths`);
});

test.run();
