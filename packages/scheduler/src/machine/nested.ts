/**
 * Tasks that a machine's own handlers submit.
 *
 * New tasks lie on a private stack while a handler runs. The machine takes them from its top (the youngest first, as in Cilk and
 * Rayon: the depth of the call stack then stays that of the recursion), without a shared word but the task's state. They go into
 * the shared run queue, the oldest first, when somebody idles, when the handler returns, and before the machine waits. So a
 * spawn that the same machine runs costs three calls of Atomics: the state becomes QUEUED, a look for idlers, the claim.
 *
 * Private entries are lost to nobody: their tasks are QUEUED by their states, so the sweep finds them if the machine dies or is stuck.
 *
 * Rejected: the shared queue for every spawn (two more calls, and breadth first: the stack of joins that help grows with the number of
 * tasks); stealing from the top of a shared deque (Chase–Lev: its pop needs a fence as well, and takers of halves break it).
 */
import { decode, encode, encodeThrown } from "@millrace/codec";
import { EMPTY, FULL, SpscConsumer } from "@millrace/shared-memory";
import { TaskGroup } from "../handler/task-group.ts";
import type { Shared } from "../shared/shared.ts";
import type { Processor } from "./processor.ts";
import { TaskSlots } from "../shared/slots.ts";
import { ATTEMPTS_MAX, NOT_CLAIMED, taskPolicy } from "../shared/task-table.ts";
import type { TraceRecorder } from "../shared/trace-ring.ts";
import { kindOf } from "../shared/values.ts";

/** A handler's own calls are tried again by whoever calls the handler, or not at all. */
const POLICY: number = taskPolicy(false, false, ATTEMPTS_MAX, false);
const NORMAL = 1;
const NO_BYTES = new Uint8Array(0);

interface Call {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface WaitingCall extends Call {
  readonly handler: number;
  readonly argument: unknown;
}

export class NestedTasks {
  readonly #shared: Shared;
  readonly #machine: number;
  readonly #slots: TaskSlots;
  readonly #completions: SpscConsumer[];
  readonly #stack: Int32Array;
  #top = 0;
  /** By slot: whose it is. */
  readonly #owners: (TaskGroup | Call | undefined)[];
  readonly #indexes: Int32Array;
  /** Calls by `run` beyond the slots. */
  #waiting: WaitingCall[] = [];
  #waitingFrom = 0;
  /** Tasks that others may have: what they did comes back through the rings. */
  #sharedCount = 0;
  /** Whether promises were resolved: their callbacks wait for a turn of the event loop. */
  hasResolved = false;

  /** `trace`: the machine's own recorder. */
  constructor(shared: Shared, machine: number, trace: TraceRecorder | undefined) {
    const submitter = shared.submitterOfMachine(machine);
    this.#shared = shared;
    this.#machine = machine;
    this.#slots = new TaskSlots(shared, submitter, trace);
    this.#stack = new Int32Array(this.#slots.capacity);
    this.#owners = new Array<TaskGroup | Call | undefined>(this.#slots.capacity).fill(undefined);
    this.#indexes = new Int32Array(this.#slots.capacity);
    this.#completions = Array.from(
      { length: shared.memory.machines },
      (_, other) => new SpscConsumer(shared.completions(other, submitter)),
    );
  }

  /** Calls by `run` that wait for their outcome. */
  get outstanding(): number {
    return this.#slots.outstanding + this.#waiting.length - this.#waitingFrom;
  }

  /** Private entries. */
  get size(): number {
    return this.#top;
  }

  /** Whether other machines may be at work for this one. */
  get hasShared(): boolean {
    return this.#sharedCount > 0;
  }

  /** A task of a group; `FULL` when there is no slot: then the caller runs it on the spot. */
  spawn(group: TaskGroup, index: number, handler: number, argument: unknown): number {
    const slot = this.#slots.fill(handler, NORMAL, POLICY, 0, argument);
    if (slot === FULL) return FULL;
    this.#owners[slot - this.#slots.first] = group;
    this.#indexes[slot - this.#slots.first] = index;
    this.#push(slot);
    return slot;
  }

  /** As `spawn`, with an argument that is encoded already. */
  spawnBytes(group: TaskGroup, index: number, handler: number, kind: number, bytes: Uint8Array): number {
    const slot = this.#slots.fillBytes(
      { handler, priority: NORMAL, policy: POLICY, deadline: 0 },
      { kind, value: bytes, header: NO_BYTES },
    );
    if (slot === FULL) return FULL;
    this.#owners[slot - this.#slots.first] = group;
    this.#indexes[slot - this.#slots.first] = index;
    this.#push(slot);
    return slot;
  }

  /** A call with a promise. */
  run(handler: number, argument: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waitingFrom < this.#waiting.length || !this.#submit(handler, argument, { resolve, reject })) {
        const kept = kindOf(argument) < 0 ? decode(Uint8Array.from(encode(argument))) : argument;
        this.#waiting.push({ handler, argument: kept, resolve, reject });
      }
    });
  }

  #submit(handler: number, argument: unknown, call: Call): boolean {
    // It goes beyond the limit of memory: the caller may hold the room that it would wait for.
    const slot = this.#slots.fill(handler, NORMAL, POLICY, 0, argument, false);
    if (slot === FULL) return false;
    this.#owners[slot - this.#slots.first] = call;
    this.#push(slot);
    return true;
  }

  #push(slot: number): void {
    this.#slots.enqueue(slot);
    this.#stack[this.#top] = slot;
    this.#top += 1;
  }

  /** The youngest private task, claimed, or `EMPTY`; `claimed` is its state. */
  pop(): number {
    while (this.#top > 0) {
      this.#top -= 1;
      const slot = this.#stack[this.#top] as number;
      this.claimed = this.#slots.claim(slot, this.#machine);
      if (this.claimed !== NOT_CLAIMED) return slot;
      // The sweep had queued it as well, and another machine was faster.
      this.#sharedCount += 1;
    }
    return EMPTY;
  }

  claimed: number = NOT_CLAIMED;

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
    if (this.#top > 1) {
      const youngest = this.#stack[this.#top - 1] as number;
      this.#top -= 1;
      this.share(processor, true);
      this.#stack[0] = youngest;
      this.#top = 1;
    }
    this.#top = 0;
    this.#sharedCount += 1;
    processor.pushNext(this.#stack[0] as number);
  }

  /** As `share`, without a processor: the sweep finds them by their states. */
  forgetPrivate(): void {
    this.#sharedCount += this.#top;
    this.#top = 0;
  }

  isOwn(slot: number): boolean {
    const index = slot - this.#slots.first;
    return index >= 0 && index < this.#slots.capacity;
  }

  /** A task of this machine that it has run itself. `wasShared`: it came from a shared queue. */
  settledHere(slot: number, ok: boolean, value: unknown, wasShared: boolean): void {
    if (wasShared) this.#sharedCount -= 1;
    let outcome = value;
    let isOk = ok;
    if (kindOf(value) < 0) {
      // As if another machine had run it: no object is shared between tasks by chance.
      try {
        outcome = decode(ok ? encode(value) : encodeThrown(value));
      } catch (thrown) {
        outcome = thrown;
        isOk = false;
      }
    }
    const owner = this.#takeOwner(slot);
    this.#slots.releaseOwn(slot);
    this.#tell(owner, this.#indexes[slot - this.#slots.first] as number, isOk, outcome);
    if (this.#waiting.length > 0) this.#submitWaiting();
  }

  /** Reads what other machines have done for this one; how many tasks. */
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
    if (drained > 0 && this.#waiting.length > 0) this.#submitWaiting();
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
    this.#tell(owner, this.#indexes[slot - this.#slots.first] as number, isOk, value);
  }

  #takeOwner(slot: number): TaskGroup | Call {
    const index = slot - this.#slots.first;
    const owner = this.#owners[index] as TaskGroup | Call;
    this.#owners[index] = undefined;
    return owner;
  }

  #tell(owner: TaskGroup | Call, index: number, ok: boolean, value: unknown): void {
    if (owner instanceof TaskGroup) {
      owner.settled(index, ok, value);
      return;
    }
    this.hasResolved = true;
    if (ok) owner.resolve(value);
    else owner.reject(value);
  }

  #submitWaiting(): void {
    // Ends: every turn takes a call off the list or stops.
    while (this.#waitingFrom < this.#waiting.length) {
      const { handler, argument, resolve, reject } = this.#waiting[this.#waitingFrom] as WaitingCall;
      try {
        if (!this.#submit(handler, argument, { resolve, reject })) break;
      } catch (thrown) {
        reject(thrown);
      }
      this.#waitingFrom += 1;
    }
    // Forgets what was submitted, in steps that cost a constant per call.
    if (this.#waitingFrom * 2 < this.#waiting.length) return;
    this.#waiting = this.#waiting.slice(this.#waitingFrom);
    this.#waitingFrom = 0;
  }
}
