/**
 * The scheduler's shared memory: one place for every word, the same for all threads.
 *
 * Machines (worker threads) are numbered apart from processors (rights to run): there may be more
 * machines than processors, so that one can take over the processor of a machine that waits.
 * Submitters are numbered: first the threads outside (the opener, then guests), then the machines,
 * since handlers submit tasks too.
 *
 * `words` (one SharedArrayBuffer), each part on lines of its own:
 *
 *   CONTROL     LIFECYCLE  RUNNING, CLOSED; written by the supervisor, read by machines
 *   CANCELS     how many tasks were asked to stop; any submitter adds, machines compare
 *   IDLE        machines that sleep, and that search (idle.ts)
 *   SPARES      machines that sleep without a processor; PERMITS, JOINING: that wait in handlers
 *               (processors.ts)
 *   PAUSED      handlers whose tasks aren't begun for a while (paused.ts)
 *   processors  per processor a line each for OWNER, TICK and NEXT (processors.ts)
 *   flags       per priority a bit per outbox that may hold entries (outbox-flags.ts)
 *   run queues  per processor the run queue and the larger ring that takes what it has no room for
 *               (run-queue.ts in shared-memory)
 *   outboxes    one per thread outside and priority, as large as its share of slots; then one for
 *               recovery
 *   completions one SPSC ring per machine and submitter, as large as the submitter's share of
 *               slots: never full
 *   frees       one SPSC ring per submitter and machine, likewise: result blocks that the machine
 *               may use again
 *
 * `slots` (another SharedArrayBuffer): the task table (task-table.ts). `arenas`: an arena per
 * submitter for arguments, and one per machine for results that don't fit beside the argument
 * (arenas.ts).
 */
import { invariant, performance } from "@millrace/base";
import { LINE_BYTES, LINE_WORDS, maskWords, runQueueWords, spscRingWords } from "@millrace/shared-memory";
import { allocateArenas, type ArenaMemory } from "./arenas.ts";
import { allocateDeathNotes } from "./death-notes.ts";
import { idleWords } from "./idle.ts";
import { PAUSED_WORDS } from "./paused.ts";
import { PRIORITIES } from "./priorities.ts";
import { PROCESSOR_WORDS } from "./processors.ts";
import { SLOT_BYTES } from "./task-table.ts";

/**
 * Entries in a processor's run queue, as in Go and Tokio: enough for a burst, few enough to search
 * at a steal.
 */
export const RUN_QUEUE_CAPACITY = 256;
/**
 * More than the cores of the machines that we know of would give; a limit because every pair of
 * machine and submitter has rings.
 */
export const PROCESSORS_MAX = 64;
/** Slots, and with them rings, are numbered in 18 bits. */
const SLOTS_MAX: number = 2 ** 18;

/** This word is 0 while the scheduler runs. */
export const LIFECYCLE = 0;
export const CLOSED_LIFECYCLE = 1;

export interface SchedulerShape {
  readonly processors: number;
  /** Threads at most, at least one per processor. */
  readonly machines: number;
  /** Submitting threads outside: the opener and its guests. */
  readonly outsiders: number;
  /** Slots per thread outside, a power of two. */
  readonly slotsEach: number;
  /** Slots per machine, for tasks that its handlers submit; a power of two. */
  readonly nestedSlots: number;
  readonly runQueueCapacity: number;
}

/** Everything that a thread needs to take part; a plain value for `workerData`. */
export interface SchedulerMemory extends SchedulerShape {
  /** Unix time in ms that the times in the task table count from. */
  readonly epochMs: number;
  readonly words: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  /** Of the submitters' arguments, then of the machines' results. */
  readonly arenas: ArenaMemory;
  /** Why each machine died (death-notes.ts). */
  readonly deathNotes: SharedArrayBuffer;
  /** The thread table, and the threads of machines and submitters in it. */
  readonly threads: SharedArrayBuffer;
  readonly machineThreads: readonly number[];
  readonly submitterThreads: readonly number[];
}

/** Word indexes of all parts. */
export interface Layout {
  readonly cancels: number;
  readonly idle: number;
  readonly idleAsync: number;
  readonly spares: number;
  readonly permits: number;
  readonly joining: number;
  readonly paused: number;
  readonly processors: readonly number[];
  readonly outboxFlags: readonly number[];
  readonly runQueues: readonly number[];
  readonly overflows: readonly number[];
  readonly overflowCapacity: number;
  /**
   * By submitter outside, then priority; the last index is the recovery outbox, which has one
   * priority.
   */
  readonly outboxes: readonly (readonly number[])[];
  /** By machine, then submitter. */
  readonly completions: readonly (readonly number[])[];
  readonly frees: readonly (readonly number[])[];
  readonly totalWords: number;
  readonly recoveryCapacity: number;
}

export function submittersOf(shape: SchedulerShape): number {
  return shape.outsiders + shape.machines;
}

/** Slots of one submitter. */
export function slotsOf(shape: SchedulerShape, submitter: number): number {
  return submitter < shape.outsiders ? shape.slotsEach : shape.nestedSlots;
}

/** The first of them; the others follow. */
export function firstSlotOf(shape: SchedulerShape, submitter: number): number {
  if (submitter <= shape.outsiders) return submitter * shape.slotsEach;
  return shape.outsiders * shape.slotsEach + (submitter - shape.outsiders) * shape.nestedSlots;
}

export function layoutOf(shape: SchedulerShape): Layout {
  const { processors, machines, outsiders, slotsEach, nestedSlots, runQueueCapacity } = shape;
  const submitters = submittersOf(shape);
  const slotsTotal = firstSlotOf(shape, submitters);
  invariant(slotsTotal <= SLOTS_MAX, `there are at most ${SLOTS_MAX} slots`);
  let next = LINE_WORDS;
  const place = (words: number): number => {
    const at = next;
    next += Math.ceil(words / LINE_WORDS) * LINE_WORDS;
    return at;
  };
  const times = <T>(count: number, make: (index: number) => T): T[] =>
    Array.from({ length: count }, (_, index) => make(index));
  const recoveryCapacity = 2 ** Math.ceil(Math.log2(slotsTotal));
  // A machine's own tasks, and those of another whose processor it took over.
  const overflowCapacity = 2 * nestedSlots;
  const layout = {
    cancels: place(1),
    idle: place(idleWords(machines)),
    idleAsync: place(maskWords(machines)),
    spares: place(maskWords(machines)),
    permits: place(machines - processors),
    joining: place(maskWords(machines)),
    paused: place(PAUSED_WORDS),
    processors: times(processors, () => place(PROCESSOR_WORDS)),
    outboxFlags: times(PRIORITIES, () => place(maskWords(outsiders + 1))),
    runQueues: times(processors, () => place(runQueueWords(runQueueCapacity))),
    overflows: times(processors, () => place(runQueueWords(overflowCapacity))),
    outboxes: [
      ...times(outsiders, () => times(PRIORITIES, () => place(runQueueWords(slotsEach)))),
      [place(runQueueWords(recoveryCapacity))],
    ],
    completions: times(machines, () =>
      times(submitters, (submitter) => place(spscRingWords(slotsOf(shape, submitter), 1))),
    ),
    frees: times(machines, () =>
      times(submitters, (submitter) => place(spscRingWords(slotsOf(shape, submitter), FREE_WIDTH))),
    ),
    recoveryCapacity,
    overflowCapacity,
  };
  return { ...layout, totalWords: next };
}

/** Words of an entry in a ring of freed result blocks: the block's reference. */
export const FREE_WIDTH = 1;

/**
 * Memory of a new scheduler. `threads` already holds the ids of machines and of submitters outside.
 */
export function allocateMemory(
  shape: SchedulerShape,
  arenaBytesMax: number,
  threads: SharedArrayBuffer,
  machineThreads: readonly number[],
  outsiderThreads: readonly number[],
): SchedulerMemory {
  invariant(machineThreads.length === shape.machines, "every machine has a thread id");
  invariant(outsiderThreads.length === shape.outsiders, "every submitter outside has a thread id");
  const submitters = submittersOf(shape);
  return {
    ...shape,
    epochMs: performance.timeOrigin + performance.now(),
    words: new SharedArrayBuffer(layoutOf(shape).totalWords * Int32Array.BYTES_PER_ELEMENT),
    slots: new SharedArrayBuffer(firstSlotOf(shape, submitters) * SLOT_BYTES + LINE_BYTES),
    arenas: allocateArenas(submitters + shape.machines, arenaBytesMax),
    deathNotes: allocateDeathNotes(shape.machines),
    threads,
    machineThreads,
    submitterThreads: [...outsiderThreads, ...machineThreads],
  };
}
