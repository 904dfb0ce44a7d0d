/**
 * Whole calls on threads of their own: for long synchronous work, native addons and blocking I/O,
 * which would hold up a processor and everything in its queue.
 *
 * The threads are piscina's: it starts them when calls wait, ends idle ones, and ends the thread of
 * a cancelled call. The queue is ours, and piscina gets at most as many calls as it may have
 * threads. With its own queue, piscina 5.3 forgets to replace a thread that died or was aborted
 * while calls wait (with minThreads 0 they wait for ever).
 *
 * Belongs to the thread that made it.
 */
import { randomUUID } from "node:crypto";
import { availableParallelism } from "node:os";
import type { ResourceLimits, Transferable } from "node:worker_threads";
import type { Piscina } from "original-piscina";
import {
  abortSignal,
  errorFactory,
  inheritableFlags,
  integer,
  messageOf,
  list,
  optional,
  optionsObject,
  resolveOptions,
  type Resolved,
  type Rules,
  workerUrl,
  setImmediate,
  withoutContext,
} from "@millrace/base";
import {
  bindHandlers,
  checkedTransferList,
  checkResourceLimits,
  cloneRefusal,
  type CallOf,
  type Handler,
  type HandlerName,
  type HandlerOf,
  Output,
  schedulerErrors,
  type TasksAlive,
  deathOf,
  describeDeath,
  type LastWords,
} from "@millrace/scheduler";
import { abortError, BlockingCall } from "./blocking-call.ts";
import type { BlockingAnswer, BlockingEnd, BlockingThread } from "./blocking-task.ts";
import { poolError } from "./errors.ts";
import { buffersOf, pack } from "./packed.ts";

export interface BlockingOptions {
  /** Threads that stay once they were started. Default 0. */
  readonly threadsMin?: number;
  /** Calls at the same time, a thread each. Default twice the available parallelism, at least 4. */
  readonly threadsMax?: number;
  /** How long a thread above `threadsMin` waits for a call before it ends. Default 10 s. */
  readonly idleTimeoutMs?: number;
  /** Calls that may wait for a thread; the next rejects with `ERR_BLOCKING_FULL`. Default 65536. */
  readonly queueMax?: number;
  /** Passed on to each thread, as for `new Worker()`. Default none. */
  readonly resourceLimits?: ResourceLimits;
}

/** Options of one blocking call. */
export interface BlockingCallOptions {
  /**
   * Rejects the call with `ERR_TASK_ABORTED`. If the call runs already, its thread is ended at
   * once, and replaced when the next call needs one.
   */
  readonly signal?: AbortSignal;
  /**
   * Ends the call after this time, counted from the call, and rejects it with `ERR_TASK_TIMEOUT`.
   * Default none.
   */
  readonly timeoutMs?: number;
  /** Moved instead of copied, at the call. The argument then goes by structured clone. */
  readonly transferList?: readonly Transferable[];
}

/** The handlers of a module, as calls on threads of the blocking pool. */
export type BlockingRun<Handlers> = {
  readonly [Name in HandlerName<Handlers>]: CallOf<HandlerOf<Handlers, Name>, BlockingCallOptions>;
};

export interface BlockingStats {
  readonly threads: number;
  readonly running: number;
  readonly waiting: number;
  /** Calls that ended, with any outcome. */
  readonly completed: number;
}

/** The longest time that `setTimeout` takes. */
const TIMEOUT_MS_MAX: number = 2 ** 31 - 1;

/**
 * The defaults: more threads than cores, because blocking work waits more than it computes; 10 s
 * idle as in Tokio's blocking pool; a queue that takes a burst, and that fills within seconds when
 * calls come faster than threads serve them.
 */
const rules = {
  threadsMin: integer(0, 1024, 0),
  threadsMax: integer(1, 1024, () => Math.max(4, 2 * availableParallelism())),
  idleTimeoutMs: integer(0, TIMEOUT_MS_MAX, 10_000),
  queueMax: integer(0, 2 ** 24, 2 ** 16),
  resourceLimits: optional(optionsObject<ResourceLimits>()),
} satisfies Rules;

const callRules = {
  signal: optional(abortSignal()),
  timeoutMs: optional(integer(1, TIMEOUT_MS_MAX, 1)),
  transferList: optional(list<Transferable>()),
} satisfies Rules;

const schedulerError = errorFactory(schedulerErrors);

/** How long the module may take to load, unless the runtime says otherwise. */
const START_MS = 30_000;

/** Piscina's message for a thread that ended without an error. */
const EXITED = /exited with code: (\d+)/;

/** After an end that piscina tells of, until the last words of the thread are here. */
const HEARD_TURNS = 2;

export class Blocking<Handlers = Record<string, Handler>> {
  /** Calls by handler name: `await blocking.run.settle(payment)`. */
  readonly run: BlockingRun<Handlers>;
  readonly #url: string;
  readonly #startTimeoutMs: number;
  readonly #options: Resolved<typeof rules>;
  /** In the order of the calls; a set, because a cancelled call leaves from the middle. */
  readonly #waiting = new Set<BlockingCall>();
  readonly #running = new Set<BlockingCall>();
  #opening: Promise<Piscina> | undefined;
  #pool: Piscina | undefined;
  /** The output of handlers; from the first call on. */
  #output: Output | undefined;
  #completed = 0;
  #calls = 0;
  /** By call: of the thread that ended under it. */
  readonly #lastWords = new Map<number, LastWords>();
  #isClosed = false;
  #whenIdle: (() => void) | undefined;

  /** `url` names the module, `names` its handlers. Starts nothing. Throws `ERR_INVALID_OPTION`. */
  constructor(url: string, names: readonly string[], given?: BlockingOptions, startTimeoutMs: number = START_MS) {
    this.#url = url;
    this.#startTimeoutMs = startTimeoutMs;
    this.#options = resolveBlocking(given);
    this.run = bindHandlers(
      names,
      (name) => (argument: unknown, options?: BlockingCallOptions) => this.#call(name, argument, options),
    ) as BlockingRun<Handlers>;
  }

  /** Throws `ERR_INVALID_OPTION`, before anything is started. */
  static checkOptions(given: BlockingOptions | undefined): void {
    resolveBlocking(given);
  }

  stats(): BlockingStats {
    return {
      threads: this.#pool?.threads.length ?? 0,
      running: this.#running.size,
      waiting: this.#waiting.size,
      completed: this.#completed,
    };
  }

  /** Takes no more calls, waits for the calls under way, ends the threads. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#waiting.size + this.#running.size > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    await this.#endThreads();
  }

  /** Ends the threads at once; calls under way reject with `ERR_SCHEDULER_CLOSED`. */
  async terminate(): Promise<void> {
    this.#isClosed = true;
    const error = schedulerError(
      "ERR_SCHEDULER_CLOSED",
      "the runtime was terminated before the blocking call was over",
    );
    for (const call of this.#waiting) call.cancel(error);
    for (const call of this.#running) call.cancel(error);
    await this.#endThreads();
  }

  /** Takes no more calls: they reject with `ERR_SCHEDULER_CLOSED`. */
  refuseCalls(): void {
    this.#isClosed = true;
  }

  /** The calls under way, by handler. */
  tasksAlive(): TasksAlive[] {
    const alive = new Map<string, { running: number; queued: number }>();
    const countsOf = ({ request }: BlockingCall): { running: number; queued: number } => {
      const counts = alive.get(request.handler) ?? { running: 0, queued: 0 };
      alive.set(request.handler, counts);
      return counts;
    };
    for (const call of this.#running) countsOf(call).running += 1;
    for (const call of this.#waiting) countsOf(call).queued += 1;
    return [...alive].map(([handler, counts]) => ({ handler, ...counts }));
  }

  #call(name: string, argument: unknown, options: BlockingCallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) throw schedulerError("ERR_SCHEDULER_CLOSED", "the runtime is closed");
      const { signal, timeoutMs, transferList } = resolveOptions(`blocking.${name}`, callRules, options);
      if (signal?.aborted === true) throw abortError({ handler: name }, signal.reason);
      if (this.#running.size >= this.#options.threadsMax && this.#waiting.size >= this.#options.queueMax) {
        throw poolError("ERR_BLOCKING_FULL", `${this.#waiting.size} blocking calls wait for a thread already`, {
          details: { waiting: this.#waiting.size, threadsMax: this.#options.threadsMax },
        });
      }
      const sent = send(argument, transferList);
      const deadlineMs = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
      this.#calls += 1;
      const request = {
        id: this.#calls,
        url: this.#url,
        startTimeoutMs: this.#startTimeoutMs,
        handler: name,
        argument: sent.packed,
        deadlineMs,
      };
      const call = new BlockingCall(request, sent.transferList, signal, timeoutMs, resolve, reject);
      call.onCancel = () => this.#leave(call);
      this.#waiting.add(call);
      this.#pump();
    });
  }

  /** A cancelled call leaves the queue; a running one leaves when piscina lets go of it. */
  #leave(call: BlockingCall): void {
    if (!this.#waiting.delete(call)) return;
    this.#completed += 1;
    this.#noteIdle();
  }

  #pump(): void {
    for (const call of this.#waiting) {
      if (this.#running.size >= this.#options.threadsMax) return;
      this.#waiting.delete(call);
      this.#running.add(call);
      // Threads that it starts outlive the call, and its context.
      void withoutContext(() => this.#start(call));
    }
  }

  async #start(call: BlockingCall): Promise<void> {
    try {
      // Once the pool is there, the call is sent before this thread does anything else.
      const pool = this.#pool ?? (await this.#open());
      const { transferList, signal = null } = call;
      const answer = (await pool.run(call.request, { transferList: transferList as never, signal })) as BlockingAnswer;
      this.#output?.flush();
      call.answer(answer);
    } catch (thrown) {
      await this.#hear(call);
      this.#output?.flush();
      // Without effect on a cancelled call: its promise is settled.
      call.fail(this.#deathError(call, thrown));
    }
    this.#lastWords.delete(call.request.id);
    this.#running.delete(call);
    this.#completed += 1;
    this.#pump();
    this.#noteIdle();
  }

  /**
   * The last words of the call's thread come by another port than the message of its end. They were
   * sent before it, so that they are here two turns of the event loop later. A thread that was
   * terminated, or ran out of memory, has none.
   */
  async #hear({ request: { id } }: BlockingCall): Promise<void> {
    for (let turn = 0; turn < HEARD_TURNS && !this.#lastWords.has(id); turn += 1) await nextTurn();
  }

  #noteIdle(): void {
    if (this.#waiting.size + this.#running.size === 0) this.#whenIdle?.();
  }

  #open(): Promise<Piscina> {
    this.#opening ??= this.#startPool();
    return this.#opening;
  }

  async #startPool(): Promise<Piscina> {
    const { Piscina } = await import("original-piscina");
    const { threadsMin, threadsMax, idleTimeoutMs, resourceLimits } = this.#options;
    this.#output = new Output();
    const channel = `millrace output ${randomUUID()}`;
    this.#output.listenTo(channel);
    const pool = new Piscina({
      filename: workerUrl("./blocking-task", import.meta.url).href,
      name: "blockingTask",
      minThreads: threadsMin,
      maxThreads: threadsMax,
      idleTimeout: idleTimeoutMs,
      recordTiming: false,
      workerData: { channel, count: this.#output.count } satisfies BlockingThread,
      ...inheritableFlags(),
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    });
    // The end of an idle thread concerns no call, unless piscina had queued one for it.
    pool.on("message", (end: BlockingEnd) => this.#lastWords.set(end.call, end.lastWords));
    pool.on("error", (error) => this.#checkThreads(pool, error));
    pool.on("workerDestroy", () => this.#checkThreads(pool, undefined));
    this.#pool = pool;
    return pool;
  }

  /**
   * Threads that can't even start (too little memory, for instance) leave piscina with calls and
   * without a thread: rejects the calls and begins with a new pool.
   */
  #checkThreads(pool: Piscina, cause: unknown): void {
    void this.#checkThreadsLater(pool, cause);
  }

  async #checkThreadsLater(pool: Piscina, cause: unknown): Promise<void> {
    // A call whose thread has ended is over by then. It makes room for the next, and piscina starts
    // a thread for that one.
    for (let turn = 0; turn <= HEARD_TURNS; turn += 1) await nextTurn();
    if (this.#pool !== pool || pool.threads.length > 0 || this.#running.size === 0) return;
    this.#pool = undefined;
    this.#opening = undefined;
    for (const call of this.#running) call.cancel(this.#deathError(call, cause));
    // Rejects the calls that piscina still has, which takes them off our list.
    void pool.destroy();
  }

  /** A handler's error is an answer; an error from piscina is about the thread. */
  #deathError({ request: { id, handler } }: BlockingCall, thrown: unknown): Error {
    const exit = EXITED.exec(messageOf(thrown));
    const death = deathOf({
      // Node's code for any other end of a thread.
      exitCode: exit === null ? 1 : Number(exit[1]),
      lastWords: this.#lastWords.get(id),
      error: exit === null ? thrown : undefined,
      limits: this.#options.resourceLimits,
    });
    const { reason, exitCode, limits, error } = death;
    const text = `the thread that ran blocking.${handler} ended before the call did: ${describeDeath(death)}`;
    return schedulerError("ERR_MACHINE_DIED", text, {
      cause: error,
      details: { handler, attempts: 1, reason, exitCode, ...(limits === undefined ? {} : { limits }) },
    });
  }

  async #endThreads(): Promise<void> {
    const pool = await this.#opening;
    await pool?.destroy();
    this.#output?.close();
  }
}

function resolveBlocking(given: BlockingOptions = {}): Resolved<typeof rules> {
  const owner = "open({ blocking })";
  const options = resolveOptions(owner, rules, given);
  resolveOptions(owner, { threadsMin: integer(0, options.threadsMax, 0) }, { threadsMin: options.threadsMin });
  checkResourceLimits("open({ blocking: { resourceLimits } })", options.resourceLimits);
  return options;
}

/** The argument as it is now, with the list of objects that move with it. */
/** Of the event loop. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

function send(argument: unknown, transferList: readonly Transferable[] | undefined): Sent {
  if (transferList === undefined) {
    const packed = pack(argument);
    return { packed, transferList: buffersOf(packed) };
  }
  const moved = checkedTransferList(transferList) as Transferable[];
  try {
    const clone = structuredClone({ argument, moved }, { transfer: moved as never });
    return { packed: { value: clone.argument }, transferList: clone.moved };
  } catch (thrown) {
    throw cloneRefusal(thrown);
  }
}

interface Sent {
  readonly packed: ReturnType<typeof pack>;
  readonly transferList: Transferable[];
}
