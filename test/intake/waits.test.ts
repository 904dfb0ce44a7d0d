import fc from "../property.ts";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { WaitRuns } from "@millrace/intake/internal/states/wait-runs";
import { Waits } from "@millrace/intake/internal/states/waits";
import { NodeStorage } from "@millrace/journal";
import { temporaryDirectory } from "../support.ts";
import { SimScratch } from "./simulation-scratch.ts";

/** Takes all that is due by `untilMs`: pairs of due time and origin. */
function takeUntil(waits: Waits, untilMs: number): [number, number][] {
  const taken: [number, number][] = [];
  while (waits.nextDueMs <= untilMs) taken.push([waits.nextDueMs, waits.take()]);
  return taken;
}

test("waits come in the order of their due times, from memory and disk", () => {
  const step = fc.tuple(fc.integer({ min: 0, max: 50 }), fc.boolean());
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 1, max: 9 }), (steps, memoryMax) => {
      const scratch = new SimScratch(() => false);
      const waits = new Waits(new WaitRuns(scratch, "test"), memoryMax);
      const expected: [number, number][] = [];
      for (const [origin, [dueMs, takes]] of steps.entries()) {
        if (takes && expected.length > 0) {
          const firstMs = Math.min(...expected.map(([each]) => each));
          assert.is(waits.nextDueMs, firstMs);
          const taken = waits.take();
          const at = expected.findIndex(([each, known]) => each === firstMs && known === taken);
          assert.ok(at >= 0, "what is taken was due first");
          expected.splice(at, 1);
        } else {
          waits.add(dueMs, origin);
          expected.push([dueMs, origin]);
        }
        assert.is(waits.size, expected.length);
      }
      const rest = takeUntil(waits, Number.MAX_VALUE);
      assert.is(rest.length, expected.length);
      assert.equal(
        rest.map(([dueMs]) => dueMs),
        expected.map(([dueMs]) => dueMs).toSorted((a, b) => a - b),
      );
      assert.equal(scratch.list(), [], "runs that were taken leave no file");
    }),
  );
});

test("of many waits only the nearest are in memory", () => {
  const scratch = new SimScratch(() => false);
  const waits = new Waits(new WaitRuns(scratch, "test"), 1000);
  const count = 20_000;
  // 7919 is prime: every due time once, from all over.
  for (let origin = 0; origin < count; origin += 1) waits.add((origin * 7919) % count, origin);
  assert.is(waits.size, count);
  assert.ok(waits.spilled >= count - 1000);
  const taken = takeUntil(waits, count);
  assert.equal(
    taken.map(([dueMs]) => dueMs),
    Array.from({ length: count }, (_, dueMs) => dueMs),
  );
  for (const [dueMs, origin] of taken) assert.is((origin * 7919) % count, dueMs);
  assert.is(waits.nextDueMs, Infinity);
});

test("a disk that takes nothing loses no wait, and is used again when it does", () => {
  let isFull = true;
  const scratch = new SimScratch(() => isFull);
  const waits = new Waits(new WaitRuns(scratch, "test"), 10);
  for (let origin = 0; origin < 100; origin += 1) waits.add(1000 - origin, origin);
  assert.is(waits.spilled, 0);
  assert.equal(scratch.list(), []);
  isFull = false;
  for (let origin = 100; origin < 200; origin += 1) waits.add(1000 - origin, origin);
  assert.ok(waits.spilled > 100);
  assert.equal(
    takeUntil(waits, 1000).map(([, origin]) => origin),
    Array.from({ length: 200 }, (_, index) => 199 - index),
  );
});

test("what waits on the disk has no name, and leftovers of others go", () => {
  const scratch = new SimScratch(() => false);
  const others = ["log-0000000000000001.wal", "waits-pauses-1.tmp"];
  for (const name of [...others, "waits-delays-7.tmp"]) scratch.open(name, "replace").close();
  const waits = new Waits(new WaitRuns(scratch, "delays"), 2);
  assert.equal(scratch.list(), others);
  for (let origin = 0; origin < 9; origin += 1) waits.add(origin, origin);
  assert.ok(waits.spilled > 0);
  assert.equal(scratch.list(), others);
  assert.is(takeUntil(waits, 9).length, 9);
  assert.is(scratch.opened, 0, "no file stays open");
  for (let origin = 0; origin < 9; origin += 1) waits.add(origin, origin);
  waits.close();
  assert.is(scratch.opened, 0);
});

test("a directory whose files somebody removes keeps what waits", () => {
  const directory = temporaryDirectory();
  const waits = new Waits(new WaitRuns(new NodeStorage(directory), "delays"), 1000);
  for (let origin = 0; origin < 5000; origin += 1) waits.add(origin, origin);
  assert.ok(waits.spilled >= 4000);
  for (const name of readdirSync(directory)) rmSync(join(directory, name));
  rmSync(directory, { recursive: true });
  // Waits that come now stay in memory: the disk takes nothing any more.
  for (let origin = 5000; origin < 9000; origin += 1) waits.add(origin, origin);
  assert.equal(
    takeUntil(waits, 9000).map(([, origin]) => origin),
    Array.from({ length: 9000 }, (_, origin) => origin),
  );
  waits.close();
});

test.run();
