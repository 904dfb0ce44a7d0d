/**
 * Calls of handlers in a child process, one at a time: for what may end its process. tinypool
 * starts the process for the first call, and another one when it has ended.
 */
import { fileURLToPath } from "node:url";
import { messageOf, workerUrl } from "@millrace/base";
import { decode } from "@millrace/codec";
import { Tinypool } from "tinypool";
import { poolError } from "./errors.ts";
import type { QuarantineAnswer, QuarantineRequest } from "./quarantine-task.ts";

/** The process ends when it has been idle for this time. */
const IDLE_MS = 1000;

export interface QuarantinedCall {
  readonly handler: string;
  /** The encoded argument. */
  readonly argument: Uint8Array;
  /** The task's header, which `headerReader` of the quarantine reads. */
  readonly header: Uint8Array;
}

export class Quarantine {
  readonly #url: string;
  readonly #startTimeoutMs: number;
  readonly #headerReader: string;
  #pool: Tinypool | undefined;
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
   * error, or with `ERR_QUARANTINE_DIED` when it has ended its process.
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

  async #run({ handler, argument, header }: QuarantinedCall): Promise<unknown> {
    this.#pool ??= new Tinypool({
      filename: fileURLToPath(workerUrl("./quarantine-task", import.meta.url)),
      runtime: "child_process",
      minThreads: 0,
      maxThreads: 1,
      idleTimeout: IDLE_MS,
    });
    const request: QuarantineRequest = {
      url: this.#url,
      startTimeoutMs: this.#startTimeoutMs,
      headerReader: this.#headerReader,
      handler,
      argument: Buffer.from(argument).toString("base64"),
      header: Buffer.from(header).toString("base64"),
    };
    let answer: QuarantineAnswer;
    try {
      answer = (await this.#pool.run(request)) as QuarantineAnswer;
    } catch (cause) {
      throw poolError("ERR_QUARANTINE_DIED", `the handler ${handler} ended its process: ${messageOf(cause)}`, {
        cause,
        details: { handler },
      });
    }
    if (answer.error !== undefined) throw decode(Buffer.from(answer.error, "base64"));
    return answer.outcome === undefined ? undefined : decode(Buffer.from(answer.outcome, "base64"));
  }

  /** Ends the process, whatever runs there. */
  async close(): Promise<void> {
    await this.#pool?.destroy();
  }
}
