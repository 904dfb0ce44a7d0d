/**
 * The records that delivery writes about records, on their way to the ring.
 *
 * ACK ranges gather until the next sync that anybody causes. All other records go in the order in
 * which they were given. On a full disk each time takes a page of the reserve at least, so that
 * they are written in larger pieces.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { RangeSet } from "../format/range-set.ts";
import { type Control, encodeAck, encodeControl, ORIGINS_MAX, rangesIn } from "../format/state-records.ts";
import type { Clock, Log } from "./ports.ts";

/** While the disk is full, state records are written no more often than this. */
const FULL_DISK_PAUSE_MS = 250;
const ORIGIN_BYTES = 8;
/** Of a state record beside its entries, generously. */
const HEAD_BYTES_MAX = 512;
const NO_BYTES = new Uint8Array(0);

interface Waiting {
  readonly type: number;
  readonly payload: Buffer;
  readonly onDurable: (() => void) | undefined;
}

export class StateLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #waiting: Waiting[] = [];
  /** Finished, and not yet in an ACK record. */
  #toAck = new RangeSet();
  /** In ACK records that aren't durable yet, in their order. */
  readonly #acking: RangeSet[] = [];
  /** By type, what waits for the records that aren't durable yet, in their order. */
  readonly #unvisited = new Map<number, ((() => void) | undefined)[]>();
  #isUrgent = false;
  #fullDiskAt = 0;
  #isPaused = false;

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  finished(place: number): void {
    this.#toAck.add(place);
  }

  /** Whether the record at `place` is finished, and its ACK isn't durable yet. */
  isFinished(place: number): boolean {
    return this.#toAck.has(place) || this.#acking.some((ranges) => ranges.has(place));
  }

  /** `onDurable` is called when the record is visited. */
  write(type: number, payload: Buffer, onDurable?: () => void): void {
    this.#waiting.push({ type, payload, onDurable });
  }

  /** A rare event that must outlive a crash. */
  control(control: Control, onDurable?: () => void): void {
    this.write(RECORD_TYPE.control, encodeControl(control), onDurable);
  }

  /** How many entries of this size a record takes beside its head and a name. */
  fitting(entryBytes: number): number {
    return Math.min(ORIGINS_MAX, Math.floor((this.#log.payloadBytesMax - HEAD_BYTES_MAX) / entryBytes));
  }

  /**
   * Records about these origins, as many as it takes, and urgently; `onDurable` is called when the
   * last one is durable.
   */
  writeOrigins(
    type: number,
    origins: readonly number[],
    encodePart: (part: readonly number[]) => Buffer,
    onDurable?: () => void,
  ): void {
    if (origins.length === 0) onDurable?.();
    const most = this.fitting(ORIGIN_BYTES);
    for (let from = 0; from < origins.length; from += most) {
      const end = from + most;
      this.write(type, encodePart(origins.slice(from, end)), end >= origins.length ? onDurable : undefined);
    }
    this.urge();
  }

  /** A record of this type, written by `write`, is durable. */
  visited(type: number): void {
    this.#unvisited.get(type)?.shift()?.();
  }

  /** Somebody waits for what was written. */
  urge(): void {
    this.#isUrgent = true;
  }

  /** Somebody waits for what isn't written yet. */
  urgeIfWaiting(): void {
    if (this.#toAck.ranges > 0 || this.#waiting.length > 0) this.#isUrgent = true;
  }

  /** An ACK record was visited. */
  acknowledged(): void {
    this.#acking.shift();
  }

  /** Nothing waits to be written, and everything written is durable. */
  get isQuiet(): boolean {
    return this.#waiting.length === 0 && this.#toAck.ranges === 0 && this.#acking.length === 0 && this.#log.isQuiet();
  }

  /** When `flush` should be called although nothing happens; Infinity when it needn't. */
  get dueAt(): number {
    return this.#isPaused ? this.#fullDiskAt : Infinity;
  }

  /** Puts into the ring what there is room for. */
  flush(isUrgent: boolean): void {
    this.#isPaused = false;
    if (this.#waiting.length === 0 && this.#toAck.ranges === 0) {
      if (this.#isUrgent) this.#log.commit(true);
      this.#isUrgent = false;
      return;
    }
    if (this.#log.isDiskFull()) {
      const now = this.#clock.now();
      this.#isPaused = now < this.#fullDiskAt;
      if (this.#isPaused) return;
      this.#fullDiskAt = now + FULL_DISK_PAUSE_MS;
    }
    let staged = 0;
    while (this.#waiting.length > 0) {
      const { type, payload, onDurable } = this.#waiting[0] as Waiting;
      if (!this.#stage(type, payload)) break;
      this.#waiting.shift();
      const unvisited = this.#unvisited.get(type) ?? [];
      unvisited.push(onDurable);
      this.#unvisited.set(type, unvisited);
      staged += 1;
    }
    if (this.#waiting.length === 0) staged += this.#stageAcks();
    if (staged === 0) return;
    this.#log.commit(isUrgent || this.#isUrgent);
    this.#isUrgent = false;
  }

  #stageAcks(): number {
    const rangesMax = rangesIn(this.#log.payloadBytesMax);
    let records = 0;
    while (this.#toAck.ranges > 0) {
      if (!this.#stage(RECORD_TYPE.ack, encodeAck(this.#toAck, 0, rangesMax))) break;
      const [written, left] = this.#toAck.split(rangesMax);
      this.#acking.push(written);
      this.#toAck = left;
      records += 1;
    }
    return records;
  }

  #stage(type: number, payload: Buffer): boolean {
    const timeMs = this.#clock.wall();
    return this.#log.stage({ type, priority: 0, timeMs, header: NO_BYTES, key: NO_BYTES, payload });
  }
}
