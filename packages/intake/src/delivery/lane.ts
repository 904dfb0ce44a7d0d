/**
 * Records of one kind that are to be handed out, in order: those of a priority, or of one handler
 * in it that was set apart because it can't run now.
 *
 *   ready    origins that had their turn before: due again, or their key is free now
 *   queue    records that came while the lane had no room for them, with their bytes
 *   behind   the rest lies in the log, from `behindFrom` on, and is read back from there
 *
 * While nothing is behind, a new record goes straight to its handler, or into the queue. When the
 * queue is full the lane falls behind: it takes nothing more from memory until it has read the log
 * up to its end. So each record passes through exactly one lane exactly once.
 */
import type { LogRecord } from "../format/log-record.ts";
import { KeptRecord } from "../format/log-record.ts";
import type { LogWalk } from "./ports.ts";

/** Bytes that a lane keeps in memory before it falls behind. */
const QUEUE_BYTES_MAX: number = 4 * 2 ** 20;

/** A list that is taken from at its front. */
class Fifo<T> {
  #items: T[] = [];
  #next = 0;

  get size(): number {
    return this.#items.length - this.#next;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  peek(): T | undefined {
    return this.#items[this.#next];
  }

  take(): T | undefined {
    const item = this.#items[this.#next];
    this.#next += 1;
    if (this.#next >= 1024 && this.#next * 2 >= this.#items.length) {
      this.#items = this.#items.slice(this.#next);
      this.#next = 0;
    } else if (this.#next >= this.#items.length) {
      this.#items = [];
      this.#next = 0;
    }
    return item;
  }

  /** Takes out and returns what `wanted` picks, in order. */
  extract(wanted: (item: T) => boolean): T[] {
    const rest = this.#items.slice(this.#next);
    const taken = rest.filter((item) => wanted(item));
    if (taken.length > 0) {
      this.#items = rest.filter((item) => !wanted(item));
      this.#next = 0;
    }
    return taken;
  }
}

export interface LaneHost {
  /** Whether the record at hand, of data, belongs to the lane and needs delivery. */
  wants(lane: Lane, record: LogRecord): boolean;
  /** The first place from `place` on that needs delivery, as far as is known. */
  nextUnsettled(place: number): number;
  /** Records in memory at most, beside a limit of bytes. */
  readonly laneRecordsMax: number;
  /** The highest durable place that was visited. */
  known(): number;
  walk(): LogWalk;
}

export class Lane {
  readonly priority: number;
  /** Undefined: all handlers that weren't set apart. */
  readonly handler: number | undefined;
  readonly #host: LaneHost;
  readonly #ready = new Fifo<number>();
  readonly #queue = new Fifo<KeptRecord>();
  #queueBytes = 0;
  #isReadyFirst = false;
  /** The first place that is still to be read from the log; Infinity while nothing is. */
  #behindFrom = Infinity;
  /** Records that were seen to lie behind there. */
  #ahead = 0;
  /** Up to here its records are met by the lane it was split from; later ones come by `push`. */
  #splitAt = 0;
  #splitFrom: Lane | undefined;
  #walk: LogWalk | undefined;
  /** The record that was found in the log and not handed out yet. */
  #found: LogRecord | undefined;

  constructor(host: LaneHost, priority: number, handler: number | undefined) {
    this.#host = host;
    this.priority = priority;
    this.handler = handler;
  }

  /** Whether new records reach the lane from memory. */
  get isCaughtUp(): boolean {
    return this.#behindFrom === Infinity;
  }

  get isReading(): boolean {
    return !this.isCaughtUp;
  }

  /** Whether it reads from the log, and has found no record yet. */
  get isSearching(): boolean {
    return !this.isCaughtUp && this.#found === undefined && this.#queue.size === 0;
  }

  get isEmpty(): boolean {
    return this.isCaughtUp && this.#queue.size === 0 && this.#ready.size === 0;
  }

  /** Records that are known to wait for their turn. */
  get size(): number {
    return this.#ready.size + this.#queue.size + this.#ahead;
  }

  /** The lane that this one was split from has met a record of this one in the log. */
  passed(place: number): void {
    if (this.isAhead(place) && place <= this.#splitAt) this.#ahead += 1;
  }

  /** The record at `place`, which is ahead, was dead, and runs again when its turn comes. */
  redriven(place: number): void {
    if (this.#isCounted(place)) this.#ahead += 1;
  }

  /** Whether `#ahead` counts what is ahead at `place`: if not, `passed` will. */
  #isCounted(place: number): boolean {
    return place > this.#splitAt || this.#splitFrom?.isAhead(place) !== true;
  }

  /** Every record before this place has had its turn. */
  get position(): number {
    return this.#queue.peek()?.sequence ?? Math.min(this.#behindFrom, this.#host.known() + 1);
  }

  /** When the next record was published, ms since 1970; Infinity where none is known. */
  get oldestMs(): number {
    return (this.#queue.peek() ?? this.#found)?.timeMs ?? Infinity;
  }

  /** For `Delivery.describe`. */
  describe(): string {
    const name = this.handler === undefined ? `${this.priority}` : `${this.priority}/${this.handler}`;
    const behind = this.isCaughtUp ? "" : `, behind from ${this.#behindFrom}`;
    return `${name}(${this.#ready.size} ready, ${this.#queue.size} queued${behind})`;
  }

  /** Whether the record at `place` is still to be read from the log. */
  isAhead(place: number): boolean {
    return place >= this.#behindFrom;
  }

  /** Everything from `place` on is to be read from the log. */
  fallBehind(place: number): void {
    this.#behindFrom = Math.min(this.#behindFrom, place);
    this.#leave();
  }

  /** A record whose turn has come again. */
  pushReady(origin: number): void {
    this.#ready.push(origin);
  }

  /** A new record that couldn't be handed out. */
  push(record: LogRecord): void {
    if (!this.isCaughtUp) {
      this.#ahead += 1;
      return;
    }
    if (this.#queue.size >= this.#host.laneRecordsMax || this.#queueBytes >= QUEUE_BYTES_MAX) {
      this.#behindFrom = record.sequence;
      this.#ahead = 1;
      return;
    }
    const kept = KeptRecord.of(record);
    this.#queueBytes += kept.bytes;
    this.#queue.push(kept);
  }

  /**
   * Whether the next turn is for a record whose turn has come again: every other one, so that many
   * that keep failing don't hold up new ones.
   */
  isReadyFirst(): boolean {
    this.#isReadyFirst = !this.#isReadyFirst;
    return this.#isReadyFirst;
  }

  /** The origin whose turn has come again; undefined without one. */
  peekReady(): number | undefined {
    return this.#ready.peek();
  }

  takeReady(): void {
    this.#ready.take();
  }

  /**
   * The next record; the same again until `advance`. At most `most` records of others are passed
   * over in the log; undefined when none was found among them, or there is none.
   */
  peek(most: number): LogRecord | undefined {
    const queued = this.#queue.peek();
    if (queued !== undefined) return queued;
    return this.isCaughtUp ? undefined : this.#peekLog(most);
  }

  advance(): void {
    const queued = this.#queue.take();
    if (queued !== undefined) {
      this.#queueBytes -= queued.bytes;
      return;
    }
    this.#passFound();
  }

  /**
   * The record at `place`, which is ahead, gets its turn from another place: it isn't handed out
   * from here as well, although it may have been found already.
   */
  moved(place: number): void {
    if (this.#found?.sequence === place) this.#passFound();
    else this.#leftAt(place);
  }

  #leftAt(place: number): void {
    if (this.#isCounted(place)) this.#ahead = Math.max(0, this.#ahead - 1);
  }

  #passFound(): void {
    const { sequence } = this.#found as LogRecord;
    this.#leftAt(sequence);
    this.#behindFrom = sequence + 1;
    this.#found = undefined;
    this.#returnIfRead();
  }

  #peekLog(most: number): LogRecord | undefined {
    if (this.#found !== undefined) return this.#found;
    const walk = this.#enter();
    for (let passed = 0; passed < most; passed += 1) {
      const unsettled = this.#host.nextUnsettled(this.#behindFrom);
      if (unsettled > this.#behindFrom) {
        this.#behindFrom = unsettled;
        walk.skipTo(unsettled);
      }
      if (this.#returnIfRead()) return undefined;
      const record = walk.next();
      if (record === undefined) return undefined;
      if (record.sequence < this.#behindFrom) continue;
      this.#behindFrom = record.sequence;
      if (this.#host.wants(this, record)) {
        this.#found = record;
        return record;
      }
      this.#behindFrom = record.sequence + 1;
    }
    return undefined;
  }

  #enter(): LogWalk {
    if (this.#walk === undefined) {
      this.#walk = this.#host.walk();
      this.#walk.seek(this.#behindFrom);
    }
    return this.#walk;
  }

  #leave(): void {
    this.#walk?.close();
    this.#walk = undefined;
    this.#found = undefined;
  }

  /** Back to memory when the log was read up to its end. */
  #returnIfRead(): boolean {
    if (this.#behindFrom <= this.#host.known()) return false;
    this.#behindFrom = Infinity;
    this.#ahead = 0;
    this.#leave();
    return true;
  }

  /** While it can't run, a lane holds no file open. */
  rest(): void {
    this.#leave();
  }

  /**
   * A lane for one handler alone, with all of its records that this lane has in its queue or still
   * has to read. A record that is ready finds its lane when its turn comes. Records behind
   * `visited` come by `push`.
   */
  split(handler: number, handlerOf: (record: LogRecord) => number, visited: number): Lane {
    const lane = new Lane(this.#host, this.priority, handler);
    for (const record of this.#queue.extract((each) => handlerOf(each) === handler)) {
      this.#queueBytes -= record.bytes;
      lane.#queueBytes += record.bytes;
      lane.#queue.push(record);
    }
    lane.#behindFrom = this.#behindFrom;
    lane.#splitAt = visited;
    lane.#splitFrom = this;
    // The record that was found may be the other lane's.
    this.#leave();
    return lane;
  }
}
