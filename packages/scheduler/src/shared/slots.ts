/**
 * The slots of one submitting thread: filling them, reading what became of their tasks, freeing them.
 *
 * Arguments lie in this thread's arena until the outcome was read, so that they survive the death of a machine.
 */
import { copyBytes, decode, type EncodedValue, encodeInPlace } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { Arena, ArenaView, blockClass, FULL, SpscProducer } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import { firstSlotOf, slotsOf } from "./layout.ts";
import type { Shared } from "./shared.ts";
import { DONE, isTimedPolicy, runNumber, type TaskTable } from "./task-table.ts";
import type { TraceRecorder } from "./trace-ring.ts";
import { ARENA_BYTES, BYTES, constantOf, CRASHED, EXPIRED, kindOf, NO_ROOM, NUMBER, PARCEL } from "./values.ts";

/** Room for a small result behind every argument: most results then need no block of their own. */
const RESULT_ROOM = 48;
/** One task in so many carries the time of its submission, for the histogram of waiting times: reading the clock costs as much as
 * a small task. A power of two. */
const SAMPLE_EVERY = 64;

/** How a task is run; the numbers are those of `fill`. */
export interface TaskTerms {
  readonly handler: number;
  readonly priority: number;
  readonly policy: number;
  readonly deadline: number;
}

export interface EncodedArgument {
  /** BYTES or ITEMS. */
  readonly kind: number;
  readonly value: Uint8Array;
  /** For the handler's context; empty without. */
  readonly header: Uint8Array;
}

export class TaskSlots {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #arena: Arena;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #generations: Uint16Array;
  readonly #machineArenas: ArenaView[];
  readonly #frees: SpscProducer[];
  readonly #sampleMask: number;
  readonly #trace: TraceRecorder | undefined;
  #sampled = 0;
  /** The first slot; the others follow. */
  readonly first: number;

  /** With a trace every task carries its time. */
  constructor(shared: Shared, submitter: number, trace: TraceRecorder | undefined) {
    const { memory } = shared;
    this.#shared = shared;
    this.#table = shared.table();
    this.#arena = new Arena(memory.submitterArenas[submitter] as SharedArrayBuffer);
    this.first = firstSlotOf(memory, submitter);
    const count = slotsOf(memory, submitter);
    this.#freeCount = count;
    // The lowest slot on top, so that few lines are touched under a light load.
    this.#free = Int32Array.from({ length: count }, (_, index) => this.first + count - 1 - index);
    // A machine that takes over from a dead one finds the generations in the table.
    this.#generations = Uint16Array.from({ length: count }, (_, index) => this.#table.generation(this.first + index));
    this.#machineArenas = memory.machineArenas.map((arena) => new ArenaView(arena));
    this.#frees = Array.from(
      { length: memory.machines },
      (_, machine) => new SpscProducer(shared.frees(machine, submitter)),
    );
    this.#trace = trace;
    this.#sampleMask = trace === undefined ? SAMPLE_EVERY - 1 : 0;
  }

  get capacity(): number {
    return this.#free.length;
  }

  /** Slots that are free. */
  get free(): number {
    return this.#freeCount;
  }

  /** Tasks that are under way. */
  get outstanding(): number {
    return this.#free.length - this.#freeCount;
  }

  /**
   * Fills a slot for a call and returns it, or `FULL` when no slot or no memory is free. Nobody sees it before `enqueue`.
   * `deadline` is in ms since the epoch, 0 without. Throws `ERR_VALUE_UNSUPPORTED`, and `ERR_ARENA_FULL` for a value that could
   * never fit.
   */
  fill(handler: number, priority: number, policy: number, deadline: number, value: unknown): number {
    const kind = kindOf(value);
    if (kind < 0) return this.#fillEncoded(handler, priority, policy, deadline, encodeInPlace(value));
    if (this.#freeCount === 0) return FULL;
    const slot = this.#take();
    if (kind === NUMBER) this.#table.setArgumentNumber(slot, value as number);
    this.#table.setArgument(slot, 0, 0, 0);
    this.#describe(slot, handler, priority, policy, deadline, kind, 0);
    return slot;
  }

  /** As `fill`, for an argument that is encoded already. */
  fillBytes(terms: TaskTerms, { kind, value, header }: EncodedArgument): number {
    if (this.#freeCount === 0) return FULL;
    const sizeClass = blockClass(value.length + header.length + RESULT_ROOM);
    const offset = this.#arena.allocate(sizeClass);
    if (offset === FULL) return this.#noMemory(value.length);
    this.#arena.bytes.set(value, offset);
    if (header.length > 0) this.#arena.bytes.set(header, offset + value.length);
    const slot = this.#take();
    const { handler, priority, policy, deadline } = terms;
    this.#table.setArgument(slot, offset >> 6, value.length, header.length);
    this.#describe(slot, handler, priority, policy, deadline, kind, sizeClass);
    return slot;
  }

  #fillEncoded(
    handler: number,
    priority: number,
    policy: number,
    deadline: number,
    { buffer, start, end }: Readonly<EncodedValue>,
  ): number {
    if (this.#freeCount === 0) return FULL;
    const bytes = end - start;
    const sizeClass = blockClass(bytes + RESULT_ROOM);
    const offset = this.#arena.allocate(sizeClass);
    if (offset === FULL) return this.#noMemory(bytes);
    copyBytes(buffer, start, end, this.#arena.bytes, offset);
    const slot = this.#take();
    this.#table.setArgument(slot, offset >> 6, bytes, 0);
    this.#describe(slot, handler, priority, policy, deadline, BYTES, sizeClass);
    return slot;
  }

  /** As `fill`, for a value that is kept elsewhere under `ticket`. */
  fillParcel(handler: number, priority: number, policy: number, deadline: number, ticket: number): number {
    if (this.#freeCount === 0) return FULL;
    const slot = this.#take();
    this.#table.setArgumentNumber(slot, ticket);
    this.#table.setArgument(slot, 0, 0, 0);
    this.#describe(slot, handler, priority, policy, deadline, PARCEL, 0);
    return slot;
  }

  #describe(
    slot: number,
    handler: number,
    priority: number,
    policy: number,
    deadline: number,
    kind: number,
    sizeClass: number,
  ): void {
    this.#table.describe(slot, handler, priority, policy, kind, sizeClass);
    this.#sampled += 1;
    const isSampled = (this.#sampled & this.#sampleMask) === 0 && !isTimedPolicy(policy);
    // Never 0, which means that it wasn't sampled.
    this.#table.setTimes(slot, isSampled ? (this.#shared.nowMs() * 1000) | 1 : 0, deadline);
  }

  /** Makes the filled slot a task. */
  enqueue(slot: number): void {
    const generation = this.#generations[slot - this.first] as number;
    if (this.#trace !== undefined) {
      const table = this.#table;
      // First: afterwards another machine may be faster.
      this.#trace.submitted(slot, runNumber(generation, 0), table.handler(slot), table.priority(slot));
    }
    this.#table.enqueue(slot, generation);
  }

  /** Machine, of a task of its own: claims it; the state, or `NOT_CLAIMED` when another machine has it. */
  claim(slot: number, machine: number): number {
    return this.#table.claimOwn(slot, machine, this.#generations[slot - this.first] as number);
  }

  /** Takes the task back and frees its slot, unless a machine has it already; whether it did. */
  cancel(slot: number): boolean {
    if (!this.#table.cancel(slot)) return false;
    this.#nextGeneration(slot);
    this.#giveBack(slot);
    return true;
  }

  /** The outcome was read: frees the slot and everything that belongs to it. `publishFrees` afterwards. */
  release(slot: number): void {
    if (this.#trace !== undefined) {
      const table = this.#table;
      const run = runNumber(this.#generations[slot - this.first] as number, table.attempt(slot));
      this.#trace.outcome(slot, run, table.handler(slot), this.isOk(slot));
    }
    if (this.#table.resultClass(slot) !== 0 && this.#table.resultKind(slot) === ARENA_BYTES) this.#freeResult(slot);
    this.releaseOwn(slot);
  }

  /** As `release`, of a task that this thread has run itself. */
  releaseOwn(slot: number): void {
    this.#table.free(slot, this.#nextGeneration(slot));
    this.#giveBack(slot);
  }

  /** Lets machine `machine` see the result blocks that `release` has freed. */
  publishFrees(machine: number): void {
    (this.#frees[machine] as SpscProducer).publish();
  }

  // ── reading an outcome, before its slot is released ──────────────────────────────────────────────────────────────

  /** Whether the handler returned. Otherwise `value` is what it threw. */
  isOk(slot: number): boolean {
    return this.#table.state(slot) === DONE;
  }

  /** What the handler returned or threw. A result that came by message isn't known here: see `resultTicket`. */
  value(slot: number): unknown {
    const table = this.#table;
    const kind = table.resultKind(slot);
    const bytes = table.resultBytes(slot);
    switch (kind) {
      case NUMBER:
        return table.resultNumber(slot);
      case BYTES: {
        const start = (table.argumentOffset(slot) << 6) + table.resultOffset(slot);
        return decode(this.#arena.bytes, start, start + bytes);
      }
      case ARENA_BYTES: {
        const start = table.resultOffset(slot) << 6;
        const view = this.#machineArenas[table.machine(slot)] as ArenaView;
        return decode(view.upTo(start + bytes), start, start + bytes);
      }
      case CRASHED:
        return schedulerError("ERR_MACHINE_DIED", "the worker thread that ran the task ended before the task did", {
          details: {
            machine: table.machine(slot),
            attempts: table.attempt(slot) + 1,
            crashedMachines: table.crashedMachines(slot),
          },
        });
      case NO_ROOM:
        return schedulerError("ERR_ARENA_FULL", `no memory for a result of ${bytes} bytes`, { details: { bytes } });
      case EXPIRED:
        return schedulerError("ERR_TASK_TIMEOUT", "the task's time was over before it was started", {
          details: { isStarted: false },
        });
      default:
        return constantOf(kind);
    }
  }

  /** The encoded argument, for a task made by `fillBytes`. */
  argumentBytes(slot: number): Uint8Array {
    const start = this.#table.argumentOffset(slot) << 6;
    return this.#arena.bytes.subarray(start, start + this.#table.argumentBytes(slot));
  }

  /** The header, likewise. */
  headerBytes(slot: number): Uint8Array {
    const start = (this.#table.argumentOffset(slot) << 6) + this.#table.argumentBytes(slot);
    return this.#arena.bytes.subarray(start, start + this.#table.headerBytes(slot));
  }

  // ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #take(): number {
    this.#freeCount -= 1;
    return this.#free[this.#freeCount] as number;
  }

  #giveBack(slot: number): void {
    const sizeClass = this.#table.argumentClass(slot);
    if (sizeClass !== 0) this.#arena.free(this.#table.argumentOffset(slot) << 6, sizeClass);
    this.#free[this.#freeCount] = slot;
    this.#freeCount += 1;
  }

  #nextGeneration(slot: number): number {
    const index = slot - this.first;
    const next = ((this.#generations[index] as number) + 1) & 0xffff;
    this.#generations[index] = next;
    return next;
  }

  #freeResult(slot: number): void {
    const word = (this.#frees[this.#table.machine(slot)] as SpscProducer).stage();
    invariant(word !== FULL, "a ring of freed blocks has room for every slot");
    this.#shared.words[word] = this.#table.resultOffset(slot);
    this.#shared.words[word + 1] = this.#table.resultClass(slot);
  }

  #noMemory(bytes: number): number {
    if (this.outstanding > 0) return FULL;
    throw schedulerError("ERR_ARENA_FULL", `an argument of ${bytes} bytes doesn't fit into the arena`, {
      details: { bytes },
    });
  }
}
