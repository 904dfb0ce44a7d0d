/** Attempts that are given up, and the threads that they hold. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Hands } from "@millrace/intake/internal/delivery/hands";
import type { Job } from "@millrace/intake/internal/delivery/job";
import { SimRunner } from "./simulation-runner.ts";

const GRACE_MS = 1000;

/** Every task runs since the beginning, on a machine by its slot. */
class Running extends SimRunner {
  override readonly capacity = 600;

  override runningMs(): number {
    return 1000;
  }

  override machineOf(slot: number): number {
    return slot % 2;
  }
}

function handsWith(count: number): Hands {
  const hands = new Hands(new Running(() => 0));
  // Their limits are over one after the other.
  for (let index = 0; index < count; index += 1) hands.give(100 + index, { origin: index } as Job, index, 10);
  return hands;
}

test("what was given up little by little counts together once its grace is over", () => {
  const hands = handsWith(600);
  let most = 0;
  for (let now = 0; now < 600 + GRACE_MS + 20; now += 1) {
    for (const [slot] of hands.overdue(now)) assert.ok(slot >= 100);
    for (const [, count] of hands.lasting(now)) most = Math.max(most, count);
    if (now < GRACE_MS) assert.is(most, 0, `in its grace, at ${now}`);
  }
  assert.is(most, 300, "on each of two machines");
});

test("what returns in its grace, or after it, holds no thread any more", () => {
  const hands = handsWith(10);
  assert.is([...hands.overdue(50)].length, 10);
  assert.is(hands.takeBack(100), undefined);
  assert.equal(
    [...hands.lasting(50 + GRACE_MS)].toSorted(([left], [right]) => left - right),
    [
      [0, 4],
      [1, 5],
    ],
  );
  for (let slot = 101; slot < 109; slot += 1) hands.takeBack(slot);
  assert.equal([...hands.lasting(50 + 2 * GRACE_MS)], [[1, 1]]);
  assert.is(hands.abandoned, 1);
});

test("a machine is told again after a while, and not before", () => {
  const hands = handsWith(2);
  assert.is([...hands.overdue(50)].length, 2);
  assert.is(hands.lasting(50 + GRACE_MS).size, 2);
  assert.is(hands.lasting(51 + GRACE_MS).size, 0);
  assert.is(hands.lasting(50 + 2 * GRACE_MS).size, 2);
});

test.run();
