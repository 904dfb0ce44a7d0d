/**
 * Stand-ins for what the platform gives to a thread: an event loop with promises, timers and turns,
 * time, signals, its place.
 */
import { LOOP } from "./operations.ts";
import { observe } from "./perform.ts";
import { isSteps, PromiseStandIn } from "./promise.ts";
import { type Steps, type Thread, world } from "./world.ts";

// ── coroutines ──────────────────────────────────────────────────────────────────────────────────

/**
 * Yielded by an async function: everything else that is yielded is a step and goes to the explorer.
 */
class Await {
  readonly value: unknown;

  constructor(value: unknown) {
    this.value = value;
  }
}

export function* $await(value: unknown): Steps {
  return yield new Await(value);
}

/** `new Promise(executor)`: the executor may contain steps. */
export function* $promise(
  executor: (resolve: (value?: unknown) => void, reject: (reason?: unknown) => void) => unknown,
): Generator<unknown, PromiseStandIn, unknown> {
  const promise = new PromiseStandIn();
  try {
    const result = executor(
      (value) => promise.resolve(value),
      (reason) => promise.reject(reason),
    );
    if (isSteps(result)) yield* result;
  } catch (thrown) {
    if (world.failure !== undefined) throw thrown;
    promise.reject(thrown);
  }
  return promise;
}

/** Calls an async function: runs it up to its first `await` and returns a promise. */
export function* $co(steps: Steps): Generator<unknown, PromiseStandIn, unknown> {
  const promise = new PromiseStandIn();
  yield* drive(() => steps.next(), steps, promise);
  return promise;
}

function* drive(resume: () => IteratorResult<unknown>, steps: Steps, promise: PromiseStandIn): Steps {
  try {
    for (let result = resume(); ;) {
      if (result.done === true) {
        promise.resolve(result.value);
        return undefined;
      }
      if (result.value instanceof Await) {
        PromiseStandIn.resolve(result.value.value).then(
          (value) => drive(() => steps.next(value), steps, promise),
          (reason) => drive(() => steps.throw(reason), steps, promise),
        );
        return undefined;
      }
      result = steps.next(yield result.value);
    }
  } catch (thrown) {
    if (world.failure !== undefined) throw thrown;
    promise.reject(thrown);
    return undefined;
  }
}

// ── a thread ────────────────────────────────────────────────────────────────────────────────────

/**
 * All that a virtual thread does: its function, then its event loop until the promise that this
 * returned is settled.
 */
export function* threadSteps(thread: Thread, run: (log: unknown[]) => unknown): Steps {
  let value = run(thread.log);
  if (isSteps(value)) value = yield* value;
  yield* microtasks(thread);
  if (!(value instanceof PromiseStandIn)) return value;
  value.isHandled = true;
  while (value.state === "pending") {
    thread.op = LOOP;
    thread.site = 0;
    const job = (yield) as () => unknown;
    const result = job();
    if (isSteps(result)) yield* result;
    yield* microtasks(thread);
  }
  if (value.state === "rejected") throw value.value;
  return value.value;
}

function* microtasks(thread: Thread): Steps {
  for (let job = thread.microtasks.shift(); job !== undefined; job = thread.microtasks.shift()) {
    const result = job();
    if (isSteps(result)) yield* result;
  }
  for (const promise of thread.rejections.splice(0)) {
    const { isHandled, value } = promise as PromiseStandIn;
    if (!isHandled) world.fail("exception", `a promise was rejected and nobody looks: ${String(value)}`);
  }
  return undefined;
}

// ── timers ──────────────────────────────────────────────────────────────────────────────────────

class Handle {
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }
}

function addTimer(run: (...given: unknown[]) => unknown, ms: number, everyMs: number, given: unknown[]): Handle {
  const { thread } = world;
  thread.serial += 1;
  const id = thread.serial;
  const dueMs = world.nowMs + Math.max(1, ms);
  thread.timers = [...thread.timers, { id, dueMs, everyMs, job: () => run(...given) }].toSorted(
    (a, b) => a.dueMs - b.dueMs || a.id - b.id,
  );
  return new Handle(id);
}

function removeTimer(handle: Handle | undefined): void {
  const { thread } = world;
  thread.timers = thread.timers.filter((timer) => timer.id !== handle?.id);
}

/** The first timer fires: gives its job. */
export function takeTimer(thread: Thread): () => unknown {
  const [timer, ...others] = thread.timers;
  if (timer === undefined) return world.fail("internal", "a timer that is not there");
  world.nowMs = Math.max(world.nowMs, timer.dueMs);
  const again = { ...timer, dueMs: world.nowMs + timer.everyMs };
  thread.timers =
    timer.everyMs === 0 ? others : [...others, again].toSorted((a, b) => a.dueMs - b.dueMs || a.id - b.id);
  return timer.job;
}

function now(): number {
  const { thread } = world;
  observe(thread, world.nowMs);
  thread.looks += 1;
  // Where time stands still otherwise, what a thread reads follows from how often it has looked.
  return world.nowMs + thread.looks * world.tickMs;
}

// ── signals ─────────────────────────────────────────────────────────────────────────────────────

type Listener = ((event: unknown) => unknown) | { handleEvent(event: unknown): unknown };

class AbortSignalStandIn {
  aborted = false;
  reason: unknown;
  onabort: ((event: unknown) => unknown) | null = null;
  #listeners: Listener[] = [];

  static abort(reason?: unknown): AbortSignalStandIn {
    const signal = new AbortSignalStandIn();
    signal.aborted = true;
    signal.reason = reason ?? new DOMException("This operation was aborted", "AbortError");
    return signal;
  }

  static timeout(ms: number): AbortSignalStandIn {
    const signal = new AbortSignalStandIn();
    addTimer(() => signal.dispatch(new DOMException("The operation timed out", "TimeoutError")), ms, 0, []);
    return signal;
  }

  addEventListener(_type: "abort", listener: Listener): void {
    if (!this.#listeners.includes(listener)) this.#listeners = [...this.#listeners, listener];
  }

  removeEventListener(_type: "abort", listener: Listener): void {
    this.#listeners = this.#listeners.filter((each) => each !== listener);
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  *dispatch(reason: unknown): Steps {
    if (this.aborted) return undefined;
    this.aborted = true;
    this.reason = reason;
    const event = { type: "abort", target: this };
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of [this.onabort, ...listeners]) {
      const result = typeof listener === "function" ? listener(event) : listener?.handleEvent(event);
      if (isSteps(result)) yield* result;
    }
    return undefined;
  }
}

class AbortControllerStandIn {
  readonly signal = new AbortSignalStandIn();

  *abort(reason?: unknown): Steps {
    return yield* this.signal.dispatch(reason ?? new DOMException("This operation was aborted", "AbortError"));
  }
}

// ── the whole ───────────────────────────────────────────────────────────────────────────────────

/**
 * The environment that the set-up gave a thread when it was started, with the thread's changes
 * since.
 */
function environmentOf(thread: Thread): Map<unknown, unknown> {
  if (thread === world.alone) return world.environment;
  return (thread.environment ??= new Map(world.environment));
}

const immediate = (run: (...given: unknown[]) => unknown, ...given: unknown[]): Handle => {
  const { thread } = world;
  thread.serial += 1;
  thread.immediates.push({ id: thread.serial, job: () => run(...given) });
  return new Handle(thread.serial);
};

export const $env = {
  allocate: (bytes: number, options?: { maxByteLength?: number }): SharedArrayBuffer => world.allocate(bytes, options),
  random: (): number => {
    if (world.isRunning)
      world.fail("unsupported", "Math.random: randomness is passed in, so that a run can be repeated");
    return 0.5;
  },
  Promise: PromiseStandIn,
  AbortController: AbortControllerStandIn,
  AbortSignal: AbortSignalStandIn,
  performance: { now, timeOrigin: 0 },
  Date: { now },
  setTimeout: (run: () => unknown, ms = 1, ...given: unknown[]): Handle => addTimer(run, ms, 0, given),
  setInterval: (run: () => unknown, ms = 1, ...given: unknown[]): Handle => addTimer(run, ms, Math.max(1, ms), given),
  clearTimeout: removeTimer,
  clearInterval: removeTimer,
  setImmediate: immediate,
  clearImmediate(handle: Handle | undefined): void {
    const { immediates } = world.thread;
    const at = immediates.findIndex((each) => each.id === handle?.id);
    if (at >= 0) immediates.splice(at, 1);
  },
  queueMicrotask(job: () => unknown): void {
    world.thread.microtasks.push(job);
  },
  process: {
    emit: (): boolean => false,
    once: (): void => undefined,
    on: (): void => undefined,
    off: (): void => undefined,
    removeListener: (): void => undefined,
    hrtime: { bigint: (): bigint => BigInt(now()) * 1_000_000n },
    stdout: { writableLength: 0 },
    stderr: { writableLength: 0 },
    env: {},
    nextTick: (job: (...given: unknown[]) => unknown, ...given: unknown[]): void => {
      world.thread.microtasks.push(() => job(...given));
    },
  },
  workerThreads: {
    get isMainThread(): boolean {
      return world.thread.name === world.mainThread;
    },
    get threadId(): number {
      return world.thread.index;
    },
    getEnvironmentData: (key: unknown): unknown => environmentOf(world.thread).get(key),
    setEnvironmentData: (key: unknown, value: unknown): void => void environmentOf(world.thread).set(key, value),
    workerData: undefined,
    parentPort: null,
    /** A scenario's port has a function for it. */
    receiveMessageOnPort: (port: { receive(): unknown }): unknown => port.receive(),
  },
};
