/** The log and the disk under it, of a simulated intake. */
import type { Random } from "@millrace/base";
import type { Checkpoint } from "@millrace/intake/internal/delivery/housekeeping";
import type { SegmentFacts } from "@millrace/intake/internal/delivery/kept-segments";
import type { Log, LogWalk } from "@millrace/intake/internal/delivery/ports";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { decodeControl } from "@millrace/intake/internal/format/state-records";
import { RECORD_TYPE } from "@millrace/journal";
import type { RecordParts } from "@millrace/journal/kernel";
import { SEGMENT_BYTES, SEGMENT_RECORDS } from "./simulation-conditions.ts";

export class SimRecord implements LogRecord {
  sequence = 0;
  readonly parts: RecordParts;
  readonly continues: boolean;

  constructor(parts: RecordParts, continues = false) {
    this.continues = continues;
    this.parts = {
      ...parts,
      header: Buffer.from(parts.header),
      key: Buffer.from(parts.key),
      payload: Buffer.from(parts.payload),
    };
  }

  get type(): number {
    return this.parts.type;
  }
  get priority(): number {
    return this.parts.priority;
  }
  get timeMs(): number {
    return this.parts.timeMs;
  }
  get flags(): number {
    return this.parts.flags ?? 0;
  }
  get replaces(): number {
    return this.parts.moved?.replaces ?? 0;
  }
  get origin(): number {
    return this.parts.moved?.origin ?? this.sequence;
  }
  header(): Buffer {
    return this.parts.header as Buffer;
  }
  key(): Buffer {
    return this.parts.key as Buffer;
  }
  payload(): Buffer {
    return this.parts.payload as Buffer;
  }
}

/** The content of the disk, the same for every process. */
export class SimDisk {
  readonly records: SimRecord[] = [];
  firstSequence = 1;
  /** The two newest checkpoints, the newest last. */
  readonly checkpoints: Checkpoint[] = [];
  /** By the first place of a segment, when it was begun: by the wall clock, and in truth. */
  readonly begun = new Map<number, { readonly wallMs: number; readonly atMs: number }>();
  readonly #times: () => { readonly wallMs: number; readonly atMs: number };

  constructor(times: () => { readonly wallMs: number; readonly atMs: number }) {
    this.#times = times;
    this.begun.set(1, times());
  }

  get last(): number {
    return this.records.length;
  }

  append(record: SimRecord): void {
    record.sequence = this.records.length + 1;
    this.records.push(record);
    if (this.last % SEGMENT_RECORDS === 0) this.begun.set(this.last + 1, this.#times());
  }

  at(place: number): SimRecord | undefined {
    return place < this.firstSequence ? undefined : this.records[place - 1];
  }

  /** Whole segments, as the journal gives them up, and never past the older checkpoint. */
  truncate(before: number): void {
    const older = this.checkpoints.length < 2 ? 1 : (this.checkpoints[0] as Checkpoint).from;
    const upTo = Math.min(before, older);
    const first = Math.floor((upTo - 1) / SEGMENT_RECORDS) * SEGMENT_RECORDS + 1;
    this.firstSequence = Math.max(this.firstSequence, first);
  }

  segments(): SegmentFacts[] {
    const segments: SegmentFacts[] = [];
    for (let base = this.firstSequence; base <= this.last + 1; base += SEGMENT_RECORDS) {
      const createdMs = this.begun.get(base)?.wallMs as number;
      segments.push({ baseSequence: base, segmentBytes: SEGMENT_BYTES, createdMs });
    }
    return segments;
  }
}

/** The log as one process sees it: what is durable and visited, and its own ring. */
export class SimLog implements Log {
  readonly #disk: SimDisk;
  readonly firstSequence: number;
  readonly recoveredSequence: number;
  known: number;
  readonly payloadBytesMax = 4000;
  readonly batchBytesMax = 100_000;
  readonly groupBytesMax = 50_000;
  #staged: SimRecord[] = [];
  /** Committed, and not durable yet. */
  readonly committed: SimRecord[] = [];
  isUrgent = false;
  isFull = false;
  /** Delivery has seen it full. */
  wasFull = false;
  readonly #random: Random;

  constructor(disk: SimDisk, random: Random) {
    this.#disk = disk;
    this.#random = random;
    this.firstSequence = disk.firstSequence;
    this.recoveredSequence = disk.last;
    this.known = disk.last;
  }

  takeNews(visit: (record: LogRecord) => void): number {
    let taken = 0;
    for (; this.known < this.#disk.last; taken += 1) {
      this.known += 1;
      visit(this.#disk.records[this.known - 1] as SimRecord);
    }
    return taken;
  }

  hold(record: LogRecord): LogRecord {
    return record;
  }

  hasNews(): boolean {
    return this.known < this.#disk.last;
  }

  walk(): LogWalk {
    const disk = this.#disk;
    let next = 1;
    return {
      seek: (place) => (next = Math.max(place, disk.firstSequence)),
      skipTo: (place) => (next = Math.max(next, place)),
      next: () => {
        if (next > this.known) return undefined;
        const record = disk.at(next);
        if (record === undefined) throw new Error(`place ${next} was given up`);
        next += 1;
        return record;
      },
      close: () => {},
    };
  }

  bytesOf({ payload }: RecordParts): number {
    return payload.length + 64;
  }

  stage(parts: RecordParts, continues?: boolean): boolean {
    // A ring is full now and then.
    if (this.committed.length + this.#staged.length > 64 || this.#random.below(20) === 0) return false;
    this.#staged.push(new SimRecord(parts, continues));
    return true;
  }

  rollback(): void {
    this.#staged = [];
  }

  commit(isUrgent: boolean): void {
    this.committed.push(...this.#staged);
    this.#staged = [];
    this.isUrgent ||= isUrgent;
  }

  isQuiet(): boolean {
    return this.committed.length === 0 && this.known === this.#disk.last;
  }

  isDiskFull(): boolean {
    this.wasFull ||= this.isFull;
    return this.isFull;
  }

  isPoisoned(): boolean {
    return false;
  }
}

export function groupsOf(records: readonly SimRecord[]): SimRecord[][] {
  const groups: SimRecord[][] = [[]];
  for (const record of records) {
    (groups.at(-1) as SimRecord[]).push(record);
    if (!record.continues) groups.push([]);
  }
  return groups.slice(0, -1);
}

export function isProducerDrop(record: SimRecord): boolean {
  return record.type === RECORD_TYPE.control && decodeControl(record.payload()).kind === "producerDropped";
}

/** Whether its time is by a clock that nobody sets. */
export function isSteady({ type }: SimRecord): boolean {
  return type === RECORD_TYPE.ack || type === RECORD_TYPE.result;
}
