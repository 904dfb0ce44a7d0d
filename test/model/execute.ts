/**
 * One execution of a scenario, step by step: which choices there are, what one of them does, and
 * how it all ends.
 */
import type { End, Scenario } from "./api.ts";
import { clockHash, learn, resetClocks, THREADS_MAX } from "./clocks.ts";
import { mixA, mixB } from "./hash.ts";
import { JOIN, LOOP, PAUSE } from "./operations.ts";
import { BLOCKED, deliver, observe, perform } from "./perform.ts";
import { takeTimer, threadSteps } from "./platform.ts";
import { runAlone } from "./runtime.ts";
import { DEAD, DONE, JOINING, LOOPING, READY, type Steps, Thread, Violation, WAITING, WOKEN, world } from "./world.ts";

/** The next steps of a thread; a choice is `thread × 8 + kind`. */
export const GO = 0;
/** At the event loop: the next setImmediate, where `GO` is the next delivery of waitAsync. */
export const IMMEDIATE = 1;
/** The wait or the first timer runs out of time. */
export const TIMEOUT = 2;
/** The first waitAsync with a time limit runs out of time. */
export const TIMEOUT_ASYNC = 3;
export const KILL = 7;
export const KINDS = 8;

/**
 * Time that a turn of the event loop takes: without it, code that polls for a while would poll for
 * ever.
 */
const TURN_MS = 1;

const NEVER: readonly string[] = [];

export class Execution {
  readonly #scenario: Scenario;
  readonly #killable: readonly string[];
  #shared: unknown;
  steps = 0;
  /** The thread that made the last step; -1 before the first. */
  last = -1;
  readonly #stepsMax: number;
  readonly #wraps: boolean;

  constructor(scenario: Scenario, limits: { steps: number; timeouts: number; wraps: boolean; checksRaces: boolean }) {
    this.#scenario = scenario;
    this.#killable = scenario.kill ?? NEVER;
    this.#stepsMax = limits.steps;
    this.#wraps = limits.wraps;
    const names = Object.keys(scenario.threads);
    if (names.length > THREADS_MAX) world.fail("scenario", `at most ${THREADS_MAX} threads`);
    world.reset(names);
    resetClocks(names.length);
    world.timeoutsLeft = limits.timeouts;
    world.killsLeft = this.#killable.length > 0 ? (scenario.kills ?? 1) : 0;
    world.mainThread = scenario.main;
    world.tickMs = scenario.tickMs ?? 0;
    world.timePasses = scenario.timePasses ?? false;
    world.races = scenario.races ?? [];
    world.checksRaces = limits.checksRaces;
    this.#guard(() => {
      this.#shared = runAlone(scenario.setUp());
    });
    if (world.failure !== undefined) return;
    freeze(this.#shared);
    for (const thread of world.threads) {
      const run = scenario.threads[thread.name] as NonNullable<Scenario["threads"][string]>;
      thread.steps = threadSteps(thread, (log) => run(this.#shared, log));
    }
    world.isRunning = true;
  }

  /**
   * Whether the thread has a next step that needs neither another thread nor a time-out. One that
   * rests (`pause`) lets the others go first.
   */
  canGoOn(thread: Thread): boolean {
    if (!thread.isResting) return this.#hasStep(thread);
    return (
      this.#hasStep(thread) &&
      !world.threads.some((other) => other !== thread && !other.isResting && this.#hasStep(other))
    );
  }

  #hasStep(thread: Thread): boolean {
    switch (thread.status) {
      case READY:
      case WOKEN:
        return true;
      case LOOPING:
        return thread.deliveries.length > 0 || thread.immediates.length > 0;
      case JOINING:
        return isOver(thread.first as Thread);
      default:
        return false;
    }
  }

  /**
   * Appends the choices that there are, in the order in which they are to be tried; `left`
   * preemptions may be spent.
   */
  choices(into: number[], left: number): void {
    const last = this.last < 0 ? undefined : (world.threads[this.last] as Thread);
    const lastGoesOn = last !== undefined && this.canGoOn(last);
    if (lastGoesOn) this.#choicesOf(last, into);
    if (!lastGoesOn || left > 0) {
      for (const thread of world.threads) {
        if (!lastGoesOn || thread !== last) this.#choicesOf(thread, into);
      }
      if (world.timeoutsLeft > 0) {
        for (const thread of world.threads) {
          const base = thread.index * KINDS;
          if (thread.status === WAITING && thread.dueMs < Infinity) into.push(base + TIMEOUT);
          if (thread.status === LOOPING && thread.timers.length > 0) into.push(base + TIMEOUT);
          if (thread.status === LOOPING && this.#asyncWaiter(thread) !== undefined) into.push(base + TIMEOUT_ASYNC);
        }
      }
    }
    if (into.length === 0 && world.timePasses) this.#firstToRunOut(into);
    if (world.killsLeft > 0) {
      for (const thread of world.threads) {
        if (!isOver(thread) && this.#killable.includes(thread.name)) into.push(thread.index * KINDS + KILL);
      }
    }
  }

  /** The blocking wait whose time limit comes first. */
  #firstToRunOut(into: number[]): void {
    const waiting = world.threads.filter((thread) => thread.status === WAITING && thread.dueMs < Infinity);
    const [first] = waiting.toSorted((a, b) => a.dueMs - b.dueMs);
    if (first !== undefined) into.push(first.index * KINDS + TIMEOUT);
  }

  #choicesOf(thread: Thread, into: number[]): void {
    if (!this.canGoOn(thread)) return;
    const base = thread.index * KINDS;
    if (thread.status !== LOOPING) into.push(base + GO);
    else {
      if (thread.deliveries.length > 0) into.push(base + GO);
      if (thread.immediates.length > 0) into.push(base + IMMEDIATE);
    }
  }

  #asyncWaiter(thread: Thread): (typeof world.waiters)[number] | undefined {
    return world.waiters.find((each) => each.thread === thread && each.resolve !== undefined && each.dueMs < Infinity);
  }

  /** Whether the choice interrupts a thread that could go on. */
  isPreemption(choice: number): boolean {
    if (this.last < 0 || choice % KINDS === KILL || choice >> 3 === this.last) return false;
    return this.canGoOn(world.threads[this.last] as Thread);
  }

  step(choice: number): void {
    this.steps += 1;
    const thread = world.threads[choice >> 3] as Thread;
    const kind = choice % KINDS;
    if (kind === KILL) {
      world.killsLeft -= 1;
      this.#kill(thread);
      return;
    }
    this.last = thread.index;
    world.enter(thread);
    for (const other of world.threads) other.isResting = false;
    this.#guard(() => {
      if (this.steps > this.#stepsMax) {
        world.fail("livelock", `more than ${this.#stepsMax} steps: a loop that only another thread can end, or none`);
      }
      const result = this.#advance(thread, kind);
      if (result !== BLOCKED) this.#resume(thread, result);
      thread.isResting = thread.status === READY && thread.op === PAUSE;
    });
    world.enter(world.alone);
  }

  #advance(thread: Thread, kind: number): unknown {
    observe(thread, thread.site);
    switch (thread.status) {
      case READY:
        return perform(thread);
      case WOKEN:
        observe(thread, "ok");
        return "ok";
      case WAITING:
        world.timeoutsLeft = Math.max(0, world.timeoutsLeft - 1);
        world.nowMs = Math.max(world.nowMs, thread.dueMs);
        world.waiters = world.waiters.filter((waiter) => waiter.thread !== thread || waiter.resolve !== undefined);
        observe(thread, "timed-out");
        return "timed-out";
      case JOINING: {
        const other = thread.first as Thread;
        learn(thread.index, other.index);
        observe(thread, other.status);
        return undefined;
      }
      default:
        observe(thread, kind);
        return this.#job(thread, kind);
    }
  }

  #job(thread: Thread, kind: number): unknown {
    if (kind === GO) return thread.deliveries.shift();
    if (kind === IMMEDIATE) {
      world.nowMs += TURN_MS;
      return thread.immediates.shift()?.job;
    }
    world.timeoutsLeft -= 1;
    if (kind === TIMEOUT) return takeTimer(thread);
    const waiter = this.#asyncWaiter(thread) as NonNullable<(typeof world.waiters)[number]>;
    world.nowMs = Math.max(world.nowMs, waiter.dueMs);
    world.waiters = world.waiters.filter((each) => each !== waiter);
    deliver(waiter, "timed-out", undefined);
    return thread.deliveries.pop();
  }

  #resume(thread: Thread, result: unknown): void {
    const { done, value } = (thread.steps as Steps).next(result);
    if (world.failure !== undefined) throw world.failure;
    if (done === true) {
      thread.status = DONE;
      thread.result = value;
      thread.steps = undefined;
      // The waits in its event loop go with it.
      world.waiters = world.waiters.filter((waiter) => waiter.thread !== thread);
    } else if (thread.op === LOOP) thread.status = LOOPING;
    else thread.status = thread.op === JOIN ? JOINING : READY;
    if (this.#wraps && world.made !== world.started) {
      world.fail("unsupported", `a call was dropped: ${world.lastMade} was called by code that can't wait for it`);
    }
  }

  /**
   * The thread is gone between two of its steps, as `terminate()` does it: no `finally`, and what
   * it was given is lost.
   */
  #kill(thread: Thread): void {
    thread.status = DEAD;
    thread.steps = undefined;
    thread.deliveries.length = 0;
    thread.immediates.length = 0;
    thread.timers = [];
    world.waiters = world.waiters.filter((waiter) => waiter.thread !== thread);
  }

  /** No choice is left: is this an end that the scenario allows? */
  finish(): void {
    const blocked = world.threads.filter((thread) => !isOver(thread));
    this.#guard(() => {
      const stuck = blocked.filter((thread) => !(this.#scenario.mayBlock ?? NEVER).includes(thread.name));
      if (stuck.length > 0) {
        const names = stuck.map((thread) => thread.name).join(", ");
        world.fail("deadlock", `${names} would wait for ever: a deadlock, or a wake-up was lost`);
      }
      world.isRunning = false;
      world.isChecking = true;
      if (this.#scenario.check !== undefined) runAlone(this.#scenario.check(this.#shared, this.end()));
    });
  }

  end(): End {
    const by = <T>(value: (thread: Thread) => T): Record<string, T> =>
      Object.fromEntries(world.threads.map((thread) => [thread.name, value(thread)]));
    return {
      results: by((thread) => thread.result),
      logs: by((thread) => thread.log),
      died: world.threads.filter((thread) => thread.status === DEAD).map((thread) => thread.name),
      blocked: world.threads.filter((thread) => !isOver(thread)).map((thread) => thread.name),
    };
  }

  /** Runs something of the scenario; what it throws is the execution's failure. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      world.failure ??= thrown instanceof Violation ? thrown : new Violation("exception", describe(thrown));
    }
  }

  /** Hash of the state between two steps. */
  hash(into: { a: number; b: number }, withLast: boolean): void {
    let a = mixA(world.memoryA, clockHash.a);
    let b = mixB(world.memoryB, clockHash.b);
    const add = (value: number): void => {
      a = mixA(a, value);
      b = mixB(b, value);
    };
    add(withLast ? this.last : 0);
    add(world.killsLeft);
    add(world.timeoutsLeft);
    add(world.nowMs);
    for (const thread of world.threads) {
      a = mixA(a, thread.seenA);
      b = mixB(b, thread.seenB);
      add(thread.status);
      add(thread.isResting ? 1 : 0);
      add(thread.deliveries.length);
      add(thread.immediates.length);
      add(thread.timers.length);
    }
    for (const waiter of world.waiters) {
      add(waiter.thread.index);
      add(waiter.memory.id);
      add(waiter.word);
      add(waiter.serial);
    }
    into.a = a | 0;
    into.b = b | 0;
  }
}

export function isOver(thread: Thread): boolean {
  return thread.status === DONE || thread.status === DEAD;
}

function describe(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const details = "details" in thrown && typeof thrown.details === "string" ? `\n${thrown.details}` : "";
  return `${thrown.name}: ${thrown.message}${details}`;
}

/** Threads must not change the set-up's value, apart from shared memory. */
function freeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== Array.prototype) return;
  Object.freeze(value);
  for (const each of Object.values(value)) freeze(each);
}
