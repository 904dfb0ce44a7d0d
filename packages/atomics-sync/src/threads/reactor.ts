/**
 * How an event-loop thread waits for other threads. It polls its sources while one of them expects
 * something, for a short time without a pause; then it arms the doorbell and lets the event loop
 * sleep.
 *
 * The poll before the bell is there because a bell costs 15–50 µs and a turn of the event loop
 * about 1 µs; its length is a trade between latency and an idle core
 * (docs/adr/0004-poll-before-bell.md). Where results come so steadily and from such a long queue
 * that a moment more is nothing to them, the thread rests on a timer instead, as a network card
 * holds back its interrupts under load: neither polling nor a bell for each result takes processor
 * time from the threads that compute.
 *
 * While a source expects something, a ref'd timer keeps the process alive (a pending
 * Atomics.waitAsync doesn't) and polls once a second, so that even a lost wake-up is only a delay;
 * `wakeupsMissed` counts those.
 */
import { threadId } from "node:worker_threads";
import { messageOf, clearInterval, performance, setImmediate, setInterval, setTimeout } from "@millrace/base";
import { Parker } from "./parker.ts";
import { atThreadEnd } from "./thread-end.ts";
import { ThreadTable } from "./threads.ts";

export interface Source {
  /** Handles some of the things that have arrived, in bounded time, and returns their number. */
  poll(): number;
  /** Whether more is expected. */
  isExpecting(): boolean;
  /** Whether the process shall stay alive for the things that are expected. Left out: yes. */
  keepsAlive?(): boolean;
  /**
   * How long to poll without a pause after the last thing that arrived, while this source expects
   * more; ms.
   */
  readonly pollMs: number;
  /**
   * How long the next thing may lie unseen; ms. Left out, and 0: not at all. All sources that may
   * rest give the same: a rest that has begun isn't cut short by a shorter one.
   */
  restMs?(): number;
}

/** The safety net's period. */
const TICK_MS = 1000;

let current: Reactor | undefined;

export class Reactor {
  readonly #parker: Parker;
  #sources: readonly Source[] = [];
  #state: "idle" | "polling" | "resting" | "sleeping" = "idle";
  #progressAt = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Whether a turn is already asked for: there is never more than one. */
  #isTurnDue = false;
  readonly #turnBound = (): void => this.#turn();
  /** The same for the end of a rest. */
  #isRestOverDue = false;
  readonly #restedBound = (): void => this.#rested();
  /**
   * How often the safety net found something that no bell had announced: 0 in a correct system, but
   * for a tick that falls between a waker's publishing and its bell.
   */
  wakeupsMissed = 0;

  constructor(words: Int32Array, thread: number) {
    this.#parker = new Parker(words, thread);
  }

  /** The reactor of this thread. */
  static current(): Reactor {
    if (current === undefined) {
      const threads = ThreadTable.current();
      const reactor = new Reactor(threads.words, threads.reserve(threadId));
      atThreadEnd(() => threads.release(reactor.thread));
      current = reactor;
    }
    return current;
  }

  /** The thread's number in its table: what `unpark` takes to wake it. */
  get thread(): number {
    return this.#parker.id;
  }

  add(source: Source): void {
    this.#sources = [...this.#sources, source];
  }

  remove(source: Source): void {
    // A new list: this one may just be walked.
    this.#sources = this.#sources.filter((each) => each !== source);
    this.check();
    if (this.#sources.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * To be called by a source that begins to expect something. Cheap when the reactor already knows.
   */
  expect(): void {
    if (this.#state === "polling") return;
    if (this.#state === "resting" && this.#restMs() > 0) return;
    if (this.#state === "sleeping") this.#parker.cancel();
    this.#poll();
  }

  /**
   * To be called by a source that expects nothing more for another reason than an outcome of its
   * `poll`.
   */
  check(): void {
    if (this.#pollMs() < 0) this.#stop();
    else if (this.#state === "sleeping") this.#keepAlive();
  }

  /** Polls from the next turn of the event loop on. */
  #poll(): void {
    this.#state = "polling";
    this.#progressAt = performance.now();
    this.#askForTurn();
  }

  #askForTurn(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(this.#turnBound);
  }

  #turn(): void {
    this.#isTurnDue = false;
    if (this.#state !== "polling") return;
    const handled = this.#pollAll();
    const pollMs = this.#pollMs();
    if (pollMs < 0) {
      this.#stop();
      return;
    }
    const now = performance.now();
    if (handled > 0) this.#progressAt = now;
    const restMs = handled > 0 ? 0 : this.#restMs();
    if (restMs > 0) this.#rest(restMs);
    else if (handled > 0 || now - this.#progressAt < pollMs) this.#askForTurn();
    else this.#sleep();
  }

  /** The longest of the sources that expect something; -1 when none does. */
  #pollMs(): number {
    let pollMs = -1;
    for (const source of this.#sources) {
      if (source.isExpecting() && source.pollMs > pollMs) pollMs = source.pollMs;
    }
    return pollMs;
  }

  /** The shortest of the sources that expect something. */
  #restMs(): number {
    let restMs = Infinity;
    for (const source of this.#sources) {
      if (source.isExpecting()) restMs = Math.min(restMs, source.restMs?.() ?? 0);
    }
    return restMs === Infinity ? 0 : restMs;
  }

  /** Needs no bell: the timer comes in any case. */
  #rest(ms: number): void {
    this.#state = "resting";
    if (this.#isRestOverDue) return;
    this.#isRestOverDue = true;
    setTimeout(this.#restedBound, ms);
  }

  #rested(): void {
    this.#isRestOverDue = false;
    if (this.#state !== "resting") return;
    this.#state = "polling";
    this.#progressAt = performance.now();
    this.#turn();
  }

  #sleep(): void {
    this.#state = "sleeping";
    this.#parker.prepareAsync();
    const handled = this.#pollAll();
    // A source may have called `expect`, or been removed, in that last look.
    if (this.#state !== "sleeping") return;
    if (handled > 0) {
      this.#parker.cancel();
      this.#poll();
      return;
    }
    this.#keepAlive();
    const ring = this.#parker.listen();
    if (ring === "rung") this.#wake();
    else if (ring !== "listening") ring.then(() => this.#wake(), fail);
  }

  #wake(): void {
    this.#parker.answered();
    if (this.#state !== "sleeping") return;
    this.#state = "polling";
    this.#progressAt = performance.now();
    this.#turn();
  }

  #tick(): void {
    if (this.#state !== "sleeping") return;
    // On a busy machine the timer may come before a bell that has rung.
    const hasRung = this.#parker.isNotified();
    if (this.#pollAll() === 0) {
      this.check();
      return;
    }
    if (!hasRung) this.wakeupsMissed += 1;
    this.expect();
  }

  /**
   * Polls every source. If one throws, the others get their turn at the next opportunity, and the
   * error goes where it belongs.
   */
  #pollAll(): number {
    let handled = 0;
    try {
      for (const source of this.#sources) handled += source.poll();
    } catch (thrown) {
      if (this.#state === "sleeping") this.#parker.cancel();
      this.#poll();
      throw thrown;
    }
    return handled;
  }

  #keepAlive(): void {
    this.#timer ??= setInterval(() => this.#tick(), TICK_MS);
    if (this.#sources.some((source) => source.isExpecting() && source.keepsAlive?.() !== false)) this.#timer.ref();
    else this.#timer.unref();
  }

  #stop(): void {
    if (this.#state === "sleeping") this.#parker.cancel();
    this.#state = "idle";
    this.#timer?.unref();
  }
}

function fail(thrown: unknown): never {
  throw new Error(`Atomics.waitAsync failed: ${messageOf(thrown)}`);
}
