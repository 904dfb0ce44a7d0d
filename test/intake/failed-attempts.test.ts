// Failed attempts while the log can't take them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FailedAttempts, type FailedAttemptsParts } from "@millrace/intake/internal/delivery/failed-attempts";
import type { WriteOptions } from "@millrace/intake/internal/delivery/state-log";
import { decodeFate } from "@millrace/intake/internal/format/state-records";

interface World {
  readonly attempts: FailedAttempts;
  isFull: boolean;
  nowMs: number;
  /** Of the RETRY records: origins and attempts, and what is called when each is durable. */
  readonly written: (readonly [origin: number, attempts: number])[];
  readonly durable: (() => void)[];
  readonly fail: (origin: number, attempts: number) => void;
}

function worldOf(reserveBytes = 200_000): World {
  const written: (readonly [number, number])[] = [];
  const durable: (() => void)[] = [];
  const world = { isFull: false, nowMs: 1000, written, durable } as World;
  const attempts = new FailedAttempts({
    log: { isDiskFull: () => world.isFull },
    clock: { now: () => world.nowMs },
    stateLog: {
      write: (_type: number, payload: Buffer, { onDurable = () => {} }: WriteOptions) => {
        const fate = decodeFate(payload);
        written.push([fate.origin, fate.attempts]);
        durable.push(onDurable);
      },
    },
    reserveBytes: () => reserveBytes,
    historyOf: () => undefined,
  } as unknown as FailedAttemptsParts);
  const fail = (origin: number, count: number): void =>
    attempts.failed(
      { origin, attempts: count, reason: 1, atMs: world.nowMs + 10, firstMs: 5 },
      world.nowMs,
      new Uint8Array(0),
    );
  return Object.assign(world, { attempts, fail });
}

test("a failure is known until its RETRY record is durable, and the newest one counts", () => {
  const { attempts, written, durable, fail } = worldOf();
  fail(7, 1);
  fail(7, 2);
  assert.equal(written, [
    [7, 1],
    [7, 2],
  ]);
  durable[0]?.();
  assert.is(attempts.of(7)?.attempts, 2, "the first record says less than is known");
  durable[1]?.();
  assert.is(attempts.of(7), undefined);
});

test("a full disk takes few RETRY records, in pieces, and the newest of each record", () => {
  const world = worldOf();
  world.isFull = true;
  for (let count = 1; count <= 5; count += 1) world.fail(1, count);
  world.fail(2, 1);
  assert.equal(world.written, []);
  assert.ok(world.attempts.dueAt <= world.nowMs);
  world.attempts.turn(false);
  assert.equal(world.written, [
    [1, 5],
    [2, 1],
  ]);
  world.fail(1, 6);
  world.attempts.turn(false);
  assert.is(world.written.length, 2, "not at once");
  assert.ok(world.attempts.dueAt > world.nowMs && world.attempts.isQuiet);
  world.nowMs = world.attempts.dueAt;
  world.attempts.turn(false);
  assert.equal(world.written.at(-1), [1, 6]);
  // Three pages are the part of the reserve, and the last one is for the end.
  world.fail(1, 7);
  assert.is(world.attempts.dueAt, Infinity);
  world.nowMs += 60_000;
  world.attempts.turn(false);
  assert.equal(world.written.at(-1), [1, 6]);
  assert.is(world.attempts.of(1)?.attempts, 7, "in memory it is known all the same");
  world.isFull = false;
  assert.not(world.attempts.isQuiet);
  world.attempts.turn(false);
  assert.equal(world.written.at(-1), [1, 7]);
  assert.ok(world.attempts.isQuiet);
});

test("an ending process uses the room at once, for what isn't over", () => {
  const world = worldOf();
  world.isFull = true;
  world.fail(1, 1);
  world.attempts.turn(false);
  world.fail(2, 3);
  world.fail(3, 4);
  world.attempts.over(3);
  world.attempts.turn(true);
  assert.equal(world.written, [
    [1, 1],
    [2, 3],
  ]);
});

test.run();
