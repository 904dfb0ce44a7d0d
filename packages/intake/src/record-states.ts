/**
 * What is durably known about the records of the log: which need no delivery, which nobody needs at all, which are dead, and where those are
 * that were copied forward.
 *
 * A record is known by its *origin*, the sequence that it was acknowledged with; its *place* is the sequence of its newest copy, the same
 * unless it was copied forward. ACK records name places, DEAD records name origins.
 *
 * Rebuilt from the log, from its first record or from a snapshot on. The log alone is enough: what is finished by a record, or replaced
 * by one, lies before it.
 */
import { type Checkpoint, RECORD_TYPE, type Storage } from "@millrace/journal";
import { type DeliveryHandle, LogReader, RecordCursor } from "@millrace/journal/kernel";
import { RangeSet } from "./range-set.ts";
import { deadSequence, decodeAck } from "./state-records.ts";

const SNAPSHOT_VERSION = 1;
const HEAD_BYTES = 24;
const PAIR_BYTES = 16;

export class RecordStates {
  /** Places that need no delivery: finished, dead, replaced, or no data. */
  readonly settled: RangeSet = new RangeSet();
  /** Places that nobody needs any more. Dead records and what says that they are dead are kept. */
  readonly droppable: RangeSet = new RangeSet();
  readonly #places = new Map<number, number>();
  readonly #origins = new Map<number, number>();
  /** Place of the DEAD record by the dead record's origin. */
  readonly #dead = new Map<number, number>();

  placeOf(origin: number): number {
    return this.#places.get(origin) ?? origin;
  }

  originOf(place: number): number {
    return this.#origins.get(place) ?? place;
  }

  /** Whether a record with this origin was copied forward and isn't settled. */
  isMoved(origin: number): boolean {
    return this.#places.has(origin);
  }

  /** Whether this place is the copy of a record that was already handed out from its old one. */
  isCopy(place: number): boolean {
    return this.#origins.has(place);
  }

  isDead(origin: number): boolean {
    return this.#dead.has(origin);
  }

  get deadCount(): number {
    return this.#dead.size;
  }

  /** Origins of copies among the places from `first` to `last`. */
  *copiesIn(first: number, last: number): Generator<number, void> {
    // By whichever is shorter: copies of dead records stay for good.
    if (last - first < this.#origins.size) {
      for (let place = first; place <= last; place += 1) {
        const origin = this.#origins.get(place);
        if (origin !== undefined) yield origin;
      }
    } else for (const [place, origin] of this.#origins) if (place >= first && place <= last) yield origin;
  }

  /** An ACK covers these places. */
  acknowledged(first: number, last: number): void {
    this.settled.addRange(first, last);
    this.droppable.addRange(first, last);
    for (const origin of this.copiesIn(first, last)) this.#forget(origin);
  }

  /** A record about records, at `place`: needed by nobody once it was read. */
  noted(place: number): void {
    this.settled.add(place);
    this.droppable.add(place);
  }

  /** A DEAD record at `place`. */
  died(origin: number, place: number): void {
    this.settled.add(place);
    this.settled.add(this.placeOf(origin));
    this.#dead.set(origin, place);
  }

  /** The dead record with this origin lies at `place`. */
  diedAt(origin: number, place: number): void {
    this.adopt(origin, place);
    this.settled.add(place);
  }

  /** The record with this origin was copied from `from` to `to`. */
  moved(origin: number, from: number, to: number): void {
    this.settled.add(from);
    this.droppable.add(from);
    this.#origins.delete(from);
    this.#places.set(origin, to);
    this.#origins.set(to, origin);
    if (this.#dead.has(origin)) this.settled.add(to);
  }

  /** A DEAD record was copied forward. */
  deadMoved(origin: number, from: number, to: number): void {
    this.settled.add(from);
    this.droppable.add(from);
    this.died(origin, to);
  }

  /** A record that is delivered from a copy of an earlier run. */
  adopt(origin: number, place: number): void {
    this.#places.set(origin, place);
    this.#origins.set(place, origin);
  }

  #forget(origin: number): void {
    this.#origins.delete(this.placeOf(origin));
    this.#places.delete(origin);
  }

  /** Takes note of one record of the log, in order. */
  read(record: RecordCursor): void {
    const { sequence, type, replaces, origin } = record;
    if (type === RECORD_TYPE.data) {
      if (replaces !== 0) this.moved(origin, replaces, sequence);
    } else if (type === RECORD_TYPE.dead) {
      const dead = deadSequence(record.payload());
      if (replaces === 0) this.died(dead, sequence);
      else this.deadMoved(dead, replaces, sequence);
    } else {
      this.noted(sequence);
      if (type !== RECORD_TYPE.ack) return;
      const ranges = new RangeSet();
      decodeAck(record.payload(), ranges);
      for (let index = 0; index < ranges.ranges; index += 1) this.acknowledged(...ranges.range(index));
    }
  }

  /** After the log was read: copies are delivered as any record is. */
  endOfLog(): void {
    for (const [origin, place] of this.#places) {
      if (this.#dead.has(origin)) continue;
      this.#origins.delete(place);
      this.#places.delete(origin);
    }
  }

  /** u32 version, three u32 counts, u64 unused; then settled and droppable ranges, DEAD places by origin, places by origin: pairs of f64. */
  encode(): Buffer {
    const pairs = [...rangesOf(this.settled), ...rangesOf(this.droppable), ...this.#dead, ...this.#places];
    const bytes = Buffer.alloc(HEAD_BYTES + pairs.length * PAIR_BYTES);
    bytes.writeUInt32LE(SNAPSHOT_VERSION, 0);
    bytes.writeUInt32LE(this.settled.ranges, 4);
    bytes.writeUInt32LE(this.droppable.ranges, 8);
    bytes.writeUInt32LE(this.#dead.size, 12);
    for (const [index, [left, right]] of pairs.entries()) {
      bytes.writeDoubleLE(left, HEAD_BYTES + index * PAIR_BYTES);
      bytes.writeDoubleLE(right, HEAD_BYTES + index * PAIR_BYTES + 8);
    }
    return bytes;
  }

  /** Whether bytes are a snapshot of this version, as `encode` makes it. */
  static isSnapshot(bytes: Buffer): boolean {
    if (bytes.length < HEAD_BYTES || bytes.readUInt32LE(0) !== SNAPSHOT_VERSION) return false;
    const counted = bytes.readUInt32LE(4) + bytes.readUInt32LE(8) + bytes.readUInt32LE(12);
    const pairs = (bytes.length - HEAD_BYTES) / PAIR_BYTES;
    return Number.isInteger(pairs) && pairs >= counted;
  }

  /** Undefined for a snapshot of another version: then the log is read instead. */
  static decode(bytes: Buffer): RecordStates | undefined {
    if (bytes.length < HEAD_BYTES || bytes.readUInt32LE(0) !== SNAPSHOT_VERSION) return undefined;
    const states = new RecordStates();
    const settledEnd = bytes.readUInt32LE(4);
    const droppableEnd = settledEnd + bytes.readUInt32LE(8);
    const deadEnd = droppableEnd + bytes.readUInt32LE(12);
    for (let index = 0; HEAD_BYTES + (index + 1) * PAIR_BYTES <= bytes.length; index += 1) {
      const left = bytes.readDoubleLE(HEAD_BYTES + index * PAIR_BYTES);
      const right = bytes.readDoubleLE(HEAD_BYTES + index * PAIR_BYTES + 8);
      if (index < settledEnd) states.settled.addRange(left, right);
      else if (index < droppableEnd) states.droppable.addRange(left, right);
      else if (index < deadEnd) states.#dead.set(left, right);
      else states.adopt(left, right);
    }
    return states;
  }
}

function* rangesOf(set: RangeSet): Generator<readonly [number, number], void> {
  for (let index = 0; index < set.ranges; index += 1) yield set.range(index);
}

/** What the log says about its records: from the newest checkpoint on, if there is one. */
export function readStates(
  journal: DeliveryHandle,
  storage: Storage,
  checkpoint: Checkpoint | undefined,
): RecordStates {
  const saved = checkpoint === undefined ? undefined : RecordStates.decode(checkpoint.bytes);
  const states = saved ?? new RecordStates();
  states.settled.addRange(1, journal.firstSequence - 1);
  states.droppable.addRange(1, journal.firstSequence - 1);
  const from = saved === undefined ? journal.firstSequence : Math.max(journal.firstSequence, checkpoint?.from ?? 1);
  const reader = new LogReader(storage);
  const cursor = new RecordCursor();
  reader.seek(from);
  while (reader.next(journal.recoveredSequence)) {
    cursor.reset(reader.body, reader.batch.firstSequence);
    while (cursor.next()) if (cursor.sequence >= from) states.read(cursor);
  }
  reader.close();
  states.endOfLog();
  return states;
}
