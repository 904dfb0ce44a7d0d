/**
 * Which machine holds which processor, and who waits for one: what lets a thread that blocks give its processor to another.
 *
 * Source: handoffp and sysmon in Go's runtime; block_in_place in Tokio, whose rule for the way back is ours: a machine whose
 * processor was taken meanwhile goes on with its task without one, and looks for another afterwards.
 *
 * Memory, per processor, each word on a line of its own:
 *
 *   OWNER   machine + 1, or 0: nobody. Taken by compare-and-swap from 0; given back by its owner's store of 0, or by the supervisor's
 *           once the owner's thread is gone. This word is the truth; everything below helps to find it.
 *   TICK    changes whenever the owner starts or ends a task, odd while one runs; and beside it the task's slot; written by the owner,
 *           plain, read by the watchdog
 *   NEXT    slot + 1 of the task to run next, or 0 (processor.ts)
 *
 * And two sets of machines: SPARES, those that sleep without a processor: a bit is set by the machine, cleared by whoever wakes it, or by
 * itself; BLOCKED, those that wait in a handler: set and cleared by the machine, by the supervisor after its death.
 *
 * Why no processor is forgotten: whoever gives one back stores OWNER first and looks at SPARES second; a spare sets its bit first
 * and looks at every OWNER second.
 */
import { unpark, unparkAgain } from "@millrace/atomics-sync";
import { clearBit, countBits, hasBit, LINE_WORDS, lowestBit, maskWords, setBit } from "@millrace/shared-memory";

const OWNER = 0;
const TICK: number = LINE_WORDS;
/** Beside TICK: slot + 1 of the task that runs, or 0. */
export const RUNNING_SLOT = 1;
const NEXT: number = 2 * LINE_WORDS;
/** Words of a processor. */
export const PROCESSOR_WORDS: number = 3 * LINE_WORDS;

const NOBODY = 0;
/** No processor. */
export const NONE = -1;

/** Word indexes of what this file describes. */
export interface ProcessorsPlace {
  readonly processors: readonly number[];
  readonly spares: number;
  readonly blocked: number;
}

/** How many there may be, and their threads' numbers in the thread table. */
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

  /** Machine: takes a processor that nobody has, `first` if it can be that one; `NONE` when there is none. */
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

  /** Supervisor, after a death: wakes every machine without a processor, since the dead one may have been waking one of them. */
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

  /** Machine: is about to wait in a handler. False, and nothing has changed, when too many wait already: some processor would be left
   * without a machine. */
  tryBlock(machine: number): boolean {
    const { blocked } = this.#place;
    setBit(this.#words, blocked, machine);
    const { machines, processors } = this.#numbers;
    if (countBits(this.#words, blocked, this.#maskWords) <= machines - processors) return true;
    clearBit(this.#words, blocked, machine);
    return false;
  }

  unblock(machine: number): void {
    clearBit(this.#words, this.#place.blocked, machine);
  }

  isBlocked(machine: number): boolean {
    return hasBit(this.#words, this.#place.blocked, machine);
  }

  /** Supervisor, once the machine's thread is gone: takes away what it held. Whether that was a processor. */
  forget(machine: number): boolean {
    this.unblock(machine);
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

  /** Any thread: the slot of the task that its machine runs, -1 without; a guess. */
  runningSlot(processor: number): number {
    return (this.#words[(this.#bases[processor] as number) + TICK + RUNNING_SLOT] as number) - 1;
  }

  /** Word index of NEXT. */
  nextWord(processor: number): number {
    return (this.#bases[processor] as number) + NEXT;
  }
}
