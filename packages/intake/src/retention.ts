/**
 * Keeps the log as short as its unfinished records allow.
 *
 * Segments in which nobody needs anything any more are given up, from the front. A few records that stay (waiting for a retry or for a handler
 * that isn't there, or dead) would hold everything behind them; so when the first segment is mostly finished, what is left of it is
 * copied to the end of the log, and keeps its identity.
 */
import { invariant } from "@millrace/base";
import {
  LogReader,
  RECORD_TYPE,
  RecordCursor,
  type RecordParts,
  SegmentList,
  type SegmentPlace,
  type Storage,
} from "@millrace/journal";
import type { RecordStates } from "./record-states.ts";
import { deadSequence } from "./state-records.ts";

/** Time between two looks. */
const LOOK_MS = 1000;
/** Copied forward when at most this part of the first segment's records is still needed, or of all records from there on: what stays
 * may be much of a small segment, and yet hold a long log. */
const LIVE_PART = 10;
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
  #lookAt = 0;
  /** Places that are to be copied forward. */
  #toCopy: number[] = [];
  /** Copies that aren't durable yet. */
  #underWay = 0;

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
    const first = segments[index];
    const second = segments[index + 1];
    if (first === undefined || second === undefined || segments.length - index - 2 < HELD_MIN) return;
    const last = second.baseSequence - 1;
    if (next <= last) return;
    const { droppable } = this.#states;
    const isMostlyDone = (end: number): boolean => {
      const count = end - first.baseSequence + 1;
      const done = droppable.countUpTo(end) - droppable.countUpTo(first.baseSequence - 1);
      return (count - done) * LIVE_PART <= count;
    };
    if (!isMostlyDone(last) && !isMostlyDone(next - 1)) return;
    for (let place = first.baseSequence; place <= last && this.#toCopy.length < COPIES_MAX; place += 1) {
      place = droppable.endOf(place) + 1;
      if (place <= last) this.#toCopy.push(place);
    }
  }

  /** The next record that is to be copied forward, as it is to be appended; undefined when there is none. */
  nextCopy(durableSequence: number): Copy | undefined {
    // Ends: every turn takes one out.
    for (let place = this.#toCopy[0]; place !== undefined; place = this.#toCopy[0]) {
      if (!this.#states.droppable.has(place)) {
        const copy = this.#read(place, durableSequence);
        if (copy !== undefined) return copy;
      }
      this.#toCopy.shift();
    }
    this.#reader.close();
    return undefined;
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

  #read(place: number, durableSequence: number): Copy | undefined {
    if (!this.#reader.seek(place) || !this.#reader.next(durableSequence)) return undefined;
    const cursor = this.#cursor;
    cursor.reset(this.#reader.body, this.#reader.batch.firstSequence);
    while (cursor.next()) if (cursor.sequence === place) return copyOf(cursor);
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
