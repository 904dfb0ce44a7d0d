/**
 * The shared part of a mutex: a lock that one thread at a time owns.
 *
 * Source: Go's sync.Mutex (src/internal/sync/mutex.go) for the two modes; Linux's robust futexes
 * for the death of an owner.
 *
 * STATE says who has the lock:
 *
 *   bits 0–8    OWNER     the holder's thread plus one, 0 when nobody has it
 *   bit  9      WAKE      the thread that releases the lock must look after the queue
 *   bit  10     STARVING  the lock is handed to the oldest waiter; nobody else may take it
 *   bit  11     ORPHAN    the holder has died, and nobody has had the lock since
 *   bits 12–27  GRANT     the number of the node that the lock was handed to, until that node's
 *                         owner has seen it
 *   bits 28–31  TAG       the end of the object's generation, constant: a late user of a lock that
 *                         was closed fails with its compare-and-swap
 *
 * Free and quiet is TAG alone, held and quiet is TAG and OWNER: locking and releasing are one
 * compare-and-swap each. A released lock isn't handed over: the oldest waiter is woken and tries,
 * and may lose against a thread that is running. That is far faster than a queue of sleepers that
 * wake each other. A waiter that loses goes to the front again; one that has lost and waited for
 * more than STARVING_MS is handed the lock.
 *
 * A flow may be long in coming: nobody can tell whether its event loop is busy. So a release
 * invites the waiters behind it as well, one of each thread, up to the first thread that blocks.
 * Nor is a flow handed the lock: nobody else could run until it comes. It goes to the front again
 * each time it loses.
 *
 * One store of STATE, with OWNER and GRANT, hands the lock over: if the latch holder dies after it,
 * the next one finds GRANT and tells the node.
 */
import { block } from "../objects/block.ts";
import { asyncWaits } from "../objects/current.ts";
import {
  CELL_KIND_WORDS,
  CELL_STATE,
  GRANT_MASK,
  GRANT_SHIFT,
  ORPHAN,
  OWNED_TAG_MASK,
  ownedTag,
  OWNER_MASK,
  ownsCell,
  SHUT,
} from "../objects/cell.ts";
import { Monitor } from "../objects/monitor.ts";
import {
  ASKS_ASYNC,
  ASKS_FRONT,
  ASKS_KIND,
  CLAIMED,
  GRANTED,
  NODE_ASKS,
  NODE_OUTCOME,
  NODE_STATE,
  NODE_WAKES,
  QUEUE_NEXT,
  WAITING,
} from "../objects/node.ts";
import type { SyncSpace } from "../objects/space.ts";
import type { WaitOptions } from "../objects/wait-options.ts";

const WAKE: number = 1 << 9;
const STARVING: number = 1 << 10;

/** Word of the cell: 1 when nobody may have the lock after its holder has died. */
const FAILS = CELL_KIND_WORDS;
/** Word of the cell, for Once: 1 when it was done. */
export const ONCE_DONE: number = CELL_KIND_WORDS + 1;
/** ASKS of a node: it has waited too long. */
const ASKS_HANDOVER = ASKS_KIND;
/** As in Go: long against a lock's usual time, short against what a person notices. */
const STARVING_MS = 1;

// Outcomes of a node, and of an attempt.
const TRY = 1;
export const OWNED = 2;
export const OWNED_RECOVERED = 3;
export const ABANDONED = 4;
export const TAKEN = 5;
export const TIMED_OUT = 6;
/** It would wait for itself. */
export const SELF = 7;

export class MutexCore extends Monitor {
  /** STATE when nobody has the lock, and when this thread has it, and nobody waits. */
  readonly #free: number;
  readonly #own: number;

  constructor(space: SyncSpace, cell: number) {
    super(space, cell);
    this.#free = ownedTag(this.generation);
    this.#own = this.#free | (space.thread + 1);
  }

  /** Of a new mutex, before anybody else knows it. */
  setFails(): void {
    this.words[this.cell + FAILS] = 1;
  }

  /** OWNED, OWNED_RECOVERED, ABANDONED or TAKEN. */
  tryLock(): number {
    const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, this.#free, this.#own);
    if (seen === this.#free) return OWNED;
    return this.#tryLockSlow(0);
  }

  /** Takes the lock if it can be had and sets the bits of `flags` in its state. */
  #tryLockSlow(flags: number): number {
    let state = Atomics.load(this.words, this.cell + CELL_STATE);
    if ((state & (OWNER_MASK | STARVING)) === STARVING) {
      // It is about to be handed over, or the starving waiter has died.
      this.pump();
      state = Atomics.load(this.words, this.cell + CELL_STATE);
    }
    if ((state & OWNER_MASK) === SHUT) {
      const isShut = (): boolean => (Atomics.load(this.words, this.cell + CELL_STATE) & OWNER_MASK) === SHUT;
      // The thread that was closing it may have died.
      this.pump();
      if (!this.staysOpen(isShut)) return TAKEN;
      state = Atomics.load(this.words, this.cell + CELL_STATE);
    }
    // Ends: each failure means that another thread has changed the state.
    for (;;) {
      if ((state & OWNED_TAG_MASK) !== this.#free) return TAKEN;
      if ((state & (OWNER_MASK | STARVING)) !== 0) return TAKEN;
      if (this.#isAbandoned(state)) return ABANDONED;
      const seen = Atomics.compareExchange(
        this.words,
        this.cell + CELL_STATE,
        state,
        (state & ~ORPHAN) | this.#own | flags,
      );
      if (seen === state) return (state & ORPHAN) === 0 ? OWNED : OWNED_RECOVERED;
      state = seen;
    }
  }

  #isAbandoned(state: number): boolean {
    return (state & ORPHAN) !== 0 && this.words[this.cell + FAILS] === 1;
  }

  isSameAs(other: MutexCore): boolean {
    return this.cell === other.cell && this.words === other.words;
  }

  /** A flow of this thread's event loop begins (1) or ends (-1) to wait. */
  countAsyncWait(step: number): void {
    const waits = (this.space.asyncLockWaits.get(this.cell) ?? 0) + step;
    if (waits === 0) this.space.asyncLockWaits.delete(this.cell);
    else this.space.asyncLockWaits.set(this.cell, waits);
  }

  isHeldByThisThread(): boolean {
    return ownsCell(this.words, this.cell, this.space.thread);
  }

  isLocked(): boolean {
    return (Atomics.load(this.words, this.cell + CELL_STATE) & OWNER_MASK) !== 0;
  }

  /** Blocks until this thread has the lock: OWNED, OWNED_RECOVERED, ABANDONED, TIMED_OUT, SELF. */
  lock(timeoutMs: number): number {
    let outcome = this.tryLock();
    if (outcome !== TAKEN) return outcome;
    if (this.isHeldByThisThread() || this.isAwaitedByOwnLoop()) return SELF;
    outcome = this.#lookForRelease();
    if (outcome !== TAKEN) return outcome;
    this.stack.assertRoom();
    return this.#wait(this.space.takeNode(), timeoutMs, true);
  }

  /**
   * For a party that has had the lock, has released it for a while, and can't go on without it:
   * blocks until it has it again. Nothing refuses the wait, and `node` was taken before.
   */
  lockAgain(node: number): number {
    let outcome = this.tryLock();
    if (outcome === TAKEN) outcome = this.#lookForRelease();
    if (outcome === TAKEN) return this.#wait(node, Infinity, false);
    this.space.giveNode(node);
    return outcome;
  }

  #lookForRelease(): number {
    for (let spin = 0; spin < this.space.spins; spin += 1) {
      if (this.isLocked()) continue;
      const outcome = this.tryLock();
      if (outcome !== TAKEN) return outcome;
    }
    return TAKEN;
  }

  #wait(node: number, timeoutMs: number, isRefusable: boolean): number {
    const since = this.space.now();
    this.enqueue(0, this.space.thread, node);
    let leftMs = timeoutMs;
    for (;;) {
      if (!block(this.space, this, node, leftMs, isRefusable)) return TIMED_OUT;
      const waitedMs = this.space.now() - since;
      const outcome = this.served(node, waitedMs);
      if (outcome !== TAKEN) return outcome;
      leftMs = timeoutMs - waitedMs;
    }
  }

  /**
   * Whether flows of this thread's event loop wait for the lock: a wait that blocks would never
   * end.
   */
  isAwaitedByOwnLoop(): boolean {
    return this.space.asyncLockWaits.has(this.cell);
  }

  /** Puts a node into the queue; `served` says what became of it. */
  enqueue(asks: number, wakes: number, reserved = 0): number {
    if (reserved === 0) this.stack.assertRoom();
    const node = reserved === 0 ? this.space.takeNode() : reserved;
    this.fillNode(node, 0, asks, wakes);
    this.post(node, WAITING);
    this.pump();
    return node;
  }

  /**
   * The outcome of a node that was served: OWNED, OWNED_RECOVERED or ABANDONED. TAKEN: the node
   * waits again, at the front.
   */
  served(node: number, waitedMs: number): number {
    let outcome = this.words[node + NODE_OUTCOME] as number;
    // With WAKE: others may wait behind it, and nobody is to be woken while it tries.
    if (outcome === TRY) outcome = this.#tryLockSlow(WAKE);
    else if (outcome !== ABANDONED) Atomics.and(this.words, this.cell + CELL_STATE, ~GRANT_MASK);
    if (outcome === TAKEN) {
      const asks = ((this.words[node + NODE_ASKS] as number) & ASKS_ASYNC) | ASKS_FRONT;
      this.repost(node, waitedMs > STARVING_MS ? asks | ASKS_HANDOVER : asks);
      this.pump();
    } else this.space.giveNode(node);
    return outcome;
  }

  /** False when this thread doesn't have the lock. */
  unlock(): boolean {
    const seen = Atomics.compareExchange(this.words, this.cell + CELL_STATE, this.#own, this.#free);
    if (seen !== this.#own && !this.#unlockSlow()) return false;
    this.space.locksHeld -= 1;
    if (this.space.wakesHeldBack.length > 0) this.wakeHeldBack();
    return true;
  }

  #unlockSlow(): boolean {
    // Before the lock is free: the waiters must be looked after then.
    this.stack.assertRoom();
    let state = Atomics.load(this.words, this.cell + CELL_STATE);
    // Ends: each failure means that another thread has changed a flag.
    for (;;) {
      if ((state & (OWNER_MASK | OWNED_TAG_MASK)) !== this.#own) return false;
      const seen = Atomics.compareExchange(
        this.words,
        this.cell + CELL_STATE,
        state,
        state & ~(OWNER_MASK | GRANT_MASK),
      );
      if (seen === state) break;
      state = seen;
    }
    if ((state & (WAKE | STARVING)) !== 0) this.pump();
    return true;
  }

  protected override shut(): boolean {
    const state = Atomics.load(this.words, this.cell + CELL_STATE);
    if ((state & OWNER_MASK) !== 0) return false;
    return this.#move(state, state | SHUT);
  }

  protected override reopen(): void {
    const state = Atomics.load(this.words, this.cell + CELL_STATE);
    if ((state & OWNER_MASK) === SHUT) Atomics.and(this.words, this.cell + CELL_STATE, ~OWNER_MASK);
  }

  /** The data that the lock protects is in order again. */
  reset(): void {
    Atomics.and(this.words, this.cell + CELL_STATE, ~ORPHAN);
    this.pump();
  }

  protected override serve(): void {
    // Ends: a step that doesn't return has dropped or served a node, or another thread has changed
    // the state.
    for (;;) {
      const state = Atomics.load(this.words, this.cell + CELL_STATE);
      const node = this.oldest();
      if (node === 0) {
        if (this.#move(state, state & ~(WAKE | STARVING))) return;
      } else if (this.#isAbandoned(state)) {
        this.#tell(node, ABANDONED);
      } else if ((state & OWNER_MASK) !== 0) {
        if (this.#move(state, state | WAKE | this.#starvingBit(node))) return;
      } else if (this.#starvingBit(node) !== 0) {
        if (this.#handOver(state, node)) return;
      } else if (this.#move(state, state & ~(WAKE | STARVING)) && this.#invite(node)) return;
    }
  }

  #starvingBit(node: number): number {
    if (((this.words[node + NODE_ASKS] as number) & ASKS_HANDOVER) === 0) return 0;
    return this.#answersSoon(node) ? STARVING : 0;
  }

  #move(state: number, next: number): boolean {
    return state === next || Atomics.compareExchange(this.words, this.cell + CELL_STATE, state, next) === state;
  }

  /**
   * Whether the party of a node comes as soon as it is woken: a thread that blocks, and no flow.
   */
  #answersSoon(node: number): boolean {
    return ((this.words[node + NODE_ASKS] as number) & ASKS_ASYNC) === 0;
  }

  /**
   * Lets the oldest node try, and others if it may be long in coming; false when it has changed its
   * mind.
   */
  #invite(oldest: number): boolean {
    const first = this.words[oldest + NODE_WAKES] as number;
    let answersSoon = this.#answersSoon(oldest);
    if (!this.#tell(oldest, TRY)) return false;
    if (answersSoon) return true;
    const invited = new Set([first]);
    for (const node of this.queued()) {
      const thread = this.words[node + NODE_WAKES] as number;
      if (invited.has(thread)) continue;
      answersSoon = this.#answersSoon(node);
      if (!this.#inviteFromBehind(node)) continue;
      if (answersSoon) return true;
      invited.add(thread);
    }
    return true;
  }

  #inviteFromBehind(node: number): boolean {
    if (Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) !== WAITING) return false;
    this.words[node + NODE_OUTCOME] = TRY;
    this.unlink(node);
    return this.settle(node, CLAIMED, GRANTED);
  }

  /** Tells the oldest node something; false when it has changed its mind. */
  #tell(node: number, outcome: number): boolean {
    this.words[node + NODE_OUTCOME] = outcome;
    return this.settleOldest(node, WAITING, GRANTED);
  }

  /** Makes the oldest node's owner the holder; false when the node or the lock wasn't to be had. */
  #handOver(state: number, node: number): boolean {
    if (Atomics.compareExchange(this.words, node + NODE_STATE, WAITING, CLAIMED) !== WAITING) return false;
    this.words[node + NODE_OUTCOME] = (state & ORPHAN) === 0 ? OWNED : OWNED_RECOVERED;
    const owner = this.space.chunkOwner(this.space.chunkOf(node)) + 1;
    const wake = this.words[node + QUEUE_NEXT] === 0 ? 0 : WAKE;
    if (!this.#move(state, this.#free | owner | (this.space.nodeNumber(node) << GRANT_SHIFT) | wake)) {
      Atomics.store(this.words, node + NODE_STATE, WAITING);
      return false;
    }
    return this.settleOldest(node, CLAIMED, GRANTED);
  }

  protected override repair(): void {
    const number = (Atomics.load(this.words, this.cell + CELL_STATE) & GRANT_MASK) >>> GRANT_SHIFT;
    if (number !== 0) this.settleClaimed(this.space.nodeOfNumber(number), GRANTED);
  }
}

/** Resolves when this thread has the lock: OWNED, OWNED_RECOVERED, ABANDONED, TIMED_OUT. */
export async function lockInEventLoop(
  space: SyncSpace,
  core: MutexCore,
  options: WaitOptions,
  reserved = 0,
): Promise<number> {
  let outcome = core.tryLock();
  if (outcome !== TAKEN) {
    if (reserved !== 0) space.giveNode(reserved);
    return outcome;
  }
  const waits = asyncWaits(space);
  const since = space.now();
  const node = core.enqueue(ASKS_ASYNC, waits.thread, reserved);
  core.countAsyncWait(1);
  try {
    let waitedMs = 0;
    for (;;) {
      const leftMs = options.timeoutMs === undefined ? undefined : options.timeoutMs - waitedMs;
      if (!(await waits.wait(core, node, { signal: options.signal, timeoutMs: leftMs }))) return TIMED_OUT;
      waitedMs = space.now() - since;
      outcome = core.served(node, waitedMs);
      if (outcome !== TAKEN) return outcome;
    }
  } finally {
    core.countAsyncWait(-1);
  }
}
