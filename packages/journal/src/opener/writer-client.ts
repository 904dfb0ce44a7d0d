/** The opener's side of the writer thread: starts it, notices its end, knows why it has stopped. */
import type { Worker } from "node:worker_threads";
import { type MillraceError, messageOf, startThread, workerUrl } from "@millrace/base";
import { decode } from "@millrace/codec";
import { journalError } from "../errors.ts";
import { ERRNO, STEP, STEPS } from "../memory/control.ts";
import { errnoName } from "../storage/storage.ts";
import type { WriterReport, WriterWorkerData } from "../writer/writer.worker.ts";

/** The writer's report of a log that it could open. */
export type OpenedLog = Exclude<WriterReport, { readonly error: Uint8Array }>;

export class WriterClient {
  readonly #directory: string;
  readonly #control: Int32Array;
  readonly #worker: Worker;
  #error: unknown;
  /** Resolves with the report of the opened log; rejects with the reason why it can't be opened. */
  readonly opened: Promise<OpenedLog>;
  /** Resolves when the thread has ended, after `onExit` was called. */
  readonly exited: Promise<void>;

  /** `onExit` is called on every end of the thread, whatever its cause. */
  constructor(data: WriterWorkerData, onExit: () => void) {
    this.#directory = data.directory;
    this.#control = new Int32Array(data.memory.control);
    const worker = startThread(workerUrl("../writer/writer.worker", import.meta.url), {
      workerData: data,
      name: "millrace journal writer",
    });
    this.#worker = worker;
    worker.on("error", (thrown) => (this.#error = thrown));
    this.exited = new Promise((resolve) => {
      worker.once("exit", () => {
        onExit();
        resolve();
      });
    });
    this.opened = new Promise((resolve, reject) => {
      worker.once("message", (report: WriterReport) => {
        if ("error" in report) reject(decode(report.error) as Error);
        else resolve(report);
      });
      worker.once("exit", () => reject(this.poisonedError()));
    });
  }

  /** The failure that has stopped the writer: the step, and the system's error if there was one. */
  failure(): { readonly step: string; readonly errno: string | undefined } {
    const errno = Atomics.load(this.#control, ERRNO);
    const step = STEPS[Atomics.load(this.#control, STEP)] ?? "the writer thread";
    return { step, errno: errno === 0 ? undefined : errnoName(errno) };
  }

  /** Why the journal takes no more records. */
  poisonedError(): MillraceError {
    const { step, errno: name } = this.failure();
    const reason = name ?? (this.#error === undefined ? "a thread ended" : messageOf(this.#error));
    return journalError("ERR_JOURNAL_POISONED", `the journal in ${this.#directory} has stopped: ${step}: ${reason}`, {
      cause: this.#error,
      details: { directory: this.#directory, step, errno: name },
    });
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}
