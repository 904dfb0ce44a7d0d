/**
 * The slots of one submitting thread: it fills them, reads the outcomes of their tasks, and frees
 * them.
 *
 * An argument lies in this thread's arena until the outcome is read, so that it survives the death
 * of a machine.
 */
import { copyBytes, decode, type EncodedValue, encodeInPlace } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { unpark } from "@millrace/atomics-sync";
import {
  type Arena,
  ARENA_WORDS,
  type ArenaView,
  blockBytes,
  FULL,
  offsetOf,
  REFUSED,
  SpscProducer,
  WANTED,
} from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import { DeathNotes } from "./death-notes.ts";
import { firstSlotOf, slotsOf } from "./layout.ts";
import type { Shared } from "./shared.ts";
import { DONE, isTimedPolicy, runNumber, type TaskTable } from "./task-table.ts";
import type { TraceRecorder } from "./trace-ring.ts";
import {
  ARENA_BYTES,
  BYTES,
  bytesWithRoom,
  constantOf,
  CRASHED,
  EXPIRED,
  kindOf,
  LARGE_BYTES,
  NUMBER,
  PARCEL,
  REFUSED_ROOM,
  TOO_LARGE,
} from "./values.ts";

/**
 * One task in this many carries the time of its submission, for the histogram of waiting times:
 * reading the clock costs as much as a small task. A power of two.
 */
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
  /** Whether result blocks were freed since `publishFrees`; those of one machine at a time. */
  #hasFreed = false;
  /** The first slot; the others follow. */
  readonly first: number;

  /** With a trace every task carries its time. */
  constructor(shared: Shared, submitter: number, trace: TraceRecorder | undefined) {
    const { memory } = shared;
    this.#shared = shared;
    this.#table = shared.table();
    this.#arena = shared.arenas.owner(submitter);
    this.first = firstSlotOf(memory, submitter);
    const count = slotsOf(memory, submitter);
    this.#freeCount = count;
    // The lowest slot on top, so that few lines are touched under a light load.
    this.#free = Int32Array.from({ length: count }, (_, index) => this.first + count - 1 - index);
    // A machine that takes over from a dead one finds the generations in the table.
    this.#generations = Uint16Array.from({ length: count }, (_, index) => this.#table.generation(this.first + index));
    this.#machineArenas = Array.from({ length: memory.machines }, (_, machine) =>
      shared.arenas.view(shared.resultArena(machine)),
    );
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
   * Fills a slot for a call and returns it, or `FULL` when no slot or no memory is free. Nobody
   * sees it before `enqueue`. `deadline` is in ms since the epoch, 0 without. An argument that
   * would bring those under way beyond `arenaBytesMax` gets `FULL`. Throws `ERR_VALUE_UNSUPPORTED`,
   * `ERR_ARENA_FULL` for a value larger than that, and `ERR_ARENA_MEMORY`.
   */
  fill(handler: number, priority: number, policy: number, deadline: number, value: unknown): number {
    const kind = kindOf(value);
    if (kind < 0) return this.#fillEncoded(handler, priority, policy, deadline, encodeInPlace(value));
    if (this.#freeCount === 0) return FULL;
    const slot = this.#take();
    if (kind === NUMBER) this.#table.setArgumentNumber(slot, value as number);
    this.#table.setArgument(slot, 0, 0, 0);
    this.#describe(slot, handler, priority, policy, deadline, kind);
    return slot;
  }

  /** As `fill`, for an argument that is encoded already. */
  fillBytes(terms: TaskTerms, { kind, value, header }: EncodedArgument): number {
    if (this.#freeCount === 0) return FULL;
    const block = this.#allocate(value.length + header.length);
    if (block === FULL) return FULL;
    const bytes = this.#arena.bytesOf(block);
    bytes.set(value, offsetOf(block));
    if (header.length > 0) bytes.set(header, offsetOf(block) + value.length);
    const slot = this.#take();
    const { handler, priority, policy, deadline } = terms;
    this.#table.setArgument(slot, block, value.length, header.length);
    this.#describe(slot, handler, priority, policy, deadline, kind);
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
    const block = this.#allocate(bytes);
    if (block === FULL) return FULL;
    copyBytes(buffer, start, end, this.#arena.bytesOf(block), offsetOf(block));
    const slot = this.#take();
    this.#table.setArgument(slot, block, bytes, 0);
    this.#describe(slot, handler, priority, policy, deadline, BYTES);
    return slot;
  }

  /** As `fill`, for a value that is kept elsewhere under `ticket`. */
  fillParcel(handler: number, priority: number, policy: number, deadline: number, ticket: number): number {
    if (this.#freeCount === 0) return FULL;
    const slot = this.#take();
    this.#table.setArgumentNumber(slot, ticket);
    this.#table.setArgument(slot, 0, 0, 0);
    this.#describe(slot, handler, priority, policy, deadline, PARCEL);
    return slot;
  }

  #describe(slot: number, handler: number, priority: number, policy: number, deadline: number, kind: number): void {
    this.#table.describe(slot, handler, priority, policy, kind);
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

  /**
   * Machine, of a task of its own: claims it; the state, or `NOT_CLAIMED` when another machine has
   * it.
   */
  claim(slot: number, machine: number): number {
    return this.#table.claimOwn(slot, machine, this.#generations[slot - this.first] as number);
  }

  /**
   * Takes the task back and frees its slot, unless a machine has it already. Returns whether it
   * did.
   */
  cancel(slot: number): boolean {
    if (!this.#table.cancel(slot)) return false;
    this.#nextGeneration(slot);
    this.#giveBack(slot);
    return true;
  }

  /**
   * The outcome was read: frees the slot and everything that belongs to it. `publishFrees`
   * afterwards.
   */
  release(slot: number): void {
    if (this.#trace !== undefined) {
      const table = this.#table;
      const run = runNumber(this.#generations[slot - this.first] as number, table.attempt(slot));
      this.#trace.outcome(slot, run, table.handler(slot), this.isOk(slot));
    }
    if (this.#table.resultKind(slot) === ARENA_BYTES) this.#freeResult(slot);
    this.releaseOwn(slot);
  }

  /** As `release`, of a task that this thread has run itself. */
  releaseOwn(slot: number): void {
    this.#table.free(slot, this.#nextGeneration(slot));
    this.#giveBack(slot);
  }

  /** Lets machine `machine` see the result blocks that `release` has freed. */
  publishFrees(machine: number): void {
    if (!this.#hasFreed) return;
    this.#hasFreed = false;
    (this.#frees[machine] as SpscProducer).publish();
    // Afterwards: the machine announces that it waits, and then looks for freed blocks.
    const { arenas, memory, threads } = this.#shared;
    const wanted = this.#shared.resultArena(machine) * ARENA_WORDS + WANTED;
    if (Atomics.load(arenas.table, wanted) !== 0) unpark(threads, memory.machineThreads[machine] as number);
  }

  /** Once a second: gives back memory that was not needed for a while. */
  tick(): void {
    this.#arena.tick();
  }

  // ── reading an outcome, before its slot is released ───────────────────────────────────────────

  /** Whether the handler returned. Otherwise `value` is what it threw. */
  isOk(slot: number): boolean {
    return this.#table.state(slot) === DONE;
  }

  /**
   * The value that the handler returned or threw. A result that came by message isn't known here:
   * see `resultTicket`.
   */
  value(slot: number): unknown {
    const table = this.#table;
    const kind = table.resultKind(slot);
    const bytes = table.resultBytes(slot);
    switch (kind) {
      case NUMBER:
        return table.resultNumber(slot);
      case BYTES: {
        const block = table.argumentBlock(slot);
        const start = offsetOf(block) + table.resultPlace(slot);
        return decode(this.#arena.bytesOf(block), start, start + bytes);
      }
      case ARENA_BYTES: {
        const block = table.resultPlace(slot);
        const start = offsetOf(block);
        if (bytes >= LARGE_BYTES) this.#shared.arenas.garbage.handled(bytes);
        return decode((this.#machineArenas[table.machine(slot)] as ArenaView).bytesOf(block), start, start + bytes);
      }
      case CRASHED:
        return this.#crashed(slot);
      case TOO_LARGE:
        return tooLarge("a result", bytes, this.#shared.memory.arenas.bytesMax);
      case REFUSED_ROOM:
        return refused("a result", bytes);
      case EXPIRED:
        return schedulerError("ERR_TASK_TIMEOUT", "the task's time was over before it was started", {
          details: { isStarted: false },
        });
      default:
        return constantOf(kind);
    }
  }

  /** The supervisor's error for the machine's death, with details of this task alone. */
  #crashed(slot: number): Error {
    const table = this.#table;
    const machine = table.machine(slot);
    const note = new DeathNotes(this.#shared.memory.deathNotes).read(machine);
    const history = { machine, attempts: table.attempt(slot) + 1, crashedMachines: table.crashedMachines(slot) };
    const code = note?.code === "ERR_HANDLER_MODULE" ? note.code : "ERR_MACHINE_DIED";
    return schedulerError(code, note?.message ?? "the worker thread that ran the task ended before the task did", {
      cause: note?.cause,
      details: { ...note?.details, ...history },
    });
  }

  /** The encoded argument, for a task made by `fillBytes`. */
  argumentBytes(slot: number): Uint8Array {
    const block = this.#table.argumentBlock(slot);
    const start = offsetOf(block);
    return this.#arena.bytesOf(block).subarray(start, start + this.#table.argumentBytes(slot));
  }

  /** The header of the task, as bytes of the same block. */
  headerBytes(slot: number): Uint8Array {
    const block = this.#table.argumentBlock(slot);
    const start = offsetOf(block) + this.#table.argumentBytes(slot);
    return this.#arena.bytesOf(block).subarray(start, start + this.#table.headerBytes(slot));
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────

  #take(): number {
    this.#freeCount -= 1;
    return this.#free[this.#freeCount] as number;
  }

  #giveBack(slot: number): void {
    const block = this.#table.argumentBlock(slot);
    if (block !== 0) this.#arena.free(block);
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
    this.#shared.words[word] = this.#table.resultPlace(slot);
    this.#hasFreed = true;
  }

  /** A block for an argument, or `FULL`: another task of this thread has to end first. */
  #allocate(bytes: number): number {
    const { bytesMax } = this.#shared.memory.arenas;
    if (bytes > bytesMax) throw tooLarge("an argument", bytes, bytesMax);
    const needed = bytesWithRoom(bytes);
    const { usedBytes } = this.#arena;
    if (usedBytes > 0 && usedBytes + blockBytes(needed) > bytesMax) return FULL;
    const block = this.#arena.allocate(needed);
    if (block === REFUSED) {
      if (this.outstanding > 0) return FULL;
      throw refused("an argument", bytes);
    }
    if (bytes >= LARGE_BYTES) this.#shared.arenas.garbage.handled(bytes);
    return block;
  }
}

function tooLarge(what: string, bytes: number, bytesMax: number): Error {
  return schedulerError("ERR_ARENA_FULL", `${what} of ${bytes} bytes is larger than arenaBytesMax`, {
    details: { bytes, arenaBytesMax: bytesMax },
  });
}

function refused(what: string, bytes: number): Error {
  return schedulerError("ERR_ARENA_MEMORY", `the system gives no memory for ${what} of ${bytes} bytes`, {
    details: { bytes },
  });
}
