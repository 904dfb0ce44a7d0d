/**
 * Appending from another thread than the opener's. A worker connects with the handle it was given.
 */
import { type MillraceError } from "@millrace/base";
import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import { Appends } from "./appends.ts";
import { CLOSED, CLOSING, type JournalMemory, NO_THREAD, producerWord, STATE } from "../memory/control.ts";
import { journalError } from "../errors.ts";
import type { AppendOptions } from "./options.ts";
import { partsOf } from "./record-parts.ts";
import { JournalProducer } from "../memory/producer.ts";

/**
 * A thread passes this plain value, from `workerData`, to `JournalAppender.connect`. One thread per
 * handle.
 */
export interface ProducerHandle {
  readonly memory: JournalMemory;
  readonly ring: number;
  readonly pendingBytesMax: number;
  readonly pollMs: number;
}

export class JournalAppender {
  readonly #control: Int32Array;
  readonly #ring: number;
  readonly #threads: ThreadTable;
  readonly #reactor: Reactor;
  readonly #appends: Appends;
  #isClosed = false;

  private constructor(handle: ProducerHandle, threads: ThreadTable, reactor: Reactor) {
    const { memory, ring, pendingBytesMax, pollMs } = handle;
    this.#control = new Int32Array(memory.control);
    this.#ring = ring;
    this.#threads = threads;
    this.#reactor = reactor;
    this.#appends = new Appends(
      new JournalProducer(memory, ring),
      this.#reactor,
      { pendingBytesMax, pollMs },
      poisoned,
    );
  }

  /** Takes the handle over; every handle serves one thread, once. */
  static connect(handle: ProducerHandle): JournalAppender {
    const { memory, ring } = handle;
    const threads = new ThreadTable(memory.threads);
    // The table must be this handle's: the thread may have begun before it could inherit one.
    const reactor = new Reactor(threads.words, threads.reserve());
    Atomics.store(new Int32Array(memory.control), producerWord(ring), reactor.thread);
    return new JournalAppender(handle, threads, reactor);
  }

  /** As `Journal.append`. */
  append(payload: unknown, options?: AppendOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#mustBeOpen();
      if (options === undefined && payload instanceof Uint8Array) this.#appends.appendBytes(payload, resolve, reject);
      else this.#appends.append(partsOf(payload, options), { durable: resolve, failed: reject });
    });
  }

  /** As `Journal.appendMany`. */
  appendMany(records: Iterable<{ readonly payload: unknown } & AppendOptions>): Promise<number[]> {
    return new Promise((resolve, reject) => {
      this.#mustBeOpen();
      const parts = Array.from(records, ({ payload, ...options }) => partsOf(payload, options));
      if (parts.length === 0) {
        resolve([]);
        return;
      }
      this.#appends.appendGroup(parts, {
        durable: (first) => resolve(parts.map((_, index) => first + index)),
        failed: reject,
      });
    });
  }

  /**
   * Waits until everything is durable or has failed, then lets go of the ring. Close every appender
   * before the journal.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#appends.drain();
    Atomics.store(this.#control, producerWord(this.#ring), NO_THREAD);
    this.#appends.detach();
    this.#threads.release(this.#reactor.thread);
  }

  #mustBeOpen(): void {
    const state = Atomics.load(this.#control, STATE);
    if (this.#isClosed || state === CLOSING || state === CLOSED)
      throw journalError("ERR_JOURNAL_CLOSED", "the journal is closed");
  }
}

function poisoned(): MillraceError {
  return journalError("ERR_JOURNAL_POISONED", "the journal has stopped; the opener knows why");
}
