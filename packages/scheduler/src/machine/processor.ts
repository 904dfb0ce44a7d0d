/**
 * The right to run tasks: queues, a tick, and the search for work. For the machine that holds the
 * processor.
 *
 * Source: findRunnable in Go's runtime (src/runtime/proc.go) and Tokio's worker.rs. Rejected, as
 * there: one central queue (a lock, and a hole when a producer dies), and handing a task directly
 * to a sleeping thread (it would run cold while a warm machine goes idle).
 *
 * Where entries lie, from the closest to the farthest:
 *
 *   next      a word: the youngest task that a handler left behind; its data is still in the cache.
 *             At most `NEXT_STREAK` in a row.
 *   batch     private: up to `BATCH` entries taken from the run queue by one compare-and-swap while
 *             tasks are short
 *   run queue 256 entries, others take half; what it has no room for goes to
 *   overflow  a larger ring, others take half of that as well
 *   outboxes  of the threads outside, by priority
 *
 * Entries in the batch are in no queue. If the machine gets stuck with them, the watchdog finds
 * their tasks by their states and queues them again; the claim decides who runs them.
 */
import type { Random } from "@millrace/base";
import { EMPTY, hasBit, RETRY, RunQueue, runQueueLength, type RunQueuePlace } from "@millrace/shared-memory";
import { lowerFlag } from "../shared/outbox-flags.ts";
import type { IdleSet } from "../shared/idle.ts";
import { RUN_QUEUE_CAPACITY } from "../shared/layout.ts";
import { PRIORITIES, RECOVERY_PRIORITY } from "../shared/priorities.ts";
import type { Shared } from "../shared/shared.ts";
import { NOT_CLAIMED, type TaskTable } from "../shared/task-table.ts";

/**
 * At every 61st task the outboxes are served first, the lowest priority before the others (Go's
 * schedtick % 61; a prime, so that it doesn't fall in step with a pattern in the load).
 */
const FAIRNESS_TICKS = 61;
/** Entries taken at once: half a run queue, as in Go. */
const SHARE_MAX: number = RUN_QUEUE_CAPACITY / 2;
/** Entries popped at once while tasks are short. */
const BATCH = 8;
/**
 * How often all run queues are tried before giving up; thieves that get in each other's way need
 * more than one pass.
 */
const STEAL_PASSES = 4;
/**
 * The outboxes of high priority are looked at every eighth task while there are others in the
 * queue.
 */
const HIGH_MASK = 7;
/**
 * As in Tokio: then the queue gets its turn, so that two tasks that spawn each other don't keep all
 * others waiting.
 */
const NEXT_STREAK = 3;

/** Counted by the machine that holds the processor. */
export interface SearchCounters {
  steals: number;
  stolenTasks: number;
  staleEntries: number;
  overflows: number;
}

export class Processor {
  readonly index: number;
  readonly #machine: number;
  readonly #shared: Shared;
  readonly #queue: RunQueue;
  readonly #overflow: RunQueue;
  readonly #place: RunQueuePlace;
  readonly #overflowPlace: RunQueuePlace;
  readonly #table: TaskTable;
  readonly #idle: IdleSet;
  readonly #random: Random;
  /** Run queues and overflow rings of all processors. */
  readonly #runQueues: RunQueuePlace[];
  readonly #overflows: RunQueuePlace[];
  readonly #outboxes: RunQueuePlace[][];
  readonly #nextWord: number;
  readonly #batch = new Int32Array(BATCH);
  #batchFrom = 0;
  #batchTo = 0;
  #tick = 0;
  #nextStreak = 0;
  #sawHigh = false;
  /** Whether the own queue comes first at the next turn for fairness. */
  #isOwnTurn = false;
  /** Whether NEXT may hold a task. */
  #hasNext: boolean;
  #isSearching = false;
  /** Where the last steal took tasks from, for the trace. */
  lastVictim = -1;
  readonly counters: SearchCounters;
  /** The state that the task returned by `findWork` was claimed with. */
  claimed: number = NOT_CLAIMED;
  /** Whether tasks are so short that several entries are taken at once. */
  takesBatches = false;

  constructor(shared: Shared, index: number, machine: number, random: Random, counters: SearchCounters) {
    const { processors, outsiders } = shared.memory;
    this.index = index;
    this.#machine = machine;
    this.#shared = shared;
    this.#place = shared.runQueue(index);
    this.#overflowPlace = shared.overflow(index);
    this.#queue = new RunQueue(this.#place);
    this.#overflow = new RunQueue(this.#overflowPlace);
    this.#table = shared.table();
    this.#idle = shared.idleSet();
    this.#random = random;
    this.#nextWord = shared.processors().nextWord(index);
    // The machine that had the processor before may have left one.
    this.#hasNext = shared.words[this.#nextWord] !== 0;
    this.counters = counters;
    this.#runQueues = Array.from({ length: processors }, (_, processor) => shared.runQueue(processor));
    this.#overflows = Array.from({ length: processors }, (_, processor) => shared.overflow(processor));
    this.#outboxes = Array.from({ length: PRIORITIES }, (_, priority) =>
      Array.from({ length: outsiders + (priority === RECOVERY_PRIORITY ? 1 : 0) }, (_unused, outsider) =>
        shared.outbox(outsider, outsider === outsiders ? 0 : priority),
      ),
    );
  }

  /**
   * A task that this machine has claimed, or `EMPTY` after every source was found empty. `claimed`
   * is its state.
   */
  findWork(): number {
    this.#tick += 1;
    if (this.#tick % FAIRNESS_TICKS === 0) {
      const fair = this.#fair();
      if (fair !== EMPTY) return this.#found(fair);
    }
    // A look at the high ones every few tasks, and after each one that was found.
    if (this.#sawHigh || (this.#tick & HIGH_MASK) === 0) {
      const high = this.#fromOutboxes(0, 1);
      this.#sawHigh = high !== EMPTY;
      if (high !== EMPTY) return this.#found(high);
    }
    const local = this.#local();
    if (local !== EMPTY) return this.#found(local);
    for (let priority = 0; priority < PRIORITIES; priority += 1) {
      const submitted = this.#fromOutboxes(priority, SHARE_MAX);
      if (submitted !== EMPTY) return this.#found(submitted);
    }
    if (this.#isSearching || this.#idle.trySearch(this.#machine)) {
      this.#isSearching = true;
      const stolen = this.#steal();
      if (stolen !== EMPTY) return this.#found(stolen);
    }
    return EMPTY;
  }

  /** As `findWork`, of what lies on this processor alone. */
  findLocal(): number {
    return this.#local();
  }

  /**
   * Whether `findWork` may find something: the look before sleeping. An outbox without a flag
   * doesn't count: its owner has yet to raise the flag, and looks for sleepers afterwards. Until
   * then a machine that went on would find nothing, over and over.
   */
  seesWork(): boolean {
    for (let priority = 0; priority < PRIORITIES; priority += 1) {
      const flags = this.#shared.layout.outboxFlags[priority] as number;
      const outboxes = this.#outboxes[priority] as RunQueuePlace[];
      for (let outbox = 0; outbox < outboxes.length; outbox += 1) {
        if (!hasBit(this.#shared.words, flags, outbox)) continue;
        if (runQueueLength(outboxes[outbox] as RunQueuePlace) > 0) return true;
      }
    }
    for (let processor = 0; processor < this.#runQueues.length; processor += 1) {
      if (runQueueLength(this.#runQueues[processor] as RunQueuePlace) > 0) return true;
      if (runQueueLength(this.#overflows[processor] as RunQueuePlace) > 0) return true;
    }
    return this.#batchFrom < this.#batchTo || Atomics.load(this.#shared.words, this.#nextWord) !== 0;
  }

  // ── putting tasks in ──────────────────────────────────────────────────────────────────────────

  /** Adds a task that is queued by its state. Others see it after `publish`. */
  push(slot: number): void {
    if (this.#queue.push(slot)) return;
    this.counters.overflows += 1;
    // Half of the queue goes over, so that the next pushes are cheap again.
    const oldest = this.#overflow.takeFrom(this.#place, 2, SHARE_MAX);
    if (oldest >= 0) this.#pushOverflow(oldest);
    if (!this.#queue.push(slot)) this.#pushOverflow(slot);
    this.#overflow.publish();
  }

  /** As `push`, to be run next on this machine. */
  pushNext(slot: number): void {
    const before = Atomics.exchange(this.#shared.words, this.#nextWord, slot + 1);
    this.#hasNext = true;
    if (before === 0) return;
    this.push(before - 1);
    this.publish();
  }

  publish(): void {
    this.#queue.publish();
  }

  /**
   * An entry that finds no room is dropped: the task is queued by its state, and the sweep finds
   * it.
   */
  #pushOverflow(slot: number): void {
    this.#overflow.push(slot);
  }

  /**
   * Makes the private entries visible to others: the machine is about to do something else than run
   * tasks.
   */
  publishPrivate(): void {
    const next = this.#hasNext ? Atomics.exchange(this.#shared.words, this.#nextWord, 0) : 0;
    this.#hasNext = false;
    if (next !== 0) this.push(next - 1);
    for (; this.#batchFrom < this.#batchTo; this.#batchFrom += 1) this.push(this.#batch[this.#batchFrom] as number);
    this.publish();
  }

  /** Whether the next task would come from here. */
  hasLocal(): boolean {
    return this.#hasNext || this.#batchFrom < this.#batchTo || this.localLength() > 0;
  }

  /** Entries in the run queue. */
  length(): number {
    return this.#queue.length();
  }

  /**
   * Entries in the run queue and in the overflow ring behind it: what `findLocal` takes, after
   * `publishPrivate`.
   */
  localLength(): number {
    return this.#queue.length() + this.#overflow.length();
  }

  // ── searching ─────────────────────────────────────────────────────────────────────────────────

  get isSearching(): boolean {
    return this.#isSearching;
  }

  /** A waker counted this machine as searching. */
  wasPicked(): void {
    this.#isSearching = true;
  }

  /** The last look before sleep found work: searches for it, however many others do. */
  search(): void {
    if (this.#isSearching) return;
    this.#isSearching = true;
    this.#idle.search(this.#machine);
  }

  /** Before sleeping. */
  stopSearching(): void {
    if (!this.#isSearching) return;
    this.#isSearching = false;
    this.#idle.stopSearch(this.#machine);
  }

  /**
   * The machine begins nothing for a while, or gives the processor away: what there is to do is for
   * others.
   */
  leaveToOthers(): void {
    this.publishPrivate();
    this.stopSearching();
    if (this.seesWork()) this.#idle.wakeOne();
  }

  /**
   * Stops searching, and wakes the next machine if there is work to be seen: the thread that
   * published it may have seen a searcher and woken nobody. For a machine that does something else
   * than sleep afterwards; a sleep looks once more by itself.
   */
  passSearchOn(): void {
    if (!this.#isSearching) return;
    this.stopSearching();
    if (this.seesWork()) this.#idle.wakeOne();
  }

  /**
   * With one processor there is no next machine, and the mark stays set until this one sleeps or
   * has worked for a while: clearing and setting it around each short task costs more than the
   * task.
   */
  #found(slot: number): number {
    if (this.#runQueues.length > 1) this.passSearchOn();
    return slot;
  }

  /**
   * The task that may have waited longest: from low priorities first, then from the overflow ring.
   * While high ones are never out, the own queue has every other of these turns.
   */
  #fair(): number {
    this.#isOwnTurn = this.#sawHigh && !this.#isOwnTurn;
    if (this.#isOwnTurn) {
      const own = this.#local();
      if (own !== EMPTY) return own;
    }
    for (let priority = PRIORITIES - 1; priority >= 0; priority -= 1) {
      const slot = this.#fromOutboxes(priority, 1);
      if (slot !== EMPTY) return slot;
    }
    return this.#takeFrom(this.#overflowPlace, 1, 1);
  }

  #local(): number {
    if (this.#hasNext) {
      const next = this.#takeNext();
      if (next !== EMPTY) return next;
    }
    // Ends: every turn takes an entry.
    for (;;) {
      if (this.#batchFrom === this.#batchTo && !this.#refill()) return EMPTY;
      const entry = this.#batch[this.#batchFrom] as number;
      this.#batchFrom += 1;
      if (this.#claim(entry)) return entry;
    }
  }

  #takeNext(): number {
    this.#hasNext = false;
    const entry = Atomics.exchange(this.#shared.words, this.#nextWord, 0) - 1;
    if (entry < 0) return EMPTY;
    this.#nextStreak += 1;
    if (this.#nextStreak <= NEXT_STREAK) return this.#claim(entry) ? entry : EMPTY;
    this.push(entry);
    return EMPTY;
  }

  /** Fills the empty batch; false when there is nothing in the queues. */
  #refill(): boolean {
    this.#nextStreak = 0;
    const most = this.takesBatches ? BATCH : 1;
    let count = this.#queue.popMany(this.#batch, most);
    if (count === 0) {
      const oldest = this.#queue.takeFrom(this.#overflowPlace, 2, SHARE_MAX);
      if (oldest < 0) return false;
      this.#tellOfMoved();
      this.#batch[0] = oldest;
      count = 1;
    }
    this.#batchFrom = 0;
    this.#batchTo = count;
    return true;
  }

  #claim(entry: number): boolean {
    this.claimed = this.#table.claim(entry, this.#machine);
    if (this.claimed !== NOT_CLAIMED) return true;
    this.counters.staleEntries += 1;
    return false;
  }

  #fromOutboxes(priority: number, most: number): number {
    const flags = this.#shared.layout.outboxFlags[priority] as number;
    const outboxes = this.#outboxes[priority] as RunQueuePlace[];
    const start = outboxes.length === 1 ? 0 : this.#tick % outboxes.length;
    for (let offset = 0; offset < outboxes.length; offset += 1) {
      const outbox = (start + offset) % outboxes.length;
      if (!hasBit(this.#shared.words, flags, outbox)) continue;
      const place = outboxes[outbox] as RunQueuePlace;
      const slot = this.#takeFrom(place, this.#runQueues.length, most);
      if (slot !== EMPTY) return slot;
      if (runQueueLength(place) <= 0 && lowerFlag(this.#shared.words, flags, outbox, place)) this.#idle.wakeOne();
    }
    return EMPTY;
  }

  #steal(): number {
    const processors = this.#runQueues.length;
    for (let pass = 0; pass < STEAL_PASSES; pass += 1) {
      const start = this.#random.below(processors);
      for (let offset = 0; offset < processors; offset += 1) {
        const victim = (start + offset) % processors;
        if (victim === this.index) continue;
        const slot = this.#stealFrom(victim);
        if (slot !== EMPTY) return slot;
      }
    }
    return EMPTY;
  }

  #stealFrom(victim: number): number {
    const before = this.#queue.length();
    let slot = this.#takeFrom(this.#runQueues[victim] as RunQueuePlace, 2, SHARE_MAX);
    if (slot === EMPTY) slot = this.#takeFrom(this.#overflows[victim] as RunQueuePlace, 2, SHARE_MAX);
    if (slot === EMPTY) return EMPTY;
    this.lastVictim = victim;
    this.counters.steals += 1;
    this.counters.stolenTasks += this.#queue.length() - before + 1;
    return slot;
  }

  /**
   * A share of the entries at `place`: the first that can be claimed, the others into the own
   * queue.
   */
  #takeFrom(place: RunQueuePlace, parts: number, most: number): number {
    const entry = this.#queue.takeFrom(place, parts, most);
    if (entry === EMPTY || entry === RETRY) return EMPTY;
    this.#tellOfMoved();
    return this.#claim(entry) ? entry : this.#local();
  }

  /**
   * Entries that were moved here were in no queue for a moment. A searcher may have looked just
   * then, and woken nobody. A machine that searches itself looks later.
   */
  #tellOfMoved(): void {
    if (!this.#isSearching && this.#queue.moved > 0 && this.#idle.isAnyoneIdle()) this.#idle.wakeOne();
  }
}
