/**
 * A channel between any threads: a ring of values under a monitor (its header, in atomics-sync, is
 * the other half of this one).
 *
 * Source: Go's runtime/chan.go for what is observable: values come in the order in which they were
 * sent; a sender and a receiver that meet at an empty ring hand over directly; closing tells all
 * parties that wait.
 *
 * Words of the cell, beyond the monitor's; constants but for the last two, which are written under
 * the latch:
 *
 *   FORMAT     what a value is: a block of the shared heap, a word, two words
 *   CAPACITY   values in the ring; 0: sender and receiver must meet
 *   RING       the ring: a block of the shared heap
 *              of a power of two slots
 *   RING_HEAD  the next value to take out, a number that runs freely and wraps; its low bits are
 *              the slot
 *   RING_TAIL  where the next one is put
 *
 * STATE of the cell holds the generation, and CLOSED_STATE from the end on: the thread that closes
 * adds it by compare-and-swap, and all read it under the latch.
 *
 * A thread that gets the latch sends or receives at once: one store of RING_TAIL or RING_HEAD says
 * that it has. A thread that can't get the latch, or must wait, posts a node. Moving a value
 * between a node and the ring, or between two nodes, is one `commit` of the monitor. A death before
 * the store leaves everything as it was, but for the value's block, which is lost; a death after it
 * has done it.
 *
 * At any time that the latch is free: nobody waits to send while there is room, nobody waits to
 * receive while there is a value, and no two parties wait that could meet. The exception is a
 * select that is just claimed for another channel: the thread that claims it looks after this
 * channel then.
 *
 * Rejected: a sequence number per slot (Vyukov): lock-free, but a thread that dies between claiming
 * and filling a slot blocks all others. Waking a waiter and letting it compete for the value: the
 * order of senders is lost, and select would need both ways.
 */
import {
  ASKS_ASYNC,
  ASKS_GIVES,
  asyncWaits,
  type AsyncWaits,
  block,
  CELL_KIND,
  CELL_KIND_WORDS,
  CELL_STATE,
  GIVERS,
  GRANTED,
  CLAIMED,
  HEAD,
  LENGTH,
  Monitor,
  NODE_ASKS,
  NODE_BLOCK,
  NODE_GROUP,
  NODE_KIND_WORDS,
  NODE_OUTCOME,
  QUEUE_NEXT,
  type SyncSpace,
  WAITING,
  type WaitOptions,
} from "@millrace/atomics-sync/kernel";
import type { Core } from "./core.ts";
import { BLOCKED, BUSY, CLOSED, CLOSED_STATE, DONE, FLOAT64, ringSlots, TIMED_OUT, VALUES } from "./outcomes.ts";

const FORMAT = CELL_KIND_WORDS;
const CAPACITY: number = CELL_KIND_WORDS + 1;
const RING: number = CELL_KIND_WORDS + 2;
const RING_HEAD: number = CELL_KIND_WORDS + 3;
const RING_TAIL: number = CELL_KIND_WORDS + 4;

/** In a node of a channel of numbers: the value, one or two words. */
const NODE_VALUE = NODE_KIND_WORDS;

/** A try looks this many times longer for the latch than a caller that may sleep. */
const TRY_SPINS_FACTOR = 20;

/** Above the bit CLOSED_STATE: the generation in KIND, without the kind. */
function openState(kind: number): number {
  return kind & ~0xff;
}

export class ChannelCore extends Monitor implements Core {
  readonly format: number;
  readonly capacity: number;
  /** Words per value. */
  readonly width: number;
  /** STATE while the channel is open; no other channel in the cell has the same. */
  readonly #open: number;
  readonly #ring: Int32Array;
  readonly #ringAt: number;
  readonly #ringMask: number;
  /** The value that an operation has received, in the form of its format. */
  low = 0;
  high = 0;

  /** Of a cell that `make` or another thread's `make` has filled. */
  constructor(space: SyncSpace, cell: number) {
    super(space, cell);
    this.#open = openState(this.generation);
    this.format = this.words[cell + FORMAT] as number;
    this.capacity = this.words[cell + CAPACITY] as number;
    this.width = this.format === FLOAT64 ? 2 : 1;
    const ring = this.words[cell + RING] as number;
    const slots = ringSlots(this.capacity);
    this.#ring = space.heap.wordsOf(ring, slots * this.width);
    this.#ringAt = ring * 16;
    this.#ringMask = slots - 1;
  }

  /** Makes a channel of a fresh cell; false when the heap has no room for its ring. */
  static make(space: SyncSpace, cell: number, format: number, capacity: number, start = 0): boolean {
    const bytes = ringSlots(capacity) * (format === FLOAT64 ? 8 : 4);
    const ring = capacity === 0 ? 0 : space.heap.allocate(bytes);
    if (ring < 0) return false;
    Atomics.store(space.words, cell + CELL_STATE, openState(space.words[cell + CELL_KIND] as number));
    space.words[cell + FORMAT] = format;
    space.words[cell + CAPACITY] = capacity;
    space.words[cell + RING] = ring;
    space.words[cell + RING_HEAD] = start;
    space.words[cell + RING_TAIL] = start;
    return true;
  }

  protected override another(cell: number): Monitor {
    return new ChannelCore(this.space, cell);
  }

  /** Values in the ring; stale at once. */
  length(): number {
    const head = Atomics.load(this.words, this.cell + RING_HEAD);
    return (Atomics.load(this.words, this.cell + RING_TAIL) - head) | 0;
  }

  isEnded(): boolean {
    return Atomics.load(this.words, this.cell + CELL_STATE) !== this.#open;
  }

  // ── at once ───────────────────────────────────────────────────────────────────────────────────

  /** DONE, CLOSED, BLOCKED or BUSY. */
  trySend(low: number, high: number, spins: number = this.space.spins * TRY_SPINS_FACTOR): number {
    // A channel stays closed: that needs no latch.
    if (this.isEnded()) return CLOSED;
    try {
      if (!this.enterSoon(spins)) return this.isEnded() ? CLOSED : BUSY;
      const outcome = this.#sendNow(low, high);
      this.cede();
      return outcome;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  /** The same; after DONE the value is in `low` and `high`. */
  tryReceive(spins: number = this.space.spins * TRY_SPINS_FACTOR): number {
    try {
      if (!this.enterSoon(spins)) return BUSY;
      const outcome = this.#receiveNow();
      const { low, high } = this;
      // Serving others uses the same fields.
      this.cede();
      this.low = low;
      this.high = high;
      return outcome;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  trySendMany(values: Int32Array, from: number, end: number): number {
    try {
      if (!this.enterSoon(this.space.spins)) return 0;
      let sent = this.#sendTogether(values, from, end);
      for (let index = from + sent; index < end; index += 1) {
        const at = index * this.width;
        const high = this.width === 2 ? (values[at + 1] as number) : 0;
        if (this.#sendNow(values[at] as number, high) !== DONE) break;
        sent += 1;
      }
      this.cede();
      return sent;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  tryReceiveMany(values: Int32Array, from: number, end: number): number {
    try {
      if (!this.enterSoon(this.space.spins)) return 0;
      let taken = this.#receiveTogether(values, from, end);
      for (let index = from + taken; index < end; index += 1) {
        if (this.#receiveNow() !== DONE) break;
        values[index * this.width] = this.low;
        if (this.width === 2) values[index * 2 + 1] = this.high;
        taken += 1;
      }
      this.cede();
      return taken;
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  /** Puts as many values as fit into the ring by one step, if nobody waits; their number. */
  #sendTogether(values: Int32Array, from: number, end: number): number {
    if (this.words[this.cell + HEAD] !== 0 || this.isEnded()) return 0;
    const tail = this.words[this.cell + RING_TAIL] as number;
    const room = this.capacity - ((tail - (this.words[this.cell + RING_HEAD] as number)) | 0);
    const count = Math.min(room, end - from);
    if (count === 0) return 0;
    for (let index = 0; index < count; index += 1) {
      const at = (from + index) * this.width;
      this.#put((tail + index) | 0, values[at] as number, this.width === 2 ? (values[at + 1] as number) : 0);
    }
    Atomics.store(this.words, this.cell + RING_TAIL, (tail + count) | 0);
    return count;
  }

  /**
   * Takes as many values as there are, and are asked for, out of the ring by one step; their
   * number.
   */
  #receiveTogether(values: Int32Array, from: number, end: number): number {
    const head = this.words[this.cell + RING_HEAD] as number;
    const used = ((this.words[this.cell + RING_TAIL] as number) - head) | 0;
    const count = Math.min(used, end - from);
    if (count === 0) return 0;
    for (let index = 0; index < count; index += 1) {
      this.#get((head + index) | 0);
      values[(from + index) * this.width] = this.low;
      if (this.width === 2) values[(from + index) * 2 + 1] = this.high;
    }
    Atomics.store(this.words, this.cell + RING_HEAD, (head + count) | 0);
    return count;
  }

  #sendNow(low: number, high: number): number {
    if (this.isEnded()) return CLOSED;
    const tail = this.words[this.cell + RING_TAIL] as number;
    let used = (tail - (this.words[this.cell + RING_HEAD] as number)) | 0;
    if (this.words[this.cell + HEAD] !== 0) {
      // A select that was passed over may wait for a value in the ring: it comes first.
      if (used > 0 && used < this.capacity) {
        this.serve();
        return this.#sendAfterServing(low, high);
      }
      if (used === 0 && this.#handTo(low, high)) return DONE;
    }
    if (used >= this.capacity) return BLOCKED;
    this.#put(tail, low, high);
    Atomics.store(this.words, this.cell + RING_TAIL, (tail + 1) | 0);
    return DONE;
  }

  /**
   * After `serve`: hands the value to a party that waits at an empty ring, or puts it into the
   * ring.
   */
  #sendAfterServing(low: number, high: number): number {
    const tail = this.words[this.cell + RING_TAIL] as number;
    const used = (tail - (this.words[this.cell + RING_HEAD] as number)) | 0;
    if (used === 0 && this.#handTo(low, high)) return DONE;
    if (used >= this.capacity) return BLOCKED;
    this.#put(tail, low, high);
    Atomics.store(this.words, this.cell + RING_TAIL, (tail + 1) | 0);
    return DONE;
  }

  #handTo(low: number, high: number): boolean {
    const taker = this.#claimFirst(0);
    if (taker === 0) return false;
    this.#fillNode(taker, low, high);
    this.#tell(taker, DONE);
    return true;
  }

  #receiveNow(): number {
    const head = this.words[this.cell + RING_HEAD] as number;
    if (this.words[this.cell + RING_TAIL] !== head) {
      this.#get(head);
      Atomics.store(this.words, this.cell + RING_HEAD, (head + 1) | 0);
      return DONE;
    }
    // `serve` tells the parties that wait to send when the channel is closed.
    if (this.isEnded()) return CLOSED;
    if (this.words[this.cell + GIVERS] === 0) return BLOCKED;
    const giver = this.#claimFirst(ASKS_GIVES);
    if (giver === 0) return BLOCKED;
    this.#readNode(giver);
    this.#tell(giver, DONE);
    return DONE;
  }

  // ── by a node ─────────────────────────────────────────────────────────────────────────────────

  send(low: number, high: number, timeoutMs: number): number {
    return this.#wait(this.prepareToSend(0, this.space.thread, low, high), timeoutMs);
  }

  receive(timeoutMs: number): number {
    return this.#wait(this.prepareToReceive(0, this.space.thread), timeoutMs);
  }

  #wait(node: number, timeoutMs: number): number {
    this.post(node, WAITING);
    this.pump();
    return block(this.space, this, node, timeoutMs) ? this.finish(node) : TIMED_OUT;
  }

  sendLater(low: number, high: number, options: WaitOptions): Promise<number> {
    const waits = asyncWaits(this.space);
    return this.#waitLater(waits, this.prepareToSend(ASKS_ASYNC, waits.thread, low, high), options);
  }

  receiveLater(options: WaitOptions): Promise<number> {
    const waits = asyncWaits(this.space);
    return this.#waitLater(waits, this.prepareToReceive(ASKS_ASYNC, waits.thread), options);
  }

  async #waitLater(waits: AsyncWaits, node: number, options: WaitOptions): Promise<number> {
    this.post(node, WAITING);
    this.pump();
    return (await waits.wait(this, node, options)) ? node : 0;
  }

  /** A node of a party that wants to send, ready to be posted. */
  prepareToSend(asks: number, wakes: number, low: number, high: number): number {
    const node = this.prepareNode(0, asks | ASKS_GIVES, wakes);
    this.#fillNode(node, low, high);
    return node;
  }

  /** The same for one that wants to receive. */
  prepareToReceive(asks: number, wakes: number): number {
    const node = this.prepareNode(0, asks, wakes);
    this.#fillNode(node, 0, 0);
    return node;
  }

  /** Publishes a node; `pump` afterwards. */
  postNode(node: number): void {
    this.post(node, WAITING);
  }

  /**
   * The outcome of a node that was served: DONE or CLOSED. A received value is in `low` and `high`.
   * Gives the node back.
   */
  finish(node: number): number {
    const outcome = this.words[node + NODE_OUTCOME] as number;
    this.#readNode(node);
    this.words[node + NODE_BLOCK] = 0;
    this.space.giveNode(node);
    return outcome;
  }

  /** Nothing can be sent from now on: DONE, or CLOSED when that was so already. */
  end(): number {
    // Before the step: those that wait must be told then.
    this.stack.assertRoom();
    const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, this.#open, this.#open | CLOSED_STATE);
    if (seen !== this.#open) return CLOSED;
    this.pump();
    return DONE;
  }

  /**
   * Gives the cell and the ring back of a channel that has ended, and passes values that are left
   * to `drop`; false while a party waits.
   */
  free(drop: (low: number) => void): boolean {
    if (!this.isEnded()) return false;
    while (this.tryReceive() === DONE) drop(this.low);
    if (!this.close()) return false;
    if (this.#ringAt > 0) this.space.heap.free(this.#ringAt / 16);
    return true;
  }

  // ── with the latch ────────────────────────────────────────────────────────────────────────────

  protected override serve(): void {
    if (this.oldest() === 0) return;
    // Ends: each step takes a party out of the queue.
    while (this.#serveOne());
  }

  #serveOne(): boolean {
    const tail = this.words[this.cell + RING_TAIL] as number;
    const head = this.words[this.cell + RING_HEAD] as number;
    const used = (tail - head) | 0;
    if (used > 0) {
      const taker = this.#claimFirst(0);
      if (taker !== 0) {
        this.#get(head);
        this.#fillNode(taker, this.low, this.high);
        this.words[taker + NODE_OUTCOME] = DONE;
        this.commit(0, taker, RING_HEAD, (head + 1) | 0);
        return true;
      }
    }
    if (this.isEnded()) return this.#serveClosed(used);
    if (used < this.capacity) {
      const giver = this.#claimFirst(ASKS_GIVES);
      if (giver === 0) return false;
      this.#readNode(giver);
      this.#put(tail, this.low, this.high);
      this.words[giver + NODE_OUTCOME] = DONE;
      this.commit(giver, 0, RING_TAIL, (tail + 1) | 0);
      return true;
    }
    return used === 0 && this.#serveMeeting();
  }

  #serveClosed(used: number): boolean {
    let node = this.#claimFirst(ASKS_GIVES);
    if (node === 0 && used === 0) node = this.#claimFirst(0);
    if (node === 0) return false;
    // A step that was broken off may have left the name of a block there that others own.
    if (((this.words[node + NODE_ASKS] as number) & ASKS_GIVES) === 0) this.#fillNode(node, 0, 0);
    this.#tell(node, CLOSED);
    return true;
  }

  /** Without a ring: lets a sender and a receiver meet that aren't the same party. */
  #serveMeeting(): boolean {
    const givers = this.words[this.cell + GIVERS] as number;
    if (givers === 0 || givers === this.words[this.cell + LENGTH]) return false;
    for (let giver = this.#next(0, ASKS_GIVES); giver !== 0; giver = this.#next(giver, ASKS_GIVES)) {
      if (!this.isOpen(giver)) continue;
      for (let taker = this.#next(0, 0); taker !== 0; taker = this.#next(taker, 0)) {
        if (!this.isOpen(taker) || !this.#claimBoth(giver, taker)) continue;
        this.unlink(giver);
        this.unlink(taker);
        this.#readNode(giver);
        this.#fillNode(taker, this.low, this.high);
        this.words[giver + NODE_OUTCOME] = DONE;
        this.words[taker + NODE_OUTCOME] = DONE;
        this.commit(giver, taker, 0, 0);
        return true;
      }
    }
    return false;
  }

  /**
   * Groups first, the one with the lower node before the other: of several latch holders that are
   * in each other's way one gets on.
   */
  #claimBoth(giver: number, taker: number): boolean {
    const giving = this.words[giver + NODE_GROUP] as number;
    const taking = this.words[taker + NODE_GROUP] as number;
    if (giving === taking && giving !== 0) return false;
    const isGiverFirst = taking === 0 || (giving !== 0 && giving < taking);
    const first = isGiverFirst ? giver : taker;
    const second = isGiverFirst ? taker : giver;
    if (!this.claim(first)) return false;
    if (this.claim(second)) return true;
    this.unclaim(first);
    return false;
  }

  /**
   * Claims the oldest node that gives (ASKS_GIVES) or takes (0), and unlinks it; 0 when there is
   * none.
   */
  #claimFirst(kind: number): number {
    const givers = this.words[this.cell + GIVERS] as number;
    if ((kind === 0 ? (this.words[this.cell + LENGTH] as number) - givers : givers) === 0) return 0;
    for (let node = this.#next(0, kind); node !== 0; node = this.#next(node, kind)) {
      if (!this.isOpen(node) || !this.claim(node)) continue;
      this.unlink(node);
      return node;
    }
    return 0;
  }

  /** The node of this kind behind `node` in the queue; the first for 0. */
  #next(node: number, kind: number): number {
    let next = this.words[node === 0 ? this.cell + HEAD : node + QUEUE_NEXT] as number;
    while (next !== 0 && ((this.words[next + NODE_ASKS] as number) & ASKS_GIVES) !== kind) {
      next = this.words[next + QUEUE_NEXT] as number;
    }
    return next;
  }

  /** Tells a claimed node its outcome, where nothing else happens. */
  #tell(node: number, outcome: number): void {
    this.words[node + NODE_OUTCOME] = outcome;
    if (this.words[node + NODE_GROUP] === 0) this.settle(node, CLAIMED, GRANTED);
    else this.commit(0, node, 0, 0);
  }

  #fillNode(node: number, low: number, high: number): void {
    if (this.format === VALUES) {
      this.words[node + NODE_BLOCK] = low;
      return;
    }
    this.words[node + NODE_VALUE] = low;
    if (this.width === 2) this.words[node + NODE_VALUE + 1] = high;
  }

  #readNode(node: number): void {
    this.low = this.words[node + (this.format === VALUES ? NODE_BLOCK : NODE_VALUE)] as number;
    if (this.width === 2) this.high = this.words[node + NODE_VALUE + 1] as number;
  }

  #slot(position: number): number {
    return this.#ringAt + (position & this.#ringMask) * this.width;
  }

  #put(position: number, low: number, high: number): void {
    const slot = this.#slot(position);
    this.#ring[slot] = low;
    if (this.width === 2) this.#ring[slot + 1] = high;
  }

  #get(position: number): void {
    const slot = this.#slot(position);
    this.low = this.#ring[slot] as number;
    if (this.width === 2) this.high = this.#ring[slot + 1] as number;
  }
}
