/**
 * The base of every lock, semaphore and channel: a short critical section that no thread waits for,
 * and a queue of parties.
 *
 * A party that wants something posts a node into the INBOX and then *pumps*: it takes the LATCH if
 * it is free, puts the inbox in order, and serves the parties that can be served. If another thread
 * has the latch, a bit in it (OWED) makes that thread look once more before it leaves. So no thread
 * waits for the latch, the main thread included, and no request is overlooked. (Hendler et al.,
 * "Flat combining and the synchronization-parallelism tradeoff", SPAA 2010, is the general form.)
 *
 * Memory: a cell (cell.ts) and nodes (node.ts); the queue is in wait-queue.ts.
 *
 * When a thread dies, at any instruction, with the latch, the next one that needs it takes it over
 * and builds the queue again from the nodes (mourning.ts): a node is in the queue if it is WAITING,
 * CLAIMED or CANCELLED and has an ORDER. Therefore
 *
 *   - a node gets its ORDER before the inbox is emptied: a node that was lost in between would be
 *     found by nobody;
 *   - it leaves the inbox before it is served: a node that its owner uses again must not be in the
 *     inbox any more;
 *   - what follows it in the queue is read before it is served: its owner may post it again at
 *     once;
 *   - each kind's service is one write that says what happened (a state word, the node's own state,
 *     or REDO), and the rest follows from it;
 *   - CELL of a node is written by the thread that then posts it or has the latch: while a thread
 *     has the latch, no node leaves the object unseen.
 *
 * A thread that builds the queue again, or buries, knows nothing of kinds. It sets STALE, and the
 * next thread that takes the latch for the object brings the kind's own words in line (`repair`)
 * before it does anything else.
 *
 * The latch holder collects the parties that it has served and wakes them after it has given the
 * latch up. A thread that dies before that owes wake-ups. Therefore a burial wakes every thread
 * (burial.ts), and each waiting thread looks at its object again.
 *
 * Rejected: a queue in a linked list that each waiter edits (a death in mid-edit can't be told from
 * a slow thread); a futex-like wait on the object's own word (one notification may go to a waiter
 * that can't use it, and an event loop can't take part fairly); a redo record per latch (more
 * writes per operation than building the queue again, once per death).
 */
import { setImmediate } from "@millrace/base";
import { syncError } from "../errors.ts";
import { unpark } from "../threads/parker.ts";
import { StackGuard } from "../threads/stack.ts";
import {
  BROKEN_OFF,
  CANCELLED_COUNT,
  CELL_KIND,
  HEAD,
  INBOX,
  INBOX_NODE,
  INBOX_NODE_SHIFT,
  LATCH,
  LATCH_THREAD,
  nextTag,
  OWED,
  REDO,
  REDO_GIVER,
  REDO_TAKER,
  REDO_VALUE,
  REDO_WORD,
  STALE,
  TAG_MASK,
  tagOf,
} from "./cell.ts";
import { finishLostReleases, freeNodesOf, heldInAll, nodesInOrder, orphan } from "./mourning.ts";
import {
  CANCELLED,
  CLAIMED,
  DECISION,
  FREE,
  GRANTED,
  INBOX_NEXT,
  NODE_ASKS,
  NODE_BLOCK,
  NODE_CELL,
  NODE_GROUP,
  NODE_NEED,
  NODE_OUTCOME,
  NODE_STATE,
  NODE_WAKES,
  ORDER,
  ORDER_START,
  QUEUE_NEXT,
  RELEASING,
  setSeen,
  SIBLING,
  TICKET,
  WAITING,
} from "./node.ts";
import type { SyncSpace } from "./space.ts";
import { WaitQueue } from "./wait-queue.ts";

export class Monitor extends WaitQueue {
  /** KIND when this view was made, and the tag of LATCH and INBOX that belongs to it. */
  protected readonly generation: number;
  readonly #tag: number;
  /** An exception has thrown a holder out of the latch: nobody knows what it owed. */
  #owesAll = false;
  /** For steps that must not be broken off: before their first write. */
  protected readonly stack: StackGuard = new StackGuard();
  /**
   * Objects to look after once the latch is given up: a party that waits for them too could be
   * served there meanwhile.
   */
  readonly #owed: number[] = [];

  constructor(space: SyncSpace, cell: number) {
    super(space, cell);
    this.generation = Atomics.load(this.words, cell + CELL_KIND);
    this.#tag = tagOf(this.generation);
  }

  /**
   * KIND of the cell. A plain read, because it decides nothing: the object may be closed right
   * after it, and then the tag in STATE refuses the step.
   */
  get kind(): number {
    return this.words[this.cell + CELL_KIND] as number;
  }

  // ── for the kinds ─────────────────────────────────────────────────────────────────────────────

  /**
   * Serves the parties that can be served. Called with the latch, after the inbox was put in order.
   */
  protected serve(): void {}

  /**
   * After a death with the latch, or with nodes here: tells the nodes that are CLAIMED what the
   * object's state says already, and derives anew what the kind derives from nodes. Nodes that stay
   * CLAIMED go back to WAITING. A repair that a death has broken off is done again.
   */
  protected repair(): void {}

  /**
   * The cell of a lock that this thread has and the woken parties take next: they are woken at its
   * release. 0 for none.
   */
  protected lockAhead(): number {
    return 0;
  }

  /** This thread's view of another object of the same kind. */
  protected another(cell: number): Monitor {
    return new Monitor(this.space, cell);
  }

  /**
   * Makes sure that no party can get hold of the object without the latch; false when one holds any
   * of it. With the latch; `reopen` takes it back.
   */
  protected shut(): boolean {
    return true;
  }

  /** The object is in use after all. Does nothing when it wasn't shut. */
  protected reopen(): void {}

  /** Counts what a RELEASING node held. With the latch, when it was taken from the inbox. */
  protected released(_node: number): void {}

  // ── for the parties ───────────────────────────────────────────────────────────────────────────

  /** A node of this thread, ready to be posted. */
  protected prepareNode(need: number, asks: number, wakes: number): number {
    this.stack.assertRoom();
    const node = this.space.takeNode();
    this.fillNode(node, need, asks, wakes);
    return node;
  }

  /** Makes a free node one of this object; post it then, or have the latch. */
  protected fillNode(node: number, need: number, asks: number, wakes: number): void {
    setSeen(this.words, node + NODE_CELL, this.cell);
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
    setSeen(this.words, node + NODE_GROUP, 0);
  }

  /** Posts a node again that was served. */
  protected repost(node: number, asks: number): void {
    this.#fill(node, asks, this.words[node + NODE_WAKES] as number);
    this.post(node, WAITING);
  }

  /** Publishes a node; `pump` afterwards. Throws `ERR_SYNC_CLOSED`, and gives the node back. */
  protected post(node: number, state: number): void {
    const inbox = this.cell + INBOX;
    Atomics.store(this.words, node + NODE_STATE, state);
    let top = Atomics.load(this.words, inbox);
    // Ends: each failure means that another thread has posted or emptied.
    while ((top & TAG_MASK) === this.#tag) {
      this.words[node + INBOX_NEXT] = (top & INBOX_NODE) << INBOX_NODE_SHIFT;
      const next = this.#tag | (node >> INBOX_NODE_SHIFT);
      const seen = Atomics.compareExchange(this.words, inbox, top, next);
      if (seen === top) return;
      top = seen;
    }
    this.words[node + NODE_BLOCK] = 0;
    this.space.giveNode(node);
    throw syncError("ERR_SYNC_CLOSED", "the object was closed meanwhile");
  }

  /**
   * Serves the parties that can be served, in this thread or through the one that has the latch.
   */
  pump(): void {
    try {
      if (this.tryLatch()) this.unlatch();
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  /**
   * Takes a node of this thread back; false when that comes too late: the node was, or is just
   * being, served.
   */
  cancel(node: number): boolean {
    if (!this.retract(node)) return false;
    this.pump();
    return true;
  }

  /** As `cancel`, without looking after those that wait behind the node. */
  retract(node: number): boolean {
    const state = Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CANCELLED);
    if (state !== WAITING) return false;
    Atomics.add(this.words, this.cell + CANCELLED_COUNT, 1);
    // The owner knows the block by another way, and frees it.
    this.words[node + NODE_BLOCK] = 0;
    this.space.leaveNode(node);
    return true;
  }

  /**
   * Gives the cell back; false while a party waits for the object or holds any of it. Then nobody
   * has noticed the attempt: the one step that turns users away is the one that can't fail any
   * more.
   */
  close(): boolean {
    try {
      return this.#close();
    } catch (thrown) {
      this.breakOff();
      throw thrown;
    }
  }

  #close(): boolean {
    if (!this.enterSoon(this.space.spins)) return false;
    this.settleInbox();
    this.serve();
    if (this.oldest() === 0 && this.shut()) {
      // The decision: no party has posted, and none can any more.
      const seen = Atomics.compareExchange(this.words, this.cell + INBOX, this.#tag, nextTag(this.#tag));
      if (seen === this.#tag) {
        this.space.giveCell(this.cell, this.generation);
        this.#wakeAll();
        return true;
      }
      this.reopen();
    }
    this.unlatch();
    return false;
  }

  /**
   * For a step without the latch that has found the object shut: waits until the thread that is
   * closing it has come through; false when the object is closed then.
   */
  protected staysOpen(isShut: () => boolean): boolean {
    for (let nap = 0; nap < this.space.napsMax && isShut() && !this.isClosed(); nap += 1) this.space.nap();
    return !isShut() && !this.isClosed();
  }

  /** Whether the object was closed. */
  isClosed(): boolean {
    return Atomics.load(this.words, this.cell + CELL_KIND) !== this.generation;
  }

  // ── the latch ─────────────────────────────────────────────────────────────────────────────────

  /** Takes the latch; false when another thread has it, which will then serve once more. */
  protected tryLatch(): boolean {
    if (!this.#takeLatch()) return false;
    if (this.words[this.cell + STALE] !== 0) this.#mend();
    return true;
  }

  #takeLatch(): boolean {
    const latch = this.cell + LATCH;
    const tag = this.#tag;
    const own = tag | (this.space.thread + 1);
    let seen = Atomics.compareExchange(this.words, latch, tag, own);
    // Ends: each failure means that the latch has changed hands.
    while (seen !== tag) {
      // Closed: the latch may be another object's.
      if ((seen & TAG_MASK) !== tag) return false;
      const held = seen;
      if (this.#isAbandoned(held & LATCH_THREAD)) {
        seen = Atomics.compareExchange(this.words, latch, held, own);
        if (seen === held) return this.#takeOver(held & LATCH_THREAD);
      } else {
        if ((held & OWED) !== 0) return false;
        seen = Atomics.compareExchange(this.words, latch, held, held | OWED);
        if (seen === held) return false;
      }
      if (seen === tag) seen = Atomics.compareExchange(this.words, latch, tag, own);
    }
    return true;
  }

  /**
   * Whether the holder, a thread plus one, doesn't come back to give the latch up. The latch isn't
   * reentrant: where this thread has it already, an exception has thrown it out.
   */
  #isAbandoned(holder: number): boolean {
    return holder === BROKEN_OFF || holder === this.space.thread + 1 || this.space.threads.isDead(holder - 1);
  }

  /**
   * Goes on with the latch of a holder that doesn't come back; false when that was closing the
   * object.
   */
  #takeOver(holder: number): boolean {
    if ((Atomics.load(this.words, this.cell + INBOX) & TAG_MASK) !== this.#tag) {
      this.space.giveCell(this.cell, this.generation);
      return false;
    }
    this.#rebuild();
    // The burial of a dead one wakes everybody.
    this.#owesAll = holder === BROKEN_OFF || holder === this.space.thread + 1;
    return true;
  }

  /**
   * Says that an exception has thrown this thread out of its critical section, if it was in there.
   * Where there isn't even room on the stack for this, the thread finds that out when it comes
   * back.
   */
  protected breakOff(): void {
    const latch = Atomics.load(this.words, this.cell + LATCH);
    if ((latch & ~OWED) !== (this.#tag | (this.space.thread + 1))) return;
    Atomics.store(this.words, this.cell + LATCH, this.#tag | BROKEN_OFF);
    // Parties that wait look after their objects when that changes.
    this.space.countDeath();
  }

  /**
   * Takes the latch as `seize` does, if need be after another thread has given it up; false when
   * the object is closed, or when the holder doesn't run for much longer than a critical section
   * takes.
   */
  protected enterSoon(spins: number): boolean {
    if (this.seize()) return true;
    for (let spin = 0; spin < spins; spin += 1) {
      if (!this.isLatched() && this.seize()) return true;
    }
    // The system has no core for the holder: give it this thread's.
    for (let nap = 0; nap < this.space.napsMax; nap += 1) {
      if (this.isClosed()) return false;
      this.space.nap();
      if (this.seize()) return true;
    }
    return false;
  }

  /** Serves, gives the latch up, and wakes the parties that were served. */
  protected unlatch(): void {
    // Ends when no thread has asked meanwhile: each round answers at least one party.
    for (let round = 1; ; round += 1) {
      this.settleInbox();
      this.serve();
      if (this.#giveLatch()) break;
      if (round < this.space.roundsMax) continue;
      // A thread that must not be kept from its own work serves the others in a later turn of its
      // event loop, unless another thread comes by before that.
      Atomics.store(this.words, this.cell + LATCH, this.#tag);
      setImmediate(() => this.pump());
      break;
    }
    this.#wakeAll();
  }

  /**
   * Takes the latch with every earlier party served; false when another thread has it, which then
   * serves once more. It doesn't look at the inbox: a party that posts pumps next, so it was served
   * by then, or this holder will serve it.
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

  /** Whether a thread has the latch; stale at once. */
  protected isLatched(): boolean {
    return (Atomics.load(this.words, this.cell + LATCH) & LATCH_THREAD) !== 0;
  }

  /** Gives the latch up after `seize`; faster than `unlatch` when nobody is in the queue. */
  protected cede(): void {
    if (this.words[this.cell + HEAD] === 0 && this.#giveLatch()) this.#wakeAll();
    else this.unlatch();
  }

  #giveLatch(): boolean {
    const own = this.#tag | (this.space.thread + 1);
    if (Atomics.compareExchange(this.words, this.cell + LATCH, own, this.#tag) === own) return true;
    Atomics.store(this.words, this.cell + LATCH, own);
    return false;
  }

  // ── the inbox and the queue; with the latch ───────────────────────────────────────────────────

  /** Puts what was posted into the queue, in the order in which it was posted. */
  protected settleInbox(): void {
    const inbox = this.cell + INBOX;
    let settled = 0;
    let top = Atomics.load(this.words, inbox);
    if (top === this.#tag) return;
    // Ends: each failure means that another thread has posted.
    for (;;) {
      const node = (top & INBOX_NODE) << INBOX_NODE_SHIFT;
      this.#settleChain(node, settled);
      settled = node;
      const seen = Atomics.compareExchange(this.words, inbox, top, this.#tag);
      if (seen === top) break;
      top = seen;
    }
    // Only now may a node be used again: it isn't in the inbox any more.
    this.#finishReleases(settled);
  }

  /** Puts the nodes from `top` down to `end`, which was put in before, into the queue. */
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
      else this.link(node);
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

  #wakeAll(): void {
    const lock = this.wakes.length === 0 ? 0 : this.lockAhead();
    for (let index = 0; index < this.wakes.length; index += 2) {
      const thread = this.wakes[index] as number;
      const node = this.wakes[index + 1] as number;
      if (lock === 0) this.#wake(thread, node);
      else this.space.wakesHeldBack.push(lock, thread, node);
    }
    this.wakes.length = 0;
    if (this.#owesAll) {
      this.#owesAll = false;
      this.space.wakeEverybody();
    }
    for (let cell = this.#owed.pop(); cell !== undefined; cell = this.#owed.pop()) {
      const kind = this.#owed.pop();
      if (Atomics.load(this.words, cell + CELL_KIND) === kind) this.another(cell).pump();
    }
  }

  #wake(thread: number, node: number): void {
    if (node !== 0) this.space.announce(node);
    unpark(this.space.threads.words, thread);
  }

  /**
   * Wakes the parties that this thread has held back until it had released the lock that this
   * object is.
   */
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

  // ── steps of several writes; with the latch ───────────────────────────────────────────────────

  /** Whether the party of a node of the queue can still be served, as far as one can see. */
  protected isOpen(node: number): boolean {
    if (Atomics.load(this.words, node + NODE_STATE) !== WAITING) return false;
    const group = this.words[node + NODE_GROUP] as number;
    return group === 0 || Atomics.load(this.words, group + DECISION) === this.words[node + TICKET];
  }

  /**
   * Makes sure that the party of a node can't change its mind, and that no other object serves it;
   * false when it has, or another one does.
   */
  protected claim(node: number): boolean {
    const group = this.words[node + NODE_GROUP] as number;
    if (group === 0) {
      return Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) === WAITING;
    }
    const ticket = this.words[node + TICKET] as number;
    if (Atomics.compareExchange(this.words, group + DECISION, ticket, node) !== ticket) return false;
    // No other thread moves it: its owner does so only once the group is decided.
    Atomics.store(this.words, node + NODE_STATE, CLAIMED);
    return true;
  }

  /**
   * Whether a node of the queue is claimed, or its group through it and the claim went no further.
   */
  #isClaimed(node: number): boolean {
    if (Atomics.load(this.words, node + NODE_STATE) === CLAIMED) return true;
    const group = this.words[node + NODE_GROUP] as number;
    return group !== 0 && Atomics.load(this.words, group + DECISION) === node;
  }

  /**
   * Takes a claim back. The other objects of the node's group may have passed the group over
   * meanwhile: this thread looks after them when it has given the latch up.
   */
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
   * Does one step whole, even if this thread dies in the midst of it: tells up to two claimed nodes
   * that were taken out of the queue that they were served, and sets a word of the cell (`word` is
   * its index there). 0 stands for none. Write what the parties find in their nodes, and what
   * `word` makes visible, before.
   */
  protected commit(giver: number, taker: number, word: number, value: number): void {
    this.words[this.cell + REDO_GIVER] = giver;
    this.words[this.cell + REDO_TAKER] = taker;
    this.words[this.cell + REDO_WORD] = word;
    this.words[this.cell + REDO_VALUE] = value;
    Atomics.store(this.words, this.cell + REDO, 1);
    this.#redo();
  }

  /** Does the step in REDO, or what is left of it. Doing it twice does no harm. */
  #redo(): void {
    if (Atomics.load(this.words, this.cell + REDO) === 0) return;
    const word = this.words[this.cell + REDO_WORD] as number;
    if (word !== 0) Atomics.store(this.words, this.cell + word, this.words[this.cell + REDO_VALUE] as number);
    this.#grant(this.words[this.cell + REDO_GIVER] as number);
    this.#grant(this.words[this.cell + REDO_TAKER] as number);
    Atomics.store(this.words, this.cell + REDO, 0);
  }

  #grant(node: number): void {
    // A node that was told may be in another use by now; at this object it is CLAIMED only for the
    // step in REDO.
    if (node === 0 || Atomics.load(this.words, node + NODE_CELL) !== this.cell) return;
    const group = Atomics.load(this.words, node + NODE_GROUP);
    if (group === 0) {
      this.settle(node, CLAIMED, GRANTED);
      return;
    }
    const ticket = Atomics.load(this.words, node + TICKET);
    const seen = Atomics.compareExchange(this.words, node + NODE_STATE, CLAIMED, GRANTED);
    // Fails where the group was told already and is in its next use: that has another ticket.
    if (seen === CLAIMED || seen === GRANTED) this.settle(group, ticket, GRANTED);
  }

  // ── after a death ─────────────────────────────────────────────────────────────────────────────

  /** Builds the queue again from the nodes, after the latch was taken from a dead thread. */
  #rebuild(): void {
    this.#redo();
    this.relink(nodesInOrder(this.space, this.cell));
    this.words[this.cell + STALE] = 1;
    this.settleInbox();
    finishLostReleases(this.space, this.cell);
  }

  /**
   * Brings an object in order at which a thread has died. The first step of a thread that takes the
   * latch to use it.
   */
  #mend(): void {
    // It may have died while it was closing the object.
    this.reopen();
    this.repair();
    for (const node of this.queued()) {
      if (this.#isClaimed(node)) this.unclaim(node);
    }
    this.words[this.cell + STALE] = 0;
  }

  /** How much the nodes of this object hold together. With the latch. */
  protected heldInAll(): number {
    return heldInAll(this.space, this.cell);
  }

  /**
   * Takes a dead thread out of this object, whatever its kind: from the queue, the holders and the
   * ownership. False when a living thread has the latch: try again later. Serves nobody; the
   * parties that wait do that when the burial wakes them (burial.ts).
   */
  mourn(dead: number, isOwned: boolean): boolean {
    if (Atomics.load(this.words, this.cell + LATCH) === (nextTag(this.#tag) | (dead + 1))) {
      // It died in the last steps of closing.
      this.space.giveCell(this.cell, this.generation);
      return true;
    }
    if (!this.#takeLatch()) return false;
    this.settleInbox();
    const alive: number[] = [];
    for (const node of this.queued()) {
      if (this.space.chunkOwner(this.space.chunkOf(node)) !== dead) alive.push(node);
    }
    this.relink(alive);
    freeNodesOf(this.space, this.cell, dead);
    if (isOwned) orphan(this.words, this.cell, dead);
    this.words[this.cell + STALE] = 1;
    Atomics.store(this.words, this.cell + LATCH, this.#tag);
    return true;
  }
}
