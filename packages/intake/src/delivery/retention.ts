/**
 * Keeps the log as short as its unfinished records allow.
 *
 * Segments in which nobody needs anything any more are given up, from the front. A few records that
 * stay (they wait for a time or a handler, or are dead) would hold everything behind them. So when
 * the first segment is mostly finished, what is left of it is copied to the end of the log, and
 * keeps its identity. Segments that are kept for a while, although nobody needs them, stay as they
 * are: to copy out of them would shorten nothing.
 */
import { invariant } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import type { RecordParts } from "@millrace/journal/kernel";
import type { LogRecord } from "../format/log-record.ts";
import { deadSequence } from "../format/state-records.ts";
import type { RecordStates } from "../states/record-states.ts";
import { KeptSegments, type RetainTerms, type SegmentFacts } from "./kept-segments.ts";
import type { Clock, LogWalk } from "./ports.ts";

/** Time between two looks. */
const LOOK_MS = 1000;
/** Copied forward when at most this part of the first segment's records is still needed. */
const LIVE_PART = 10;
/**
 * The needed records may be much of their segment, and yet hold a long log. So when the log has
 * become this many times as long as after the last full pass, and at most 1 / LIVE_PART of its
 * records is needed, all needed records are copied forward. A byte that is written pays for less
 * than two that are copied.
 */
const GROWTH = 2;
/** Segments of a log that isn't worth it. */
const SEGMENTS_MIN = 2;
/** Copied at one look. */
const COPIES_MAX = 4096;
/** Segments that an opening reads at most, before a checkpoint lets it read less. */
const UNREAD_MAX = 2;
/**
 * Segments that one record may hold before it is copied: its own and the one being written don't
 * count.
 */
const HELD_MIN = 1;

/** Records that are needed for themselves, beside those of data. */
const KEPT_TYPES: ReadonlySet<number> = new Set([
  RECORD_TYPE.data,
  RECORD_TYPE.dead,
  RECORD_TYPE.retry,
  RECORD_TYPE.window,
  RECORD_TYPE.result,
]);

/** A record on its way forward. */
export interface Copy {
  /**
   * Of a record of data: its own origin. Of a DEAD or RETRY record: that of the record it is about.
   */
  readonly origin: number;
  readonly from: number;
  readonly isData: boolean;
  readonly parts: RecordParts;
}

export interface RetentionWorld {
  /** The segments, in order. */
  segments(): readonly SegmentFacts[];
  walk(): LogWalk;
}

/** The findings of a look at the log. */
export interface Look {
  /** The place before which nothing is kept, when that gives up a segment, otherwise 0. */
  readonly before: number;
  /** An opening would read many segments. */
  readonly isLong: boolean;
}

export class Retention {
  readonly #world: RetentionWorld;
  readonly #states: RecordStates;
  readonly #kept: KeptSegments;
  #walk: LogWalk | undefined;
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

  constructor(world: RetentionWorld, states: RecordStates, terms: RetainTerms, clock: Clock) {
    this.#world = world;
    this.#states = states;
    this.#kept = new KeptSegments(terms, clock, world.segments());
  }

  /** Whether it is time to look. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#lookAt;
  }

  /** When the next look is due. */
  get dueAt(): number {
    return this.#lookAt;
  }

  /**
   * Looks at the log. `known` is the last place that was visited, and an opening reads on at
   * `readFrom`.
   */
  look(nowMs: number, known: number, readFrom: number): Look {
    this.#lookAt = nowMs + LOOK_MS;
    const segments = this.#world.segments();
    const needed = this.#states.droppable.endOf(1) + 1;
    const index = segments.findLastIndex(({ baseSequence }) => baseSequence <= needed);
    const kept = this.#kept.first(segments);
    // A record whose copy is under way still looks as if its old place was needed.
    if (this.#toCopy.length === 0 && this.#underWay === 0) {
      this.#planCopies(segments.slice(0, kept + 1), index, segments[kept + 1]?.baseSequence ?? known + 1);
    }
    const isLong = segments.filter(({ baseSequence }) => baseSequence > readFrom).length > UNREAD_MAX;
    const isNeededFirst = index <= kept;
    if (Math.min(index, kept) <= 0) return { before: 0, isLong };
    return { before: isNeededFirst ? needed : (segments[kept] as SegmentFacts).baseSequence, isLong };
  }

  /** `next`: behind the last place in these segments. */
  #planCopies(segments: readonly SegmentFacts[], index: number, next: number): void {
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

  /**
   * The next record that is to be copied forward, as it is to be appended; undefined when there is
   * none. The same again until `copied` or `skipped`. Its bytes are valid until the next call.
   */
  nextCopy(): Copy | undefined {
    // Ends: every turn takes one out.
    for (let place = this.#toCopy[0]; place !== undefined; place = this.#toCopy[0]) {
      if (!this.#states.droppable.has(place)) {
        if (this.#copy?.from !== place) this.#copy = this.#read(place);
        if (this.#copy !== undefined) return this.#copy;
      }
      this.#toCopy.shift();
    }
    this.#stopReading();
    return undefined;
  }

  #stopReading(): void {
    this.#walk?.close();
    this.#walk = undefined;
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

  /** Copies of which it isn't known yet that they are durable. */
  get underWay(): number {
    return this.#underWay;
  }

  /**
   * The record at `place`, which lies behind the last one that was read, unless reading stopped
   * since.
   */
  #read(place: number): Copy | undefined {
    if (this.#walk === undefined) {
      this.#walk = this.#world.walk();
      this.#walk.seek(place);
    } else this.#walk.skipTo(place);
    for (let record = this.#walk.next(); record !== undefined; record = this.#walk.next()) {
      if (record.sequence === place) return copyOf(record);
      if (record.sequence > place) return undefined;
    }
    return undefined;
  }
}

function copyOf(record: LogRecord): Copy | undefined {
  const { sequence, type, priority, timeMs, flags } = record;
  if (!KEPT_TYPES.has(type)) return undefined;
  const payload = record.payload();
  const isData = type === RECORD_TYPE.data;
  const isAbout = type === RECORD_TYPE.dead || type === RECORD_TYPE.retry;
  const parts = {
    type,
    priority,
    timeMs,
    flags,
    header: record.header(),
    key: record.key(),
    payload,
    moved: { origin: record.origin, replaces: sequence },
  };
  return { origin: isAbout ? deadSequence(payload) : record.origin, from: sequence, isData, parts };
}
