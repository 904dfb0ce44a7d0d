/**
 * The platform's own timers and clocks, under their own names: import them where the runtime waits
 * or measures on its user's thread.
 *
 * Test runners put fakes in the place of the global functions (vitest, jest and sinon by the
 * package @sinonjs/fake-timers; node:test by mock.timers). A runtime that polled by a faked
 * setImmediate would stand still until the test moves its clock. The functions are taken when this
 * module is loaded; where fakes are in place already, the real ones are looked for behind them:
 *
 *   - @sinonjs/fake-timers keeps what it has replaced: `setTimeout.clock._setTimeout`.
 *   - Anything else: a socket's time limit is a timer that no fake replaces, and its class makes
 *     others. Immediates are then messages of the thread to itself, which also arrive in the next
 *     turn of the event loop.
 *
 * What a timer calls runs without the AsyncLocalStorage stores of its maker (without-context.ts).
 *
 * Rejected: importing node:timers. node:test and sinon replace its exports as well.
 */
import { performance as perfHooks } from "node:perf_hooks";
import { MessageChannel } from "node:worker_threads";
import { withoutContext } from "./without-context.ts";

interface Clocked {
  readonly clock?: Readonly<Record<string, unknown>>;
}

/**
 * The class of Node's timers, as far as it is used here. Its constructor doesn't start the timer,
 * `refresh` does.
 */
interface TimeoutClass {
  new (run: () => void, ms: number, parameters: undefined, repeats: boolean, keepsAlive: boolean): NodeJS.Timeout;
}

/**
 * On another runtime the text of a real function is unknown; its fakes are recognised by their
 * clock alone.
 */
const isNode: boolean = process.versions["bun"] === undefined && !("Deno" in globalThis);

type AnyFunction = (...parameters: never[]) => unknown;

/** The function behind a fake of sinon's, the function itself if it is no fake, or undefined. */
function real(name: string, mark: RegExp): AnyFunction | undefined {
  const found = (globalThis as unknown as Record<string, AnyFunction & Clocked>)[name] as AnyFunction & Clocked;
  const behind = found.clock?.[`_${name}`];
  if (typeof behind === "function") return behind as AnyFunction;
  const isReal = isNode ? mark.test(Function.prototype.toString.call(found)) : found.clock === undefined;
  return isReal ? found : undefined;
}

const realSetTimeout = real("setTimeout", /\bnew Timeout\(/);
const realSetInterval = real("setInterval", /\bnew Timeout\(/);
const realSetImmediate = real("setImmediate", /\bnew Immediate\(/);
const realClearTimeout = real("clearTimeout", /_onTimeout/);

/** A callback of any parameters, which stand behind the time. */
type Run = (...parameters: never[]) => void;
type SetTimer = (run: Run, ms?: number, ...parameters: unknown[]) => NodeJS.Timeout;
/** The part of a timer's interface that an immediate has. */
interface Immediate {
  unref(): unknown;
}
type SetImmediate = (run: Run, ...parameters: unknown[]) => Immediate;

let timeoutClass: TimeoutClass | undefined;

function timer(run: Run, ms: number, parameters: readonly unknown[], repeats: boolean): NodeJS.Timeout {
  timeoutClass ??= classOfTimers();
  const bound = (): void => run(...(parameters as never[]));
  return new timeoutClass(bound, Math.max(1, ms), undefined, repeats, true).refresh();
}

function classOfTimers(): TimeoutClass {
  const { Socket } = process.getBuiltinModule("node:net") as unknown as { Socket: new () => SocketWithTimer };
  const socket = new Socket();
  socket.setTimeout(1);
  for (const symbol of Object.getOwnPropertySymbols(socket)) {
    const constructor = (socket as unknown as Record<symbol, object | null>)[symbol]?.constructor;
    if (constructor?.name !== "Timeout") continue;
    socket.setTimeout(0);
    return constructor as unknown as TimeoutClass;
  }
  throw new Error("no timers but fake ones can be found; load the runtime before they are put in place");
}

interface SocketWithTimer {
  setTimeout(ms: number): void;
}

/** Stops a timer of any origin. */
function stop(given: NodeJS.Timeout | undefined): void {
  given?.close();
}

/** Immediates by messages of this thread to itself. */
class Messages {
  readonly #channel = new MessageChannel();
  #jobs: (() => void)[] = [];

  constructor() {
    this.#channel.port2.on("message", () => this.#run());
    this.#channel.port2.unref();
  }

  next(run: () => void): void {
    this.#jobs.push(run);
    if (this.#jobs.length > 1) return;
    this.#channel.port2.ref();
    this.#channel.port1.postMessage(undefined);
  }

  unref(): void {
    this.#channel.port2.unref();
  }

  #run(): void {
    this.#channel.port2.unref();
    const jobs = this.#jobs;
    this.#jobs = [];
    for (const job of jobs) job();
  }
}

let messages: Messages | undefined;

function immediate(run: Run, ...parameters: unknown[]): Immediate {
  messages ??= new Messages();
  messages.next(() => run(...(parameters as never[])));
  return messages;
}

const newTimeout: SetTimer =
  (realSetTimeout as SetTimer | undefined) ?? ((run, ms = 1, ...parameters) => timer(run, ms, parameters, false));
const newInterval: SetTimer =
  (realSetInterval as SetTimer | undefined) ?? ((run, ms = 1, ...parameters) => timer(run, ms, parameters, true));
const newImmediate: SetImmediate = (realSetImmediate as SetImmediate | undefined) ?? immediate;

export const setTimeout: SetTimer = (run, ms, ...parameters) =>
  withoutContext(() => newTimeout(run, ms, ...parameters));

export const setInterval: SetTimer = (run, ms, ...parameters) =>
  withoutContext(() => newInterval(run, ms, ...parameters));

export const setImmediate: SetImmediate = (run, ...parameters) =>
  withoutContext(() => newImmediate(run, ...parameters));

const isTimeoutReal: boolean = realSetTimeout !== undefined && realSetInterval !== undefined;

export const clearTimeout: (given: NodeJS.Timeout | undefined) => void =
  isTimeoutReal && realClearTimeout !== undefined ? (realClearTimeout as typeof stop) : stop;

export const clearInterval: (given: NodeJS.Timeout | undefined) => void = clearTimeout;

/** A fake has a clock or another name. */
const isMicrotaskReal: boolean =
  (globalThis.queueMicrotask as Clocked).clock === undefined && globalThis.queueMicrotask.name === "queueMicrotask";

export const queueMicrotask: (run: () => void) => void = isMicrotaskReal
  ? globalThis.queueMicrotask
  : (run): void => void Promise.resolve().then(run);

/** The method of the class: a fake lies on the object. */
const { now = (): number => perfHooks.now() } = Object.getPrototypeOf(perfHooks) as { now?: () => number };

export const performance: { readonly now: () => number; readonly timeOrigin: number } = {
  now: now.bind(perfHooks),
  timeOrigin: perfHooks.timeOrigin,
};
