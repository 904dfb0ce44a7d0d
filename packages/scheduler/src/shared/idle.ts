/**
 * The machines that sleep, those that search for work, and the choice of one to wake.
 *
 * Rule, from Go's runtime and Tokio: new work wakes one machine, and only when no machine searches;
 * a searcher that finds work wakes the next. So a burst wakes machines one after the other instead
 * of all at once, and a steady load wakes nobody.
 *
 * Memory: at `idle`, per 16 machines one word: bit i for "sleeps", bit 16 + i for "searches". Both
 * lie in one word, because a waker moves a machine from the one to the other in a single step. In
 * two steps a machine could be seen as a searcher while it already runs a long task, and nobody
 * would be woken meanwhile.
 *
 * At `idleAsync`, per 32 machines one word: bit i for "sleeps in its event loop". Such a machine is
 * woken last and is not counted as searching, since its event loop may be busy.
 *
 * A waker stops counting a machine that it chose as a searcher after LATE_MS: the system may have
 * no core for it, while the next machine could run at once.
 *
 * A machine changes its own bits. A waker only moves "sleeps" to "searches", or clears "sleeps in
 * its event loop". The supervisor clears all bits of a machine that died.
 *
 * Why no wake-up is lost: a machine stops searching, announces its sleep, and then looks at every
 * queue once more; a thread that publishes work looks at these words afterwards.
 */
import { performance } from "@millrace/base";
import { isWaking, unpark, unparkAgain } from "@millrace/atomics-sync";
import { clearBit, countBits, lowestBit, maskWords, setBit } from "@millrace/shared-memory";

const GROUP = 16;
const SLEEPS: number = (1 << GROUP) - 1;
const SEARCHES: number = SLEEPS << GROUP;

/** Twice what it takes a machine to wake up on a free core. */
const LATE_MS = 0.1;

/** Words that the packed sets take up. */
export function idleWords(machines: number): number {
  return Math.ceil(machines / GROUP);
}

export class IdleSet {
  readonly #words: Int32Array;
  readonly #idle: number;
  readonly #idleWords: number;
  readonly #idleAsync: number;
  readonly #asyncWords: number;
  readonly #threads: Int32Array;
  readonly #machineThreads: readonly number[];
  readonly #searchersMax: number;
  readonly #lateMs: number;
  /** The machine that this thread chose last, and when; -1 when it has come. */
  #chosen = -1;
  #chosenAt = 0;

  constructor(
    words: Int32Array,
    idle: number,
    idleAsync: number,
    threads: Int32Array,
    machineThreads: readonly number[],
    lateMs: number = LATE_MS,
  ) {
    this.#words = words;
    this.#idle = idle;
    this.#idleWords = idleWords(machineThreads.length);
    this.#idleAsync = idleAsync;
    this.#asyncWords = maskWords(machineThreads.length);
    this.#threads = threads;
    this.#machineThreads = machineThreads;
    this.#searchersMax = Math.max(1, machineThreads.length >> 1);
    this.#lateMs = lateMs;
  }

  /**
   * After publishing work: wakes a machine unless one searches. Any thread. True when it woke one.
   */
  wakeOne(): boolean {
    const late = this.#late();
    let sleepers = 0;
    for (let index = 0; index < this.#idleWords; index += 1) {
      const state = Atomics.load(this.#words, this.#idle + index);
      const notCounted = late >> 4 === index ? searchBit(late) : 0;
      if ((state & SEARCHES & ~notCounted) !== 0) return false;
      sleepers |= state & SLEEPS;
    }
    if (sleepers !== 0 && this.#wakeSleeper()) return true;
    return this.#wakeAsync();
  }

  /** The machine that this thread chose last, if it hasn't come after LATE_MS; -1 otherwise. */
  #late(): number {
    if (this.#chosen < 0) return -1;
    if (!isWaking(this.#threads, this.#machineThreads[this.#chosen] as number)) {
      this.#chosen = -1;
      return -1;
    }
    return performance.now() - this.#chosenAt >= this.#lateMs ? this.#chosen : -1;
  }

  /** Whether some machine sleeps or searches: then private work may be wanted. */
  isAnyoneIdle(): boolean {
    for (let index = 0; index < this.#idleWords; index += 1) {
      if (Atomics.load(this.#words, this.#idle + index) !== 0) return true;
    }
    for (let index = 0; index < this.#asyncWords; index += 1) {
      if (Atomics.load(this.#words, this.#idleAsync + index) !== 0) return true;
    }
    return false;
  }

  /** Machines that hold a processor and sleep. */
  countSleepers(): number {
    let sleepers = countBits(this.#words, this.#idleAsync, this.#asyncWords);
    for (let index = 0; index < this.#idleWords; index += 1) {
      for (let bits = Atomics.load(this.#words, this.#idle + index) & SLEEPS; bits !== 0; bits &= bits - 1)
        sleepers += 1;
    }
    return sleepers;
  }

  #wakeSleeper(): boolean {
    for (let index = 0; index < this.#idleWords; index += 1) {
      let state = Atomics.load(this.#words, this.#idle + index);
      // Ends: a failed exchange means that another thread moved a machine, and a word holds few of
      // them.
      while ((state & SLEEPS) !== 0) {
        const bit = state & -state & SLEEPS;
        const seen = Atomics.compareExchange(this.#words, this.#idle + index, state, (state & ~bit) | (bit << GROUP));
        if (seen === state) {
          this.#chosen = index * GROUP + lowestBit(bit);
          this.#chosenAt = performance.now();
          unpark(this.#threads, this.#machineThreads[this.#chosen] as number);
          return true;
        }
        state = seen;
      }
    }
    return false;
  }

  #wakeAsync(): boolean {
    for (let index = 0; index < this.#asyncWords; index += 1) {
      let state = Atomics.load(this.#words, this.#idleAsync + index);
      while (state !== 0) {
        const member = index * 32 + lowestBit(state);
        if (clearBit(this.#words, this.#idleAsync, member)) {
          unpark(this.#threads, this.#machineThreads[member] as number);
          return true;
        }
        state = Atomics.load(this.#words, this.#idleAsync + index);
      }
    }
    return false;
  }

  /** The machine begins to search, unless half of all do already. */
  trySearch(machine: number): boolean {
    let searchers = 0;
    for (let index = 0; index < this.#idleWords; index += 1) {
      let bits = Atomics.load(this.#words, this.#idle + index) >>> GROUP;
      while (bits !== 0) {
        bits &= bits - 1;
        searchers += 1;
      }
    }
    if (searchers >= this.#searchersMax) return false;
    this.search(machine);
    return true;
  }

  /** The machine begins to search, however many others do. */
  search(machine: number): void {
    Atomics.or(this.#words, this.#word(machine), searchBit(machine));
  }

  /** The machine found work, or gave up. */
  stopSearch(machine: number): void {
    Atomics.and(this.#words, this.#word(machine), ~searchBit(machine));
  }

  /**
   * The machine announces a blocking sleep; before it looks at the queues for the last time. It
   * doesn't search any more.
   */
  sleep(machine: number): void {
    Atomics.or(this.#words, this.#word(machine), sleepBit(machine));
  }

  /**
   * The machine is awake again. True when a waker picked it: then it counts as searching already.
   */
  wakeUp(machine: number): boolean {
    const before = Atomics.and(this.#words, this.#word(machine), ~sleepBit(machine));
    return (before & sleepBit(machine)) === 0;
  }

  sleepAsync(machine: number): void {
    setBit(this.#words, this.#idleAsync, machine);
  }

  wakeUpAsync(machine: number): void {
    clearBit(this.#words, this.#idleAsync, machine);
  }

  /**
   * Supervisor: forgets a machine whose thread is gone, and wakes all others, since it may have
   * died while waking one.
   */
  forget(machine: number): void {
    Atomics.and(this.#words, this.#word(machine), ~(sleepBit(machine) | searchBit(machine)));
    clearBit(this.#words, this.#idleAsync, machine);
    for (let other = 0; other < this.#machineThreads.length; other += 1) {
      unparkAgain(this.#threads, this.#machineThreads[other] as number);
    }
  }

  /** Wakes a certain machine, whatever it does. */
  wake(machine: number): void {
    unpark(this.#threads, this.#machineThreads[machine] as number);
  }

  #word(machine: number): number {
    return this.#idle + (machine >> 4);
  }
}

function sleepBit(machine: number): number {
  return 1 << (machine & (GROUP - 1));
}

function searchBit(machine: number): number {
  return sleepBit(machine) << GROUP;
}
