/**
 * The shared part of a context: a scope that ends once, for a reason, and ends the scopes below it.
 *
 * A party that waits for the end of a scope has a node in its queue (monitor.ts). So has every
 * scope below it: a node of the thread that made the lower scope. The thread that ends a scope
 * writes STATE and pumps. The latch holder serves every node: it wakes a thread, or ends a scope
 * below, whose own queue is served once the latch is given up.
 *
 * Memory: a cell for the monitor, of which it uses no word above 12, and then
 *
 *   +0  STATE        generation << 8 | phase: LIVE, CLAIMED, or why it is over, with REASONED; see
 *                    below
 *   +1  MAKER        0 while the place is free, or the thread that has made the scope plus one
 *                    (compare-and-swap from 0 by that thread), with CLOSING in bit 16 (by that
 *                    thread or the one that buries it); back to 0 by the latch holder
 *   +2  DEADLINE     two words, see `deadlineUs`; written by the maker before STATE
 *   +4  REASON_SIZE  words of the reason, and
 *   +5  REASON_CHECK their sum, which holds only for this generation; written between CLAIMED and
 *                    the phase after it
 *   +6  REASON       … to the end
 *
 *   LIVE ──anybody (CAS)──────────────► over
 *     └──anybody (CAS)──► CLAIMED ──the same (CAS)──► over, REASONED
 *                            └──one that has waited for long enough (CAS)──► over
 *
 * CLAIMED still counts as live: it says that a thread is writing a reason. Another thread that
 * cancels or closes the scope looks at it for a microsecond and then takes it over without a
 * reason; the writer, stalled or dead, has lost then. The writer may go on writing into the place
 * after the next scope has got it, and overwrite a reason there: REASON_CHECK finds that out.
 *
 * The latch holder gives the place back once the scope is over and closed and its queue is empty. A
 * party that posts a node afterwards looks at STATE after that and takes its node back. A late pump
 * does no harm, for the places of scopes are used for nothing else: it serves whatever scope is
 * there by the same rules. It may find the place free and the next scope's nodes in it a moment
 * later; therefore STATE is looked at once more after the inbox.
 *
 * A burial ends the scopes that the dead thread has made, and pumps all the others: a canceller may
 * have died on the way to the parties that wait. A scope below leaves the queue only once it is
 * over, or by its maker, so none is forgotten.
 *
 * Rejected: a list of children in the scopes themselves (closing edits two neighbours, and a death
 * in mid-edit needs a repair of its own); looking up all parents in `isOver` (a load per level, and
 * every wait would need a node per level); one count of all cancellations for all scopes (each of
 * them would wake everybody).
 */
import { syncError } from "../errors.ts";
import { CELL_WORDS } from "./cell.ts";
import { Monitor } from "./monitor.ts";
import { ASKS_KIND, GRANTED, NODE_ASKS, NODE_KIND_WORDS, WAITING } from "./node.ts";
import { SCOPE_WORDS, type SyncSpace } from "./space.ts";

const STATE: number = CELL_WORDS;
const MAKER: number = CELL_WORDS + 1;
const DEADLINE: number = CELL_WORDS + 2;
const REASON_SIZE: number = CELL_WORDS + 4;
const REASON_CHECK: number = CELL_WORDS + 5;
const REASON: number = CELL_WORDS + 6;
/** The most words of a reason: 488 bytes. */
export const REASON_WORDS: number = SCOPE_WORDS - REASON;

const GENERATION_SHIFT = 8;
const PHASE_MASK = 0xff;
const LIVE = 1;
const CLAIMED = 2;
/** Why a scope is over. */
export const SCOPE_CANCELLED = 4;
export const SCOPE_OVERDUE = 5;
export const SCOPE_CLOSED = 6;
export const SCOPE_MAKER_DIED = 7;
const REASONED = 0x80;

const CLOSING: number = 1 << 16;
const MAKER_THREAD = 0xffff;

/** ASKS of a node: it stands for a scope below this one, which its first two words name. */
const ASKS_CHILD = ASKS_KIND;
const CHILD = NODE_KIND_WORDS;
const CHILD_LIVE: number = NODE_KIND_WORDS + 1;
/** WAKES of a node that wakes nobody. */
const NOBODY = -1;

const DEADLINE_UNIT: number = 2 ** 31;
const NO_DEADLINE = -1;

/**
 * Makes a scope of this thread; it is over at once when `parent` is. `deadlineUs` is a whole number
 * or Infinity. Throws `ERR_SYNC_SPACE_FULL`, `ERR_WAITERS_EXHAUSTED`.
 */
export function makeScope(space: SyncSpace, parent: ScopeCore | undefined, deadlineUs: number): ScopeCore {
  const place = takePlace(space);
  const generation = (Atomics.load(space.words, place + STATE) >>> GENERATION_SHIFT) + 1;
  const scope = scopeAt(space, place, (generation << GENERATION_SHIFT) | LIVE);
  scope.open(parent, deadlineUs);
  return scope;
}

function scopeAt(space: SyncSpace, place: number, live: number): ScopeCore {
  return new ScopeCore(space, place, live);
}

export class ScopeCore extends Monitor {
  /** STATE while the scope is live. */
  readonly live: number;
  readonly #claimed: number;
  /** In the thread that has made it: the scope above, and this one's node there. */
  #parent: ScopeCore | undefined;
  #link = 0;
  /**
   * Scopes below that were ended while the latch was held, and whose waiters must still be served.
   */
  readonly #ended: ScopeCore[] = [];

  constructor(space: SyncSpace, place: number, live: number) {
    super(space, place);
    this.live = live;
    this.#claimed = phaseOf(live, CLAIMED);
  }

  /** Word index of its place. */
  get place(): number {
    return this.cell;
  }

  /** For `makeScope`. */
  open(parent: ScopeCore | undefined, deadlineUs: number): void {
    const { words, cell } = this;
    const hasDeadline = deadlineUs !== Infinity;
    Atomics.store(words, cell + DEADLINE, hasDeadline ? Math.floor(deadlineUs / DEADLINE_UNIT) : NO_DEADLINE);
    Atomics.store(words, cell + DEADLINE + 1, hasDeadline ? deadlineUs % DEADLINE_UNIT : 0);
    Atomics.store(words, cell + STATE, this.live);
    if (parent === undefined) return;
    this.#parent = parent;
    try {
      this.#link = parent.#post(ASKS_CHILD, NOBODY, this);
    } catch (thrown) {
      // No node is left; nobody has heard of this scope.
      this.release();
      throw thrown;
    }
    if (this.#link === 0) this.#follow(parent);
  }

  // ── its end ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Why it is over; 0 while it is live. The place may belong to another scope by now: then this one
   * was closed.
   */
  outcome(): number {
    const state = Atomics.load(this.words, this.cell + STATE);
    if (state === this.live || state === this.#claimed) return 0;
    if (phaseOf(state, LIVE) !== this.live) return SCOPE_CLOSED;
    return state & PHASE_MASK & ~REASONED;
  }

  /** Whether it is over: one load while it is live. */
  isOver(): boolean {
    return Atomics.load(this.words, this.cell + STATE) !== this.live && this.outcome() !== 0;
  }

  /**
   * Ends it, in any thread, and wakes the parties that wait for that. False when it was over
   * already. It is over when this returns.
   */
  end(code: number, reason?: Int32Array): boolean {
    // Before the first step: those that wait must be told then.
    this.stack.assertRoom();
    if (!this.#end(code, reason) && !this.#takeOver(code)) return false;
    this.pump();
    return true;
  }

  /** False when it was over already, or another thread is writing a reason. */
  #end(code: number, reason: Int32Array | undefined): boolean {
    const state = this.cell + STATE;
    const next = reason === undefined ? phaseOf(this.live, code) : this.#claimed;
    if (Atomics.compareExchange(this.words, state, this.live, next) !== this.live) return false;
    if (reason === undefined) return true;
    this.#writeReason(reason);
    const over = phaseOf(this.live, code | REASONED);
    return Atomics.compareExchange(this.words, state, this.#claimed, over) === this.#claimed;
  }

  /**
   * Ends it without a reason, although another thread is writing one and doesn't come to an end.
   */
  #takeOver(code: number): boolean {
    const state = this.cell + STATE;
    for (let spin = 0; spin < this.space.spins; spin += 1) {
      if (Atomics.load(this.words, state) !== this.#claimed) return false;
    }
    return Atomics.compareExchange(this.words, state, this.#claimed, phaseOf(this.live, code)) === this.#claimed;
  }

  /** Ends as its parent did; a thread that is writing a reason ends it instead. */
  #follow(parent: ScopeCore): void {
    if (this.#end(parent.outcome(), parent.reason())) this.pump();
  }

  #writeReason(reason: Int32Array): void {
    const { words, cell } = this;
    for (let index = 0; index < reason.length; index += 1) {
      Atomics.store(words, cell + REASON + index, reason[index] as number);
    }
    Atomics.store(words, cell + REASON_SIZE, reason.length);
    Atomics.store(words, cell + REASON_CHECK, sumOf(reason, this.live));
  }

  /**
   * The reason that it was ended with; undefined without one, or when it can't be had any more
   * because the scope was closed long ago.
   */
  reason(): Int32Array | undefined {
    const { words, cell } = this;
    const state = Atomics.load(words, cell + STATE);
    // Of the next scope in this place: its reason, if it has one, doesn't pass the check.
    if ((state & REASONED) === 0) return undefined;
    const size = Atomics.load(words, cell + REASON_SIZE);
    if (size > REASON_WORDS) return undefined;
    const reason = new Int32Array(size);
    for (let index = 0; index < size; index += 1) reason[index] = Atomics.load(words, cell + REASON + index);
    return Atomics.load(words, cell + REASON_CHECK) === sumOf(reason, this.live) ? reason : undefined;
  }

  /** Gives its place back, in the thread that has made it, once; it is over then. */
  release(): void {
    this.end(SCOPE_CLOSED);
    if (this.#link !== 0) this.#parent?.unwatch(this.#link);
    this.#link = 0;
    this.#leave();
  }

  #leave(): void {
    Atomics.or(this.words, this.cell + MAKER, CLOSING);
    this.pump();
  }

  /**
   * When it ends by itself, in µs of the clock that its maker has read; Infinity for never. For a
   * scope that isn't closed.
   */
  get deadlineUs(): number {
    const high = Atomics.load(this.words, this.cell + DEADLINE);
    return high === NO_DEADLINE ? Infinity : high * DEADLINE_UNIT + Atomics.load(this.words, this.cell + DEADLINE + 1);
  }

  // ── waiting for it ────────────────────────────────────────────────────────────────────────────

  /**
   * A node of this thread that is served when the scope ends; 0 when it is over. Give it back by
   * `unwatch`.
   */
  watch(asks: number, wakes: number): number {
    return this.#post(asks, wakes, undefined);
  }

  #post(asks: number, wakes: number, child: ScopeCore | undefined): number {
    const node = this.prepareNode(0, asks, wakes);
    this.words[node + CHILD] = child === undefined ? 0 : child.cell;
    this.words[node + CHILD_LIVE] = child === undefined ? 0 : child.live;
    this.post(node, WAITING);
    this.pump();
    // It may have ended, and its place been given away, before the node was posted: then nobody
    // else serves it.
    if (!this.isOver()) return node;
    this.unwatch(node);
    return 0;
  }

  /** Takes a node back, whether it was served or not. */
  unwatch(node: number): void {
    if (!this.cancel(node)) this.space.giveNode(node);
  }

  override pump(): void {
    if (this.tryLatch()) this.unlatch();
    for (let next = this.#ended.pop(); next !== undefined; next = this.#ended.pop()) {
      if (next.tryLatch()) next.unlatch();
      for (let below = next.#ended.pop(); below !== undefined; below = next.#ended.pop()) this.#ended.push(below);
    }
  }

  protected override serve(): void {
    let state = Atomics.load(this.words, this.cell + STATE);
    // Ends: a place that was free can be taken, and its scope end; it isn't given away before the
    // latch.
    for (;;) {
      if ((state & PHASE_MASK) <= CLAIMED) {
        // Only to let go of those that have changed their mind.
        this.oldest();
        return;
      }
      // All nodes that were posted while the scope was live are in the inbox by now. They must be
      // served before the place is given away.
      this.settleInbox();
      // Another scope in a place that was free: the parties in the queue may wait for the end of
      // that one.
      const seen = Atomics.load(this.words, this.cell + STATE);
      if (seen === state) break;
      state = seen;
    }
    // Ends: every step serves a node or drops one that has changed its mind.
    for (let node = this.oldest(); node !== 0; node = this.oldest()) {
      // First: a node that has left the queue is found by nobody.
      if (((this.words[node + NODE_ASKS] as number) & ASKS_CHILD) !== 0) this.#endChild(node, phaseOf(state, LIVE));
      this.settleOldest(node, WAITING, GRANTED);
    }
    // Still the same scope: another one in this place would have a queue that was not looked at.
    const isClosing = (Atomics.load(this.words, this.cell + MAKER) & CLOSING) !== 0;
    if (isClosing && Atomics.load(this.words, this.cell + STATE) === state) {
      Atomics.store(this.words, this.cell + MAKER, 0);
    }
  }

  /**
   * `live` is that of the scope that is in this place now; a late pump may come from an earlier
   * one.
   */
  #endChild(node: number, live: number): void {
    const self = live === this.live ? this : scopeAt(this.space, this.cell, live);
    const place = this.words[node + CHILD] as number;
    const child = scopeAt(this.space, place, this.words[node + CHILD_LIVE] as number);
    if (child.#end(self.outcome(), self.reason())) this.#ended.push(child);
  }

  // ── after a death ─────────────────────────────────────────────────────────────────────────────

  /** For `mournPlace`, which has read MAKER and STATE. */
  mend(dead: number, maker: number, state: number): boolean {
    if ((state & PHASE_MASK) === CLAIMED) this.#takeOver(SCOPE_CANCELLED);
    if ((maker & MAKER_THREAD) === dead + 1) {
      this.end(SCOPE_MAKER_DIED);
      this.#leave();
      return (Atomics.load(this.words, this.cell + MAKER) & MAKER_THREAD) !== dead + 1;
    }
    this.pump();
    return true;
  }
}

/**
 * For the burial of thread `dead`: ends the scope here if that thread has made it, and does what
 * the thread may have left undone. False while the scope is still that thread's. `isUser`: it had
 * to do with the scope in this place, or with the last one there.
 */
export function mournPlace(space: SyncSpace, place: number, dead: number, isUser: boolean): boolean {
  const maker = Atomics.load(space.words, place + MAKER);
  if (maker === 0 && !isUser) return true;
  const state = Atomics.load(space.words, place + STATE);
  return scopeAt(space, place, phaseOf(state, LIVE)).mend(dead, maker, state);
}

function takePlace(space: SyncSpace): number {
  for (let step = 0; step < space.scopes; step += 1) {
    const index = (space.scopeHint + step) % space.scopes;
    const maker = space.scopeAt(index) + MAKER;
    if (Atomics.load(space.words, maker) !== 0) continue;
    if (Atomics.compareExchange(space.words, maker, 0, space.thread + 1) !== 0) continue;
    space.scopeHint = (index + 1) % space.scopes;
    return space.scopeAt(index);
  }
  throw syncError("ERR_SYNC_SPACE_FULL", `all ${space.scopes} places for contexts are taken`);
}

/** The state of the same generation in another phase. */
function phaseOf(state: number, phase: number): number {
  return (state & ~PHASE_MASK) | phase;
}

/** Not cryptographic: it tells a whole reason of this scope from one that two have written. */
function sumOf(reason: Int32Array, live: number): number {
  let sum = live;
  for (let index = 0; index < reason.length; index += 1) {
    sum = Math.imul(sum ^ (reason[index] as number), 0x01000193);
    sum ^= sum >>> 15;
  }
  return sum | 0;
}
