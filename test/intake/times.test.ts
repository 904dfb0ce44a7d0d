// Times that a publisher names, and clocks that somebody sets.
import { runInNewContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { FailedAttempts, type FailedAttemptsParts } from "@millrace/intake/internal/delivery/failed-attempts";
import { Outcomes, type OutcomesParts } from "@millrace/intake/internal/delivery/outcomes";
import { handlerTerms } from "@millrace/intake/internal/delivery/policy";
import { Returns, type ReturnsParts } from "@millrace/intake/internal/delivery/returns";
import type { WriteOptions } from "@millrace/intake/internal/delivery/state-log";
import { Steady } from "@millrace/intake/internal/delivery/steady";
import { encodeHandler, termsOf } from "@millrace/intake/internal/format/record-header";
import { decodeFate } from "@millrace/intake/internal/format/state-records";
import { prepare } from "@millrace/intake/internal/format/publication";
import { RECORD_TYPE } from "@millrace/journal";
import { throwsWith } from "../support.ts";

const DAY = 86_400_000;
const plain = encodeHandler("h");
const publish = (options: object): ReturnType<typeof prepare> => prepare("h", plain, null, options);

test("a time that can't be meant is refused when it is published", () => {
  const nonsense: unknown[] = [Number.NaN, Infinity, -Infinity, -1, 2 ** 53, 1e300, "1", 1n, null, {}, [], true];
  const dates: unknown[] = [new Date(Number.NaN), new Date(-1), { getTime: () => 1 }, { [Symbol.toStringTag]: "Date" }];
  for (const name of ["notBefore", "expiresAt"]) {
    for (const value of [...nonsense, ...dates, 8.64e15 + 2]) {
      const { details } = throwsWith(() => publish({ [name]: value }), "ERR_INVALID_OPTION");
      assert.is(details["name"], name);
    }
  }
  for (const name of ["delayMs", "ttlMs"]) {
    for (const value of [...nonsense, ...dates, 0.5, new Date(), 11 * 365 * DAY]) {
      assert.is(throwsWith(() => publish({ [name]: value }), "ERR_INVALID_OPTION").details["name"], name);
    }
  }
  throwsWith(() => publish({ ttlMs: 0 }), "ERR_INVALID_OPTION");
});

test("a record that expires before it may be delivered is refused", () => {
  const now = Date.now();
  const never: object[] = [
    { delayMs: 1000, ttlMs: 1000 },
    { delayMs: 1000, ttlMs: 999 },
    { notBefore: now + DAY, expiresAt: now + DAY },
    { notBefore: new Date(now + DAY), expiresAt: new Date(now + DAY - 1) },
    { notBefore: now + DAY, ttlMs: 1000 },
    { delayMs: DAY, expiresAt: now + 1000 },
    { expiresAt: now - 1 },
    { expiresAt: 0 },
    { expiresAt: new Date(0) },
  ];
  for (const options of never) throwsWith(() => publish(options), "ERR_INVALID_OPTION");
  for (const options of [
    { delayMs: 1, notBefore: now },
    { ttlMs: 1, expiresAt: now + 5000 },
  ]) {
    assert.match(throwsWith(() => publish(options), "ERR_INVALID_OPTION").message, /not both/);
  }
});

test("times may be dates, lie in the past, and be years away", () => {
  const far = Date.now() + 9 * 365 * DAY;
  const terms = (options: object): ReturnType<typeof termsOf> => termsOf(Buffer.from(publish(options).parts.header));
  assert.is(terms({ notBefore: far }).notBeforeMs, far);
  assert.is(terms({ notBefore: new Date(far) }).notBeforeMs, far);
  assert.is(terms({ notBefore: runInNewContext(`new Date(${far})`) }).notBeforeMs, far);
  assert.is(terms({ expiresAt: new Date(8.64e15) }).expiresAtMs, 8.64e15);
  assert.is(terms({ notBefore: 0 }).notBeforeMs, 0);
  // Beyond what a timer of the platform takes.
  const { notBeforeMs, expiresAtMs } = terms({ delayMs: 2 ** 31, ttlMs: 2 ** 32 });
  assert.ok(Math.abs((notBeforeMs as number) - Date.now() - 2 ** 31) < DAY);
  assert.is((expiresAtMs as number) - (notBeforeMs as number), 2 ** 31);
});

class TestClock {
  nowMs = 5000;
  wallMs = Date.parse("2026-11-30T00:00:00Z");

  now(): number {
    return this.nowMs;
  }

  wall(): number {
    return this.wallMs;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.wallMs += ms;
  }
}

function returnsBy(clock: TestClock): { readonly returns: Returns; readonly woken: () => number[] } {
  const ready: number[] = [];
  const returns = new Returns({
    clock,
    states: { isDead: () => false, isSettled: () => false },
    jobs: { again: (origin: number) => ({ origin }), keep: () => {} },
    turns: { laneOf: () => ({}), makeReady: (_lane: unknown, origin: number) => ready.push(origin) },
  } as unknown as ReturnsParts);
  const woken = (): number[] => {
    returns.wakeDue();
    return ready.splice(0);
  };
  return { returns, woken };
}

test("a delay follows a clock that is set, and a pause between attempts doesn't", () => {
  const clock = new TestClock();
  const { returns, woken } = returnsBy(clock);
  returns.at(clock.wallMs + DAY, 1);
  returns.in(60_000, 2);
  assert.is(returns.waiting, 2);
  clock.wallMs += DAY;
  assert.equal(woken(), [1], "the delay is over");
  clock.wallMs -= 2 * DAY;
  clock.pass(59_999);
  assert.equal(woken(), []);
  assert.is(returns.nextDueMs, clock.nowMs + 1);
  clock.pass(1);
  assert.equal(woken(), [2]);
  returns.at(clock.wallMs + 1000, 3);
  clock.wallMs -= DAY;
  clock.pass(DAY);
  assert.equal(woken(), []);
  clock.pass(1000);
  assert.equal(woken(), [3]);
  assert.is(returns.nextDueMs, Infinity);
});

test("a wait of years ends when it is over, and no earlier", () => {
  const clock = new TestClock();
  const { returns, woken } = returnsBy(clock);
  const years = 9 * 365 * DAY;
  returns.at(clock.wallMs + years, 1);
  returns.in(years, 2);
  assert.is(returns.nextDueMs, clock.nowMs + years);
  clock.pass(years - 1);
  assert.equal(woken(), []);
  clock.pass(1);
  assert.equal(woken(), [2, 1]);
});

function newJob(): { attempts: number; firstMs: number } {
  const none = new Uint8Array(0);
  const bytes = { history: none, key: none, headers: none, payload: none };
  return { origin: 1, handler: 0, attempts: 0, firstMs: 0, ...bytes } as { attempts: number; firstMs: number };
}

/** An outage: the same record fails each time that it is tried. Returns how it ends. */
function outage(clock: TestClock, between: (attempt: number) => void): { died: boolean; ageMs: number } {
  const job = newJob();
  const written: { type: number; payload: Buffer; timeMs: number | undefined }[] = [];
  const nothing = (): void => {};
  const log = { payloadBytesMax: 100_000, isDiskFull: () => false };
  const stateLog = {
    write: (type: number, payload: Buffer, { timeMs }: WriteOptions = {}) => written.push({ type, payload, timeMs }),
    urge: nothing,
  };
  const outcomes = new Outcomes({
    clock,
    steady: new Steady(clock),
    suspects: { survived: nothing },
    gates: { of: () => ({ name: "h", terms: handlerTerms("h", {}, {}), failed: nothing }), renew: nothing },
    random: { fraction: () => 0.5 },
    log,
    stateLog,
    failedAttempts: new FailedAttempts({ log, stateLog, clock } as unknown as FailedAttemptsParts),
    ends: { began: nothing },
    deaths: { hasRoom: () => true, began: nothing },
    returns: { in: nothing },
    jobs: { keep: nothing },
    counts: { retried: 0 },
    keyLines: { waits: nothing, died: nothing },
    hands: { takeBack: () => job, readBack: nothing },
    runner: { isOk: () => false, value: () => new Error("down") },
    window: { finished: nothing },
    recorder: { failed: nothing },
  } as unknown as OutcomesParts);
  for (let attempt = 1; attempt <= 10; attempt += 1) {
    outcomes.settled(0);
    between(attempt);
  }
  const last = written.at(-1) as (typeof written)[0];
  const ageMs = (last.timeMs ?? 0) - decodeFate(last.payload).firstMs;
  return { died: last.type === RECORD_TYPE.dead, ageMs };
}

test("setting the clock by days neither ends a record's retries nor extends them", () => {
  const ahead = new TestClock();
  const jumped = outage(ahead, (attempt) => {
    ahead.pass(1000);
    if (attempt === 5) ahead.wallMs += 3 * DAY;
  });
  assert.not(jumped.died);
  // The next process reads this from it.
  assert.is(jumped.ageMs, 9000);
  const back = new TestClock();
  const late = outage(back, (attempt) => {
    back.pass(attempt === 5 ? 2 * DAY : 1000);
    back.wallMs -= DAY;
  });
  assert.ok(late.died);
});

test("a wait that an error asks for is a time, or is ignored", () => {
  const clock = new TestClock();
  for (const retryAfterMs of [Number.NaN, Infinity, -1, 1e300, 2 ** 53, "5"]) {
    const job = newJob();
    const waits: number[] = [];
    const nothing = (): void => {};
    new Outcomes({
      clock,
      steady: new Steady(clock),
      suspects: { survived: nothing },
      gates: { of: () => ({ terms: handlerTerms("h", {}, {}), failed: nothing }), renew: nothing },
      random: { fraction: () => 0.5 },
      log: { payloadBytesMax: 100_000, isDiskFull: () => true },
      returns: { in: (waitMs: number) => waits.push(waitMs) },
      jobs: { keep: nothing },
      failedAttempts: { failed: nothing },
      counts: { retried: 0 },
      keyLines: { waits: nothing },
      hands: { takeBack: () => job, readBack: nothing },
      runner: { isOk: () => false, value: () => Object.assign(new Error("x"), { name: "Snooze", retryAfterMs }) },
      window: { finished: nothing },
      recorder: { failed: nothing },
    } as unknown as OutcomesParts).settled(0);
    assert.equal(waits, [100], String(retryAfterMs));
    assert.is(job.attempts, 1, "it counts as a failure");
  }
});

test.run();
