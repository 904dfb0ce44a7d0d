/**
 * A channel from one thread to one other: a ring without a lock.
 *
 * Source: Lamport's queue with private mirrors of the counters (shared-memory, spsc-ring.ts has
 * more about it).
 *
 * The cell: STATE is OPEN, or CLOSED by the sender; two words name the threads at the ends, bound
 * by first use (atomics-sync, cell.ts). The ring is a block of the shared heap, in words:
 *
 *   +0    TAIL            values sent; written by the sender, read by the receiver
 *   +32   HEAD            values received; written by the receiver, read by the sender
 *   +64   SENDER_WAITS    0, or the thread to wake when there is room, plus one; written by the
 *                         sender
 *   +96   RECEIVER_WAITS  the same for when there is a value, or none will come; written by the
 *                         receiver
 *   +128  the values, plain: a power of two slots
 *
 * One store of TAIL sends, one of HEAD receives: a death before it leaves nothing behind but the
 * block of a value, and after it everything is done. Nothing here needs repair.
 *
 * Waiting is Dekker's: an end that waits says so in its WAITS, and looks at the other's counter
 * once more; the other moves its counter first and looks at WAITS second. The receiver looks at
 * SENDER_WAITS only where half of the ring has come free, and whenever it has run out of the values
 * that it knows of: a sender that waits is woken for half a ring at a time, not for a slot. For the
 * case that the receiver stops before that, the waiting sender looks for itself every ROOM_MS.
 *
 * Several async flows of a thread may wait at one end. They are served in line, and a try meanwhile
 * stands behind them.
 *
 * Rejected: publishing HEAD only now and then, which makes receiving a third cheaper: a sender
 * would wait beside a slot that is free.
 */
import { enterBlocking, leaveBlocking, Parker, unpark } from "@millrace/atomics-sync";
import { CELL_KIND, CELL_STATE, kinds, type SyncSpace, type WaitOptions } from "@millrace/atomics-sync/kernel";
import { LINE_WORDS } from "@millrace/shared-memory";
import {
  BLOCKED,
  CLOSED,
  CLOSED_STATE,
  DONE,
  FLOAT64,
  FREED_STATE,
  OPEN,
  ORPHANED,
  ringSlots,
  TAKEN,
  TIMED_OUT,
} from "./outcomes.ts";
import type { Core } from "./core.ts";
import { PipeEnd, REST_LEAST } from "./pipe-end.ts";
import { type AwaitedPipe, PipeWaits, type Waiting } from "./pipe-waits.ts";

const [SENDER, RECEIVER] = kinds.PIPE_ENDS as [number, number];
const FORMAT = 6;
const CAPACITY = 7;
const RING = 8;

const TAIL = 0;
const HEAD = LINE_WORDS;
const SENDER_WAITS: number = 2 * LINE_WORDS;
const RECEIVER_WAITS: number = 3 * LINE_WORDS;
const SLOTS: number = 4 * LINE_WORDS;

/** Longest sleep of a sender that waits for room without another look: see above. */
const ROOM_MS = 1;
/** The same of a receiver: a net under a lost wake-up. */
const VALUE_MS = 1000;
/**
 * Such a channel is a stream in motion: to look for about 15 µs before sleeping costs less than a
 * sleep.
 */
const LOOKS_PER_SPIN = 2;
export class PipeCore implements Core, AwaitedPipe {
  readonly format: number;
  readonly capacity: number;
  readonly width: number;
  readonly #space: SyncSpace;
  readonly #words: Int32Array;
  readonly #cell: number;
  readonly #ring: Int32Array;
  readonly #at: number;
  readonly #mask: number;
  readonly #half: number;
  /** The sender's: next value to send; HEAD as last seen, or so that there seems to be no room. */
  #tail: number;
  #headSeen: number;
  #isSender = false;
  #isOver = false;
  /** The receiver's: next value to receive; TAIL as last seen; HEAD when that was seen. */
  #head: number;
  #tailSeen: number;
  #headThen: number;
  #isReceiver = false;
  readonly #sending: PipeEnd;
  readonly #receiving: PipeEnd;
  low = 0;
  high = 0;

  /** KIND when this view was made. */
  readonly #kind: number;

  /** One per thread and channel: see `pipeOf`. */
  constructor(space: SyncSpace, cell: number) {
    const { words } = space;
    this.#kind = Atomics.load(words, cell + CELL_KIND);
    this.#space = space;
    this.#words = words;
    this.#cell = cell;
    this.format = words[cell + FORMAT] as number;
    this.capacity = words[cell + CAPACITY] as number;
    this.width = this.format === FLOAT64 ? 2 : 1;
    const slots = ringSlots(this.capacity);
    const ring = words[cell + RING] as number;
    this.#ring = space.heap.wordsOf(ring, SLOTS + slots * this.width);
    this.#at = ring * 16;
    this.#mask = slots - 1;
    this.#half = this.capacity >> 1;
    this.#sending = new PipeEnd(this.#ring, this.#at + SENDER_WAITS, ROOM_MS);
    this.#receiving = new PipeEnd(this.#ring, this.#at + RECEIVER_WAITS, VALUE_MS);
    this.#tail = Atomics.load(this.#ring, this.#at + TAIL);
    this.#headSeen = (this.#tail - this.capacity) | 0;
    this.#head = Atomics.load(this.#ring, this.#at + HEAD);
    this.#tailSeen = this.#head;
    this.#headThen = this.#head;
  }

  /** Makes a channel of a fresh cell; false when the heap has no room for its ring. */
  static make(space: SyncSpace, cell: number, format: number, capacity: number, start = 0): boolean {
    const words = SLOTS + ringSlots(capacity) * (format === FLOAT64 ? 2 : 1);
    const ring = space.heap.allocate(words * 4);
    if (ring < 0) return false;
    const memory = space.heap.wordsOf(ring, words);
    for (let index = 0; index < SLOTS; index += 1) memory[ring * 16 + index] = 0;
    memory[ring * 16 + TAIL] = start;
    memory[ring * 16 + HEAD] = start;
    space.words[cell + SENDER] = 0;
    space.words[cell + RECEIVER] = 0;
    space.words[cell + FORMAT] = format;
    space.words[cell + CAPACITY] = capacity;
    space.words[cell + RING] = ring;
    return true;
  }

  get kind(): number {
    return this.#words[this.#cell + CELL_KIND] as number;
  }

  length(): number {
    const head = Atomics.load(this.#ring, this.#at + HEAD);
    return (Atomics.load(this.#ring, this.#at + TAIL) - head) | 0;
  }

  isEnded(): boolean {
    return Atomics.load(this.#words, this.#cell + CELL_STATE) !== OPEN;
  }

  // ── the sender's end ──────────────────────────────────────────────────────────────────────────

  /** DONE, CLOSED, BLOCKED, ORPHANED or TAKEN. */
  trySend(low: number, high: number): number {
    return this.#sending.line.length === 0 ? this.#send(low, high) : BLOCKED;
  }

  #send(low: number, high: number): number {
    const tail = this.#tail;
    if (((tail - this.#headSeen) | 0) >= this.capacity) {
      this.#sending.rest.take(0);
      const outcome = this.#lookForRoom();
      this.#sending.rest.found(this.capacity - ((tail - this.#headSeen) | 0));
      if (outcome !== DONE) return outcome;
    }
    this.#put(tail, low, high);
    this.#tail = (tail + 1) | 0;
    Atomics.store(this.#ring, this.#at + TAIL, this.#tail);
    if (Atomics.load(this.#ring, this.#at + RECEIVER_WAITS) !== 0) this.#wake(this.#receiving);
    return DONE;
  }

  trySendMany(values: Int32Array, from: number, end: number): number {
    if (this.#sending.line.length > 0 || from === end) return 0;
    if (this.capacity - ((this.#tail - this.#headSeen) | 0) < end - from && this.#lookForRoom() !== DONE) return 0;
    const count = Math.min(end - from, this.capacity - ((this.#tail - this.#headSeen) | 0));
    this.#putMany(values, from, count);
    this.#tail = (this.#tail + count) | 0;
    Atomics.store(this.#ring, this.#at + TAIL, this.#tail);
    if (Atomics.load(this.#ring, this.#at + RECEIVER_WAITS) !== 0) this.#wake(this.#receiving);
    return count;
  }

  /**
   * Looks at HEAD anew; also where this thread is made the sender, and where a sender that has
   * closed ends up.
   */
  #lookForRoom(): number {
    if (!this.#isSender) {
      if (!this.#bind(SENDER)) return TAKEN;
      this.#isSender = true;
    }
    if (this.#isOver) return CLOSED;
    this.#headSeen = Atomics.load(this.#ring, this.#at + HEAD);
    if (((this.#tail - this.#headSeen) | 0) < this.capacity) return DONE;
    return this.#isGone(RECEIVER) ? ORPHANED : BLOCKED;
  }

  /** The sender's; DONE, CLOSED when it is closed already, TAKEN in another thread. */
  end(): number {
    if (!this.#isSender && !this.#bind(SENDER)) return TAKEN;
    this.#isSender = true;
    if (this.isEnded()) return CLOSED;
    this.#isOver = true;
    this.#headSeen = (this.#tail - this.capacity) | 0;
    Atomics.store(this.#words, this.#cell + CELL_STATE, CLOSED_STATE);
    if (Atomics.load(this.#ring, this.#at + RECEIVER_WAITS) !== 0) this.#wake(this.#receiving);
    this.poll();
    return DONE;
  }

  // ── the receiver's end ────────────────────────────────────────────────────────────────────────

  /** DONE, CLOSED, BLOCKED, ORPHANED or TAKEN. */
  tryReceive(): number {
    return this.#receiving.line.length === 0 ? this.#receive() : BLOCKED;
  }

  #receive(): number {
    const head = this.#head;
    if (head === this.#tailSeen) {
      this.#receiving.rest.take(0);
      const outcome = this.#lookForValues();
      this.#receiving.rest.found((this.#tailSeen - head) | 0);
      if (outcome !== DONE) return outcome;
    }
    this.#get(head);
    this.#release((head + 1) | 0);
    return DONE;
  }

  tryReceiveMany(values: Int32Array, from: number, end: number): number {
    if (this.#receiving.line.length > 0) return 0;
    if (((this.#tailSeen - this.#head) | 0) < end - from && this.#lookForValues() !== DONE) return 0;
    const count = Math.min(end - from, (this.#tailSeen - this.#head) | 0);
    this.#getMany(values, from, count);
    const used = (this.#tailSeen - this.#head) | 0;
    this.#release((this.#head + count) | 0);
    // The middle may have been stepped over.
    if (used > this.#half && used - count < this.#half) this.#wakeSender();
    return count;
  }

  /** Looks at TAIL anew; also where this thread is made the receiver. */
  #lookForValues(): number {
    if (!this.#isReceiver) {
      if (!this.#bind(RECEIVER)) return TAKEN;
      this.#isReceiver = true;
    }
    const outcome = this.#lookAtTail();
    // The sender has had no reason to wait unless the ring was full since the last look.
    if (((this.#tailSeen - this.#headThen) | 0) >= this.capacity && ((this.#tailSeen - this.#head) | 0) <= this.#half) {
      this.#wakeSender();
    }
    this.#headThen = this.#head;
    return outcome;
  }

  #lookAtTail(): number {
    this.#tailSeen = Atomics.load(this.#ring, this.#at + TAIL);
    if (this.#head !== this.#tailSeen) return DONE;
    const isClosed = this.isEnded();
    if (!isClosed && !this.#isGone(SENDER)) return BLOCKED;
    // Nothing comes any more; it may have come since the look.
    this.#tailSeen = Atomics.load(this.#ring, this.#at + TAIL);
    if (this.#head !== this.#tailSeen) return DONE;
    return isClosed ? CLOSED : ORPHANED;
  }

  #release(head: number): void {
    this.#head = head;
    Atomics.store(this.#ring, this.#at + HEAD, head);
    if (((this.#tailSeen - head) | 0) === this.#half) this.#wakeSender();
  }

  #wakeSender(): void {
    if (Atomics.load(this.#ring, this.#at + SENDER_WAITS) !== 0) this.#wake(this.#sending);
  }

  #wake(end: PipeEnd): void {
    const waits = end.awaitedBy();
    if (waits !== 0) unpark(this.#space.threads.words, waits - 1);
  }

  /** Makes this thread one of the ends; false when another is, or was. */
  #bind(end: number): boolean {
    const own = this.#space.thread + 1;
    const seen = Atomics.compareExchange(this.#words, this.#cell + end, 0, own);
    return seen === 0 || seen === own;
  }

  // ── waiting ───────────────────────────────────────────────────────────────────────────────────

  send(low: number, high: number, timeoutMs: number): number {
    return this.#wait(this.#sending, low, high, timeoutMs);
  }

  receive(timeoutMs: number): number {
    return this.#wait(this.#receiving, 0, 0, timeoutMs);
  }

  /** Blocks until the value is sent, or one is received, or `timeoutMs` have passed. */
  #wait(end: PipeEnd, low: number, high: number, timeoutMs: number): number {
    for (let look = 0; look < this.#space.spins * LOOKS_PER_SPIN; look += 1) {
      end.rest.take(REST_LEAST);
      const outcome = this.#try(end, low, high);
      if (outcome !== BLOCKED) return outcome;
    }
    enterBlocking();
    try {
      const before = end.announce(this.#space.thread);
      try {
        return this.#park(end, low, high, timeoutMs);
      } finally {
        // Async flows of this thread may wait here too.
        end.retract(end.line.length > 0 ? before : 0);
      }
    } finally {
      leaveBlocking();
    }
  }

  #park(end: PipeEnd, low: number, high: number, timeoutMs: number): number {
    const { now, threads, thread } = this.#space;
    const parker = new Parker(threads.words, thread);
    const endsAt = timeoutMs === Infinity ? Infinity : now() + timeoutMs;
    for (;;) {
      parker.prepare();
      const outcome = this.#try(end, low, high);
      const leftMs = endsAt === Infinity ? Infinity : endsAt - now();
      if (outcome !== BLOCKED || leftMs <= 0) {
        parker.cancel();
        return outcome === BLOCKED ? TIMED_OUT : outcome;
      }
      parker.wait(Math.min(leftMs, end.sleepMsMax));
    }
  }

  #try(end: PipeEnd, low: number, high: number): number {
    if (end.line.length > 0) this.poll();
    return end === this.#sending ? this.trySend(low, high) : this.tryReceive();
  }

  /** Waits behind the flows of this thread that wait already. */
  sendLater(low: number, high: number, options: WaitOptions): Promise<number> {
    return PipeWaits.current().wait(this, this.#sending, low, high, options);
  }

  receiveLater(options: WaitOptions): Promise<number> {
    return PipeWaits.current().wait(this, this.#receiving, 0, 0, options);
  }

  hasFlows(): boolean {
    return this.#sending.line.length > 0 || this.#receiving.line.length > 0;
  }

  poll(): number {
    let served = 0;
    const { line: sends } = this.#sending;
    while (sends.length > 0) {
      const first = sends[0] as Waiting;
      const outcome = this.#send(first.low, first.high);
      if (outcome === BLOCKED) break;
      sends.shift();
      if (sends.length === 0) this.#sending.retract();
      first.served(outcome, 0, 0);
      served += 1;
    }
    const { line: receives } = this.#receiving;
    while (receives.length > 0) {
      const outcome = this.#receive();
      if (outcome === BLOCKED) break;
      const first = receives.shift() as Waiting;
      if (receives.length === 0) this.#receiving.retract();
      first.served(outcome, this.low, this.high);
      served += 1;
    }
    return served;
  }

  finish(ticket: number): number {
    const { outcome, low, high } = PipeWaits.current().take(ticket);
    this.low = low;
    this.high = high;
    return outcome;
  }

  // ── its end ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Gives the cell and the ring back, and passes values that are left to `drop`; false while the
   * channel is in use.
   */
  free(drop: (low: number) => void): boolean {
    const isOrphaned = this.#isGone(SENDER) || this.#isGone(RECEIVER);
    const isAwaited = this.#isAwaited(SENDER, this.#sending) || this.#isAwaited(RECEIVER, this.#receiving);
    if (isAwaited || !(this.isEnded() || isOrphaned)) return false;
    // Of several threads that free it at once, one does.
    const state = Atomics.load(this.#words, this.#cell + CELL_STATE);
    if (state !== OPEN && state !== CLOSED_STATE) return true;
    if (Atomics.compareExchange(this.#words, this.#cell + CELL_STATE, state, FREED_STATE) !== state) return true;
    const tail = Atomics.load(this.#ring, this.#at + TAIL);
    for (let position = Atomics.load(this.#ring, this.#at + HEAD); position !== tail; position = (position + 1) | 0) {
      this.#get(position);
      drop(this.low);
    }
    this.#space.giveCell(this.#cell, this.#kind);
    this.#space.heap.free(this.#at / 16);
    return true;
  }

  #isGone(end: number): boolean {
    return Atomics.load(this.#words, this.#cell + end) === kinds.GONE;
  }

  #isAwaited(thread: number, end: PipeEnd): boolean {
    return !this.#isGone(thread) && end.awaitedBy() !== 0;
  }

  #put(position: number, low: number, high: number): void {
    const slot = this.#at + SLOTS + (position & this.#mask) * this.width;
    this.#ring[slot] = low;
    if (this.width === 2) this.#ring[slot + 1] = high;
  }

  /** Words in the ring from a position on, as many as lie side by side. */
  #wordsSideBySide(position: number): number {
    return (this.#mask + 1 - (position & this.#mask)) * this.width;
  }

  #putMany(values: Int32Array, from: number, count: number): void {
    const ring = this.#ring;
    const wrap = this.#wordsSideBySide(this.#tail);
    let slot = this.#at + SLOTS + (this.#tail & this.#mask) * this.width;
    let at = from * this.width;
    for (let left = Math.min(wrap, count * this.width); left > 0; left -= 1, slot += 1, at += 1)
      ring[slot] = values[at] as number;
    slot = this.#at + SLOTS;
    for (let left = count * this.width - wrap; left > 0; left -= 1, slot += 1, at += 1)
      ring[slot] = values[at] as number;
  }

  #getMany(values: Int32Array, from: number, count: number): void {
    const ring = this.#ring;
    const wrap = this.#wordsSideBySide(this.#head);
    let slot = this.#at + SLOTS + (this.#head & this.#mask) * this.width;
    let at = from * this.width;
    for (let left = Math.min(wrap, count * this.width); left > 0; left -= 1, slot += 1, at += 1)
      values[at] = ring[slot] as number;
    slot = this.#at + SLOTS;
    for (let left = count * this.width - wrap; left > 0; left -= 1, slot += 1, at += 1)
      values[at] = ring[slot] as number;
  }

  #get(position: number): void {
    const slot = this.#at + SLOTS + (position & this.#mask) * this.width;
    this.low = this.#ring[slot] as number;
    if (this.width === 2) this.high = this.#ring[slot + 1] as number;
  }
}

const pipes = new Map<number, { readonly kind: number; readonly core: PipeCore }>();

/** This thread's end of the channel in `cell`: there is one, because it has counters of its own. */
export function pipeOf(space: SyncSpace, cell: number): PipeCore {
  const kind = Atomics.load(space.words, cell + CELL_KIND);
  const known = pipes.get(cell);
  if (known !== undefined && known.kind === kind) return known.core;
  const core = new PipeCore(space, cell);
  pipes.set(cell, { kind, core });
  return core;
}
