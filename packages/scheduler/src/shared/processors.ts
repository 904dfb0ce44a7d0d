/**
 * The machine that holds each processor, and the machines that wait for one: this lets a thread
 * that blocks give its processor to another.
 *
 * Source: handoffp and sysmon in Go's runtime; block_in_place in Tokio, whose rule for the way back
 * is ours: a machine whose processor was taken meanwhile goes on with its task without one, and
 * looks for another afterwards.
 *
 * Memory, per processor, each word on a line of its own:
 *
 *   OWNER   machine + 1, or 0: nobody. Taken by compare-and-swap from 0; given back by its owner's
 *           store of 0, or by the supervisor's once the owner's thread is gone. This word is the
 *           truth; the sets below help to find it.
 *   TICK    changes whenever the owner starts or ends a task, odd while one runs; beside it the
 *           task's handler + 1, or 0; written by the owner, plain, read by the watchdog
 *   NEXT    slot + 1 of the task to run next, or 0 (processor.ts)
 *
 * Of all machines:
 *
 *   SPARES   bit per machine: it sleeps without a processor. Set by the machine, cleared by its
 *            waker, or by itself
 *   PERMITS  a word per thread that may wait in a handler at a time, as many as there are machines
 *            beyond the processors: machine + 1, or 0. Taken by compare-and-swap, given back by a
 *            store
 *   JOINING  bit per machine: it waits in a join and keeps its processor (joins.ts). Set and
 *            cleared by the machine
 *
 * The supervisor takes a dead machine out of all three. PERMITS are words, not a count of bits: two
 * machines that set their bits at once would each count one too many, and both would be refused the
 * last place.
 *
 * Why no processor is forgotten: a machine that gives one back stores OWNER first and looks at
 * SPARES second; a spare sets its bit first and looks at every OWNER second.
 */
import { unpark, unparkAgain } from "@millrace/atomics-sync";
import { clearBit, hasBit, LINE_WORDS, lowestBit, maskWords, setBit } from "@millrace/shared-memory";

const OWNER = 0;
const TICK: number = LINE_WORDS;
/** Beside TICK: the number of the handler that runs + 1, or 0. */
export const RUNNING_HANDLER = 1;
const NEXT: number = 2 * LINE_WORDS;
/** Words of a processor. */
export const PROCESSOR_WORDS: number = 3 * LINE_WORDS;

const NOBODY = 0;
/** No processor. */
export const NONE = -1;

/** Looks at all permits: a machine that meets others at every one of them leaves it to these. */
const PERMIT_LOOKS = 4;

/** Word indexes of what this file describes. */
export interface ProcessorsPlace {
  readonly processors: readonly number[];
  readonly spares: number;
  readonly permits: number;
  readonly joining: number;
}

/** The most machines, and their threads' numbers in the thread table. */
export interface MachineNumbers {
  readonly processors: number;
  readonly machines: number;
  readonly machineThreads: readonly number[];
}

export class Processors {
  readonly #words: Int32Array;
  readonly #place: ProcessorsPlace;
  readonly #threads: Int32Array;
  readonly #numbers: MachineNumbers;
  readonly #bases: readonly number[];
  readonly #maskWords: number;

  constructor(words: Int32Array, place: ProcessorsPlace, threads: Int32Array, numbers: MachineNumbers) {
    this.#words = words;
    this.#place = place;
    this.#threads = threads;
    this.#numbers = numbers;
    this.#bases = place.processors;
    this.#maskWords = maskWords(numbers.machines);
  }

  get count(): number {
    return this.#bases.length;
  }

  /**
   * Machine: takes a processor that nobody has, `first` if it can be that one; `NONE` when there is
   * none.
   */
  acquire(machine: number, first = 0): number {
    for (let offset = 0; offset < this.#bases.length; offset += 1) {
      const processor = (first + offset) % this.#bases.length;
      if (this.tryAcquire(machine, processor)) return processor;
    }
    return NONE;
  }

  tryAcquire(machine: number, processor: number): boolean {
    const word = (this.#bases[processor] as number) + OWNER;
    if (Atomics.load(this.#words, word) !== NOBODY) return false;
    return Atomics.compareExchange(this.#words, word, NOBODY, machine + 1) === NOBODY;
  }

  /** Owner, or supervisor after its death: gives the processor back. Then call `wakeSpare`. */
  release(processor: number): void {
    Atomics.store(this.#words, (this.#bases[processor] as number) + OWNER, NOBODY);
  }

  /** The machine that holds it, or -1. */
  owner(processor: number): number {
    return Atomics.load(this.#words, (this.#bases[processor] as number) + OWNER) - 1;
  }

  /** Whether some processor has no machine. */
  isAnyFree(): boolean {
    for (let processor = 0; processor < this.#bases.length; processor += 1) {
      if (this.owner(processor) < 0) return true;
    }
    return false;
  }

  /** Wakes a machine that has no processor; which one, or -1 when none sleeps. */
  wakeSpare(): number {
    for (let index = 0; index < this.#maskWords; index += 1) {
      let spares = Atomics.load(this.#words, this.#place.spares + index);
      // Ends: each turn takes a bit out of the word that was read.
      while (spares !== 0) {
        const machine = index * 32 + lowestBit(spares);
        if (clearBit(this.#words, this.#place.spares, machine)) {
          unpark(this.#threads, this.#numbers.machineThreads[machine] as number);
          return machine;
        }
        spares &= spares - 1;
      }
    }
    return -1;
  }

  /**
   * Supervisor, after a death: wakes every machine without a processor, since the dead one may have
   * been waking one of them.
   */
  wakeSpareAgain(): void {
    for (let machine = 0; machine < this.#numbers.machines; machine += 1) {
      unparkAgain(this.#threads, this.#numbers.machineThreads[machine] as number);
    }
  }

  announceSpare(machine: number): void {
    setBit(this.#words, this.#place.spares, machine);
  }

  /** The machine is awake. True when a waker had picked it. */
  cancelSpare(machine: number): boolean {
    return !clearBit(this.#words, this.#place.spares, machine);
  }

  // ── machines that wait in handlers ────────────────────────────────────────────────────────────

  /**
   * Machine: is about to wait in a handler. False when as many wait as may: one more would leave a
   * processor without a machine. It is refused only after two looks in a row have found every
   * permit with the same machines.
   */
  tryBlock(machine: number): boolean {
    const { permits } = this.#place;
    const count = this.#permitCount;
    let before = -1;
    for (let look = 0; look < PERMIT_LOOKS; look += 1) {
      let seen = 0;
      for (let permit = 0; permit < count; permit += 1) {
        const owner = Atomics.load(this.#words, permits + permit);
        if (owner === NOBODY && this.#takePermit(permits + permit, machine)) return true;
        seen = (Math.imul(seen, 257) + owner) | 0;
      }
      if (seen === before) return false;
      before = seen;
    }
    return false;
  }

  #takePermit(word: number, machine: number): boolean {
    return Atomics.compareExchange(this.#words, word, NOBODY, machine + 1) === NOBODY;
  }

  /** The machine waits no more. */
  unblock(machine: number): void {
    const word = this.#permitOf(machine);
    if (word !== NONE) Atomics.store(this.#words, word, NOBODY);
  }

  isBlocked(machine: number): boolean {
    return this.#permitOf(machine) !== NONE;
  }

  /** Machines that wait in handlers. */
  countBlocked(): number {
    let blocked = 0;
    for (let permit = 0; permit < this.#permitCount; permit += 1) {
      if (Atomics.load(this.#words, this.#place.permits + permit) !== NOBODY) blocked += 1;
    }
    return blocked;
  }

  get #permitCount(): number {
    return this.#numbers.machines - this.#numbers.processors;
  }

  /** Word index of the permit that the machine holds, or `NONE`. */
  #permitOf(machine: number): number {
    for (let permit = 0; permit < this.#permitCount; permit += 1) {
      const word = this.#place.permits + permit;
      if (Atomics.load(this.#words, word) === machine + 1) return word;
    }
    return NONE;
  }

  // ── machines that wait in joins ───────────────────────────────────────────────────────────────

  /** Machine: waits in a join and keeps its processor. Then look at `doAllJoin`. */
  joinBegins(machine: number): void {
    setBit(this.#words, this.#place.joining, machine);
  }

  joinEnds(machine: number): void {
    clearBit(this.#words, this.#place.joining, machine);
  }

  /**
   * Whether every processor is held by a machine that waits in a join: then nobody comes to take a
   * task from a queue.
   */
  doAllJoin(): boolean {
    for (let processor = 0; processor < this.#bases.length; processor += 1) {
      const owner = this.owner(processor);
      if (owner < 0 || !hasBit(this.#words, this.#place.joining, owner)) return false;
    }
    return true;
  }

  /**
   * The last machine to begin its wait: wakes the others, which have to look at their own tasks
   * again.
   */
  wakeJoining(machine: number): void {
    for (let other = 0; other < this.#numbers.machines; other += 1) {
      if (other === machine || !hasBit(this.#words, this.#place.joining, other)) continue;
      unpark(this.#threads, this.#numbers.machineThreads[other] as number);
    }
  }

  // ── from outside ──────────────────────────────────────────────────────────────────────────────

  /**
   * Supervisor, once the machine's thread is gone: takes away its processor. Returns whether it had
   * one.
   */
  forget(machine: number): boolean {
    this.unblock(machine);
    this.joinEnds(machine);
    this.cancelSpare(machine);
    let held = false;
    for (let processor = 0; processor < this.#bases.length; processor += 1) {
      if (this.owner(processor) !== machine) continue;
      this.release(processor);
      held = true;
    }
    return held;
  }

  /** Word index of TICK, for its owner's plain stores. */
  tickWord(processor: number): number {
    return (this.#bases[processor] as number) + TICK;
  }

  /** Any thread: TICK as it was a moment ago. */
  tick(processor: number): number {
    return Atomics.load(this.#words, (this.#bases[processor] as number) + TICK);
  }

  /** Any thread: the number of the handler that its machine runs, -1 without; a guess. */
  runningHandler(processor: number): number {
    return (this.#words[(this.#bases[processor] as number) + TICK + RUNNING_HANDLER] as number) - 1;
  }

  /** Word index of NEXT. */
  nextWord(processor: number): number {
    return (this.#bases[processor] as number) + NEXT;
  }
}
