/**
 * Sleeping and waking without lost wake-ups.
 *
 * A thread sleeps in three steps: announce (`prepare…`), look at every source of work once more,
 * then wait. A thread that makes work publishes it first and looks for an announcement second
 * (`unpark`). All these accesses are sequentially consistent, so one of the two sees the other
 * (Dekker's argument; Go calls it the "delicate dance" in proc.go). A thread that hasn't announced
 * is not notified: V8 takes a process-wide lock for every Atomics.notify.
 *
 * PARK of the sleeper:
 *
 *   AWAKE     0  it will look at its sources before it sleeps; also the start
 *   SYNC      1  it announced a wait in Atomics.wait on PARK
 *   ASYNC     2  it announced that its event loop may sleep; BELL rings it
 *   NOTIFIED  3  another thread woke it; only the thread itself leaves this state
 *
 * A waker that loses its compare-and-swap needn't try again: the sleeper was woken by another, or
 * went back to AWAKE by itself, and in both cases looks at its sources after the waker has
 * published.
 */
import { bellWord, parkWord } from "./threads.ts";

const AWAKE = 0;
const SYNC = 1;
const ASYNC = 2;
const NOTIFIED = 3;

const QUIET = 0;
const RUNG = 1;

/**
 * Wakes thread `id` if it sleeps or is about to. Before that, publish the work that it shall find.
 * Any thread. True when this call woke it.
 */
export function unpark(words: Int32Array, id: number): boolean {
  const word = parkWord(id);
  const state = Atomics.load(words, word);
  if (state !== SYNC && state !== ASYNC) return false;
  if (Atomics.compareExchange(words, word, state, NOTIFIED) !== state) return false;
  if (state === SYNC) {
    Atomics.notify(words, word, 1);
  } else {
    Atomics.store(words, bellWord(id), RUNG);
    Atomics.notify(words, bellWord(id));
  }
  return true;
}

/** Whether thread `id` was woken and hasn't gone on yet. Any thread; stale at once. */
export function isWaking(words: Int32Array, id: number): boolean {
  return Atomics.load(words, parkWord(id)) === NOTIFIED;
}

/**
 * Wakes thread `id` after another thread has died, which may have been waking it: made it NOTIFIED
 * and not come to the notification. For a burial; at worst it wakes a thread for nothing.
 */
export function unparkAgain(words: Int32Array, id: number): void {
  if (unpark(words, id) || Atomics.load(words, parkWord(id)) !== NOTIFIED) return;
  Atomics.notify(words, parkWord(id));
  Atomics.store(words, bellWord(id), RUNG);
  Atomics.notify(words, bellWord(id));
}

/** The sleeper's end, for the thread itself only. */
export class Parker {
  readonly #words: Int32Array;
  readonly id: number;
  /** Whether a waitAsync on BELL is still to be answered. */
  #listening = false;

  constructor(words: Int32Array, id: number) {
    this.#words = words;
    this.id = id;
  }

  /** Announces a blocking wait. Afterwards look at every source, then `wait` or `cancel`. */
  prepare(): void {
    Atomics.store(this.#words, parkWord(this.id), SYNC);
  }

  /**
   * Announces that the event loop may sleep. Afterwards look at every source, then `listen` or
   * `cancel`.
   */
  prepareAsync(): void {
    // Before the announcement, so that a ring that answers it is not overwritten.
    if (!this.#listening) Atomics.store(this.#words, bellWord(this.id), QUIET);
    Atomics.store(this.#words, parkWord(this.id), ASYNC);
  }

  /** Takes the announcement back. */
  cancel(): void {
    Atomics.store(this.#words, parkWord(this.id), AWAKE);
  }

  /**
   * Blocks until woken or until `timeoutMs` has passed. Returns whether it was woken. Never on a
   * thread whose event loop must run.
   */
  wait(timeoutMs: number): boolean {
    const outcome = Atomics.wait(this.#words, parkWord(this.id), SYNC, timeoutMs);
    Atomics.store(this.#words, parkWord(this.id), AWAKE);
    return outcome !== "timed-out";
  }

  /**
   * Waits for the bell without blocking: a promise for the ring; "rung" when it has rung already;
   * "listening" when an earlier promise is still open and will answer for this announcement too.
   * Call `answered` when the promise is through. The promise doesn't keep the process alive.
   */
  listen(): Promise<unknown> | "rung" | "listening" {
    if (this.#listening) return "listening";
    const outcome = Atomics.waitAsync(this.#words, bellWord(this.id), QUIET);
    if (!outcome.async) return "rung";
    this.#listening = true;
    return outcome.value;
  }

  /**
   * Whether another thread has woken this one since it announced its sleep, and it has not answered
   * yet.
   */
  isNotified(): boolean {
    return isWaking(this.#words, this.id);
  }

  /** The bell has rung: back to AWAKE. */
  answered(): void {
    this.#listening = false;
    Atomics.store(this.#words, parkWord(this.id), AWAKE);
  }
}
