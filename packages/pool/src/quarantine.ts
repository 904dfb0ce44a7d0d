/**
 * Calls of handlers in a child process, one at a time: for what may end its process. tinypool
 * starts the process for the first call, and another one when it has ended.
 */
import { fileURLToPath } from "node:url";
import {
  clearTimeout,
  inheritableFlagsOfProcess,
  isMillraceError,
  messageOf,
  type MillraceError,
  setTimeout,
  workerUrl,
} from "@millrace/base";
import { decode } from "@millrace/codec";
import { Tinypool } from "original-tinypool";
import { poolError } from "./errors.ts";
import type { Begun, QuarantineAnswer, QuarantineRequest } from "./quarantine-task.ts";

/** The process ends when it has been idle for this time. */
const IDLE_MS = 1000;

export interface QuarantinedCall {
  readonly handler: string;
  /** The encoded argument. */
  readonly argument: Uint8Array;
  /** The task's header, which `headerReader` of the quarantine reads. */
  readonly header: Uint8Array;
  /** The handler's time limit, ms: its signal aborts then, and its process is ended soon after. */
  readonly timeoutMs: number;
}

/** Time in which a handler may end by itself when its time limit is over. */
const GRACE_MS = 1000;
/** Time that a process may take to start, beside its module. */
const START_MS = 30_000;
/** The longest time that timers take. */
const TIMER_MS_MAX: number = 2 ** 31 - 1;

export class Quarantine {
  readonly #url: string;
  readonly #startTimeoutMs: number;
  readonly #headerReader: string;
  #pool: Tinypool | undefined;
  #isClosed = false;
  /** The newest call, when it is over. */
  #newest: Promise<void> = Promise.resolve();

  /**
   * `url`: the module with the handlers, which may take `startTimeoutMs` to load; a call rejects
   * with `ERR_HANDLER_MODULE` then. `headerReader`: the module whose `readHeader` makes
   * `context.record`.
   */
  constructor(url: string, headerReader: URL, startTimeoutMs: number) {
    this.#url = url;
    this.#startTimeoutMs = startTimeoutMs;
    this.#headerReader = headerReader.href;
  }

  /**
   * Resolves when the handler has returned, with what `TaskHooks.outcomeOf` says. Rejects with its
   * error, with `ERR_QUARANTINE_DIED` when it has ended its process, or with
   * `ERR_QUARANTINE_TIMEOUT` when its time was over.
   */
  call(call: QuarantinedCall): Promise<unknown> {
    // Not by the pool's own queue: a call that waits there while the process dies never runs.
    const answer = this.#newest.then(() => this.#run(call));
    this.#newest = answer.then(
      () => {},
      () => {},
    );
    return answer;
  }

  async #run({ handler, argument, header, timeoutMs }: QuarantinedCall): Promise<unknown> {
    if (this.#isClosed) {
      throw poolError("ERR_QUARANTINE_DIED", `the quarantine was closed before ${handler} was called`, {
        details: { handler },
      });
    }
    const request: QuarantineRequest = {
      url: this.#url,
      startTimeoutMs: this.#startTimeoutMs,
      headerReader: this.#headerReader,
      handler,
      argument: Buffer.from(argument).toString("base64"),
      header: Buffer.from(header).toString("base64"),
      timeoutMs,
    };
    let answer: QuarantineAnswer | undefined;
    try {
      answer = await this.#answerTo(request);
    } catch (cause) {
      if (isMillraceError(cause, "ERR_QUARANTINE_TIMEOUT")) throw cause;
      throw poolError("ERR_QUARANTINE_DIED", `the handler ${handler} ended its process: ${messageOf(cause)}`, {
        cause,
        details: { handler },
      });
    }
    if (answer === undefined || answer.isLate === true) {
      const text = `the handler ${handler} took longer than its time limit of ${timeoutMs} ms in quarantine`;
      throw poolError("ERR_QUARANTINE_TIMEOUT", text, { details: { handler, timeoutMs } });
    }
    if (answer.error !== undefined) throw decode(Buffer.from(answer.error, "base64"));
    return answer.outcome === undefined ? undefined : decode(Buffer.from(answer.outcome, "base64"));
  }

  /** Undefined when its time is over: the process is gone then. */
  async #answerTo(request: QuarantineRequest): Promise<QuarantineAnswer | undefined> {
    this.#pool ??= new Tinypool({
      filename: fileURLToPath(workerUrl("./quarantine-task", import.meta.url)),
      runtime: "child_process",
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: IDLE_MS,
      // tinypool gives a process no variables by itself: handlers find their database by them.
      ...inherited(),
    });
    let giveUp = (): void => {};
    const late = new Promise<undefined>((resolve) => (giveUp = () => resolve(undefined)));
    let timer = setTimeout(giveUp, within(START_MS + this.#startTimeoutMs));
    let hasBegun = false;
    const channel = {
      // A handler may send messages to its parent as well.
      postMessage: (message: Partial<Begun> | null) => {
        if (hasBegun || message?.millraceBegun !== true) return;
        hasBegun = true;
        clearTimeout(timer);
        timer = setTimeout(giveUp, within(request.timeoutMs + GRACE_MS));
      },
      onMessage: () => {},
    };
    const answer = this.#pool.run(request, { channel }) as Promise<QuarantineAnswer>;
    try {
      const first = await Promise.race([answer, late]);
      if (first !== undefined) return first;
      await this.#endProcess(answer);
      if (!hasBegun) throw neverBegan(request, this.#startTimeoutMs);
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  async #endProcess(answer: Promise<unknown>): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    // Any answer comes too late now.
    answer.catch(() => {});
    await pool?.destroy();
  }

  /** Ends the process, whatever runs there. Calls that wait are never made. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#pool?.destroy();
  }
}

function neverBegan({ handler }: QuarantineRequest, startTimeoutMs: number): MillraceError {
  const text = `a process for the handler ${handler} hadn't loaded its module after ${START_MS + startTimeoutMs} ms`;
  return poolError("ERR_QUARANTINE_TIMEOUT", text, { details: { handler, startTimeoutMs } });
}

function within(ms: number): number {
  return Math.min(ms, TIMER_MS_MAX);
}

/** Its variables, and its flags where it can't inherit them by itself. */
function inherited(): { readonly env: Record<string, string>; readonly execArgv?: string[] } {
  const flags = inheritableFlagsOfProcess();
  const variables = Object.entries(flags?.env ?? process.env);
  const env = Object.fromEntries(variables.filter((entry): entry is [string, string] => entry[1] !== undefined));
  return flags === undefined ? { env } : { env, execArgv: flags.execArgv };
}
