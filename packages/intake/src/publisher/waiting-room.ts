/**
 * Publishes that find the intake full wait here, in order, until the level has fallen; or until
 * their time is over, their signal aborts, or the intake ends. What waits here is certainly not
 * stored.
 *
 * Drain, retries, redrives and close never pass through here: they may always write.
 */
import { clearTimeout, type MillraceError, onAbort, performance, setTimeout } from "@millrace/base";
import type { Reactor, Source } from "@millrace/atomics-sync";
import { type AppendWaiter, journalError, type RecordParts } from "@millrace/journal/kernel";
import { intakeError } from "../errors.ts";
import type { Water } from "./water.ts";

/** As the options say, with their default. */
export interface Patience {
  readonly isWaiting: boolean;
  readonly timeoutMs: number | undefined;
  readonly signal: AbortSignal | undefined;
  /** Told when a record that had to wait has got its room. */
  readonly admitted?: (() => void) | undefined;
}

/** One record, or an atomic group. Its bytes are its own. */
interface Waiting {
  readonly records: readonly RecordParts[];
  readonly isGroup: boolean;
  readonly waiter: AppendWaiter;
  /** Of a publish that won't be stored. */
  readonly failed: (error: unknown) => void;
  readonly admitted: (() => void) | undefined;
  readonly bytes: number;
  readonly sinceMs: number;
  /** Ends its timer and its listening to a signal. */
  stop: () => void;
}

/** What takes the records: the journal. False, and nothing has happened, when there is no room. */
export interface Ring {
  tryAppendParts(record: RecordParts, waiter: AppendWaiter): boolean;
  tryAppendGroupParts(records: readonly RecordParts[], waiter: AppendWaiter): boolean;
  /** Bytes that may wait here. */
  readonly pendingBytesMax: number;
}

/** Admitted in one turn of the event loop. */
const ADMITTED_MAX = 4096;

export class WaitingRoom implements Source {
  readonly pollMs = 0;
  readonly #water: Water;
  readonly #reactor: Reactor;
  readonly #ring: Ring;
  /** Asks delivery to tell when the balance has fallen so far. */
  readonly #awaitBalance: (balance: number) => void;
  readonly #waiting = new Set<Waiting>();
  #bytes = 0;
  #awaited: number | undefined;
  #refused = 0;

  constructor(water: Water, ring: Ring, reactor: Reactor, awaitBalance: (balance: number) => void) {
    this.#water = water;
    this.#ring = ring;
    this.#reactor = reactor;
    this.#awaitBalance = awaitBalance;
    reactor.add(this);
  }

  /** Publishes that wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Records that were refused because the intake was full. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Appends a record at once where there is room; otherwise keeps a copy until there is, or throws
   * `ERR_INTAKE_FULL`. `failed` is told of a wait that ends without.
   */
  admit(record: RecordParts, waiter: AppendWaiter, failed: (error: unknown) => void, patience: Patience): void {
    if (this.#waiting.size === 0 && this.#water.isOpen()) {
      if (this.#ring.tryAppendParts(record, waiter)) {
        this.#water.offered(1);
        return;
      }
      this.#water.ringIsFull();
    }
    this.#enter([record], false, waiter, failed, patience);
  }

  /** As `admit`, for records that are stored together or not at all. */
  admitGroup(
    records: readonly RecordParts[],
    waiter: AppendWaiter,
    failed: (error: unknown) => void,
    patience: Patience,
  ): void {
    if (this.#waiting.size === 0 && this.#water.isOpen()) {
      if (this.#ring.tryAppendGroupParts(records, waiter)) {
        this.#water.offered(records.length);
        return;
      }
      this.#water.ringIsFull();
    }
    this.#enter(records, true, waiter, failed, patience);
  }

  /** The level may have fallen. */
  balanceFell(): void {
    this.#awaited = undefined;
    this.#admitAll();
  }

  /** Ends all waits. */
  abandon(error: Error): void {
    for (const waiting of this.#waiting) {
      this.#leave(waiting);
      waiting.failed(error);
    }
    this.#reactor.remove(this);
  }

  poll(): number {
    return this.#waiting.size === 0 ? 0 : this.#admitAll();
  }

  isExpecting(): boolean {
    return this.#waiting.size > 0;
  }

  #enter(
    given: readonly RecordParts[],
    isGroup: boolean,
    waiter: AppendWaiter,
    failed: (error: unknown) => void,
    { isWaiting, timeoutMs, signal, admitted }: Patience,
  ): void {
    if (!isWaiting) throw this.#fullError(given.length, undefined);
    signal?.throwIfAborted();
    const records = given.map((record) => ownBytes(record));
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
    const bytesMax = this.#ring.pendingBytesMax;
    if (this.#bytes + bytes > bytesMax) {
      this.#refused += records.length;
      throw journalError("ERR_JOURNAL_BUSY", `${this.#bytes} bytes wait to be published; the limit is ${bytesMax}`, {
        details: { pendingBytes: this.#bytes, pendingBytesMax: bytesMax },
      });
    }
    const sinceMs = performance.now();
    const waiting: Waiting = { records, isGroup, waiter, failed, admitted, bytes, sinceMs, stop: () => {} };
    this.#watch(waiting, timeoutMs, signal);
    this.#waiting.add(waiting);
    this.#bytes += bytes;
    this.#askForBalance();
    this.#reactor.expect();
  }

  #watch(waiting: Waiting, timeoutMs: number | undefined, signal: AbortSignal | undefined): void {
    if (timeoutMs === undefined && signal === undefined) return;
    const expired = (): void => this.#giveUp(waiting, this.#fullError(waiting.records.length, waiting));
    const timer = timeoutMs === undefined ? undefined : setTimeout(expired, timeoutMs);
    const forget = signal && onAbort(signal, () => this.#giveUp(waiting, signal.reason as unknown));
    waiting.stop = () => {
      clearTimeout(timer);
      forget?.();
    };
  }

  #giveUp(waiting: Waiting, reason: unknown): void {
    this.#leave(waiting);
    waiting.failed(reason);
    this.#reactor.check();
  }

  #leave(waiting: Waiting): void {
    waiting.stop();
    this.#waiting.delete(waiting);
    this.#bytes -= waiting.bytes;
  }

  #admitAll(): number {
    let admitted = 0;
    for (const waiting of this.#waiting) {
      if (admitted === ADMITTED_MAX) break;
      if (!this.#water.isOpen()) break;
      try {
        if (!this.#append(waiting)) {
          this.#water.ringIsFull();
          break;
        }
        this.#leave(waiting);
      } catch (thrown) {
        // Poisoned, or the disk is full: it isn't stored.
        this.#leave(waiting);
        waiting.failed(thrown);
      }
      admitted += 1;
    }
    if (this.#waiting.size > 0) this.#askForBalance();
    return admitted;
  }

  #append({ records, isGroup, waiter, admitted }: Waiting): boolean {
    const isIn = isGroup
      ? this.#ring.tryAppendGroupParts(records, waiter)
      : this.#ring.tryAppendParts(records[0] as RecordParts, waiter);
    if (!isIn) return false;
    this.#water.offered(records.length);
    admitted?.();
    return true;
  }

  /** Once for each balance: refusals by a full disk change it. */
  #askForBalance(): void {
    const balance = this.#water.awaitedBalance;
    if (balance === undefined || balance === this.#awaited) return;
    this.#awaited = balance;
    this.#awaitBalance(balance);
  }

  #fullError(records: number, waiting: Waiting | undefined): MillraceError {
    this.#refused += records;
    const { level, cause, ratePerSecond, retryAfterMs } = this.#water.report();
    const after = waiting === undefined ? "" : ` after ${Math.round(performance.now() - waiting.sinceMs)} ms`;
    return intakeError("ERR_INTAKE_FULL", `the intake takes no records now${after}: ${CAUSES[cause]}`, {
      details: { level, cause, ratePerSecond, retryAfterMs },
    });
  }
}

const CAUSES = {
  ring: "too many records wait to be stored",
  unfinished: "too many records wait to be handled",
  disk: "the disk has too little room",
} as const;

function ownBytes(record: RecordParts): RecordParts {
  const { header, key, payload } = record;
  return { ...record, header: Uint8Array.from(header), key: Uint8Array.from(key), payload: Uint8Array.from(payload) };
}

function bytesOf({ header, key, payload }: RecordParts): number {
  return header.length + key.length + payload.length;
}
