/**
 * Failed attempts that aren't in the log yet: how many, since when, and when the next one is due.
 *
 * A RETRY record is on its way for a while, and a full disk takes few of them: there is a part of
 * the reserve for them, which is written in large pieces, and nothing beyond it. Meanwhile the
 * record may leave the memory for jobs. So each failure stands here, in 30 bytes, until its RETRY
 * record is durable. Only the newest of a record is written. If the disk has no room, it is written
 * when there is room again; a crash before that forgets these attempts.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { briefHistory, encodeFate, type Fate } from "../format/state-records.ts";
import { type RetryState, RetryTable } from "../states/retry-table.ts";
import type { Clock, Log } from "./ports.ts";
import type { StateLog } from "./state-log.ts";

/** While the disk is full, RETRY records are written no more often than this. */
const FULL_DISK_PAUSE_MS = 5000;
/** While the disk is full, they may take this part of the reserve. */
const FULL_DISK_PART = 16;
/** Each time takes a page of the disk at least. */
const PAGE_BYTES = 4096;
/** The last one is for the end of the process. */
const LEFT_BYTES: number = 2 * PAGE_BYTES;
/** Written before the other duties get their turn. */
const WRITES_MAX = 512;
/** Of a record in the log beside its payload, generously. */
const RECORD_BYTES = 64;
const NO_BYTES = new Uint8Array(0);

export interface FailedAttemptsParts {
  readonly log: Log;
  readonly clock: Clock;
  readonly stateLog: StateLog;
  /** Bytes of the reserve for a full disk. */
  readonly reserveBytes: () => number;
  /** The failures of a record that waits, as far as they are in memory. */
  readonly historyOf: (origin: number) => Uint8Array | undefined;
}

export class FailedAttempts {
  readonly #parts: FailedAttemptsParts;
  /** In the place of a RETRY record stands the number of the failure. */
  readonly #known = new RetryTable();
  #failures = 0;
  /** Why a record has no attempt left, and no RETRY record says so yet. */
  readonly #reasons = new Map<number, number>();
  /** Origins whose newest failure no RETRY record says, in their order. */
  readonly #unwritten = new Set<number>();
  /** Bytes that may be written before the disk has room again. */
  #room = Infinity;
  #writeAt = 0;

  constructor(parts: FailedAttemptsParts) {
    this.#parts = parts;
  }

  /** The newest failure of a record, if the log may not know it. */
  of(origin: number): RetryState | undefined {
    return this.#known.size === 0 ? undefined : this.#known.get(origin);
  }

  /** Why a record has no attempt left; undefined where the log says it. */
  reasonOf(origin: number): number | undefined {
    return this.#reasons.get(origin);
  }

  /** An attempt has failed; `fate` says all times by `Steady`, and `history` all failures. */
  failed(fate: Fate, writtenMs: number, history: Uint8Array): void {
    const { origin, attempts, atMs: dueMs, firstMs, reason } = fate;
    const ageMs = attempts === 0 ? 0 : writtenMs - firstMs;
    this.#failures += 1;
    this.#known.set(origin, { attempts, dueMs, pauseMs: dueMs - writtenMs, ageMs, place: this.#failures });
    if (dueMs === Infinity) this.#reasons.set(origin, reason);
    // Attempts that wait since the disk was full go first.
    this.#unwritten.delete(origin);
    if (this.#parts.log.isDiskFull()) this.#unwritten.add(origin);
    else this.#write(fate, writtenMs, history, this.#failures);
  }

  /** The record is over, or dead: nobody asks for its attempts. */
  over(origin: number): void {
    if (this.#known.size === 0) return;
    this.#known.delete(origin);
    this.#reasons.delete(origin);
    this.#unwritten.delete(origin);
  }

  /** Whether everything that there is room for is on its way. */
  get isQuiet(): boolean {
    return this.#unwritten.size === 0 || this.#parts.log.isDiskFull();
  }

  /** When `turn` has something to do although nothing happens. */
  get dueAt(): number {
    return this.#unwritten.size === 0 || this.#room < LEFT_BYTES ? Infinity : this.#writeAt;
  }

  /**
   * Writes the attempts that the disk had no room for, and returns their number. `isEnding`: there
   * is no later turn.
   */
  turn(isEnding: boolean): number {
    const { log, clock, reserveBytes } = this.#parts;
    if (!log.isDiskFull()) {
      this.#room = Infinity;
      return this.#unwritten.size === 0 ? 0 : this.#writeSome(WRITES_MAX);
    }
    if (this.#room === Infinity) this.#room = Math.max(PAGE_BYTES, reserveBytes() / FULL_DISK_PART);
    const now = clock.now();
    const isTime = isEnding ? this.#room >= PAGE_BYTES : this.#room >= LEFT_BYTES && now >= this.#writeAt;
    if (this.#unwritten.size === 0 || !isTime) return 0;
    this.#writeAt = now + FULL_DISK_PAUSE_MS;
    return this.#writeSome(Infinity);
  }

  #writeSome(most: number): number {
    const { historyOf, clock } = this.#parts;
    let written = 0;
    let bytes = 0;
    for (const origin of this.#unwritten) {
      if (written >= most || bytes >= this.#room) break;
      const { attempts, dueMs, pauseMs, ageMs, place } = this.#known.get(origin) as RetryState;
      const failedMs = dueMs === Infinity ? clock.wall() : dueMs - pauseMs;
      const reason = this.#reasons.get(origin) ?? 0;
      const fate = { origin, attempts, reason, atMs: dueMs, firstMs: failedMs - ageMs };
      bytes += this.#write(fate, failedMs, historyOf(origin) ?? NO_BYTES, place);
      this.#unwritten.delete(origin);
      written += 1;
    }
    this.#room -= Math.max(bytes, PAGE_BYTES);
    return written;
  }

  /** Writes one, and returns its number of bytes. */
  #write(fate: Fate, writtenMs: number, history: Uint8Array, failure: number): number {
    const { origin, atMs } = fate;
    // One that never runs again keeps all that its dead letter is to say.
    const kept = atMs === Infinity ? history : briefHistory(history);
    const payload = encodeFate(fate, kept);
    const onDurable = (): void => this.#durable(origin, failure);
    this.#parts.stateLog.write(RECORD_TYPE.retry, payload, { onDurable, timeMs: writtenMs });
    return payload.length + RECORD_BYTES;
  }

  /** The states know it now, unless there is a newer one. */
  #durable(origin: number, failure: number): void {
    if (this.#known.get(origin)?.place !== failure) return;
    this.#known.delete(origin);
    this.#reasons.delete(origin);
  }
}
