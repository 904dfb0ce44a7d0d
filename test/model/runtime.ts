/** The functions that rewritten modules call. Their names are those in rewrite.ts. */
import { learn } from "./clocks.ts";
import { JOIN, OP, PAUSE, PLAIN_READ, PLAIN_WRITE } from "./operations.ts";
import { changeBytes, perform, readPlain, writePlain } from "./perform.ts";
import { isSteps } from "./promise.ts";
import { describeSite } from "./sites.ts";
import { DEAD, type ModuleState, type Steps, type Thread, world } from "./world.ts";

export { $await, $co, $env, $promise } from "./platform.ts";
export { isSteps as $g } from "./promise.ts";

/** Announces an operation; the `yield` around it lets the explorer decide when it happens. */
export function $op(op: number, site: number, array: Int32Array, at: number, ...operands: unknown[]): void {
  const thread = world.thread;
  thread.op = op;
  thread.site = site;
  thread.array = array;
  thread.at = at;
  thread.operands = operands.length;
  thread.first = operands[0];
  thread.second = operands[1];
}

/**
 * An operation where nothing can yield: while threads run only a load, which then happens together
 * with the step before it.
 */
export function $direct(op: number, site: number, array: Int32Array, at: number, ...operands: unknown[]): unknown {
  if (world.isRunning && op !== OP.load) refuse(site, CANT_STOP);
  $op(op, site, array, at, ...operands);
  return perform(world.thread);
}

/**
 * A call where nothing can yield; while threads run its function must turn out to contain nothing
 * but loads.
 */
export function $pure(value: unknown, site: number): unknown {
  return isSteps(value) ? runAlone(value, site) : value;
}

const CANT_STOP =
  "while threads run only loads may stand where the checker can't stop: in a constructor, field or callback";

/** Far more than any set-up or check needs. */
const ALONE_STEPS_MAX = 100_000;

/** Runs a generator to its end without a stop. */
export function runAlone(value: unknown, site = 0): unknown {
  if (!isSteps(value)) return value;
  let result: unknown;
  for (let step = 0; step < ALONE_STEPS_MAX; step += 1) {
    const { done, value: given } = value.next(result);
    if (done === true) return given;
    const { op } = world.thread;
    if (world.isRunning && op !== OP.load && op !== PLAIN_READ) refuse(site, CANT_STOP);
    result = perform(world.thread);
  }
  return world.fail("livelock", `the set-up or the check takes more than ${ALONE_STEPS_MAX} steps`);
}

function refuse(site: number, what: string): never {
  const { where, line } = describeSite(site);
  return world.fail("unsupported", `${where}: ${what}\n    ${line}`);
}

// ── plain accesses ──────────────────────────────────────────────────────────────────────────────

type Indexed = Record<PropertyKey, unknown>;

/** `strict`: plain accesses should be steps, but here they can't. */
export function $rd(object: Indexed, key: PropertyKey, site: number, strict = false): unknown {
  const memory = world.memoryOf(object);
  if (memory === undefined) return object[key];
  if (strict && world.isRunning) refuse(site, "shared memory is read where the checker can't stop");
  return readPlain(world.thread, memory, object as never, key as number, site);
}

export function $wr(object: Indexed, key: PropertyKey, value: unknown, site: number, strict = false): unknown {
  const memory = world.memoryOf(object);
  if (memory === undefined) {
    object[key] = value;
    return value;
  }
  if (strict && world.isRunning) refuse(site, "shared memory is written where the checker can't stop");
  return writePlain(world.thread, memory, object as never, key as number, value, site);
}

/** As a step: true when it is to be yielded for, otherwise the value is in `$v()`. */
export function $pr(object: Indexed, key: PropertyKey, site: number): boolean {
  if (world.memoryOf(object) === undefined) {
    world.value = object[key];
    return false;
  }
  $op(PLAIN_READ, site, object as never, key as number);
  return true;
}

export function $pw(object: Indexed, key: PropertyKey, value: unknown, site: number): boolean {
  if (world.memoryOf(object) === undefined) {
    object[key] = value;
    world.value = value;
    return false;
  }
  $op(PLAIN_WRITE, site, object as never, key as number, value);
  return true;
}

export function $v(): unknown {
  return world.value;
}

/** Passes on what is not a shared array; for everything that would reach into it unseen. */
export function $unshared<T>(value: T, site: number): T {
  if (ArrayBuffer.isView(value) && world.memoryOf(value) !== undefined) {
    refuse(site, "shared memory is used other than by `a[i]`, `set` or Atomics, which the checker can't follow");
  }
  return value;
}

/** `new DataView(…)`; over shared memory a stand-in. */
export function $view(site: number, buffer: ArrayBufferLike, offset?: number, length?: number): DataView {
  const view = new DataView(buffer, offset, length);
  return buffer instanceof SharedArrayBuffer ? (sharedView(view, site) as DataView) : view;
}

/** A DataView whose accesses are checked for races, as plain ones of the bytes that they touch. */
function sharedView(view: DataView, site: number): unknown {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  return new Proxy(view, {
    get(_target, name: string) {
      const size = /^(?:get|set)\D+(\d+)$/.exec(name);
      if (size === null) return Reflect.get(view, name, view) as unknown;
      return (offset: number, ...operands: unknown[]): unknown => {
        const method = Reflect.get(view, name, view) as (...given: unknown[]) => unknown;
        for (let byte = 0; byte < Number(size[1]) / 8; byte += 1) {
          if (name.startsWith("set")) $wr(bytes as never, offset + byte, bytes[offset + byte], site);
          else $rd(bytes as never, offset + byte, site);
        }
        const memory = world.memoryOf(bytes);
        if (memory === undefined || name.startsWith("get")) return method.call(view, offset, ...operands);
        return changeBytes(memory, bytes, offset, Number(size[1]) / 8, () => method.call(view, offset, ...operands));
      };
    },
  });
}

/**
 * A call of a function whose module isn't rewritten. The codec's use of shared memory is modelled
 * as plain accesses. Shared memory in the arguments of any other function is refused.
 */
export function $foreign(site: number, run: (...operands: never[]) => unknown, ...operands: unknown[]): unknown {
  const call = run as (...given: unknown[]) => unknown;
  const isShared = (value: unknown): boolean => ArrayBuffer.isView(value) && world.memoryOf(value) !== undefined;
  if (!operands.some(isShared)) return call(...operands);
  const [bytes, start = 0, end = (bytes as unknown as Uint8Array).length, target, offset] = operands as [
    Indexed,
    number | undefined,
    number | undefined,
    Indexed,
    number,
  ];
  if (run.name === "decode") {
    const copy = new Uint8Array(end - start);
    for (let at = start; at < end; at += 1) copy[at - start] = $rd(bytes, at, site) as number;
    return call(copy, 0, copy.length);
  }
  if (run.name === "copyBytes") {
    for (let at = start; at < end; at += 1) $wr(target, offset + at - start, $rd(bytes, at, site), site);
    return undefined;
  }
  return refuse(site, `shared memory is given to ${run.name}, which the checker can't follow`);
}

/** `target.set(…)`, of typed arrays element by element. */
export function $set(
  site: number,
  target: { set: (...arguments_: unknown[]) => unknown },
  ...arguments_: unknown[]
): unknown {
  if (!ArrayBuffer.isView(target)) return target.set(...arguments_);
  const source = arguments_[0] as Indexed & { length: number };
  if (world.memoryOf(target) === undefined && world.memoryOf(source) === undefined) return target.set(...arguments_);
  const offset = (arguments_[1] as number | undefined) ?? 0;
  for (let index = 0; index < source.length; index += 1) {
    $wr(target as never, offset + index, $rd(source, index, site), site);
  }
  return undefined;
}

// ── the "wrap" form ─────────────────────────────────────────────────────────────────────────────

export function $made(title: string, steps: Steps): Steps {
  world.made += 1;
  world.lastMade = title;
  return steps;
}

export function $started(): void {
  world.started += 1;
}

/** Turns of loops between two steps; far more than any needs. */
const TURNS_MAX = 100_000;

/** A turn of a loop. */
export function $turn(): void {
  world.turns += 1;
  if (world.turns > TURNS_MAX) world.fail("livelock", `a loop with more than ${TURNS_MAX} turns without a step`);
}

/** A function that the checker doesn't have. */
export function $dead(message: string): never {
  return world.fail("unsupported", message);
}

// ── modules ─────────────────────────────────────────────────────────────────────────────────────

/** The variables of a module: each virtual thread has its own, made anew for every execution. */
export function $state(init: () => unknown): ModuleState {
  const state: ModuleState = { c: undefined, init, each: [] };
  world.states.push(state);
  return state;
}

// ── for scenarios ───────────────────────────────────────────────────────────────────────────────

function* joinSteps(name: string): Steps {
  const thread = world.thread;
  const other = world.threads.find((each) => each.name === name);
  if (other === undefined) world.fail("scenario", `there is no thread ${name}`);
  thread.op = JOIN;
  thread.site = 0;
  thread.first = other;
  yield;
  learn(thread.index, (other as Thread).index);
  return (other as Thread).status === DEAD;
}

function* pauseSteps(): Steps {
  world.thread.op = PAUSE;
  world.thread.site = 0;
  yield;
  return undefined;
}

/**
 * Waits until another thread of the scenario has ended, as its `exit` event tells; true when it
 * died.
 */
export const join: (thread: string) => boolean = joinSteps as never;

/**
 * A step without an access that lets the other threads go first: for loops that wait for what only
 * they can bring about.
 */
export const pause: () => void = pauseSteps as never;
