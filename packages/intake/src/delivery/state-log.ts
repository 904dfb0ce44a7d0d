/**
 * The records that delivery writes about records, on their way to the ring.
 *
 * ACK ranges gather until the next sync that anybody causes. The ACK of a record whose handler has
 * published others goes with these, as one atomic group. All other records go in the order in which
 * they were given. On a full disk each time takes a page of the reserve at least, so that they are
 * written in larger pieces. Groups take a part of the reserve then, and wait when that is used up:
 * the rest is for what makes room.
 */
import { RECORD_TYPE } from "@millrace/journal";
import type { RecordParts } from "@millrace/journal/kernel";
import { RangeSet } from "../format/range-set.ts";
import { type Control, encodeAck, encodeControl, ORIGINS_MAX, rangesIn } from "../format/state-records.ts";
import type { Clock, Log } from "./ports.ts";
import type { Steady } from "./steady.ts";

/** While the disk is full, state records are written no more often than this. */
const FULL_DISK_PAUSE_MS = 250;
/** While the disk is full, groups may take this part of the reserve; copies forward take half. */
const FULL_DISK_PART = 4;
/** Bytes of groups that wait; with more, handlers that publish are given no more records. */
const GROUPS_BYTES_MAX: number = 32 * 2 ** 20;
const ORIGIN_BYTES = 8;
/** Of a state record beside its entries, generously. */
const HEAD_BYTES_MAX = 512;
const NO_BYTES = new Uint8Array(0);

interface Waiting {
  readonly type: number;
  readonly header: Uint8Array;
  readonly payload: Buffer;
  readonly onDurable: (() => void) | undefined;
  /** Undefined: of when it is put into the ring. */
  readonly timeMs: number | undefined;
}

/** The parts of a state record beside its payload. */
export interface WriteOptions {
  /** Called when the record is visited. */
  readonly onDurable?: (() => void) | undefined;
  readonly header?: Uint8Array;
  /** The record's time. Default: when it is put into the ring. */
  readonly timeMs?: number;
}

function isAttempt({ type }: Waiting): boolean {
  return type === RECORD_TYPE.attempt;
}

/** Records that become durable together with the ACK of the record at `place`. */
interface Group {
  readonly place: number;
  readonly records: readonly RecordParts[];
  readonly bytes: number;
  readonly onStaged: () => void;
}

export class StateLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #steady: Steady;
  readonly #reserveBytes: () => number;
  #waiting: Waiting[] = [];
  /** Bytes of ATTEMPT records that wait. */
  #attemptBytes = 0;
  /** ATTEMPT records that weren't written, because the disk was full. */
  unrecorded = 0;
  /** Groups that were given up at the end, because the disk was full. */
  groupsGivenUp = 0;
  readonly #groups: Group[] = [];
  #groupsBytes = 0;
  /** Bytes of groups that may be written before the disk has room again. */
  #groupRoom = Infinity;
  /** Whether a group waits for room in the ring: others leave it free then. */
  wantsRoom = false;
  /** Places whose ACK goes or went with a group, and isn't durable yet. */
  readonly #grouped = new Set<number>();
  /** Finished, and not yet in an ACK record. */
  #toAck = new RangeSet();
  /** In ACK records that aren't durable yet, in their order. */
  readonly #acking: RangeSet[] = [];
  /** ACK records that aren't durable yet, in their order: the place of a group's, or ranges. */
  readonly #ackRecords: (number | "ranges")[] = [];
  /** By type, what waits for the records that aren't durable yet, in their order. */
  readonly #unvisited = new Map<number, ((() => void) | undefined)[]>();
  #isUrgent = false;
  /** Whether somebody waits for what is written from now on. */
  isAwaited = false;
  #fullDiskAt = 0;
  #isPaused = false;

  /** `reserveBytes`: of the reserve for a full disk. */
  constructor(log: Log, clock: Clock, steady: Steady, reserveBytes: () => number) {
    this.#log = log;
    this.#clock = clock;
    this.#steady = steady;
    this.#reserveBytes = reserveBytes;
  }

  finished(place: number): void {
    this.#toAck.add(place);
  }

  /**
   * The record at `place` is finished, and its handler has published `records`. `onStaged` is
   * called when they are in the ring: records that are written then come after them.
   */
  finishedWith(place: number, records: readonly RecordParts[], onStaged: () => void): void {
    const bytes = records.reduce((sum, record) => sum + this.#log.bytesOf(record), 0);
    this.#groups.push({ place, records, bytes, onStaged });
    this.#groupsBytes += bytes;
    this.#grouped.add(place);
  }

  /** Whether so much waits to be written that nothing should add to it. */
  get isFull(): boolean {
    return this.#groupsBytes + this.#attemptBytes > GROUPS_BYTES_MAX;
  }

  /** Whether the record at `place` is finished, and its ACK isn't durable yet. */
  isFinished(place: number): boolean {
    return this.#toAck.has(place) || this.#grouped.has(place) || this.#acking.some((ranges) => ranges.has(place));
  }

  write(type: number, payload: Buffer, { onDurable, header = NO_BYTES, timeMs }: WriteOptions = {}): void {
    this.#waiting.push({ type, header, payload, onDurable, timeMs });
  }

  /** An ATTEMPT record: nothing of it is kept while the disk is full. */
  record(payload: Buffer): void {
    this.#attemptBytes += payload.length;
    this.write(RECORD_TYPE.attempt, payload);
  }

  /** The room is for what ends records. */
  #giveAttemptsUp(): void {
    if (this.#attemptBytes === 0) return;
    const left = this.#waiting.filter((each) => !isAttempt(each));
    this.unrecorded += this.#waiting.length - left.length;
    this.#waiting = left;
    this.#attemptBytes = 0;
  }

  /** A rare event that must outlive a crash. */
  control(control: Control, onDurable?: () => void): void {
    this.write(RECORD_TYPE.control, encodeControl(control), { onDurable });
  }

  /** Number of entries of this size that a record takes beside its head and a name. */
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
      const isLast = end >= origins.length;
      this.write(type, encodePart(origins.slice(from, end)), { onDurable: isLast ? onDurable : undefined });
    }
    this.urge();
  }

  /** A record of this type, written by `write`, is durable. */
  visited(type: number): void {
    this.#unvisited.get(type)?.shift()?.();
  }

  /** Somebody waits for the records that were written. */
  urge(): void {
    this.#isUrgent = true;
  }

  /** An ACK record was visited. */
  acknowledged(): void {
    const which = this.#ackRecords.shift();
    if (typeof which === "number") this.#grouped.delete(which);
    else this.#acking.shift();
  }

  get #isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#groups.length === 0 && this.#toAck.ranges === 0;
  }

  /** Nothing waits to be written, and everything written is durable. */
  get isQuiet(): boolean {
    return this.#isEmpty && this.#ackRecords.length === 0 && this.#log.isQuiet();
  }

  /** When `flush` should be called although nothing happens; Infinity when it needn't. */
  get dueAt(): number {
    return this.#isPaused ? this.#fullDiskAt : Infinity;
  }

  /**
   * Puts into the ring what there is room for. `isEnding`: it is urgent, and groups that wait for
   * room on the disk are given up. Their records are handled again.
   */
  flush(isEnding: boolean): void {
    this.#isPaused = false;
    if (this.#isEmpty) {
      if (this.#isUrgent) this.#log.commit(true);
      this.#isUrgent = false;
      return;
    }
    if (this.#log.isDiskFull()) {
      this.#giveAttemptsUp();
      const now = this.#clock.now();
      this.#isPaused = now < this.#fullDiskAt;
      if (this.#isPaused) return;
      this.#fullDiskAt = now + FULL_DISK_PAUSE_MS;
    }
    let staged = 0;
    while (this.#waiting.length > 0) {
      const { type, header, payload, onDurable, timeMs } = this.#waiting[0] as Waiting;
      if (!this.#stage(type, header, payload, timeMs)) break;
      this.#waiting.shift();
      if (type === RECORD_TYPE.attempt) this.#attemptBytes -= payload.length;
      const unvisited = this.#unvisited.get(type) ?? [];
      unvisited.push(onDurable);
      this.#unvisited.set(type, unvisited);
      staged += 1;
    }
    if (this.#waiting.length === 0) {
      staged += this.#stageGroups();
      staged += this.#stageAcks();
    }
    if (isEnding && this.#log.isDiskFull()) this.#giveGroupsUp();
    if (staged === 0) return;
    this.#log.commit(isEnding || this.#isUrgent || this.isAwaited);
    this.#isUrgent = false;
  }

  #stageGroups(): number {
    if (!this.#log.isDiskFull()) this.#groupRoom = Infinity;
    else if (this.#groupRoom === Infinity) this.#groupRoom = this.#reserveBytes() / FULL_DISK_PART;
    let groups = 0;
    this.wantsRoom = false;
    for (let group = this.#groups[0]; group !== undefined; group = this.#groups[0]) {
      if (group.bytes > this.#groupRoom) break;
      // A group that finds no room in the ring takes back everything that isn't committed.
      this.#log.commit(false);
      if (!this.#stageGroup(group)) {
        this.#log.rollback();
        this.wantsRoom = true;
        break;
      }
      this.#groups.shift();
      this.#groupsBytes -= group.bytes;
      this.#groupRoom -= group.bytes;
      this.#ackRecords.push(group.place);
      group.onStaged();
      groups += 1;
    }
    // Somebody has published: such records wait for no other sync.
    if (groups > 0) this.#isUrgent = true;
    return groups;
  }

  #stageGroup({ place, records }: Group): boolean {
    const own = new RangeSet();
    own.add(place);
    return (
      records.every((record) => this.#log.stage(record, true)) &&
      this.#stage(RECORD_TYPE.ack, NO_BYTES, encodeAck(own, 0, 1))
    );
  }

  #giveGroupsUp(): void {
    this.groupsGivenUp += this.#groups.length;
    for (const { place } of this.#groups.splice(0)) this.#grouped.delete(place);
    this.#groupsBytes = 0;
  }

  #stageAcks(): number {
    const rangesMax = rangesIn(this.#log.payloadBytesMax);
    let records = 0;
    while (this.#toAck.ranges > 0) {
      if (!this.#stage(RECORD_TYPE.ack, NO_BYTES, encodeAck(this.#toAck, 0, rangesMax))) break;
      const [written, left] = this.#toAck.split(rangesMax);
      this.#acking.push(written);
      this.#ackRecords.push("ranges");
      this.#toAck = left;
      records += 1;
    }
    return records;
  }

  #stage(type: number, header: Uint8Array, payload: Buffer, timeMs: number = this.#steady.nowMs()): boolean {
    return this.#log.stage({ type, priority: 0, timeMs, header, key: NO_BYTES, payload });
  }
}
