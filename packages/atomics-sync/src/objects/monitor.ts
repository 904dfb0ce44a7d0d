/**
 * What every lock, semaphore and channel stands on: a short critical section that nobody waits for, and a queue of parties.
 *
 * Whoever wants something posts a node into the INBOX and then *pumps*: it takes the LATCH if it is free, puts the inbox in
 * order, and serves whoever can be served. If another thread has the latch, a bit in it (OWED) makes that thread look once more before
 * it leaves. So no thread waits for the latch, the main thread included, and no request is overlooked. (Hendler et al.,
 * "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010, is the general form.)
 *
 * Memory: a cell of 32 words.
 *
 *    0  KIND       what the object is; changed by whoever makes and closes it (space.ts)
 *    1  LATCH      0, or the holder's thread plus one, with OWED in bit 16; compare-and-swap by anyone
 *    2  INBOX      the node that was posted last, 0 for none; pushed by anyone, emptied by the latch holder
 *    3  STATE      of the object; how it is written is its kind's matter. For kinds with an owner, see OWNER_MASK
 *   Under the latch only:
 *    4  HEAD       the oldest node of the queue, 0 for none
 *    5  TAIL       the youngest
 *    6  LENGTH     nodes in the queue
 *    7  NEXT_ORDER the number of the next node that is put at the end; FIRST_ORDER counts down for those put at the front
 *    8  FIRST_ORDER
 *    9  CANCELLED  nodes of the queue that have changed their mind; added to by their owners
 *   10  STALE      1: a thread has died that had to do with the object; whoever has the latch and knows the kind mends it
 *   11  LOST       how much was held by threads that died with it, and
 *   12  LOST_ASKS  what those had asked for
 *   13  REDO       1: the next four say what happens, all of it or nothing; see `commit`
 *   14  REDO_GIVER REDO_TAKER REDO_WORD REDO_VALUE
 *   18  GIVERS     nodes of the queue that ask to give
 *   19  …          for the kind
 *
 * When a thread dies (at any instruction) with the latch, the next one that needs it takes it over and builds the queue again
 * from the nodes: a node is in the queue if it is WAITING, CLAIMED or CANCELLED and has an ORDER. Therefore
 *
 *   - a node gets its ORDER before the inbox is emptied (a node that was lost in between would be found by nobody),
 *   - it leaves the inbox before it is served (a node that its owner uses again must not be in the inbox any more),
 *   - what follows it in the queue is read before it is served (its owner may post it again at once),
 *   - each kind's service is one write that says what happened (a state word, the node's own state, or REDO); the rest follows from it, and
 *   - CELL of a node is written by who then posts it, or has the latch: while somebody has the latch, no node leaves the object unseen.
 *
 * Whoever builds the queue again or buries knows nothing of kinds: it sets STALE, and the next one that takes the latch for the object brings
 * the kind's own words in line (`repair`) before it does anything else.
 *
 * Who is woken is collected and woken after the latch was given up. A thread that dies before that owes a wake-up; whoever buries it
 * wakes everybody (burial.ts), and everybody who waits looks after its object again.
 *
 * Rejected: a queue in a linked list that each waiter edits (a death in mid-edit can't be told from a slow thread); a
 * futex-like wait on the object's own word (one notification may go to a waiter that can't use it, and an event loop
 * can't take part fairly); a redo record per latch (more writes per operation than building the queue again, once per death).
 */
import { unpark } from "../threads/parker.ts";
import {
  NODE_ASKS,
  ASKS_ASYNC,
  ASKS_FRONT,
  ASKS_GIVES,
  CANCELLED,
  NODE_BLOCK,
  NODE_CELL,
  CLAIMED,
  DECISION,
  FREE,
  GRANTED,
  HELD,
  INBOX_NEXT,
  NODE_GROUP,
  NODE_NEED,
  ORDER,
  NODE_OUTCOME,
  QUEUE_NEXT,
  RELEASING,
  NODE_STATE,
  SIBLING,
  TICKET,
  WAITING,
  NODE_WAKES,
} from "./node.ts";
import { CELL_KIND, CELL_STATE, type SyncSpace } from "./space.ts";

export const LATCH = 1;
export const INBOX = 2;
export const HEAD = 4;
export const TAIL = 5;
export const LENGTH = 6;
const NEXT_ORDER = 7;
const FIRST_ORDER = 8;
const CANCELLED_COUNT = 9;
export const STALE = 10;
export const LOST = 11;
export const LOST_ASKS = 12;
/** In LOST_ASKS: a dead thread's node was CLAIMED, so a step for it may have been begun. */
export const LOST_CLAIMED: number = 1 << 30;
/** The first of the words that each kind uses as it likes. */
export const GIVERS = 18;
export const CELL_KIND_WORDS = 19;
const REDO = 13;
const REDO_GIVER = 14;
const REDO_TAKER = 15;
const REDO_WORD = 16;
const REDO_VALUE = 17;

const OWED: number = 1 << 16;
const LATCH_THREAD = 0xffff;
/** STATE in kinds that have an owner: its thread plus one; its owner has died and nobody has had it since; the number of the node through which
 * the owner got it, until it has seen that. */
export const OWNER_MASK = 0x1ff;
export const ORPHAN: number = 1 << 11;
export const GRANT_SHIFT = 12;
export const GRANT_MASK: number = 0xffff << GRANT_SHIFT;

/** Orders begin far from 0, which means "not in the queue". Those of one queue lie within 2³¹ of each other unless it wasn't empty for so many
 * waits; then a queue that is built again after a death is in another order. */
const ORDER_START = 0x40000000;
/** Nodes that changed their mind leave the queue when they reach its head, or all at once when they are many. */
const CANCELLED_MAX = 16;

export class Monitor {
  protected readonly space: SyncSpace;
  protected readonly words: Int32Array;
  /** Word index of the object's cell. */
  protected readonly cell: number;
  /** KIND when this view was made. */
  readonly #generation: number;
  /** Whom to wake once the latch is given up: thread and node in turn, a node only for event loops. */
  readonly #wakes: number[] = [];
  /** Objects that must be looked after once the latch is given up: a party that waits for them too could be served there meanwhile. */
  readonly #owed: number[] = [];

  constructor(space: SyncSpace, cell: number) {
    this.space = space;
    this.words = space.words;
    this.cell = cell;
    this.#generation = this.words[cell + CELL_KIND] as number;
  }

  /** What the cell is for and how often it was taken into use; read without order, so a late user may still be overlooked. */
  get kind(): number {
    return this.words[this.cell + CELL_KIND] as number;
  }

  /** Serves whoever can be served. Called with the latch, after the inbox was put in order. */
  protected serve(): void {}

  /** Somebody has died with the latch, or with nodes here: tells the nodes that are CLAIMED what the object's state says already (those that stay
   * CLAIMED go back to WAITING), and derives anew what the kind derives from the nodes. May be called again when it was broken off. */
  protected repair(): void {}

  /** The cell of a lock that this thread has and whoever is woken takes next: they are woken when it is released. 0 without. */
  protected lockAhead(): number {
    return 0;
  }

  /** Another object of the same kind. */
  protected another(cell: number): Monitor {
    return new Monitor(this.space, cell);
  }

  /** Whether nobody holds anything of the object, and nobody can get hold of it any more: the last question before it is closed. With the latch. */
  protected isReleased(): boolean {
    return true;
  }

  /** A node that the latch holder has seen in the inbox says that it releases what it held. */
  protected released(_node: number): void {}

  // ── for the parties ──────────────────────────────────────────────────────────────────────────────────────────────

  /** A node of this thread, ready to be posted. */
  protected prepareNode(need: number, asks: number, wakes: number): number {
    const node = this.space.takeNode();
    this.fillNode(node, need, asks, wakes);
    return node;
  }

  /** Makes a free node one of this object; for who then posts it, or has the latch. */
  protected fillNode(node: number, need: number, asks: number, wakes: number): void {
    this.words[node + NODE_CELL] = this.cell;
    this.words[node + NODE_NEED] = need;
    this.#fill(node, asks, wakes);
  }

  #fill(node: number, asks: number, wakes: number): void {
    this.words[node + NODE_WAKES] = wakes;
    this.words[node + QUEUE_NEXT] = 0;
    this.words[node + ORDER] = 0;
    this.words[node + NODE_ASKS] = asks;
    this.words[node + NODE_OUTCOME] = 0;
    this.words[node + NODE_BLOCK] = 0;
    this.words[node + NODE_GROUP] = 0;
  }

  /** Puts a node that was served into the queue again. */
  protected repost(node: number, asks: number): void {
    this.#fill(node, asks, this.words[node + NODE_WAKES] as number);
    this.post(node, WAITING);
  }

  /** Publishes a node. `pump` afterwards. */
  protected post(node: number, state: number): void {
    Atomics.store(this.words, node + NODE_STATE, state);
    let top = Atomics.load(this.words, this.cell + INBOX);
    // Ends: each failure means that another thread has posted or emptied.
    for (;;) {
      this.words[node + INBOX_NEXT] = top;
      const seen = Atomics.compareExchange(this.words, this.cell + INBOX, top, node);
      if (seen === top) return;
      top = seen;
    }
  }

  /** Sees to it that whoever can be served is served, by this thread or by the one that has the latch. */
  pump(): void {
    if (this.tryLatch()) this.unlatch();
  }

  /** The owner's change of mind; false when it came too late: the node was or is just being served. */
  cancel(node: number): boolean {
    if (!this.retract(node)) return false;
    this.pump();
    return true;
  }

  /** The same for a node that nobody waits behind. */
  retract(node: number): boolean {
    const state = Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CANCELLED);
    if (state !== WAITING) return false;
    Atomics.add(this.words, this.cell + CANCELLED_COUNT, 1);
    // Its owner has the block's name elsewhere, and frees it.
    this.words[node + NODE_BLOCK] = 0;
    this.space.leaveNode(node);
    return true;
  }

  /** Gives the cell back; false, and nothing has happened, while somebody waits for the object or holds of it. */
  close(): boolean {
    if (!this.tryLatch()) return false;
    this.settleInbox();
    this.serve();
    if (this.oldest() === 0) {
      const kind = this.space.closeCell(this.cell);
      // Who posts from now on finds the cell closed (`isClosed`); who has posted before is seen here.
      if (Atomics.load(this.words, this.cell + INBOX) === 0 && this.isReleased()) {
        this.space.giveCell(this.cell);
        this.#wakeAll();
        return true;
      }
      this.space.reopenCell(this.cell, kind);
    }
    this.unlatch();
    return false;
  }

  /** Whether the object was closed while this party was about to wait for it. */
  isClosed(): boolean {
    return Atomics.load(this.words, this.cell + CELL_KIND) !== this.#generation;
  }

  // ── the latch ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the latch; false when another thread has it, which will then serve once more. */
  protected tryLatch(): boolean {
    if (!this.#takeLatch()) return false;
    if (this.words[this.cell + STALE] !== 0) this.#mend();
    return true;
  }

  #takeLatch(): boolean {
    const own = this.space.thread + 1;
    let seen = Atomics.compareExchange(this.words, this.cell + LATCH, 0, own);
    // Ends: each failure means that the latch has changed hands.
    while (seen !== 0) {
      if (this.space.threads.isDead((seen & LATCH_THREAD) - 1)) {
        const held = seen;
        seen = Atomics.compareExchange(this.words, this.cell + LATCH, held, own);
        if (seen === held) {
          this.#rebuild();
          return true;
        }
        if (seen === 0) seen = Atomics.compareExchange(this.words, this.cell + LATCH, 0, own);
        continue;
      }
      if ((seen & OWED) !== 0) return false;
      const held = seen;
      seen = Atomics.compareExchange(this.words, this.cell + LATCH, held, held | OWED);
      if (seen === held) return false;
      if (seen === 0) seen = Atomics.compareExchange(this.words, this.cell + LATCH, 0, own);
    }
    return true;
  }

  /** Takes the latch, even if another thread must first give it up; false when that takes longer than a short critical section. For what can't be
   * left to the one that has it. */
  protected spinForLatch(): boolean {
    for (let spin = 0; spin < this.space.spins; spin += 1) {
      if (Atomics.load(this.words, this.cell + LATCH) === 0 && this.tryLatch()) return true;
    }
    return this.tryLatch();
  }

  /** Serves, gives the latch up, and wakes whom that concerns. */
  protected unlatch(): void {
    const own = this.space.thread + 1;
    // Ends when nobody has asked meanwhile: each round answers at least one party that then waits or goes on.
    for (;;) {
      this.settleInbox();
      this.serve();
      if (this.#giveLatch(own)) break;
    }
    this.#wakeAll();
  }

  /**
   * Takes the latch with everybody served who has asked before; false when another thread has it, which then serves once more. The inbox isn't
   * looked at: who posts pumps next, and either was served by then or has the latch holder do it.
   */
  protected seize(): boolean {
    if (!this.#takeLatch()) return false;
    if (this.words[this.cell + STALE] !== 0) {
      this.#mend();
      this.settleInbox();
      this.serve();
    }
    return true;
  }

  /** Whether anybody has the latch; stale at once. */
  protected isLatched(): boolean {
    return Atomics.load(this.words, this.cell + LATCH) !== 0;
  }

  /** Gives the latch up after `seize`; faster than `unlatch` when nobody is in the queue. */
  protected cede(): void {
    if (this.words[this.cell + HEAD] === 0 && this.#giveLatch(this.space.thread + 1)) this.#wakeAll();
    else this.unlatch();
  }

  #giveLatch(own: number): boolean {
    if (Atomics.compareExchange(this.words, this.cell + LATCH, own, 0) === own) return true;
    Atomics.store(this.words, this.cell + LATCH, own);
    return false;
  }

  /** Whether the latch holder has nobody to consider but itself. */
  protected isQuiet(): boolean {
    return this.words[this.cell + HEAD] === 0 && Atomics.load(this.words, this.cell + INBOX) === 0;
  }

  // ── the inbox and the queue; with the latch ──────────────────────────────────────────────────────────────────────

  /** Puts what was posted into the queue, in the order in which it was posted. */
  protected settleInbox(): void {
    const inbox = this.cell + INBOX;
    let settled = 0;
    let top = Atomics.load(this.words, inbox);
    if (top === 0) return;
    // Ends: each failure means that another thread has posted.
    for (;;) {
      this.#settleChain(top, settled);
      settled = top;
      const seen = Atomics.compareExchange(this.words, inbox, top, 0);
      if (seen === top) break;
      top = seen;
    }
    // Only now may a node be used again: it isn't in the inbox any more.
    this.#finishReleases(top);
  }

  /** Orders the nodes from `top` down to `end`, which was ordered before. */
  #settleChain(top: number, end: number): void {
    let reversed = 0;
    // The chain is reversed through QUEUE_NEXT, which a node that isn't in the queue doesn't use.
    for (let node = top; node !== end && node !== 0; node = this.words[node + INBOX_NEXT] as number) {
      if (this.words[node + ORDER] !== 0) continue;
      this.words[node + QUEUE_NEXT] = reversed;
      reversed = node;
    }
    while (reversed !== 0) {
      const node = reversed;
      reversed = this.words[node + QUEUE_NEXT] as number;
      this.words[node + QUEUE_NEXT] = 0;
      if (Atomics.load(this.words, node + NODE_STATE) === RELEASING) this.words[node + ORDER] = ORDER_START;
      else this.#link(node);
    }
  }

  #finishReleases(top: number): void {
    for (let node = top; node !== 0;) {
      const next = this.words[node + INBOX_NEXT] as number;
      if (Atomics.load(this.words, node + NODE_STATE) === RELEASING) {
        this.released(node);
        Atomics.store(this.words, node + NODE_STATE, FREE);
      }
      node = next;
    }
  }

  #link(node: number): void {
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

  /** The oldest node that still waits; 0 when none does. Nodes that have changed their mind are dropped on the way. */
  protected oldest(): number {
    if (Atomics.load(this.words, this.cell + CANCELLED_COUNT) > CANCELLED_MAX) this.#dropCancelled();
    for (;;) {
      const head = this.words[this.cell + HEAD] as number;
      if (head === 0 || Atomics.load(this.words, head + NODE_STATE) !== CANCELLED) return head;
      this.dropOldest(head);
    }
  }

  /** Takes the oldest node, which nobody waits for, out of the queue and frees it. */
  protected dropOldest(node: number): void {
    this.#unlinkOldest(this.words[node + QUEUE_NEXT] as number, this.#gives(node));
    this.#drop(node);
  }

  /** Serves the oldest node: moves it from one state to another and takes it out of the queue; false when it has changed its mind. The outcome,
   * if its owner shall find one, is written before. */
  protected settleOldest(node: number, from: number, to: number): boolean {
    // Read before: afterwards the node is its owner's, who may have posted it again.
    const next = this.words[node + QUEUE_NEXT] as number;
    const gives = this.#gives(node);
    if (!this.settle(node, from, to)) return false;
    this.#unlinkOldest(next, gives);
    return true;
  }

  #gives(node: number): number {
    return ((this.words[node + NODE_ASKS] as number) & ASKS_GIVES) === 0 ? 0 : 1;
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

  /** Moves a node that isn't in the queue any more, or won't stay there, from one state to another and sees to it that its owner is woken; false
   * when the node wasn't in the state `from`. */
  protected settle(node: number, from: number, to: number): boolean {
    // Before the move: afterwards the node is its owner's again.
    const wakes = this.words[node + NODE_WAKES] as number;
    const isAsync = ((this.words[node + NODE_ASKS] as number) & ASKS_ASYNC) !== 0;
    if (Atomics.compareExchange(this.words, node + NODE_STATE, from, to) !== from) return false;
    if (wakes < 0) return true;
    this.#wakes.push(wakes);
    this.#wakes.push(isAsync ? node : 0);
    return true;
  }

  #wakeAll(): void {
    const lock = this.#wakes.length === 0 ? 0 : this.lockAhead();
    for (let index = 0; index < this.#wakes.length; index += 2) {
      const thread = this.#wakes[index] as number;
      const node = this.#wakes[index + 1] as number;
      if (lock === 0) this.#wake(thread, node);
      else this.space.wakesHeldBack.push(lock, thread, node);
    }
    this.#wakes.length = 0;
    for (let cell = this.#owed.pop(); cell !== undefined; cell = this.#owed.pop()) {
      const kind = this.#owed.pop();
      if (Atomics.load(this.words, cell + CELL_KIND) === kind) this.another(cell).pump();
    }
  }

  #wake(thread: number, node: number): void {
    if (node !== 0) this.space.announce(node);
    unpark(this.space.threads.words, thread);
  }

  /** Wakes whom this thread has held back until it had released the lock that this object is. */
  protected wakeHeldBack(): void {
    const list = this.space.wakesHeldBack;
    const others: number[] = [];
    for (let index = 0; index < list.length; index += 3) {
      const [lock, thread, node] = list.slice(index, index + 3) as [number, number, number];
      if (lock === this.cell) this.#wake(thread, node);
      else others.push(lock, thread, node);
    }
    list.length = 0;
    list.push(...others);
  }

  #drop(node: number): void {
    const state = Atomics.exchange(this.words, node + NODE_STATE, FREE);
    if (state === CANCELLED) Atomics.sub(this.words, this.cell + CANCELLED_COUNT, 1);
  }

  #dropCancelled(): void {
    const dropped: number[] = [];
    const kept: number[] = [];
    for (
      let node = this.words[this.cell + HEAD] as number;
      node !== 0;
      node = this.words[node + QUEUE_NEXT] as number
    ) {
      if (Atomics.load(this.words, node + NODE_STATE) === CANCELLED) dropped.push(node);
      else kept.push(node);
    }
    this.#relink(kept);
    for (const node of dropped) this.#drop(node);
    // Deaths may have left the count wrong; what owners add late is dropped with the next lot.
    Atomics.store(this.words, this.cell + CANCELLED_COUNT, 0);
  }

  // ── steps of several writes; with the latch ──────────────────────────────────────────────────────────────────────

  /** Takes any node out of the queue; before it is told what became of it. */
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

  /** Whether the party of a node of the queue can still be served, as far as one can see. */
  protected isOpen(node: number): boolean {
    if (Atomics.load(this.words, node + NODE_STATE) !== WAITING) return false;
    const group = this.words[node + NODE_GROUP] as number;
    return group === 0 || Atomics.load(this.words, group + DECISION) === this.words[node + TICKET];
  }

  /** Sees to it that the party of a node can't change its mind, and that no other object serves it; false when it has, or another does. */
  protected claim(node: number): boolean {
    const group = this.words[node + NODE_GROUP] as number;
    if (group === 0) {
      return Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) === WAITING;
    }
    const ticket = this.words[node + TICKET] as number;
    if (Atomics.compareExchange(this.words, group + DECISION, ticket, node) !== ticket) return false;
    // Nobody else moves it: its owner does so only once the group is decided.
    Atomics.store(this.words, node + NODE_STATE, CLAIMED);
    return true;
  }

  /** Whether a node of the queue is claimed, or its group through it and the claim went no further. */
  #isClaimed(node: number): boolean {
    if (Atomics.load(this.words, node + NODE_STATE) === CLAIMED) return true;
    const group = this.words[node + NODE_GROUP] as number;
    return group !== 0 && Atomics.load(this.words, group + DECISION) === node;
  }

  /** Takes a claim back. The other objects of its group have passed it over meanwhile: they are looked after when the latch is given up. */
  protected unclaim(node: number): void {
    const group = this.words[node + NODE_GROUP] as number;
    if (group !== 0) this.#owe(group);
    Atomics.compareExchange(this.words, node + NODE_STATE, CLAIMED, WAITING);
    if (group === 0) return;
    Atomics.compareExchange(this.words, group + DECISION, node, this.words[node + TICKET] as number);
  }

  #owe(group: number): void {
    // While the claim stands, the group's nodes stay what they are.
    for (let node = this.words[group + SIBLING] as number; node !== 0; node = this.words[node + SIBLING] as number) {
      const cell = this.words[node + NODE_CELL] as number;
      if (cell === this.cell) continue;
      this.#owed.push(Atomics.load(this.words, cell + CELL_KIND));
      this.#owed.push(cell);
    }
  }

  /**
   * One step, whoever dies: tells up to two nodes that are claimed and not in the queue any more that they were served, and sets a word of the cell,
   * a word index in it. 0 stands for none. What the parties find in their nodes, and what `word` makes visible, is written before.
   */
  protected commit(giver: number, taker: number, word: number, value: number): void {
    this.words[this.cell + REDO_GIVER] = giver;
    this.words[this.cell + REDO_TAKER] = taker;
    this.words[this.cell + REDO_WORD] = word;
    this.words[this.cell + REDO_VALUE] = value;
    Atomics.store(this.words, this.cell + REDO, 1);
    this.#redo();
  }

  /** Does what REDO says, or what is left of it; several times if need be. */
  #redo(): void {
    if (Atomics.load(this.words, this.cell + REDO) === 0) return;
    const word = this.words[this.cell + REDO_WORD] as number;
    if (word !== 0) Atomics.store(this.words, this.cell + word, this.words[this.cell + REDO_VALUE] as number);
    this.#grant(this.words[this.cell + REDO_GIVER] as number);
    this.#grant(this.words[this.cell + REDO_TAKER] as number);
    Atomics.store(this.words, this.cell + REDO, 0);
  }

  #grant(node: number): void {
    // Once it was told, its owner may have put it to another use; here it is CLAIMED only for the step that is being done.
    if (node === 0 || Atomics.load(this.words, node + NODE_CELL) !== this.cell) return;
    const group = this.words[node + NODE_GROUP] as number;
    if (group === 0) {
      this.settle(node, CLAIMED, GRANTED);
      return;
    }
    const seen = Atomics.compareExchange(this.words, node + NODE_STATE, CLAIMED, GRANTED);
    if (seen !== CLAIMED && seen !== GRANTED) return;
    const isDecided = Atomics.load(this.words, group + DECISION) === node;
    // A node that is still GRANTED here hasn't been given back, so the group is the one that it was claimed in.
    if (!isDecided || Atomics.load(this.words, node + NODE_STATE) !== GRANTED) return;
    this.settle(group, WAITING, GRANTED);
  }

  #relink(nodes: readonly number[]): void {
    this.words[this.cell + HEAD] = 0;
    this.words[this.cell + TAIL] = 0;
    this.words[this.cell + LENGTH] = 0;
    this.words[this.cell + GIVERS] = 0;
    for (const node of nodes) this.#insert(node, false);
  }

  // ── after a death ────────────────────────────────────────────────────────────────────────────────────────────────

  /** The latch was taken from a dead thread: builds the queue again from the nodes. */
  #rebuild(): void {
    this.#redo();
    const queued: { node: number; order: number }[] = [];
    for (let chunk = 0; chunk < this.space.chunks; chunk += 1) {
      if (this.space.chunkOwner(chunk) < 0) continue;
      for (let index = 0; index < this.space.chunkNodes; index += 1) {
        const node = this.space.nodeAt(chunk, index);
        const state = this.stateHere(node);
        if (state !== WAITING && state !== CLAIMED && state !== CANCELLED) continue;
        const order = this.words[node + ORDER] as number;
        if (order !== 0) queued.push({ node, order });
      }
    }
    queued.sort((one, other) => (one.order - other.order) | 0);
    this.#relink(queued.map(({ node }) => node));
    this.words[this.cell + STALE] = 1;
    this.settleInbox();
    this.#finishLostReleases();
  }

  /**
   * The state of any node as far as it concerns this object; FREE when it doesn't. With the latch.
   *
   * A node that isn't FREE or GRANTED belongs to one object, and its CELL says which. It may move to another one between two looks; but once CELL names
   * this object, it stays, because nobody but the latch holder could let it go. So the state that is read after CELL is one in this object.
   */
  protected stateHere(node: number): number {
    const before = Atomics.load(this.words, node + NODE_STATE);
    if (before === FREE || before === GRANTED) return FREE;
    if (Atomics.load(this.words, node + NODE_CELL) !== this.cell) return FREE;
    const state = Atomics.load(this.words, node + NODE_STATE);
    return state === GRANTED ? FREE : state;
  }

  /** Releases that were taken from the inbox and not counted: with STALE everything is counted anew. */
  #finishLostReleases(): void {
    for (let chunk = 0; chunk < this.space.chunks; chunk += 1) {
      if (this.space.chunkOwner(chunk) < 0) continue;
      for (let index = 0; index < this.space.chunkNodes; index += 1) {
        const node = this.space.nodeAt(chunk, index);
        if (this.stateHere(node) !== RELEASING || this.words[node + ORDER] === 0) continue;
        Atomics.store(this.words, node + NODE_STATE, FREE);
      }
    }
  }

  /** How much the nodes of this object hold. With the latch. */
  protected heldInAll(): number {
    let held = 0;
    for (let chunk = 0; chunk < this.space.chunks; chunk += 1) {
      if (this.space.chunkOwner(chunk) < 0) continue;
      for (let index = 0; index < this.space.chunkNodes; index += 1) {
        const node = this.space.nodeAt(chunk, index);
        const state = this.stateHere(node);
        // A release that is still to be taken from the inbox will be counted then.
        const isHeld = state === HELD || (state === RELEASING && this.words[node + ORDER] === 0);
        if (isHeld) held += this.words[node + NODE_NEED] as number;
      }
    }
    return held;
  }

  /** The first step of whoever takes the latch for an object in which somebody has died. */
  #mend(): void {
    this.repair();
    for (
      let node = this.words[this.cell + HEAD] as number;
      node !== 0;
      node = this.words[node + QUEUE_NEXT] as number
    ) {
      if (this.#isClaimed(node)) this.unclaim(node);
    }
    this.words[this.cell + STALE] = 0;
  }

  /** Tells the nodes of the queue that are CLAIMED, one of them or all, that they were served, and takes them out. For `repair`. */
  protected settleClaimed(only: number, to: number): void {
    const left: number[] = [];
    for (let node = this.words[this.cell + HEAD] as number; node !== 0;) {
      const next = this.words[node + QUEUE_NEXT] as number;
      if ((only !== 0 && node !== only) || !this.settle(node, CLAIMED, to)) left.push(node);
      node = next;
    }
    this.#relink(left);
  }

  /**
   * Takes a dead thread out of this object, whatever its kind: from the queue, from the holders, from the ownership. False when a thread that
   * is alive has the latch: try again later. Nobody is served here; whoever waits does that when it is woken (burial.ts).
   */
  mourn(dead: number, isOwned: boolean): boolean {
    if (!this.#takeLatch()) return false;
    this.settleInbox();
    const alive: number[] = [];
    for (
      let node = this.words[this.cell + HEAD] as number;
      node !== 0;
      node = this.words[node + QUEUE_NEXT] as number
    ) {
      if (this.space.chunkOwner(this.space.chunkOf(node)) !== dead) alive.push(node);
    }
    this.#relink(alive);
    this.#countLost(dead);
    if (isOwned) this.#orphan(dead);
    this.words[this.cell + STALE] = 1;
    Atomics.store(this.words, this.cell + LATCH, 0);
    return true;
  }

  #countLost(dead: number): void {
    for (let chunk = 0; chunk < this.space.chunks; chunk += 1) {
      if (this.space.chunkOwner(chunk) !== dead) continue;
      for (let index = 0; index < this.space.chunkNodes; index += 1) {
        const node = this.space.nodeAt(chunk, index);
        if (this.words[node + NODE_CELL] !== this.cell) continue;
        const state = Atomics.load(this.words, node + NODE_STATE);
        if (state === HELD) {
          this.words[this.cell + LOST] =
            (this.words[this.cell + LOST] as number) + (this.words[node + NODE_NEED] as number);
          this.#noteLost(this.words[node + NODE_ASKS] as number);
        } else if (state === CLAIMED) this.#noteLost(LOST_CLAIMED);
        this.#freeBlock(node);
        Atomics.store(this.words, node + NODE_STATE, FREE);
      }
    }
  }

  #noteLost(asks: number): void {
    this.words[this.cell + LOST_ASKS] = (this.words[this.cell + LOST_ASKS] as number) | asks;
  }

  /** Frees the block that a dead thread's node leaves to nobody. */
  #freeBlock(node: number): void {
    const block = this.words[node + NODE_BLOCK] as number;
    if (block === 0) return;
    const isServed = Atomics.load(this.words, node + NODE_STATE) === GRANTED;
    const gives = ((this.words[node + NODE_ASKS] as number) & ASKS_GIVES) !== 0;
    this.words[node + NODE_BLOCK] = 0;
    if (gives !== isServed) this.space.heap.free(block);
  }

  #orphan(dead: number): void {
    let state = Atomics.load(this.words, this.cell + CELL_STATE);
    // Ends: each failure means that another thread has changed a flag.
    while ((state & OWNER_MASK) === dead + 1) {
      const orphan = (state & ~(OWNER_MASK | GRANT_MASK)) | ORPHAN;
      const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, orphan);
      if (seen === state) return;
      state = seen;
    }
  }
}
