/**
 * `Chan`: channels as users see them, over one of two cores (channel-core.ts, pipe-core.ts).
 */
import { integer, resolveOptions } from "@millrace/base";
import {
  assertMayBlock,
  assertOpen,
  cellOf,
  currentSpace,
  handleOf,
  isOpen,
  kinds,
  syncError,
  type SyncHandle,
  type SyncSpace,
  type WaitOptions,
} from "@millrace/atomics-sync/kernel";
import { ChannelCore } from "./channel-core.ts";
import type { Core } from "./core.ts";
import { channelError } from "./errors.ts";
import { BLOCKED, BUSY, CLOSED, DONE, FLOAT64, INT32, ORPHANED, TAKEN, TIMED_OUT, VALUES } from "./outcomes.ts";
import { PipeCore, pipeOf } from "./pipe-core.ts";
import { takeValue, writeValue } from "./values.ts";

/** What was received: a value, or the end of a channel that was closed and is empty. */
export type Received<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly value: undefined };

/** A time limit for a form that blocks. */
export interface BlockOptions {
  /** Gives up after so many milliseconds, with `ERR_SYNC_TIMEOUT`. Default: never. */
  readonly timeoutMs?: number;
}

const END: Received<never> = Object.freeze({ ok: false, value: undefined });

/** Values in a ring: 2²² slots are 16 MiB, or 32 for doubles. */
const CAPACITY_MAX: number = 2 ** 22;
/** Values that are sent or received at one go by the forms for many. */
const BATCH = 256;

const TYPE = "Chan";
const rules = { capacity: integer(0, CAPACITY_MAX, 0) };
const pipeRules = { capacity: integer(1, CAPACITY_MAX, 1) };

/** A double as two words. */
const double: Float64Array = new Float64Array(1);
const doubleWords: Int32Array = new Int32Array(double.buffer);

/** Where a channel lies; for the makers below. */
export interface ChanPlace {
  readonly space: SyncSpace;
  readonly core: Core;
  readonly handle: SyncHandle;
}

/** A new channel's place. Throws `ERR_INVALID_OPTION`, `ERR_SYNC_SPACE_FULL`, `ERR_CHAN_MEMORY`. */
function makePlace(kind: number, format: number, given: number, space: SyncSpace): ChanPlace {
  const { capacity } = resolveOptions(TYPE, kind === kinds.PIPE ? pipeRules : rules, { capacity: given });
  const cell = space.takeCell(kind);
  const made = (kind === kinds.PIPE ? PipeCore : ChannelCore).make(space, cell, format, capacity);
  if (!made) {
    space.giveCell(cell);
    throw channelError("ERR_CHAN_MEMORY", `no room for a channel of ${capacity} values`, { details: { capacity } });
  }
  return { space, core: coreOf(space, cell), handle: handleOf(space, TYPE, cell) };
}

function coreOf(space: SyncSpace, cell: number): Core {
  return space.kindOf(cell) === kinds.PIPE ? pipeOf(space, cell) : new ChannelCore(space, cell);
}

/**
 * A channel between threads: values go in at one end and come out at the other in the same order, each to one receiver. Any number of threads and
 * of async flows may send and receive.
 *
 * `capacity` values are kept; beyond that senders wait. With capacity 0 a sender waits for a receiver: they meet. A value is copied, as
 * structuredClone() does it, when it is sent.
 *
 * When a thread dies, its waits are over and others are served in its stead. A value that was handed to a thread that has died is gone with it; one that a
 * thread was about to send is not sent.
 *
 * Each method throws `ERR_SYNC_CLOSED` after `free()`. Those that send throw `ERR_CHAN_CLOSED` after `close()`, and
 * `ERR_VALUE_UNSUPPORTED`, `ERR_CHAN_VALUE` or `ERR_CHAN_MEMORY` for what can't be sent.
 */
export class Chan<T> {
  readonly #space: SyncSpace;
  readonly #core: Core;
  readonly #format: number;
  #low = 0;
  #high = 0;
  /** A plain value that `Chan.from` takes in any thread of this process. */
  readonly handle: SyncHandle;

  /** Makes a channel for any values. `place` is what the makers below pass. */
  constructor(capacity = 0, place: ChanPlace = makePlace(kinds.CHANNEL, VALUES, capacity, currentSpace())) {
    this.#space = place.space;
    this.#core = place.core;
    this.#format = place.core.format;
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
   * Makes a channel for one sending and one receiving thread, without a lock and several times faster. The first thread that sends and the first
   * that receives are the ends; others get `ERR_CHAN_ENDS`. The sender closes it. `capacity` is at least 1.
   *
   * When the thread at the other end dies, a receiver gets what was sent before, then `ERR_CHAN_ORPHANED`; a sender gets that error
   * once the buffer is full. `select` can't wait for such a channel.
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

  /** The channel that a handle means. Throws `ERR_SYNC_HANDLE`, `ERR_SYNC_CLOSED`. */
  static from<T>(handle: SyncHandle, space: SyncSpace = currentSpace()): Chan<T> {
    const cell = cellOf(space, TYPE, handle);
    return new Chan<T>(0, { space, core: coreOf(space, cell), handle });
  }

  // ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Sends a value; blocks while there is no room. Not on the main thread (`ERR_BLOCKING_MAIN`). */
  send(value: T, options: BlockOptions = NO_LIMIT): void {
    this.#encode(value);
    const outcome = this.#core.trySend(this.#low, this.#high);
    if (outcome !== DONE) this.#sendSlow(this.#low, this.#high, outcome, options.timeoutMs);
  }

  #sendSlow(low: number, high: number, tried: number, timeoutMs: number | undefined): void {
    let outcome = tried;
    try {
      if (tried === BLOCKED || tried === BUSY) {
        assertMayBlock(this.#space, "Chan.send", "sendAsync");
        outcome = this.#core.wait(true, low, high, timeoutMs ?? Infinity);
      }
      if (outcome !== DONE) throw failure(outcome, timeoutMs);
    } catch (thrown) {
      this.#drop(low);
      throw thrown;
    }
  }

  /** Resolves when the value is sent. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's reason: then it isn't. */
  async sendAsync(value: T, options: WaitOptions = NO_LIMIT): Promise<void> {
    options.signal?.throwIfAborted();
    this.#encode(value);
    await this.#sendLater(this.#low, this.#high, options);
  }

  async #sendLater(low: number, high: number, options: WaitOptions): Promise<void> {
    try {
      let outcome = this.#core.trySend(low, high);
      while (outcome === BLOCKED || outcome === BUSY) {
        const node = await this.#core.waitLater(true, low, high, options);
        outcome = node === 0 ? TIMED_OUT : this.#core.finish(node);
      }
      if (outcome !== DONE) throw failure(outcome, options.timeoutMs);
    } catch (thrown) {
      this.#drop(low);
      throw thrown;
    }
  }

  /** Sends a value if that is possible at once, and says whether it was. It may not be while another thread is interrupted in the midst of an
   * operation on the channel. */
  trySend(value: T): boolean {
    this.#encode(value);
    const low = this.#low;
    const outcome = this.#core.trySend(low, this.#high);
    if (outcome === DONE) return true;
    this.#drop(low);
    if (outcome === BLOCKED || outcome === BUSY) return false;
    throw failure(outcome, 0);
  }

  /**
   * Sends all of `values`, many at one go as far as there is room; blocks while there is none. When it throws, `details.sent` says how many
   * were sent.
   */
  sendMany(values: ArrayLike<T>, options: BlockOptions = NO_LIMIT): void {
    const endsAt = this.#endsAt(options.timeoutMs);
    for (let start = 0, batch: Batch; start < values.length; start += batch.count) {
      batch = this.#encodeMany(values, start);
      while (!this.#sendSome(batch)) {
        const { low, high } = batch.next();
        let outcome = this.#core.trySend(low, high);
        try {
          if (outcome === BLOCKED || outcome === BUSY) {
            assertMayBlock(this.#space, "Chan.sendMany", "sendManyAsync");
            outcome = this.#core.wait(true, low, high, endsAt - this.#space.now());
          }
          if (outcome !== DONE) throw failure(outcome, options.timeoutMs, start + batch.sent);
        } catch (thrown) {
          this.#dropRest(batch);
          throw thrown;
        }
        batch.sent += 1;
      }
    }
  }

  /** The same; resolves when all are sent. */
  async sendManyAsync(values: ArrayLike<T>, options: WaitOptions = NO_LIMIT): Promise<void> {
    options.signal?.throwIfAborted();
    const endsAt = this.#endsAt(options.timeoutMs);
    for (let start = 0, batch: Batch; start < values.length; start += batch.count) {
      batch = this.#encodeMany(values, start);
      while (!this.#sendSome(batch)) {
        const { low, high } = batch.next();
        let outcome = this.#core.trySend(low, high);
        try {
          while (outcome === BLOCKED || outcome === BUSY) {
            const timeoutMs = endsAt - this.#space.now();
            const node = await this.#core.waitLater(true, low, high, { signal: options.signal, timeoutMs });
            outcome = node === 0 ? TIMED_OUT : this.#core.finish(node);
          }
          if (outcome !== DONE) throw failure(outcome, options.timeoutMs, start + batch.sent);
        } catch (thrown) {
          this.#dropRest(batch);
          throw thrown;
        }
        batch.sent += 1;
      }
    }
  }

  /** Sends what can be sent of a batch at once; whether that was all. */
  #sendSome(batch: Batch): boolean {
    batch.sent += this.#core.trySendMany(batch.words, batch.sent, batch.count);
    return batch.sent === batch.count;
  }

  #dropRest(batch: Batch): void {
    for (let index = batch.sent; index < batch.count; index += 1) this.#drop(batch.words[index] as number);
  }

  // ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Receives a value, or `{ ok: false }` once the channel is closed and empty; blocks until then. Not on the main thread. */
  recv(options: BlockOptions = NO_LIMIT): Received<T> {
    this.assertOpen();
    let outcome = this.#core.tryReceive();
    if (outcome === BLOCKED || outcome === BUSY) {
      assertMayBlock(this.#space, "Chan.recv", "recvAsync");
      outcome = this.#core.wait(false, 0, 0, options.timeoutMs ?? Infinity);
    }
    return this.#received(outcome, options.timeoutMs);
  }

  /** Resolves with a value, or with `{ ok: false }`. Rejects with `ERR_SYNC_TIMEOUT`, or with the signal's reason. */
  async recvAsync(options: WaitOptions = NO_LIMIT): Promise<Received<T>> {
    this.assertOpen();
    options.signal?.throwIfAborted();
    let outcome = this.#core.tryReceive();
    while (outcome === BLOCKED || outcome === BUSY) {
      const node = await this.#core.waitLater(false, 0, 0, options);
      outcome = node === 0 ? TIMED_OUT : this.#core.finish(node);
    }
    return this.#received(outcome, options.timeoutMs);
  }

  /** Receives a value, or `{ ok: false }`, if that is possible at once; undefined otherwise, also while another thread is interrupted in the midst
   * of an operation on the channel. */
  tryRecv(): Received<T> | undefined {
    this.assertOpen();
    const outcome = this.#core.tryReceive();
    return outcome === BLOCKED || outcome === BUSY ? undefined : this.#received(outcome, 0);
  }

  /** Receives 1 to `most` values, as many as there are; none once the channel is closed and empty. Blocks until then. */
  recvMany(most: number = BATCH, options: BlockOptions = NO_LIMIT): T[] {
    const values = this.#takeMany([], most);
    if (values.length > 0) return values;
    const first = this.recv(options);
    return first.ok ? this.#takeMany([first.value], most) : values;
  }

  /** The same; resolves with them. */
  async recvManyAsync(most: number = BATCH, options: WaitOptions = NO_LIMIT): Promise<T[]> {
    options.signal?.throwIfAborted();
    const values = this.#takeMany([], most);
    if (values.length > 0) return values;
    const first = await this.recvAsync(options);
    return first.ok ? this.#takeMany([first.value], most) : values;
  }

  /**
   * Receives 1 to `into.length` whole numbers into an array of one's own, from a channel made for them, and returns how many; 0 once the channel is closed
   * and empty. Blocks until then. The fastest way to receive.
   */
  recvInto(into: Int32Array, options: BlockOptions = NO_LIMIT): number {
    this.#assertIntegers();
    const taken = into.length === 0 ? 0 : this.#core.tryReceiveMany(into, 0, into.length);
    if (taken > 0 || into.length === 0) return taken;
    return this.#startWith(this.recv(options) as Received<number>, into);
  }

  /** The same; resolves with the number. */
  async recvIntoAsync(into: Int32Array, options: WaitOptions = NO_LIMIT): Promise<number> {
    this.#assertIntegers();
    options.signal?.throwIfAborted();
    const taken = into.length === 0 ? 0 : this.#core.tryReceiveMany(into, 0, into.length);
    if (taken > 0 || into.length === 0) return taken;
    return this.#startWith((await this.recvAsync(options)) as Received<number>, into);
  }

  #startWith(first: Received<number>, into: Int32Array): number {
    if (!first.ok) return 0;
    into[0] = first.value;
    return 1 + this.#core.tryReceiveMany(into, 1, into.length);
  }

  #assertIntegers(): void {
    this.assertOpen();
    if (this.#format === INT32) return;
    throw channelError("ERR_CHAN_VALUE", "recvInto takes whole numbers: the channel carries something else");
  }

  #takeMany(values: T[], most: number): T[] {
    this.assertOpen();
    const words = new Int32Array(Math.min(most, BATCH) * this.#core.width);
    while (values.length < most) {
      const asked = Math.min(most - values.length, BATCH);
      const taken = this.#core.tryReceiveMany(words, 0, asked);
      if (this.#format === INT32) {
        for (let index = 0; index < taken; index += 1) (values as number[]).push(words[index] as number);
      } else for (let index = 0; index < taken; index += 1) values.push(this.#decodeAt(words, index));
      if (taken < asked) break;
    }
    return values;
  }

  /** Blocks for one value after the other until the channel is closed and empty. */
  *[Symbol.iterator](): IterableIterator<T> {
    for (;;) {
      const received = this.recv();
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

  // ── the channel itself ───────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing can be sent any more; what was sent can still be received, and then everybody is told the end. Throws `ERR_CHAN_CLOSED` the second time. */
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

  /** Values that it keeps before senders wait. */
  get cap(): number {
    return this.#core.capacity;
  }

  /**
   * Gives the channel's memory back, with the values in it, once no thread uses it any more. Throws `ERR_CHAN_IN_USE` when it isn't closed, or somebody
   * waits for it.
   */
  free(): void {
    if (!isOpen(this.#space, this.handle)) return;
    if (this.#core.free((low) => this.#drop(low))) return;
    throw channelError("ERR_CHAN_IN_USE", "free: the channel is still in use");
  }

  /** What select.ts needs to know; not for users. */
  get place(): ChanPlace {
    return { space: this.#space, core: this.#core, handle: this.handle };
  }

  /** Throws `ERR_SYNC_CLOSED` after `free()`. */
  assertOpen(): void {
    if (this.#core.kind !== this.handle.generation) assertOpen(this.#space, this.handle);
  }

  #endsAt(timeoutMs: number | undefined): number {
    return timeoutMs === undefined ? Infinity : this.#space.now() + timeoutMs;
  }

  // ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Puts a value, in the channel's format, into `#low` and `#high`. */
  #encode(value: T): void {
    this.assertOpen();
    encodeFor(this.#space, this.#format, value, words);
    this.#low = words[0] as number;
    this.#high = words[1] as number;
  }

  #encodeMany(values: ArrayLike<T>, start: number): Batch {
    if (this.#format === INT32 && values instanceof Int32Array) return new Batch(values, values.length, 1);
    const count = Math.min(values.length - start, BATCH);
    if (this.#format === INT32) return new Batch(integers(values as ArrayLike<number>, start, count), count, 1);
    const batch = new Batch(new Int32Array(count * this.#core.width), count, this.#core.width);
    try {
      for (let index = 0; index < count; index += 1) {
        this.#encode(values[start + index] as T);
        batch.set(index, this.#low, this.#high);
      }
    } catch (thrown) {
      this.#dropRest(batch);
      throw thrown;
    }
    return batch;
  }

  /** Frees the block of a value that wasn't sent, or won't be received. */
  #drop(low: number): void {
    if (this.#format === VALUES && low !== 0) this.#space.heap.free(low);
  }

  #received(outcome: number, timeoutMs: number | undefined): Received<T> {
    if (outcome === DONE) return { ok: true, value: decodeFrom(this.#space, this.#core) as T };
    if (outcome === CLOSED) return END;
    throw failure(outcome, timeoutMs);
  }

  #decodeAt(words: Int32Array, index: number): T {
    if (this.#format === VALUES) return takeValue(this.#space.heap, words[index] as number) as T;
    return (
      this.#format === INT32 ? words[index] : doubleOf(words[index * 2] as number, words[index * 2 + 1] as number)
    ) as T;
  }
}

const NO_LIMIT: WaitOptions & BlockOptions = Object.freeze({});

/** Values on their way to be sent together. */
class Batch {
  readonly words: Int32Array;
  readonly count: number;
  readonly #width: number;
  sent = 0;

  constructor(words: Int32Array, count: number, width: number) {
    this.words = words;
    this.count = count;
    this.#width = width;
  }

  set(index: number, low: number, high: number): void {
    this.words[index * this.#width] = low;
    if (this.#width === 2) this.words[index * 2 + 1] = high;
  }

  /** The one that is to be sent next. */
  next(): { readonly low: number; readonly high: number } {
    const at = this.sent * this.#width;
    return { low: this.words[at] as number, high: this.#width === 2 ? (this.words[at + 1] as number) : 0 };
  }
}

/** A part of `values` as words; throws `ERR_CHAN_VALUE`. */
function integers(values: ArrayLike<number>, start: number, count: number): Int32Array {
  const batch = new Int32Array(count);
  for (let index = 0; index < count; index += 1) {
    const value = values[start + index] as number;
    batch[index] = value;
    if (batch[index] !== value) throw unfit(INT32, value);
  }
  return batch;
}

/** Where `encodeFor` puts a value. */
const words: Int32Array = new Int32Array(2);

/** Puts a value into two words, in a format: a number, or a block with it, which is then the caller's. */
export function encodeFor(space: SyncSpace, format: number, value: unknown, into: Int32Array): void {
  if (format === VALUES) {
    into[0] = writeValue(space.heap, value);
    return;
  }
  const isFit = typeof value === "number" && (format === FLOAT64 || (value | 0) === value);
  if (!isFit) throw unfit(format, value);
  if (format === INT32) into[0] = value;
  else {
    double[0] = value;
    into.set(doubleWords);
  }
}

function unfit(format: number, value: unknown): Error {
  const expected = format === INT32 ? "a whole number of 32 bits" : "a number";
  return channelError("ERR_CHAN_VALUE", `the channel carries ${expected}, not ${String(value)}`);
}

/** The value that a core has received last. */
export function decodeFrom(space: SyncSpace, core: Core): unknown {
  if (core.format === INT32) return core.low;
  return core.format === VALUES ? takeValue(space.heap, core.low) : doubleOf(core.low, core.high);
}

function doubleOf(low: number, high: number): number {
  doubleWords[0] = low;
  doubleWords[1] = high;
  return double[0] as number;
}

/** What is thrown for an outcome that isn't DONE. */
export function failure(outcome: number, timeoutMs: number | undefined, sent?: number): Error {
  const details = sent === undefined ? {} : { sent };
  if (outcome === TIMED_OUT) {
    return syncError("ERR_SYNC_TIMEOUT", `the channel wasn't ready within ${timeoutMs} ms`, { details });
  }
  if (outcome === ORPHANED)
    return channelError("ERR_CHAN_ORPHANED", "the thread at the other end has died", { details });
  if (outcome === TAKEN)
    return channelError("ERR_CHAN_ENDS", "another thread has this end of the channel", { details });
  return channelError("ERR_CHAN_CLOSED", "the channel is closed", { details });
}
