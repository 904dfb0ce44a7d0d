/**
 * Tasks that a machine's own handlers submit.
 *
 * A task that waits for its children must not hold what they need to run. So a task holds a slot
 * only while another machine may have it, or has it:
 *
 *   in a slot    queued for any machine, or run by another one
 *   on the heap  waiting for a slot; begun by this machine; or pending here
 *
 * When this machine claims a task of its own it takes the argument out, frees the slot at once, and
 * keeps the rest (`OwnTask`) on its heap. Calls beyond the slots wait on the heap as well. The
 * oldest get the slots that become free, so that others may have them; the youngest are run by this
 * machine itself, without a slot, when it has nothing else to do. Every call is therefore in a slot
 * that some machine may claim, or with the machine that submitted it, whose loop always runs it.
 * Memory is the only limit (memory-guard.ts). Why nothing can wait in a circle is in ADR 14.
 *
 * New tasks lie on a private stack while a handler runs. The machine takes them from its top, the
 * youngest first, as in Cilk and Rayon: the depth of the call stack then stays that of the
 * recursion. They go into the shared run queue, the oldest first, when another machine idles, when
 * the handler returns, and before the machine waits. So a spawn that the same machine runs costs
 * four calls of Atomics: QUEUED, a look for idlers, the claim, FREE.
 *
 * Private entries don't get lost: their tasks are QUEUED by their states, and the sweep finds them
 * if the machine dies or is stuck.
 *
 * Rejected: the shared queue for every spawn (two more calls, and breadth first: the stack of joins
 * that help grows with the number of tasks); stealing from the top of a shared deque (Chase–Lev:
 * its pop needs a fence as well, and takers of halves break it).
 */
import { decode, encode } from "@millrace/codec";
import { EMPTY, FULL, SpscConsumer } from "@millrace/shared-memory";
import type { Parent } from "../handler/parent.ts";
import { TaskGroup } from "../handler/task-group.ts";
import { PRIORITY } from "../shared/priorities.ts";
import type { Shared } from "../shared/shared.ts";
import { TaskSlots } from "../shared/slots.ts";
import { ATTEMPTS_MAX, NOT_CLAIMED, QUEUED, taskPolicy, type TaskTable } from "../shared/task-table.ts";
import type { TraceRecorder } from "../shared/trace-ring.ts";
import { kindOf } from "../shared/values.ts";
import type { Load } from "./load.ts";
import { MemoryGuard } from "./memory-guard.ts";
import type { Call, OwnTask, TaskOwner } from "./nested-task.ts";
import type { Processor } from "./processor.ts";
import { WaitingTasks } from "./waiting-tasks.ts";

/** A handler's own calls are tried again by the caller of that handler, or not at all. */
const POLICY: number = taskPolicy(false, false, ATTEMPTS_MAX, false);
const NO_BYTES = new Uint8Array(0);

export class NestedTasks {
  readonly #shared: Shared;
  readonly #machine: number;
  readonly #load: Load;
  readonly #slots: TaskSlots;
  readonly #table: TaskTable;
  readonly #completions: SpscConsumer[];
  readonly #guard = new MemoryGuard();
  #stack: Int32Array;
  #top = 0;
  /** By slot: the receiver of the outcome, and the place in a group. */
  readonly #owners: (TaskOwner | undefined)[];
  readonly #indexes: Int32Array;
  /** Tasks beyond the slots. */
  readonly #waiting = new WaitingTasks();
  /** Tasks that others may have, or have: their outcomes come back through the rings. */
  #sharedCount = 0;
  /** Whether promises were resolved: their callbacks wait for a turn of the event loop. */
  hasResolved = false;
  /** The state that the task returned by `pop` or `claimQueued` was claimed with. */
  claimed: number = NOT_CLAIMED;

  /** `trace`: the machine's own recorder. */
  constructor(shared: Shared, machine: number, load: Load, trace: TraceRecorder | undefined) {
    const submitter = shared.submitterOfMachine(machine);
    this.#shared = shared;
    this.#machine = machine;
    this.#load = load;
    this.#slots = new TaskSlots(shared, submitter, trace);
    this.#table = shared.table();
    this.#stack = new Int32Array(this.#slots.capacity);
    this.#owners = new Array<TaskOwner | undefined>(this.#slots.capacity).fill(undefined);
    this.#indexes = new Int32Array(this.#slots.capacity);
    this.#completions = Array.from(
      { length: shared.memory.machines },
      (_, other) => new SpscConsumer(shared.completions(other, submitter)),
    );
  }

  /** Tasks that this machine has not begun: in slots, or waiting for one. */
  get outstanding(): number {
    return this.#slots.outstanding + this.#waiting.size;
  }

  /** Private entries. */
  get size(): number {
    return this.#top;
  }

  /** Whether other machines may be at work for this one. */
  get hasShared(): boolean {
    return this.#sharedCount > 0;
  }

  /** Whether tasks wait for a slot. */
  get hasWaiting(): boolean {
    return this.#waiting.size > 0;
  }

  isOwn(slot: number): boolean {
    const index = slot - this.#slots.first;
    return index >= 0 && index < this.#slots.capacity;
  }

  // ── submitting ────────────────────────────────────────────────────────────────────────────────

  /**
   * A task of a group; `FULL` when there is no slot. Throws `ERR_VALUE_UNSUPPORTED`,
   * `ERR_TASK_MEMORY`.
   */
  spawn(group: TaskGroup, index: number, handler: number, argument: unknown): number {
    this.#checkMemory();
    const slot = this.#slots.fill(handler, PRIORITY.normal, POLICY, 0, argument);
    if (slot === FULL) return FULL;
    this.#begin(slot, group, index);
    return slot;
  }

  /** As `spawn`, with an argument that is encoded already. */
  spawnBytes(group: TaskGroup, index: number, handler: number, kind: number, bytes: Uint8Array): number {
    const slot = this.#slots.fillBytes(
      { handler, priority: PRIORITY.normal, policy: POLICY, deadline: 0 },
      { kind, value: bytes, header: NO_BYTES },
    );
    if (slot === FULL) return FULL;
    this.#begin(slot, group, index);
    return slot;
  }

  /** A task of a group for which there is no slot. */
  spawnLater(group: TaskGroup, index: number, handler: number, argument: unknown): void {
    this.#wait({ handler, argument: copyOf(argument), owner: group, index });
  }

  /**
   * A call with a promise, which rejects with `ERR_VALUE_UNSUPPORTED` or `ERR_TASK_MEMORY` where
   * the call is refused.
   */
  run(parent: Parent, handler: number, argument: unknown): Promise<unknown> {
    let resolve!: Call["resolve"];
    let reject!: Call["reject"];
    const promise = new Promise((onValue, onError) => {
      resolve = onValue;
      reject = onError;
    });
    const call = { parent, resolve, reject };
    try {
      this.#checkMemory();
      if (this.hasWaiting || !this.#submit(handler, argument, call)) {
        this.#wait({ handler, argument: copyOf(argument), owner: call, index: 0 });
      }
    } catch (thrown) {
      reject(thrown);
    }
    return promise;
  }

  #checkMemory(): void {
    if (this.#guard.isDue()) this.#guard.check(this.#load.pendingAsync + this.#waiting.size);
  }

  #wait(task: OwnTask): void {
    this.#waiting.push(task);
    this.#load.childBegins(task.owner.parent);
  }

  #submit(handler: number, argument: unknown, call: Call): boolean {
    const slot = this.#slots.fill(handler, PRIORITY.normal, POLICY, 0, argument);
    if (slot === FULL) return false;
    this.#begin(slot, call, 0);
    return true;
  }

  #begin(slot: number, owner: TaskOwner, index: number): void {
    this.#load.childBegins(owner.parent);
    this.#push(slot, owner, index);
  }

  #push(slot: number, owner: TaskOwner, index: number): void {
    this.#owners[slot - this.#slots.first] = owner;
    this.#indexes[slot - this.#slots.first] = index;
    this.#slots.enqueue(slot);
    if (this.#top === this.#stack.length) this.#growStack();
    this.#stack[this.#top] = slot;
    this.#top += 1;
  }

  /**
   * More entries than slots: those of tasks that another machine has taken meanwhile are still
   * there.
   */
  #growStack(): void {
    const larger = new Int32Array(2 * this.#stack.length);
    larger.set(this.#stack);
    this.#stack = larger;
  }

  // ── taking tasks out ──────────────────────────────────────────────────────────────────────────

  /** The youngest private task, claimed, or `EMPTY`. */
  pop(): number {
    // Ends: every turn takes an entry.
    while (this.#top > 0) {
      this.#top -= 1;
      const slot = this.#stack[this.#top] as number;
      if (this.#claims(slot)) return slot;
      // The sweep had queued it as well, and another machine was faster.
      this.#sharedCount += 1;
    }
    return EMPTY;
  }

  /**
   * A task of the group that no machine had claimed, now claimed, or `EMPTY`. `isWanted` chooses by
   * the handler.
   */
  claimQueued(group: TaskGroup, isWanted?: (handler: number) => boolean): number {
    if (this.#sharedCount === 0) return EMPTY;
    const { first, capacity } = this.#slots;
    for (let slot = first; slot < first + capacity; slot += 1) {
      if (this.#owners[slot - first] !== group) continue;
      if (isWanted !== undefined && !isWanted(this.#table.handler(slot))) continue;
      if (this.#claims(slot)) return slot;
    }
    return EMPTY;
  }

  /** Whether `claimQueued` may find one. */
  hasQueued(group: TaskGroup): boolean {
    const { first, capacity } = this.#slots;
    for (let slot = first; slot < first + capacity; slot += 1) {
      if (this.#owners[slot - first] === group && this.#table.state(slot) === QUEUED) return true;
    }
    return false;
  }

  #claims(slot: number): boolean {
    this.claimed = this.#slots.claim(slot, this.#machine);
    return this.claimed !== NOT_CLAIMED;
  }

  /**
   * Ends the stay of a task that this machine has claimed: frees its slot. Afterwards its owner
   * gets the outcome from here. `wasShared`: it came from a queue.
   */
  takeOut(slot: number, wasShared: boolean): TaskOwner {
    if (wasShared) this.#sharedCount -= 1;
    const owner = this.#takeOwner(slot);
    this.#slots.releaseOwn(slot);
    if (this.hasWaiting) this.#submitWaiting();
    return owner;
  }

  /** The place in its group of the task in `slot`. */
  indexOf(slot: number): number {
    return this.#indexes[slot - this.#slots.first] as number;
  }

  /**
   * The youngest of the tasks that wait for a slot; of this group, where one is given. Undefined
   * without.
   */
  takeWaiting(group?: TaskGroup): OwnTask | undefined {
    return this.#waiting.takeYoungest(group);
  }

  /** Ends the tasks of the group that no machine has begun, with this error. */
  drop(group: TaskGroup, error: unknown): void {
    // All are taken out first: when an outcome is delivered, others may come in.
    const dropped: number[] = [];
    let kept = 0;
    for (let at = 0; at < this.#top; at += 1) {
      const slot = this.#stack[at] as number;
      if (this.#owners[slot - this.#slots.first] === group && this.#claims(slot)) {
        dropped.push(slot);
      } else {
        this.#stack[kept] = slot;
        kept += 1;
      }
    }
    this.#top = kept;
    const fromStack = dropped.length;
    for (let slot = this.claimQueued(group); slot !== EMPTY; slot = this.claimQueued(group)) dropped.push(slot);
    for (let task = this.takeWaiting(group); task !== undefined; task = this.takeWaiting(group)) {
      this.tell(group, task.index, false, error);
    }
    for (let at = 0; at < dropped.length; at += 1) {
      const slot = dropped[at] as number;
      const index = this.indexOf(slot);
      this.tell(this.takeOut(slot, at >= fromStack), index, false, error);
    }
  }

  // ── sharing ───────────────────────────────────────────────────────────────────────────────────

  /** Moves the oldest private tasks, all or half of them, into the shared queue. */
  share(processor: Processor, all: boolean): void {
    const count = all ? this.#top : (this.#top + 1) >> 1;
    for (let index = 0; index < count; index += 1) processor.push(this.#stack[index] as number);
    this.#stack.copyWithin(0, count, this.#top);
    this.#top -= count;
    this.#sharedCount += count;
    processor.publish();
  }

  /** As `share` of all, but the youngest is the one to run next. */
  shareAfterTask(processor: Processor): void {
    this.#top -= 1;
    const youngest = this.#stack[this.#top] as number;
    if (this.#top > 0) this.share(processor, true);
    this.#sharedCount += 1;
    processor.pushNext(youngest);
  }

  /** As `share`, without a processor: the sweep finds them by their states. */
  forgetPrivate(): void {
    this.#sharedCount += this.#top;
    this.#top = 0;
  }

  // ── outcomes ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Reads the outcomes of tasks that other machines have run for this one, and returns their
   * number.
   */
  drain(): number {
    let drained = 0;
    for (let machine = 0; machine < this.#completions.length; machine += 1) {
      const ring = this.#completions[machine] as SpscConsumer;
      let some = 0;
      for (let word = ring.peek(); word !== EMPTY; word = ring.peek()) {
        this.#settled(this.#shared.words[word] as number);
        ring.advance();
        some += 1;
      }
      if (some === 0) continue;
      this.#slots.publishFrees(machine);
      ring.release();
      drained += some;
    }
    if (drained > 0 && this.hasWaiting) this.#submitWaiting();
    return drained;
  }

  /** Once a second: gives back memory that was not needed for a while. */
  tick(): void {
    this.#slots.tick();
  }

  hasOutcomes(): boolean {
    for (let machine = 0; machine < this.#completions.length; machine += 1) {
      if ((this.#completions[machine] as SpscConsumer).peek() !== EMPTY) return true;
    }
    return false;
  }

  #settled(slot: number): void {
    this.#sharedCount -= 1;
    let isOk = this.#slots.isOk(slot);
    let value: unknown;
    try {
      value = this.#slots.value(slot);
    } catch (thrown) {
      value = thrown;
      isOk = false;
    }
    const owner = this.#takeOwner(slot);
    this.#slots.release(slot);
    this.tell(owner, this.#indexes[slot - this.#slots.first] as number, isOk, value);
  }

  #takeOwner(slot: number): TaskOwner {
    const index = slot - this.#slots.first;
    const owner = this.#owners[index] as TaskOwner;
    this.#owners[index] = undefined;
    return owner;
  }

  /** The task of `owner` is over. */
  tell(owner: TaskOwner, index: number, ok: boolean, value: unknown): void {
    this.#load.childEnds(owner.parent);
    if (owner instanceof TaskGroup) {
      owner.settled(index, ok, value);
      return;
    }
    this.hasResolved = true;
    if (ok) owner.resolve(value);
    else owner.reject(value);
  }

  #submitWaiting(): void {
    // Ends: every turn takes a task off the list or stops.
    for (let task = this.#waiting.oldest; task !== undefined; task = this.#waiting.oldest) {
      const { handler, argument, owner, index } = task;
      try {
        const slot = this.#slots.fill(handler, PRIORITY.normal, POLICY, 0, argument);
        if (slot === FULL) break;
        this.#push(slot, owner, index);
      } catch (thrown) {
        this.tell(owner, index, false, thrown);
      }
      this.#waiting.dropOldest();
    }
    this.#waiting.forgetDropped();
  }
}

/** A copy of the value, as if it had gone to another thread. */
export function copyOf(value: unknown): unknown {
  return kindOf(value) < 0 ? decode(encode(value)) : value;
}
