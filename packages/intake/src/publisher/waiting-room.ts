/**
 * Publishes that find the intake full wait here, in order, until the level has fallen; or until
 * their time is over, their signal aborts, or the intake ends. A publish that waits here is
 * certainly not stored.
 *
 * Those of stopped handlers wait beside the line, so that they don't hold up others. When their
 * handler isn't stopped any more, they come before the line: so those of one handler keep their
 * order. A group with several handlers is as one of a stopped handler if any of them is stopped.
 *
 * Drain, retries, redrives and close never pass through here: they may always write.
 */
import { clearTimeout, type MillraceError, onAbort, performance, setTimeout } from "@millrace/base";
import type { Reactor, Source } from "@millrace/atomics-sync";
import { type AppendWaiter, journalError, type RecordParts } from "@millrace/journal/kernel";
import { intakeError } from "../errors.ts";
import { handlerName } from "../format/record-header.ts";
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

/** Takes the records: the journal. Returns false, and has done nothing, when there is no room. */
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
  readonly #line = new Set<Waiting>();
  /** Those whose handlers are stopped, all from before those of the same handlers in line. */
  readonly #beside = new Set<Waiting>();
  #bytes = 0;
  /** Of those, the ones of stopped handlers, in line too. */
  #stoppedBytes = 0;
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
    return this.#line.size + this.#beside.size;
  }

  /** Records that were refused because the intake was full. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Appends a record at once where there is room; otherwise keeps a copy until there is, or throws
   * `ERR_INTAKE_FULL`. `failed` gets the error of a wait that ends without room.
   */
  admit(record: RecordParts, waiter: AppendWaiter, failed: (error: unknown) => void, patience: Patience): void {
    if (this.#mayPass([record])) {
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
    if (this.#mayPass(records)) {
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

  /** Nobody tells that so few records are unfinished that stopped handlers take some. */
  backlogMayHaveFallen(): void {
    if (this.#beside.size > 0) this.#admitAll();
  }

  /** Ends all waits. */
  abandon(error: Error): void {
    for (const waiting of [...this.#beside, ...this.#line]) {
      this.#leave(waiting);
      waiting.failed(error);
    }
    this.#reactor.remove(this);
  }

  poll(): number {
    return this.size === 0 ? 0 : this.#admitAll();
  }

  isExpecting(): boolean {
    return this.size > 0;
  }

  /** Those beside the line may wait for days: they keep nobody else from resting. */
  restMs(): number {
    return this.#line.size === 0 ? Infinity : 0;
  }

  /** These handlers, and no others, are stopped. */
  stopped(handlers: ReadonlySet<string>): void {
    this.#water.stopped = handlers;
    this.#stoppedBytes = 0;
    const inLine = [...this.#line];
    this.#line.clear();
    for (const waiting of this.#beside) {
      if (this.#isStopped(waiting.records)) {
        this.#stoppedBytes += waiting.bytes;
        continue;
      }
      this.#beside.delete(waiting);
      this.#line.add(waiting);
    }
    for (const waiting of inLine) {
      if (this.#isStopped(waiting.records)) this.#stoppedBytes += waiting.bytes;
      this.#line.add(waiting);
    }
    this.#admitAll();
  }

  /** Whether records may be appended now, without overtaking those before them. */
  #mayPass(records: readonly RecordParts[]): boolean {
    if (this.#line.size > 0) return false;
    if (!this.#isStopped(records)) return this.#water.isOpen();
    return this.#beside.size === 0 && this.#water.isOpenForStopped();
  }

  #isStopped(records: readonly RecordParts[]): boolean {
    const { stopped } = this.#water;
    return stopped.size > 0 && records.some(({ header }) => stopped.has(handlerName(Buffer.from(header))));
  }

  #enter(
    given: readonly RecordParts[],
    isGroup: boolean,
    waiter: AppendWaiter,
    failed: (error: unknown) => void,
    { isWaiting, timeoutMs, signal, admitted }: Patience,
  ): void {
    if (!isWaiting) throw this.#fullError(given, undefined);
    signal?.throwIfAborted();
    const records = given.map((record) => ownBytes(record));
    const bytes = records.reduce((sum, record) => sum + bytesOf(record), 0);
    const isStopped = this.#isStopped(records);
    this.#checkBytes(bytes, isStopped, records.length);
    const sinceMs = performance.now();
    const waiting: Waiting = { records, isGroup, waiter, failed, admitted, bytes, sinceMs, stop: () => {} };
    this.#watch(waiting, timeoutMs, signal);
    // At once, so that nobody finds it in line.
    if (isStopped && this.#line.size === 0) this.#beside.add(waiting);
    else this.#line.add(waiting);
    this.#bytes += bytes;
    if (isStopped) this.#stoppedBytes += bytes;
    if (this.#line.size > 0) this.#askForBalance();
    this.#reactor.expect();
  }

  /** Publishes of stopped handlers leave half of the room to others. */
  #checkBytes(bytes: number, isStopped: boolean, records: number): void {
    const { pendingBytesMax } = this.#ring;
    const isFull = this.#bytes + bytes > pendingBytesMax;
    if (!isFull && !(isStopped && this.#stoppedBytes + bytes > pendingBytesMax / 2)) return;
    this.#refused += records;
    const text = `${this.#bytes} bytes wait to be published; the limit is ${pendingBytesMax}`;
    throw journalError("ERR_JOURNAL_BUSY", text, { details: { pendingBytes: this.#bytes, pendingBytesMax } });
  }

  #watch(waiting: Waiting, timeoutMs: number | undefined, signal: AbortSignal | undefined): void {
    if (timeoutMs === undefined && signal === undefined) return;
    const expired = (): void => this.#giveUp(waiting, this.#fullError(waiting.records, waiting));
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
    this.#line.delete(waiting);
    this.#beside.delete(waiting);
    this.#bytes -= waiting.bytes;
    if (this.#isStopped(waiting.records)) this.#stoppedBytes -= waiting.bytes;
  }

  #admitAll(): number {
    let admitted = 0;
    for (const waiting of this.#beside) {
      if (admitted === ADMITTED_MAX || !this.#water.isOpenForStopped() || !this.#admit(waiting)) break;
      admitted += 1;
    }
    for (const waiting of this.#line) {
      if (admitted === ADMITTED_MAX || !this.#water.isOpen()) break;
      if (this.#isStopped(waiting.records) && (this.#beside.size > 0 || !this.#water.isOpenForStopped())) {
        this.#line.delete(waiting);
        this.#beside.add(waiting);
      } else if (!this.#admit(waiting)) break;
      admitted += 1;
    }
    if (this.#line.size > 0) this.#askForBalance();
    return admitted;
  }

  /** False when the ring has no room for it. */
  #admit(waiting: Waiting): boolean {
    try {
      if (!this.#append(waiting)) {
        this.#water.ringIsFull();
        return false;
      }
      this.#leave(waiting);
    } catch (thrown) {
      // Poisoned, or the disk is full: it isn't stored.
      this.#leave(waiting);
      waiting.failed(thrown);
    }
    return true;
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

  #fullError(records: readonly RecordParts[], waiting: Waiting | undefined): MillraceError {
    this.#refused += records.length;
    const isStopped = this.#isStopped(records);
    const { level, cause, ratePerSecond, retryAfterMs } = isStopped
      ? this.#water.stoppedReport()
      : this.#water.report();
    const who = cause === "stopped" ? "the handler" : "the intake";
    const after = waiting === undefined ? "" : ` after ${Math.round(performance.now() - waiting.sinceMs)} ms`;
    return intakeError("ERR_INTAKE_FULL", `${who} takes no records now${after}: ${CAUSES[cause]}`, {
      details: { level, cause, ratePerSecond, retryAfterMs },
    });
  }
}

const CAUSES = {
  ring: "too many records wait to be stored",
  unfinished: "too many records wait to be handled",
  disk: "the disk has too little room",
  stopped: "it is stopped, and too many records wait to be handled",
} as const;

function ownBytes(record: RecordParts): RecordParts {
  const { header, key, payload } = record;
  return { ...record, header: Uint8Array.from(header), key: Uint8Array.from(key), payload: Uint8Array.from(payload) };
}

function bytesOf({ header, key, payload }: RecordParts): number {
  return header.length + key.length + payload.length;
}
