/**
 * Puts things right after a machine's thread is gone. The supervisor runs it after the thread's
 * `exit` event and never before: only then is it certain that the thread writes nothing any more.
 *
 * A machine may die at any instruction. Each step that it may leave half done, and the mend:
 *
 *   took entries from a queue, claimed none  QUEUED, in no queue → pushed to the recovery outbox
 *   claimed, ran, wrote the result           RUNNING → FAILED (crashed), or QUEUED by its policy
 *   made it DONE, published no completion    DONE, not in the machine's ring → published here
 *   published, woke nobody                   every submitter is woken
 *   woke a machine halfway                   every machine is woken (IdleSet.forget)
 *   cleared a flag, didn't look again        every outbox flag is raised
 *   held a processor                         a spare or the thread's successor gets it
 *   had submitted tasks                      QUEUED → taken back; RUNNING on another machine →
 *                                            its outcome is read here and thrown away
 *
 * A death counts against a task only if the task ran alone. Tasks that ran side by side when their
 * machine died run alone the next time, if their policy allows another attempt.
 *
 * The search for lost entries may push an entry that is on its way between two queues a second
 * time. That is harmless: the claim decides.
 */
import { invariant } from "@millrace/base";
import { unpark, unparkAgain } from "@millrace/atomics-sync";
import {
  EMPTY,
  FULL,
  RunQueue,
  type RunQueuePlace,
  runQueueSnapshot,
  SpscConsumer,
  SpscProducer,
  spscRingLength,
  spscRingSnapshot,
} from "@millrace/shared-memory";
import { raiseFlag } from "../shared/outbox-flags.ts";
import { firstSlotOf, slotsOf } from "../shared/layout.ts";
import { PRIORITIES, RECOVERY_PRIORITY } from "../shared/priorities.ts";
import type { Shared } from "../shared/shared.ts";
import type { PausedHandlers } from "../shared/paused.ts";
import { CRASHES_MAX, FREE, NOT_CLAIMED, QUEUED, RUNNING, type TaskTable } from "../shared/task-table.ts";
import { ARENA_BYTES, CRASHED } from "../shared/values.ts";

export interface RecoveryReport {
  /** Tasks that failed with the machine. */
  failed: number;
  /** Tasks that will run again. */
  requeued: number;
  /** Tasks that had no queue entry any more. */
  found: number;
  /** Outcomes that were written but not reported. */
  reported: number;
  /** Tasks that the dead machine's handlers had submitted. */
  orphaned: number;
}

export class Recovery {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #paused: PausedHandlers;
  readonly #outbox: RunQueue;
  readonly #entries: Int32Array;
  /** Whether the recovery outbox had no room for a task. */
  #hasPostponed = false;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.#table = shared.table();
    this.#paused = shared.paused();
    this.#outbox = new RunQueue(shared.outbox(shared.memory.outsiders, 0));
    this.#entries = new Int32Array(Math.max(shared.layout.recoveryCapacity, shared.layout.overflowCapacity));
  }

  /** Settles or requeues every task that `machine` had claimed. */
  recover(machine: number): RecoveryReport {
    const report: RecoveryReport = { failed: 0, requeued: 0, found: 0, reported: 0, orphaned: 0 };
    report.orphaned = this.#takeBackSubmitted(machine);
    const ranAlone = this.countRunning(machine) === 1;
    const own = this.#shared.submitterOfMachine(machine);
    for (let submitter = 0; submitter < this.#shared.submitters; submitter += 1) {
      if (submitter === own) continue;
      // Read before the states: a slot that is DONE afterwards and missing here was never
      // published.
      const published = this.#publishedBy(machine, submitter);
      const ring = new SpscProducer(this.#shared.completions(machine, submitter));
      const first = firstSlotOf(this.#shared.memory, submitter);
      for (let slot = first; slot < first + slotsOf(this.#shared.memory, submitter); slot += 1) {
        this.#mend(slot, machine, ranAlone, published, ring, report);
      }
      ring.publish();
    }
    report.found = this.sweep();
    this.#shared.processors().forget(machine);
    this.#wakeEverybody(machine);
    return report;
  }

  /**
   * No thread can be started: settles every task that is queued, as if the dead machine had taken
   * it and died under it. Returns how many. To be called before the machine is drained.
   */
  failQueued(machine: number): number {
    let failed = 0;
    for (let submitter = 0; submitter < this.#shared.submitters; submitter += 1) {
      const ring = new SpscProducer(this.#shared.completions(machine, submitter));
      const first = firstSlotOf(this.#shared.memory, submitter);
      for (let slot = first; slot < first + slotsOf(this.#shared.memory, submitter); slot += 1) {
        if (this.#table.claim(slot, machine) === NOT_CLAIMED) continue;
        this.#crash(slot);
        this.#stage(slot, ring);
        failed += 1;
      }
      ring.publish();
    }
    for (const thread of this.#shared.memory.submitterThreads) unpark(this.#shared.threads, thread);
    return failed;
  }

  /**
   * Pushes every task that is QUEUED but in no queue, unless its handler is paused; returns how
   * many. The sweep of a quiet scheduler and the watchdog use it as well. The caller then wakes a
   * machine.
   */
  sweep(): number {
    const queued = this.#collectEntries();
    this.#hasPostponed = false;
    let found = 0;
    for (let slot = 0; slot < this.#table.count; slot += 1) {
      if (this.#table.state(slot) !== QUEUED || queued.has(slot)) continue;
      if (this.#paused.areAny && this.#paused.has(this.#table.handler(slot))) continue;
      if (!this.#outbox.push(slot)) this.#hasPostponed = true;
      found += 1;
    }
    if (found > 0) this.#publish();
    return found;
  }

  /** Takes the next task of a stuck machine away from it; returns whether there was one. */
  takeNext(processor: number): boolean {
    const word = this.#shared.processors().nextWord(processor);
    if (Atomics.load(this.#shared.words, word) === 0) return false;
    const slot = Atomics.exchange(this.#shared.words, word, 0) - 1;
    if (slot < 0 || !this.#outbox.push(slot)) return false;
    this.#publish();
    return true;
  }

  /**
   * Whether submitters have read every outcome of a dead machine, and no machine runs a task that
   * it had submitted. A new thread may then use its memory.
   */
  isDrained(machine: number): boolean {
    for (let submitter = 0; submitter < this.#shared.submitters; submitter += 1) {
      if (spscRingLength(this.#shared.completions(machine, submitter)) > 0) return false;
    }
    if (this.#hasPostponed && this.sweep() > 0) {
      // The machines that the death woke may sleep again.
      this.#shared.idleSet().wakeOne();
      return false;
    }
    return this.#readOrphans(machine);
  }

  /** Once the dead machine is drained: its arenas begin anew. */
  forgetMemory(machine: number): void {
    const { arenas } = this.#shared;
    arenas.forget(this.#shared.submitterOfMachine(machine));
    arenas.forget(this.#shared.resultArena(machine));
  }

  /** Frees the tasks that the dead machine had submitted and that no machine runs. */
  #takeBackSubmitted(machine: number): number {
    const own = this.#shared.submitterOfMachine(machine);
    const first = firstSlotOf(this.#shared.memory, own);
    let taken = 0;
    for (let slot = first; slot < first + slotsOf(this.#shared.memory, own); slot += 1) {
      const state = this.#table.state(slot);
      if (state === FREE) continue;
      taken += 1;
      if (state === QUEUED) this.#table.cancel(slot);
      // It ran here: its submitter died with it. One load, as `stateUnder` says: between two loads
      // another machine may hand the task back.
      else if (this.#table.stateUnder(slot, machine) !== FREE) this.#free(slot);
    }
    return taken;
  }

  /** Reads the outcomes of the dead machine's tasks on other machines; returns whether all came. */
  #readOrphans(machine: number): boolean {
    const own = this.#shared.submitterOfMachine(machine);
    for (let other = 0; other < this.#shared.memory.machines; other += 1) {
      const ring = new SpscConsumer(this.#shared.completions(other, own));
      const frees = new SpscProducer(this.#shared.frees(other, own));
      for (let word = ring.peek(); word !== EMPTY; word = ring.peek()) {
        this.#giveBlockBack(this.#shared.words[word] as number, frees);
        this.#free(this.#shared.words[word] as number);
        ring.advance();
      }
      frees.publish();
      ring.release();
    }
    const first = firstSlotOf(this.#shared.memory, own);
    for (let slot = first; slot < first + slotsOf(this.#shared.memory, own); slot += 1) {
      if (this.#table.state(slot) === FREE) continue;
      // A machine still runs it: its outcome will come.
      if (!this.#table.cancel(slot)) return false;
    }
    return true;
  }

  #giveBlockBack(slot: number, frees: SpscProducer): void {
    if (this.#table.resultKind(slot) !== ARENA_BYTES) return;
    const word = frees.stage();
    invariant(word !== FULL, "a ring of freed blocks has room for every slot");
    this.#shared.words[word] = this.#table.resultPlace(slot);
  }

  #free(slot: number): void {
    this.#table.free(slot, (this.#table.generation(slot) + 1) & 0xffff);
  }

  /**
   * The handler that has ended the dead machine's thread: of the only task that it ran, or of the
   * one that was on its stack; -1 when nobody knows. Before `recover`.
   */
  culprit(machine: number): number {
    let running = 0;
    let alone = -1;
    for (let slot = 0; slot < this.#table.count; slot += 1) {
      if (this.#table.stateUnder(slot, machine) !== RUNNING) continue;
      running += 1;
      alone = slot;
    }
    if (running === 1) return this.#table.handler(alone);
    const processors = this.#shared.processors();
    for (let processor = 0; processor < processors.count; processor += 1) {
      const isRunning = processors.owner(processor) === machine && (processors.tick(processor) & 1) === 1;
      if (isRunning) return processors.runningHandler(processor);
    }
    return -1;
  }

  /** Tasks that the machine has begun and not ended. */
  countRunning(machine: number): number {
    let running = 0;
    for (let slot = 0; slot < this.#table.count; slot += 1) {
      if (this.#table.stateUnder(slot, machine) === RUNNING) running += 1;
    }
    return running;
  }

  #mend(
    slot: number,
    machine: number,
    ranAlone: boolean,
    published: ReadonlySet<number>,
    ring: SpscProducer,
    report: RecoveryReport,
  ): void {
    const state = this.#table.stateUnder(slot, machine);
    if (state === FREE) return;
    if (state === RUNNING) {
      if (ranAlone) this.#table.blame(slot, machine);
      const crashes = this.#table.crashedMachines(slot).length;
      const isWanted = !this.#table.isAskedToStop(slot) && crashes < CRASHES_MAX;
      if (isWanted && this.#table.mayRetryAfterCrash(slot, this.#table.stateWord(slot))) {
        if (!ranAlone) this.#table.isolate(slot);
        this.#table.requeue(slot);
        report.requeued += 1;
        return;
      }
      this.#crash(slot);
      report.failed += 1;
    } else if (published.has(slot)) return;
    else report.reported += 1;
    this.#stage(slot, ring);
  }

  #crash(slot: number): void {
    this.#table.setResult(slot, CRASHED, 0, 0);
    this.#table.fail(slot);
  }

  #stage(slot: number, ring: SpscProducer): void {
    const staged = ring.stage();
    invariant(staged !== FULL, "a completion ring has room for every slot of its submitter");
    this.#shared.words[staged] = slot;
  }

  #publishedBy(machine: number, submitter: number): Set<number> {
    const count = spscRingSnapshot(this.#shared.completions(machine, submitter), this.#entries);
    return new Set(this.#entries.subarray(0, count));
  }

  #collectEntries(): Set<number> {
    const { processors, outsiders } = this.#shared.memory;
    const entries = new Set<number>();
    for (let outsider = 0; outsider < outsiders; outsider += 1) {
      for (let priority = 0; priority < PRIORITIES; priority += 1) {
        this.#collect(this.#shared.outbox(outsider, priority), entries);
      }
    }
    this.#collect(this.#shared.outbox(outsiders, 0), entries);
    for (let processor = 0; processor < processors; processor += 1) {
      this.#collect(this.#shared.runQueue(processor), entries);
      this.#collect(this.#shared.overflow(processor), entries);
      const next = Atomics.load(this.#shared.words, this.#shared.processors().nextWord(processor));
      if (next !== 0) entries.add(next - 1);
    }
    return entries;
  }

  #collect(place: RunQueuePlace, entries: Set<number>): void {
    const count = runQueueSnapshot(place, this.#entries);
    for (let index = 0; index < count; index += 1) entries.add(this.#entries[index] as number);
  }

  #publish(): void {
    this.#outbox.publish();
    for (let priority = 0; priority < PRIORITIES; priority += 1) {
      const flags = this.#shared.layout.outboxFlags[priority] as number;
      for (let outbox = 0; outbox < this.#shared.memory.outsiders; outbox += 1) {
        raiseFlag(this.#shared.words, flags, outbox);
      }
    }
    const recoveryFlags = this.#shared.layout.outboxFlags[RECOVERY_PRIORITY] as number;
    raiseFlag(this.#shared.words, recoveryFlags, this.#shared.memory.outsiders);
  }

  #wakeEverybody(machine: number): void {
    // Even when nothing was found: the machine may have cleared a flag without looking again.
    this.#publish();
    this.#shared.idleSet().forget(machine);
    for (const thread of this.#shared.memory.submitterThreads) unparkAgain(this.#shared.threads, thread);
  }
}
