// The tests' test: it plants bugs that logs have had into the journal, one at a time. Some layer
// must notice each.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { seededRandom } from "@millrace/base";
import { temporaryDirectory, testIf } from "../support.ts";
import { type Engine, loadEngine } from "./engine.ts";
import { Explorer } from "./explore.ts";
import { checkDamage, flips, soundLog } from "./flips.ts";
import { liveAndDie } from "./lives.ts";
import { checkDamagedPage, checkLargeBatch, checkLookups, checkLostSegment } from "./lookups.ts";
import { checkModel } from "./model.ts";
import { isLong, printedSeed } from "./options.ts";
import { REGRESSIONS } from "./regressions.ts";
import { failEverything } from "./seam-faults.ts";
import { type Layer, plant, SEEDED_BUGS } from "./seeded-bugs.ts";

/** A bug that one seed misses another one finds: up to this many are tried. */
const SEEDS = 5;
const first = seededRandom(printedSeed());
const seeds: readonly number[] = Array.from({ length: SEEDS }, () => first.below(2 ** 31));
const WORKLOADS = 8;

/** The same layers as in the other files, shorter. Each throws when it notices something. */
const LAYERS: Readonly<Record<Layer, (engine: Engine, seed: number) => void>> = {
  model: (engine, seed) => checkModel(engine, seed, 60, false),
  damage: (engine, seed) => {
    const random = seededRandom(seed);
    for (const [ending, steps] of [
      ["closed", 6],
      ["left", 6],
      ["left when marks had noted it", 6],
      ["left", 0],
    ] as const) {
      const log = soundLog(engine, random, ending, steps);
      for (const damage of flips(log, random, 4)) checkDamage(engine, log, damage);
    }
  },
  "crash states": (engine, seed) => {
    const random = seededRandom(seed);
    const explorer = new Explorer({
      engine,
      random,
      samples: 8,
      nestedSamples: 1,
      depth: 1,
      nestedEvery: 60,
      killEvery: 4,
    });
    for (let workload = 0; workload < WORKLOADS; workload += 1) {
      liveAndDie({ engine, random, explorer, name: `workload ${workload}`, steps: 7 });
    }
  },
  "seam faults": (engine, seed) => void failEverything(engine, seededRandom(seed), 2, 3),
  lookups: (engine, seed) => {
    checkLookups(engine, seed, 100, false);
    checkLargeBatch(engine);
    checkDamagedPage(engine);
    checkLostSegment(engine);
  },
  // Too rare for the others: a page only in the page cache, and a power cut in the next few steps.
  regressions: (engine) => {
    for (const check of Object.values(REGRESSIONS)) check(engine);
  },
};
const ALL = Object.keys(LAYERS) as Layer[];

function notices(layer: Layer, engine: Engine, seed: number): boolean {
  try {
    LAYERS[layer](engine, seed);
    return false;
  } catch {
    return true;
  }
}

function rowOf(layer: Layer, index: number): string {
  return index === 0 ? layer : `${layer} (${index + 1} seeds)`;
}

/** Every layer that notices the bug. This is the whole table, for the long form. */
function allNotices(layers: readonly Layer[], engine: Engine): string[] {
  return layers.flatMap((layer) => {
    const index = seeds.findIndex((seed) => notices(layer, engine, seed));
    return index < 0 ? [] : [rowOf(layer, index)];
  });
}

/** The first layer that notices the bug. Another layer finds more than another seed, and sooner. */
function firstNotice(layers: readonly Layer[], engine: Engine): string[] {
  for (const [index, seed] of seeds.entries()) {
    for (const layer of layers) {
      // Regressions are the same for every seed.
      if (layer === "regressions" && index > 0) continue;
      if (notices(layer, engine, seed)) return [rowOf(layer, index)];
    }
  }
  return [];
}

// In the short form the other files show that the layers find nothing in the journal as it is.
testIf(isLong)("no layer complains about the journal as it is", async () => {
  const engine = await loadEngine();
  for (const layer of ALL) for (const seed of seeds) LAYERS[layer](engine, seed);
});

/** Those whose names match MILLRACE_BUGS, for work on one of them; otherwise all. */
const bugs = SEEDED_BUGS.filter(({ name }) => new RegExp(process.env.MILLRACE_BUGS ?? "").test(name));
const rows: string[] = [];
for (const bug of bugs) {
  test(`noticed: ${bug.name}`, async () => {
    const engine = await plant(bug, temporaryDirectory());
    const layers = [...new Set<Layer>([bug.layer ?? "damage", ...ALL])];
    const noticed = isLong ? allNotices(layers, engine) : firstNotice(layers, engine);
    assert.ok(noticed.length > 0, "no layer noticed it");
    rows.push(`# ${bug.name.padEnd(72)} ${noticed.join(", ")}`);
  });
}

test("none is left", () => {
  for (const row of rows) console.log(row);
  console.log(`# seeded bugs caught ${rows.length}/${bugs.length}`);
  assert.is(rows.length, bugs.length);
});

test.run();
