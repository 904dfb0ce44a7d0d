/**
 * Keeps the log as short as its unfinished records allow.
 *
 * Segments in which nobody needs anything any more are given up, from the front. A few records that stay (waiting for a retry or for a handler
 * that isn't there, or dead) would hold everything behind them; so when the first segment is mostly finished, what is left of it is
 * copied to the end of the log, and keeps its identity.
 */
import { invariant } from "@millrace/base";
import { RECORD_TYPE, type Storage } from "@millrace/journal";
import { LogReader, RecordCursor, type RecordParts, SegmentList, type SegmentPlace } from "@millrace/journal/kernel";
import type { RecordStates } from "./record-states.ts";
import { deadSequence } from "./state-records.ts";

/** Time between two looks. */
const LOOK_MS = 1000;
/** Copied forward when at most this part of the first segment's records is still needed. */
const LIVE_PART = 10;
/** What stays may be much of its segment, and yet hold a long log. So everything that is still needed is copied forward when the log has become so many
 * times as long as it was after the last time, and at most that part of its records is needed: who writes a byte pays for less than two that are
 * copied. */
const GROWTH = 2;
/** Segments of a log that isn't worth it. */
const SEGMENTS_MIN = 2;
/** Copied at one look. */
const COPIES_MAX = 4096;
/** Segments that one record may hold before it is copied forward: the one that it is in, and the one being written, don't count. */
const HELD_MIN = 1;

/** A record on its way forward. */
export interface Copy {
  readonly origin: number;
  readonly from: number;
  /** A DEAD record; `origin` is that of the record that is dead. */
  readonly isDead: boolean;
  readonly parts: RecordParts;
}

export class Retention {
  readonly #states: RecordStates;
  readonly #segments: SegmentList;
  readonly #reader: LogReader;
  readonly #cursor = new RecordCursor();
  /** Whether the reader and the cursor stand at the last record that was read; it, unless it wasn't there. */
  #isReading = false;
  #copy: Copy | undefined;
  #lookAt = 0;
  /** Places that are to be copied forward. */
  #toCopy: number[] = [];
  /** Copies that aren't durable yet. */
  #underWay = 0;
  /** While everything is copied forward: what lies from here on was written meanwhile. */
  #passEnd = 0;
  /** Segments that were left by the last time. */
  #segmentsLeft = SEGMENTS_MIN;

  constructor(storage: Storage, states: RecordStates) {
    this.#states = states;
    this.#segments = new SegmentList(storage);
    this.#reader = new LogReader(storage);
  }

  /** Whether it is time to look. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#lookAt;
  }

  /**
   * Looks at the log; returns the place before which nothing is needed, when that gives up a segment, otherwise 0. `next` is the first
   * sequence that delivery hasn't read.
   */
  look(nowMs: number, next: number): number {
    this.#lookAt = nowMs + LOOK_MS;
    const segments = this.#segments.read();
    const needed = this.#states.droppable.endOf(1) + 1;
    const index = segments.findLastIndex(({ baseSequence }) => baseSequence <= needed);
    // What a copy that is under way replaces still looks as if it was needed.
    if (this.#toCopy.length === 0 && this.#underWay === 0) this.#planCopies(segments, index, next);
    return index > 0 ? needed : 0;
  }

  #planCopies(segments: readonly SegmentPlace[], index: number, next: number): void {
    const held = segments.length - index;
    this.#segmentsLeft = Math.max(Math.min(this.#segmentsLeft, held), SEGMENTS_MIN);
    const first = segments[index];
    const second = segments[index + 1];
    if (first === undefined || second === undefined || held - 2 < HELD_MIN) {
      this.#passEnd = 0;
      return;
    }
    const last = second.baseSequence - 1;
    if (next <= last) return;
    if (first.baseSequence >= this.#passEnd && this.#passEnd > 0) {
      this.#passEnd = 0;
      this.#segmentsLeft = Math.max(held, SEGMENTS_MIN);
    }
    const isWorthAll = held >= this.#segmentsLeft * GROWTH && this.#isMostlyDone(first.baseSequence, next - 1);
    if (this.#passEnd === 0 && isWorthAll) this.#passEnd = next;
    if (this.#passEnd === 0 && !this.#isMostlyDone(first.baseSequence, last)) return;
    this.#stopReading();
    const { droppable } = this.#states;
    for (let place = first.baseSequence; place <= last && this.#toCopy.length < COPIES_MAX; place += 1) {
      place = droppable.endOf(place) + 1;
      if (place <= last) this.#toCopy.push(place);
    }
  }

  #isMostlyDone(first: number, last: number): boolean {
    const { droppable } = this.#states;
    const count = last - first + 1;
    const done = droppable.countUpTo(last) - droppable.countUpTo(first - 1);
    return (count - done) * LIVE_PART <= count;
  }

  /** The next record that is to be copied forward, as it is to be appended; undefined when there is none. The same again until `copied` or
   * `skipped`. Its bytes are valid until the next call. */
  nextCopy(durableSequence: number): Copy | undefined {
    // Ends: every turn takes one out.
    for (let place = this.#toCopy[0]; place !== undefined; place = this.#toCopy[0]) {
      if (!this.#states.droppable.has(place)) {
        if (this.#copy?.from !== place) this.#copy = this.#read(place, durableSequence);
        if (this.#copy !== undefined) return this.#copy;
      }
      this.#toCopy.shift();
    }
    this.#stopReading();
    return undefined;
  }

  #stopReading(): void {
    this.#reader.close();
    this.#isReading = false;
    this.#copy = undefined;
  }

  /** The copy that `nextCopy` gave isn't needed. */
  skipped(): void {
    this.#toCopy.shift();
  }

  /** The copy that `nextCopy` gave is under way. */
  copied(): void {
    this.#toCopy.shift();
    this.#underWay += 1;
  }

  /** A copy is durable, and the states know. */
  arrived(): void {
    invariant(this.#underWay > 0, "a copy that arrives was under way");
    this.#underWay -= 1;
  }

  /** The record at `place`, which lies behind the last one that was read, unless the reader was closed since. */
  #read(place: number, durableSequence: number): Copy | undefined {
    const reader = this.#reader;
    if (!this.#isReading && !reader.seek(place)) return undefined;
    if (!this.#isReading || reader.batch.firstSequence + reader.batch.count <= place) {
      this.#isReading = false;
      reader.skipTo(place);
      if (!reader.next(durableSequence)) return undefined;
      this.#isReading = true;
      this.#cursor.reset(reader.body, reader.batch.firstSequence);
    }
    while (this.#cursor.next()) if (this.#cursor.sequence === place) return copyOf(this.#cursor);
    return undefined;
  }
}

function copyOf(cursor: RecordCursor): Copy | undefined {
  const { sequence, origin, type, priority, timeMs, flags } = cursor;
  const isDead = type === RECORD_TYPE.dead;
  if (!isDead && type !== RECORD_TYPE.data) return undefined;
  const payload = cursor.payload();
  const parts = {
    type,
    priority,
    timeMs,
    flags,
    header: cursor.header(),
    key: cursor.key(),
    payload,
    moved: { origin, replaces: sequence },
  };
  return { origin: isDead ? deadSequence(payload) : origin, from: sequence, isDead, parts };
}
