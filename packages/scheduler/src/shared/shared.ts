/** One thread's view of the scheduler's memory: the words, and where each part of them lies. */
import { performance } from "@millrace/base";
import type { RunQueuePlace, SpscRingPlace } from "@millrace/shared-memory";
import { type Arenas, arenasOf } from "./arenas.ts";
import { IdleSet } from "./idle.ts";
import {
  firstSlotOf,
  FREE_WIDTH,
  type Layout,
  layoutOf,
  type SchedulerMemory,
  slotsOf,
  submittersOf,
} from "./layout.ts";
import { PausedHandlers } from "./paused.ts";
import { Processors } from "./processors.ts";
import { TaskTable } from "./task-table.ts";

/**
 * The views of shared memory that the parts of the scheduler are built from; each thread makes its
 * own.
 */
export class Shared {
  readonly memory: SchedulerMemory;
  readonly layout: Layout;
  readonly words: Int32Array;
  readonly threads: Int32Array;
  readonly arenas: Arenas;
  readonly submitters: number;
  readonly #outsideSlots: number;
  readonly #slotsEachShift: number;
  readonly #nestedShift: number;
  readonly #epochOffsetMs: number;

  constructor(memory: SchedulerMemory) {
    this.memory = memory;
    this.layout = layoutOf(memory);
    this.words = new Int32Array(memory.words);
    this.threads = new Int32Array(memory.threads);
    this.arenas = arenasOf(memory.arenas);
    this.submitters = submittersOf(memory);
    this.#outsideSlots = memory.outsiders * memory.slotsEach;
    this.#slotsEachShift = 31 - Math.clz32(memory.slotsEach);
    this.#nestedShift = 31 - Math.clz32(memory.nestedSlots);
    this.#epochOffsetMs = performance.timeOrigin - memory.epochMs;
  }

  table(): TaskTable {
    return new TaskTable(this.memory.slots, firstSlotOf(this.memory, this.submitters));
  }

  idleSet(): IdleSet {
    return new IdleSet(this.words, this.layout.idle, this.layout.idleAsync, this.threads, this.memory.machineThreads);
  }

  processors(): Processors {
    const { layout, memory, threads, words } = this;
    return new Processors(words, layout, threads, memory);
  }

  /**
   * The number of the arena that holds the machine's results; a submitter's arena has its number.
   */
  resultArena(machine: number): number {
    return this.submitters + machine;
  }

  paused(): PausedHandlers {
    return new PausedHandlers(this.words, this.layout.paused);
  }

  /** Milliseconds since the epoch. */
  nowMs(): number {
    return performance.now() + this.#epochOffsetMs;
  }

  /**
   * How long it is until `ms`, a time since the epoch that was kept in 32 bits: right for 24 days
   * ahead and back, however long the scheduler runs.
   */
  msUntil(ms: number): number {
    return (ms - Math.floor(this.nowMs())) | 0;
  }

  /** Whether the slot belongs to a submitter that is no machine. */
  isFromOutside(slot: number): boolean {
    return slot < this.#outsideSlots;
  }

  submitterOf(slot: number): number {
    if (this.isFromOutside(slot)) return slot >> this.#slotsEachShift;
    return this.memory.outsiders + ((slot - this.#outsideSlots) >> this.#nestedShift);
  }

  /** The submitter that is a machine. */
  submitterOfMachine(machine: number): number {
    return this.memory.outsiders + machine;
  }

  runQueue(processor: number): RunQueuePlace {
    return {
      words: this.words,
      base: this.layout.runQueues[processor] as number,
      capacity: this.memory.runQueueCapacity,
    };
  }

  overflow(processor: number): RunQueuePlace {
    return {
      words: this.words,
      base: this.layout.overflows[processor] as number,
      capacity: this.layout.overflowCapacity,
    };
  }

  /** Index `outsiders` is the recovery outbox, which has priority 0 only. */
  outbox(outsider: number, priority: number): RunQueuePlace {
    const base = (this.layout.outboxes[outsider] as number[])[priority] as number;
    const isRecovery = outsider === this.memory.outsiders;
    return { words: this.words, base, capacity: isRecovery ? this.layout.recoveryCapacity : this.memory.slotsEach };
  }

  completions(machine: number, submitter: number): SpscRingPlace {
    const base = (this.layout.completions[machine] as number[])[submitter] as number;
    return { words: this.words, base, capacity: slotsOf(this.memory, submitter), width: 1 };
  }

  frees(machine: number, submitter: number): SpscRingPlace {
    const base = (this.layout.frees[machine] as number[])[submitter] as number;
    return { words: this.words, base, capacity: slotsOf(this.memory, submitter), width: FREE_WIDTH };
  }
}
