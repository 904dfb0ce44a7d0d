/**
 * `Chan`: channels as users see them, over one of two cores (channel-core.ts, pipe-core.ts).
 */
import { custom, integer, resolveOptions } from "@millrace/base";
import {
  assertMayBlock,
  assertOpen,
  CELL_KIND,
  cellOf,
  currentSpace,
  handleOf,
  type BlockOptions,
  isOpen,
  isOverflow,
  kinds,
  type SyncHandle,
  type SyncSpace,
  timeLimit,
  type WaitLimits,
  waitOptions,
  type WaitOptions,
} from "@millrace/atomics-sync/kernel";
import { ChannelCore } from "./channel-core.ts";
import type { Core } from "./core.ts";
import { channelError } from "./errors.ts";
import { failure } from "./failures.ts";
import { CHUNK, type Chunk, Format } from "./formats.ts";
import { BLOCKED, BUSY, CLOSED, DONE, FLOAT64, INT32, TIMED_OUT, VALUES } from "./outcomes.ts";
import { PipeCore, pipeOf } from "./pipe-core.ts";

/** The outcome of a receive: a value, or the end of a channel that was closed and is empty. */
export type Received<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly value: undefined };

const END: Received<never> = Object.freeze({ ok: false, value: undefined });

/** Values in a ring: 2²² slots are 16 MiB, or 32 for doubles. */
const CAPACITY_MAX: number = 2 ** 22;
const TYPE = "Chan";
const rules = { capacity: integer(0, CAPACITY_MAX, 0) };
const pipeRules = { capacity: integer(1, CAPACITY_MAX, 1) };
const mostRules = { most: integer(1, 2 ** 31 - 1, CHUNK) };
const intoRules = {
  into: custom("an Int32Array", (value: unknown): value is Int32Array => value instanceof Int32Array),
};

/** The most values to receive. Throws `ERR_INVALID_OPTION`. */
function mostOf(form: string, most: number): number {
  return most === CHUNK ? most : resolveOptions(form, mostRules, { most }).most;
}

/** Where a channel lies; for the makers below. */
export interface ChanPlace {
  readonly space: SyncSpace;
  readonly core: Core;
  readonly handle: SyncHandle;
}

/** The parts of a channel that a select needs. */
export type ChanParts = Omit<ChanPlace, "handle"> & { readonly format: Format };

/** A new channel's place. Throws `ERR_INVALID_OPTION`, `ERR_SYNC_SPACE_FULL`, `ERR_CHAN_MEMORY`. */
function makePlace(kind: number, format: number, given: number, space: SyncSpace): ChanPlace {
  const { capacity } = resolveOptions(TYPE, kind === kinds.PIPE ? pipeRules : rules, { capacity: given });
  const cell = space.takeCell(kind);
  const made = (kind === kinds.PIPE ? PipeCore : ChannelCore).make(space, cell, format, capacity);
  if (!made) {
    space.giveCell(cell, Atomics.load(space.words, cell + CELL_KIND));
    throw channelError("ERR_CHAN_MEMORY", `no room for a channel of ${capacity} values`, { details: { capacity } });
  }
  return { space, core: coreOf(space, cell), handle: handleOf(space, TYPE, cell) };
}

function coreOf(space: SyncSpace, cell: number): Core {
  return space.kindOf(cell) === kinds.PIPE ? pipeOf(space, cell) : new ChannelCore(space, cell);
}

/**
 * A channel between threads: values go in at one end and come out at the other in the same order,
 * each to one receiver. Any number of threads and of async flows may send and receive.
 *
 * The channel keeps up to `capacity` values; when it is full, senders wait. With capacity 0 a
 * sender waits until it meets a receiver. A value is copied, as structuredClone() does it, when it
 * is sent.
 *
 * When a thread dies, its waits are over, and other parties are served instead. A value that it had
 * been handed is gone with it; one that it was about to send is not sent.
 *
 * Each method throws `ERR_SYNC_CLOSED` after `free()`. Those that send throw `ERR_CHAN_CLOSED`
 * after `close()`, and `ERR_VALUE_UNSUPPORTED`, `ERR_CHAN_VALUE` or `ERR_CHAN_MEMORY` for what
 * can't be sent.
 */
export class Chan<T> {
  readonly #space: SyncSpace;
  readonly #core: Core;
  readonly #format: Format;
  /** A plain value that `Chan.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /** Makes a channel for any values. `place` is what the makers below pass. */
  constructor(capacity = 0, place: ChanPlace = makePlace(kinds.CHANNEL, VALUES, capacity, currentSpace())) {
    this.#space = place.space;
    this.#core = place.core;
    this.#format = new Format(place.space, place.core.format);
    this.handle = place.handle;
  }

  /** Makes a channel for whole numbers of 32 bits, which aren't encoded. */
  static int32(capacity = 0): Chan<number> {
    return new Chan<number>(0, makePlace(kinds.CHANNEL, INT32, capacity, currentSpace()));
  }

  /** Makes a channel for numbers, which aren't encoded. */
  static float64(capacity = 0): Chan<number> {
    return new Chan<number>(0, makePlace(kinds.CHANNEL, FLOAT64, capacity, currentSpace()));
  }

  /**
   * Makes a channel for one sending and one receiving thread, without a lock and several times
   * faster. The first thread that sends and the first that receives are the ends; others get
   * `ERR_CHAN_ENDS`. The sender closes it. `capacity` is at least 1.
   *
   * When the thread at the other end dies, a receiver gets the values that were sent before, then
   * `ERR_CHAN_ORPHANED`; a sender gets that error once the buffer is full. `select` can't wait for
   * such a channel.
   */
  static oneToOne<T>(capacity: number): Chan<T> {
    return new Chan<T>(0, makePlace(kinds.PIPE, VALUES, capacity, currentSpace()));
  }

  /** The same for whole numbers of 32 bits. */
  static oneToOneInt32(capacity: number): Chan<number> {
    return new Chan<number>(0, makePlace(kinds.PIPE, INT32, capacity, currentSpace()));
  }

  /** The same for numbers. */
  static oneToOneFloat64(capacity: number): Chan<number> {
    return new Chan<number>(0, makePlace(kinds.PIPE, FLOAT64, capacity, currentSpace()));
  }

  /** The channel that a handle names. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from<T>(handle: SyncHandle, space: SyncSpace = currentSpace()): Chan<T> {
    const cell = cellOf(space, TYPE, handle);
    return new Chan<T>(0, { space, core: coreOf(space, cell), handle });
  }

  // ── sending ───────────────────────────────────────────────────────────────────────────────────

  /** Sends a value; blocks while there is no room. Not on the main thread (`ERR_BLOCKING_MAIN`). */
  send(value: T, options?: BlockOptions): void {
    const timeoutMs = timeLimit("Chan.send", options);
    this.#encode(value);
    const { low, high } = this.#format;
    const outcome = this.#core.trySend(low, high);
    if (outcome !== DONE) this.#sendSlow(low, high, outcome, timeoutMs);
  }

  #sendSlow(low: number, high: number, tried: number, timeoutMs: number): void {
    let outcome = tried;
    try {
      if (tried === BLOCKED || tried === BUSY) {
        assertMayBlock(this.#space, "Chan.send", "sendAsync");
        outcome = this.#core.send(low, high, timeoutMs);
      }
      if (outcome !== DONE) throw failure(outcome, timeoutMs);
    } catch (thrown) {
      // After an overflow it may have been sent.
      if (!isOverflow(thrown)) this.#format.drop(low);
      throw thrown;
    }
  }

  /**
   * Resolves when the value is sent. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's reason;
   * then the value isn't sent.
   */
  async sendAsync(value: T, options?: WaitOptions): Promise<void> {
    const given = waitOptions("Chan.sendAsync", options);
    this.#encode(value);
    const { low, high } = this.#format;
    try {
      const outcome = await this.#sendLater(low, high, given);
      if (outcome !== DONE) throw failure(outcome, given.timeoutMs);
    } catch (thrown) {
      // After an overflow it may have been sent.
      if (!isOverflow(thrown)) this.#format.drop(low);
      throw thrown;
    }
  }

  async #sendLater(low: number, high: number, options: WaitLimits): Promise<number> {
    let outcome = this.#core.trySend(low, high);
    while (outcome === BLOCKED || outcome === BUSY) {
      const ticket = await this.#core.sendLater(low, high, options);
      outcome = ticket === 0 ? TIMED_OUT : this.#core.finish(ticket);
    }
    return outcome;
  }

  /**
   * Sends a value if that is possible at once. Returns whether it was. It may be impossible while
   * another thread is interrupted in the middle of an operation on the channel.
   */
  trySend(value: T): boolean {
    this.#encode(value);
    const { low, high } = this.#format;
    const outcome = this.#core.trySend(low, high);
    if (outcome === DONE) return true;
    this.#format.drop(low);
    if (outcome !== BLOCKED && outcome !== BUSY) throw failure(outcome, 0);
    this.assertOpen();
    return false;
  }

  /**
   * Sends all of `values`, as many at a time as there is room for. Blocks while there is none. When
   * it throws, `details.sent` says how many were sent.
   */
  sendMany(values: ArrayLike<T>, options?: BlockOptions): void {
    const timeoutMs = timeLimit("Chan.sendMany", options);
    const endsAt = this.#space.now() + timeoutMs;
    for (let start = 0; start < values.length;) {
      const chunk = this.#chunkOf(values, start);
      const { next: first } = chunk;
      while (!this.#sendSome(chunk)) {
        try {
          let outcome = this.#core.trySend(chunk.low, chunk.high);
          if (outcome === BLOCKED || outcome === BUSY) {
            assertMayBlock(this.#space, "Chan.sendMany", "sendManyAsync");
            outcome = this.#core.send(chunk.low, chunk.high, endsAt - this.#space.now());
          }
          if (outcome !== DONE) throw failure(outcome, timeoutMs, start + chunk.next - first);
        } catch (thrown) {
          if (isOverflow(thrown)) chunk.next += 1;
          this.#format.dropRest(chunk);
          throw thrown;
        }
        chunk.next += 1;
      }
      start += chunk.end - first;
    }
  }

  /** The same; resolves when all are sent. */
  async sendManyAsync(values: ArrayLike<T>, options?: WaitOptions): Promise<void> {
    const { signal, timeoutMs } = waitOptions("Chan.sendManyAsync", options);
    const endsAt = this.#space.now() + timeoutMs;
    for (let start = 0; start < values.length;) {
      const chunk = this.#chunkOf(values, start);
      const { next: first } = chunk;
      while (!this.#sendSome(chunk)) {
        try {
          const leftMs = endsAt - this.#space.now();
          const outcome = await this.#sendLater(chunk.low, chunk.high, { signal, timeoutMs: leftMs });
          if (outcome !== DONE) throw failure(outcome, timeoutMs, start + chunk.next - first);
        } catch (thrown) {
          if (isOverflow(thrown)) chunk.next += 1;
          this.#format.dropRest(chunk);
          throw thrown;
        }
        chunk.next += 1;
      }
      start += chunk.end - first;
    }
  }

  /** Sends the values of a chunk that can be sent at once. Returns whether those were all. */
  #sendSome(chunk: Chunk): boolean {
    chunk.next += this.#core.trySendMany(chunk.words, chunk.next, chunk.end);
    return chunk.next === chunk.end;
  }

  // ── receiving ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Receives a value, or `{ ok: false }` once the channel is closed and empty. Blocks until it has
   * either. Not on the main thread.
   */
  recv(options?: BlockOptions): Received<T> {
    return this.#recv(timeLimit("Chan.recv", options));
  }

  #recv(timeoutMs: number): Received<T> {
    this.assertOpen();
    let outcome = this.#core.tryReceive();
    if (outcome === BLOCKED || outcome === BUSY) {
      assertMayBlock(this.#space, "Chan.recv", "recvAsync");
      outcome = this.#core.receive(timeoutMs);
    }
    return this.#received(outcome, timeoutMs);
  }

  /**
   * Resolves with a value, or with `{ ok: false }`. Rejects with `ERR_SYNC_TIMEOUT`, or with the
   * signal's reason.
   */
  async recvAsync(options?: WaitOptions): Promise<Received<T>> {
    return this.#recvLater(waitOptions("Chan.recvAsync", options));
  }

  async #recvLater(options: WaitLimits): Promise<Received<T>> {
    this.assertOpen();
    let outcome = this.#core.tryReceive();
    while (outcome === BLOCKED || outcome === BUSY) {
      const ticket = await this.#core.receiveLater(options);
      outcome = ticket === 0 ? TIMED_OUT : this.#core.finish(ticket);
    }
    return this.#received(outcome, options.timeoutMs);
  }

  /**
   * Receives a value, or `{ ok: false }`, if that is possible at once; undefined otherwise, also
   * while another thread is interrupted in the middle of an operation on the channel.
   */
  tryRecv(): Received<T> | undefined {
    this.assertOpen();
    const outcome = this.#core.tryReceive();
    if (outcome !== BLOCKED && outcome !== BUSY) return this.#received(outcome, 0);
    this.assertOpen();
    return undefined;
  }

  /**
   * Receives 1 to `most` values, as many as there are, or none once the channel is closed and
   * empty. Blocks until it has some.
   */
  recvMany(most: number = CHUNK, options?: BlockOptions): T[] {
    const timeoutMs = timeLimit("Chan.recvMany", options);
    const values = this.#takeMany([], mostOf("Chan.recvMany", most));
    if (values.length > 0) return values;
    const first = this.#recv(timeoutMs);
    return first.ok ? this.#takeMany([first.value], most) : values;
  }

  /** The same; resolves with them. */
  async recvManyAsync(most: number = CHUNK, options?: WaitOptions): Promise<T[]> {
    const given = waitOptions("Chan.recvManyAsync", options);
    const values = this.#takeMany([], mostOf("Chan.recvManyAsync", most));
    if (values.length > 0) return values;
    const first = await this.#recvLater(given);
    return first.ok ? this.#takeMany([first.value], most) : values;
  }

  /**
   * Receives 1 to `into.length` whole numbers into your array, from a channel made for them, and
   * returns their number; 0 once the channel is closed and empty. Blocks until then. The fastest
   * way to receive.
   */
  recvInto(into: Int32Array, options?: BlockOptions): number {
    this.#assertIntegers(into);
    const timeoutMs = timeLimit("Chan.recvInto", options);
    const taken = this.#takeInto(into, 0);
    if (taken > 0 || into.length === 0) return taken;
    return this.#startWith(this.#recv(timeoutMs) as Received<number>, into);
  }

  /** The same; resolves with the number. */
  async recvIntoAsync(into: Int32Array, options?: WaitOptions): Promise<number> {
    this.#assertIntegers(into);
    const given = waitOptions("Chan.recvIntoAsync", options);
    const taken = this.#takeInto(into, 0);
    if (taken > 0 || into.length === 0) return taken;
    return this.#startWith((await this.#recvLater(given)) as Received<number>, into);
  }

  #startWith(first: Received<number>, into: Int32Array): number {
    if (!first.ok) return 0;
    into[0] = first.value;
    return this.#takeInto(into, 1);
  }

  /**
   * Fills `into` from an index on with what is there, a chunk at a time; how much of it is full
   * then.
   */
  #takeInto(into: Int32Array, from: number): number {
    for (let at = from; at < into.length;) {
      const end = Math.min(at + CHUNK, into.length);
      const taken = this.#core.tryReceiveMany(into, at, end);
      at += taken;
      if (at < end) return at;
    }
    return into.length;
  }

  #assertIntegers(into: Int32Array): void {
    this.assertOpen();
    if (!this.#format.isOfIntegers) {
      throw channelError("ERR_CHAN_VALUE", "recvInto takes whole numbers: the channel carries something else");
    }
    resolveOptions("Chan.recvInto", intoRules, { into });
  }

  #takeMany(values: T[], most: number): T[] {
    this.assertOpen();
    const words = new Int32Array(Math.min(most, CHUNK) * this.#core.width);
    while (values.length < most) {
      const asked = Math.min(most - values.length, CHUNK);
      const taken = this.#core.tryReceiveMany(words, 0, asked);
      for (let index = 0; index < taken; index += 1) values.push(this.#decodeAt(words, index));
      if (taken < asked) break;
    }
    return values;
  }

  /** Blocks for one value after the other until the channel is closed and empty. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (;;) {
      const received = this.#recv(Infinity);
      if (!received.ok) return;
      yield received.value;
    }
  }

  /** One value after the other until the channel is closed and empty. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<T> {
    for (;;) {
      const received = await this.recvAsync();
      if (!received.ok) return;
      yield received.value;
    }
  }

  // ── the channel itself ────────────────────────────────────────────────────────────────────────

  /**
   * Ends the channel: nothing can be sent any more. Values that were sent can still be received;
   * then every receiver gets the end. Throws `ERR_CHAN_CLOSED` the second time.
   */
  close(): void {
    this.assertOpen();
    const outcome = this.#core.end();
    if (outcome !== DONE) throw failure(outcome, 0);
  }

  /** Whether it was closed. */
  get isClosed(): boolean {
    return this.#core.kind !== this.handle.generation || this.#core.isEnded();
  }

  /** Values that wait in it; stale at once. */
  get len(): number {
    this.assertOpen();
    return this.#core.length();
  }

  /** Number of values that it keeps before senders wait. */
  get cap(): number {
    return this.#core.capacity;
  }

  /**
   * Gives the channel's memory back, with the values in it, once no thread uses it any more. Throws
   * `ERR_CHAN_IN_USE` when it isn't closed, or a party waits for it.
   */
  free(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (this.#core.free((low) => this.#format.drop(low))) return;
    throw channelError("ERR_CHAN_IN_USE", "free: the channel is still in use");
  }

  /** For select.ts; not for users. */
  get place(): ChanParts {
    return { space: this.#space, core: this.#core, format: this.#format };
  }

  /** Throws `ERR_SYNC_CLOSED` after `free()`. */
  assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }

  #received(outcome: number, timeoutMs: number): Received<T> {
    if (outcome === DONE) return { ok: true, value: this.#format.decode(this.#core.low, this.#core.high) as T };
    if (outcome === CLOSED) return END;
    throw failure(outcome, timeoutMs);
  }

  #decodeAt(words: Int32Array, index: number): T {
    const { width } = this.#format;
    const high = width === 2 ? (words[index * 2 + 1] as number) : 0;
    return this.#format.decode(words[index * width] as number, high) as T;
  }

  /** Puts a value, in the channel's format, into `low` and `high` of the format. */
  #encode(value: T): void {
    this.assertOpen();
    this.#format.encode(value);
  }

  #chunkOf(values: ArrayLike<T>, start: number): Chunk {
    this.assertOpen();
    return this.#format.chunkOf(values, start);
  }
}
