/**
 * The queue of the parties that wait for one object, oldest first. All of it is the latch holder's
 * (monitor.ts).
 *
 * A linked list through QUEUE_NEXT, with HEAD, TAIL and LENGTH in the cell. Beside it each node has
 * an ORDER, its number in the queue: after the death of a latch holder, which may have left the
 * list in any state, the next one sorts the nodes by it (mourning.ts) and links them anew.
 *
 * A node whose owner has changed its mind stays in the list until it reaches the head, or until
 * there are many.
 */
import { CANCELLED_COUNT, FIRST_ORDER, GIVERS, HEAD, LENGTH, NEXT_ORDER, TAIL } from "./cell.ts";
import {
  ASKS_ASYNC,
  ASKS_FRONT,
  ASKS_GIVES,
  CANCELLED,
  CLAIMED,
  FREE,
  NODE_ASKS,
  NODE_STATE,
  NODE_WAKES,
  ORDER,
  ORDER_START,
  QUEUE_NEXT,
} from "./node.ts";
import type { SyncSpace } from "./space.ts";

/** Most cancelled nodes that may lie in the queue; with more, all of them are dropped at once. */
const CANCELLED_MAX = 16;

export class WaitQueue {
  readonly space: SyncSpace;
  protected readonly words: Int32Array;
  /** Word index of the object's cell. */
  protected readonly cell: number;
  /**
   * The parties to wake once the latch is given up: thread and node in turn, the node only for
   * event loops.
   */
  protected readonly wakes: number[] = [];

  constructor(space: SyncSpace, cell: number) {
    this.space = space;
    this.words = space.words;
    this.cell = cell;
  }

  // ── in ────────────────────────────────────────────────────────────────────────────────────────

  /** Numbers a node that comes from the inbox and puts it in: at the front if it asks for that. */
  protected link(node: number): void {
    const cell = this.cell;
    const isFront = ((this.words[node + NODE_ASKS] as number) & ASKS_FRONT) !== 0;
    const counter = cell + (isFront ? FIRST_ORDER : NEXT_ORDER);
    const step = ((this.words[counter] as number) + 1) | 0;
    this.words[counter] = step;
    const order = isFront ? (ORDER_START - step) | 0 : (ORDER_START + step) | 0;
    // 0 means "not in the queue"; two equal orders do no harm.
    this.words[node + ORDER] = order === 0 ? 1 : order;
    this.#insert(node, isFront);
  }

  #insert(node: number, isFront: boolean): void {
    const cell = this.cell;
    const head = this.words[cell + HEAD] as number;
    this.words[cell + LENGTH] = (this.words[cell + LENGTH] as number) + 1;
    this.words[cell + GIVERS] = (this.words[cell + GIVERS] as number) + this.#gives(node);
    if (isFront || head === 0) {
      this.words[node + QUEUE_NEXT] = head;
      this.words[cell + HEAD] = node;
      if (head === 0) this.words[cell + TAIL] = node;
      return;
    }
    this.words[node + QUEUE_NEXT] = 0;
    this.words[(this.words[cell + TAIL] as number) + QUEUE_NEXT] = node;
    this.words[cell + TAIL] = node;
  }

  /** Makes these nodes the whole queue, in this order. */
  protected relink(nodes: readonly number[]): void {
    this.words[this.cell + HEAD] = 0;
    this.words[this.cell + TAIL] = 0;
    this.words[this.cell + LENGTH] = 0;
    this.words[this.cell + GIVERS] = 0;
    for (const node of nodes) this.#insert(node, false);
  }

  #gives(node: number): number {
    return ((this.words[node + NODE_ASKS] as number) & ASKS_GIVES) === 0 ? 0 : 1;
  }

  // ── looking ───────────────────────────────────────────────────────────────────────────────────

  /**
   * The oldest node that still waits; 0 when none does. Drops nodes that have changed their mind on
   * the way.
   */
  protected oldest(): number {
    if (Atomics.load(this.words, this.cell + CANCELLED_COUNT) > CANCELLED_MAX) this.#dropCancelled();
    for (;;) {
      const head = this.words[this.cell + HEAD] as number;
      if (head === 0 || Atomics.load(this.words, head + NODE_STATE) !== CANCELLED) return head;
      this.dropOldest(head);
    }
  }

  /** All nodes of the queue, oldest first. */
  protected queued(): number[] {
    const nodes: number[] = [];
    let node = this.words[this.cell + HEAD] as number;
    for (; node !== 0; node = this.words[node + QUEUE_NEXT] as number) nodes.push(node);
    return nodes;
  }

  // ── out ───────────────────────────────────────────────────────────────────────────────────────

  /**
   * Moves a node from one state to another and notes its owner for waking; false when the node
   * wasn't in the state `from`. For a node that isn't in the queue any more, or won't stay there.
   */
  protected settle(node: number, from: number, to: number): boolean {
    // Read before the move: afterwards the node is its owner's again.
    const wakes = this.words[node + NODE_WAKES] as number;
    const isAsync = ((this.words[node + NODE_ASKS] as number) & ASKS_ASYNC) !== 0;
    if (Atomics.compareExchange(this.words, node + NODE_STATE, from, to) !== from) return false;
    if (wakes < 0) return true;
    this.wakes.push(wakes);
    this.wakes.push(isAsync ? node : 0);
    return true;
  }

  /**
   * Serves the oldest node: settles it and takes it out of the queue; false when it has changed its
   * mind. Write the outcome that its owner shall find before.
   */
  protected settleOldest(node: number, from: number, to: number): boolean {
    // Read before: afterwards the node is its owner's, who may have posted it again.
    const next = this.words[node + QUEUE_NEXT] as number;
    const gives = this.#gives(node);
    if (!this.settle(node, from, to)) return false;
    this.#unlinkOldest(next, gives);
    return true;
  }

  /**
   * Settles the nodes of the queue that are CLAIMED, `only` one of them or (0) all, and takes them
   * out.
   */
  protected settleClaimed(only: number, to: number): void {
    const left: number[] = [];
    for (const node of this.queued()) {
      if ((only !== 0 && node !== only) || !this.settle(node, CLAIMED, to)) left.push(node);
    }
    this.relink(left);
  }

  /** Takes the oldest node, which nobody waits for, out of the queue and frees it. */
  protected dropOldest(node: number): void {
    this.#unlinkOldest(this.words[node + QUEUE_NEXT] as number, this.#gives(node));
    this.#drop(node);
  }

  /** Takes any node out of the queue, before its owner learns the outcome. */
  protected unlink(node: number): void {
    const next = this.words[node + QUEUE_NEXT] as number;
    let previous = this.words[this.cell + HEAD] as number;
    if (previous === node) {
      this.#unlinkOldest(next, this.#gives(node));
      return;
    }
    while (this.words[previous + QUEUE_NEXT] !== node) previous = this.words[previous + QUEUE_NEXT] as number;
    this.words[previous + QUEUE_NEXT] = next;
    if (next === 0) this.words[this.cell + TAIL] = previous;
    this.words[this.cell + LENGTH] = (this.words[this.cell + LENGTH] as number) - 1;
    this.words[this.cell + GIVERS] = (this.words[this.cell + GIVERS] as number) - this.#gives(node);
  }

  #unlinkOldest(next: number, gives: number): void {
    this.words[this.cell + GIVERS] = (this.words[this.cell + GIVERS] as number) - gives;
    this.words[this.cell + HEAD] = next;
    if (next === 0) {
      this.words[this.cell + TAIL] = 0;
      this.words[this.cell + NEXT_ORDER] = 0;
      this.words[this.cell + FIRST_ORDER] = 0;
    }
    this.words[this.cell + LENGTH] = (this.words[this.cell + LENGTH] as number) - 1;
  }

  #drop(node: number): void {
    const state = Atomics.exchange(this.words, node + NODE_STATE, FREE);
    if (state === CANCELLED) Atomics.sub(this.words, this.cell + CANCELLED_COUNT, 1);
  }

  #dropCancelled(): void {
    const dropped: number[] = [];
    const kept: number[] = [];
    for (const node of this.queued()) {
      if (Atomics.load(this.words, node + NODE_STATE) === CANCELLED) dropped.push(node);
      else kept.push(node);
    }
    this.relink(kept);
    for (const node of dropped) this.#drop(node);
    // Deaths may have left the count wrong; a node that its owner counts late is dropped with the
    // next lot.
    Atomics.store(this.words, this.cell + CANCELLED_COUNT, 0);
  }
}
