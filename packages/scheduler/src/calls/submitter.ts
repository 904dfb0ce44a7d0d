/**
 * The submitting end of the scheduler for a thread outside: fills slots, publishes them, reads
 * outcomes.
 *
 * It knows nothing of promises or event loops, so that a thread that blocks (the intake's delivery)
 * can use it as well.
 */
import { EMPTY, FULL, RunQueue, runQueueLength, type RunQueuePlace, SpscConsumer } from "@millrace/shared-memory";
import { raiseFlag } from "../shared/outbox-flags.ts";
import { TraceRecorder, type TraceRings } from "../shared/trace-ring.ts";
import type { IdleSet } from "../shared/idle.ts";
import type { SchedulerMemory } from "../shared/layout.ts";
import { PRIORITIES, PRIORITY } from "../shared/priorities.ts";
import { Shared } from "../shared/shared.ts";
import { TaskSlots } from "../shared/slots.ts";
import { ATTEMPTS_MAX, RUNNING, taskPolicy, type TaskTable } from "../shared/task-table.ts";
import { BYTES } from "../shared/values.ts";

const AFTER_CRASH: number = taskPolicy(true, false, ATTEMPTS_MAX, false);
const AFTER_CRASH_TIMED: number = taskPolicy(true, false, ATTEMPTS_MAX, true);

export interface OutcomeSink {
  /** The task in `slot` is over. Its slot can be read until this returns. Must not submit. */
  settled(slot: number): void;
}

export class Submitter {
  readonly #shared: Shared;
  readonly #index: number;
  readonly #table: TaskTable;
  readonly #idle: IdleSet;
  /**
   * The slots of this thread. An outcome is read from them, only from within `OutcomeSink.settled`.
   */
  readonly slots: TaskSlots;
  readonly #outboxes: RunQueue[];
  readonly #completions: SpscConsumer[];
  /** The queues in which tasks of high and normal priority wait. */
  readonly #queues: readonly RunQueuePlace[];
  /**
   * Slots whose entry found no room in the outbox, with their priorities. Entries that the
   * supervisor doubled, or of tasks that were taken back, can fill it.
   */
  #unpushed = new Map<number, number>();
  /** Priorities with entries that are not yet published. */
  #unpublished = 0;
  #urgent = 0;

  constructor(memory: SchedulerMemory, index: number, trace?: TraceRings) {
    const shared = new Shared(memory);
    this.#shared = shared;
    this.#index = index;
    this.#table = shared.table();
    this.#idle = shared.idleSet();
    const recorder = trace === undefined ? undefined : new TraceRecorder(trace, trace.machines + index);
    this.slots = new TaskSlots(shared, index, recorder);
    this.#outboxes = Array.from({ length: PRIORITIES }, (_, priority) => new RunQueue(shared.outbox(index, priority)));
    this.#completions = Array.from(
      { length: memory.machines },
      (_, machine) => new SpscConsumer(shared.completions(machine, index)),
    );
    this.#queues = [
      shared.outbox(index, PRIORITY.high),
      shared.outbox(index, PRIORITY.normal),
      ...Array.from({ length: memory.processors }, (_, processor) => shared.runQueue(processor)),
      ...Array.from({ length: memory.processors }, (_, processor) => shared.overflow(processor)),
    ];
  }

  get table(): TaskTable {
    return this.#table;
  }

  get shared(): Shared {
    return this.#shared;
  }

  /**
   * Number of entries that wait for a machine: in this thread's outboxes but for low priority, and
   * in all run queues. Stale at once.
   */
  waiting(): number {
    let entries = 0;
    for (const queue of this.#queues) entries += runQueueLength(queue);
    return entries;
  }

  /** Tasks of high priority that are under way. */
  get urgent(): number {
    return this.#urgent;
  }

  /** Whether a machine that could run tasks sleeps. Stale at once. */
  isAnyoneIdle(): boolean {
    return this.#idle.isAnyoneIdle();
  }

  /**
   * Fills a slot for a call and returns it, or `FULL` when no slot or no memory is free. Visible
   * after `publish`. `policy` is made by `taskPolicy`, `deadline` is in ms since the epoch or 0.
   * Throws `ERR_VALUE_UNSUPPORTED`, and `ERR_ARENA_FULL` for a value that could never fit.
   */
  submit(handler: number, priority: number, policy: number, deadline: number, value: unknown): number {
    return this.#enqueue(this.slots.fill(handler, priority, policy, deadline, value), priority);
  }

  /**
   * As `submit`, for a value that is encoded already and a header for the handler's context. The
   * task may run again when its thread dies. `isTimed`: `runningMs` is asked about it.
   */
  submitBytes(handler: number, priority: number, value: Uint8Array, header: Uint8Array, isTimed: boolean): number {
    const policy = isTimed ? AFTER_CRASH_TIMED : AFTER_CRASH;
    return this.#enqueue(
      this.slots.fillBytes({ handler, priority, policy, deadline: 0 }, { kind: BYTES, value, header }),
      priority,
    );
  }

  /** As `submit`, for a value that is encoded already; `kind` is BYTES or ITEMS. */
  submitEncoded(
    handler: number,
    priority: number,
    policy: number,
    deadline: number,
    kind: number,
    value: Uint8Array,
  ): number {
    return this.#enqueue(
      this.slots.fillBytes({ handler, priority, policy, deadline }, { kind, value, header: NO_HEADER }),
      priority,
    );
  }

  /** As `submit`, for a value that lies among the parcels under `ticket`. */
  submitParcel(handler: number, priority: number, policy: number, deadline: number, ticket: number): number {
    return this.#enqueue(this.slots.fillParcel(handler, priority, policy, deadline, ticket), priority);
  }

  /** Makes everything submitted since the last call visible, and wakes a machine for it. */
  publish(): void {
    for (let priority = 0; this.#unpublished !== 0; priority += 1) {
      const bit = 1 << priority;
      if ((this.#unpublished & bit) === 0) continue;
      this.#unpublished &= ~bit;
      (this.#outboxes[priority] as RunQueue).publish();
      raiseFlag(this.#shared.words, this.#shared.layout.outboxFlags[priority] as number, this.#index);
    }
    this.#idle.wakeOne();
  }

  /** Takes one task back; false when a machine has it already. */
  cancel(slot: number): boolean {
    if (!this.slots.cancel(slot)) return false;
    this.#ended(slot);
    return true;
  }

  /** The machine that runs a task. */
  machineOf(slot: number): number {
    return this.#table.machine(slot);
  }

  /** How long a timed task runs by now, ms; undefined while none of the machines runs it. */
  runningMs(slot: number): number | undefined {
    const started = this.#table.state(slot) === RUNNING ? this.#table.started(slot) : 0;
    return started === 0 ? undefined : -this.#shared.msUntil(started);
  }

  /** Asks the handler that runs the task to stop; see `TaskContext.isCancelled`. */
  askToStop(slot: number): void {
    this.#table.askToStop(slot);
    Atomics.add(this.#shared.words, this.#shared.layout.cancels, 1);
    this.#idle.wake(this.#table.machine(slot));
  }

  /** Takes back every task that no machine has yet, and tells its slot; returns their number. */
  cancelQueued(tell: (slot: number) => void): number {
    const { first, capacity } = this.slots;
    let cancelled = 0;
    for (let slot = first; slot < first + capacity; slot += 1) {
      if (!this.cancel(slot)) continue;
      tell(slot);
      cancelled += 1;
    }
    return cancelled;
  }

  /** Once a second: gives back memory that was not needed for a while. */
  tick(): void {
    this.slots.tick();
    this.#shared.arenas.tick();
  }

  /**
   * Reports up to `limit` tasks that are over to `sink`, frees their slots, and returns their
   * number.
   */
  drain(sink: OutcomeSink, limit: number): number {
    let drained = 0;
    for (let machine = 0; machine < this.#completions.length && drained < limit; machine += 1) {
      drained += this.#drainMachine(machine, sink, limit - drained);
    }
    if (this.#unpushed.size > 0) this.#pushAgain();
    return drained;
  }

  /** Whether `drain` would find something. */
  hasOutcomes(): boolean {
    for (let machine = 0; machine < this.#completions.length; machine += 1) {
      if ((this.#completions[machine] as SpscConsumer).peek() !== EMPTY) return true;
    }
    return false;
  }

  #drainMachine(machine: number, sink: OutcomeSink, limit: number): number {
    const ring = this.#completions[machine] as SpscConsumer;
    let drained = 0;
    for (let word = ring.peek(); word !== EMPTY && drained < limit; word = ring.peek()) {
      const slot = this.#shared.words[word] as number;
      sink.settled(slot);
      this.#ended(slot);
      this.slots.release(slot);
      ring.advance();
      drained += 1;
    }
    if (drained === 0) return 0;
    this.slots.publishFrees(machine);
    // Last: a completion that is still in the ring tells the supervisor that its slot was not yet
    // freed.
    ring.release();
    return drained;
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────

  #enqueue(slot: number, priority: number): number {
    if (slot === FULL) return FULL;
    if (priority === PRIORITY.high) this.#urgent += 1;
    this.slots.enqueue(slot);
    if ((this.#outboxes[priority] as RunQueue).push(slot)) this.#unpublished |= 1 << priority;
    else this.#unpushed.set(slot, priority);
    return slot;
  }

  #ended(slot: number): void {
    if (this.#table.priority(slot) === PRIORITY.high) this.#urgent -= 1;
  }

  #pushAgain(): void {
    for (const [slot, priority] of this.#unpushed) {
      if (!(this.#outboxes[priority] as RunQueue).push(slot)) continue;
      this.#unpushed.delete(slot);
      this.#unpublished |= 1 << priority;
    }
    this.publish();
  }
}

const NO_HEADER = new Uint8Array(0);
