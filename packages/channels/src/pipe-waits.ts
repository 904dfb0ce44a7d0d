/**
 * The async flows of one thread that wait at an end of a one-to-one channel (pipe-core.ts), in line
 * at each end.
 */
import { clearInterval, clearTimeout, setInterval, setTimeout } from "@millrace/base";
import { Reactor, type Source } from "@millrace/atomics-sync";
import type { WaitOptions } from "@millrace/atomics-sync/kernel";

/** How long an event loop polls for values or room before it arms its bell. */
const POLL_MS = 0.05;
/** The reactor looks by itself that often (reactor.ts). */
const SAFETY_MS = 1000;

/** A flow that waits. */
export interface Waiting {
  readonly low: number;
  readonly high: number;
  readonly served: (outcome: number, low: number, high: number) => void;
}

/** The outcome of a wait, and the value that was received. */
interface Outcome {
  readonly outcome: number;
  readonly low: number;
  readonly high: number;
}

/** One end of a channel, as far as flows wait there. */
export interface PipeEndAwaited {
  readonly line: Waiting[];
  /** Longest sleep without another look, ms. */
  readonly sleepMsMax: number;
  announce(thread: number): unknown;
  retract(): void;
}

/** A channel at whose ends flows wait. */
export interface AwaitedPipe {
  /** Serves the flows that can be served. Returns their number. */
  poll(): number;
  /** Whether flows wait at either end. */
  hasFlows(): boolean;
}

let current: PipeWaits | undefined;

export class PipeWaits implements Source {
  readonly pollMs: number = POLL_MS;
  readonly #reactor: Reactor;
  /** Channels at which flows of this thread wait. */
  readonly #pipes: Set<AwaitedPipe> = new Set();
  readonly #outcomes: Map<number, Outcome> = new Map();
  #ticket = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(reactor: Reactor) {
    this.#reactor = reactor;
  }

  /** That of the calling thread. */
  static current(): PipeWaits {
    if (current === undefined) {
      const reactor = Reactor.current();
      current = new PipeWaits(reactor);
      reactor.add(current);
    }
    return current;
  }

  isExpecting(): boolean {
    return this.#pipes.size > 0;
  }

  poll(): number {
    let served = 0;
    for (const pipe of this.#pipes) {
      served += pipe.poll();
      this.#forget(pipe);
    }
    return served;
  }

  #look(): void {
    if (this.poll() > 0) this.#reactor.check();
  }

  #forget(pipe: AwaitedPipe): void {
    if (pipe.hasFlows()) return;
    this.#pipes.delete(pipe);
    if (this.#pipes.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * Resolves with a ticket for `take`, or with 0 when the time was up; rejects with the signal's
   * reason.
   */
  wait(pipe: AwaitedPipe, end: PipeEndAwaited, low: number, high: number, options: WaitOptions): Promise<number> {
    const { signal, timeoutMs = Infinity } = options;
    const { line } = end;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const giveUp = (then: () => void): void => {
        line.splice(line.indexOf(waiting), 1);
        if (line.length === 0) end.retract();
        settle();
        this.#forget(pipe);
        this.#reactor.check();
        then();
      };
      const abort = (): void => giveUp(() => reject(signal?.reason as Error));
      const served = (outcome: number, gotLow: number, gotHigh: number): void => {
        settle();
        this.#ticket += 1;
        this.#outcomes.set(this.#ticket, { outcome, low: gotLow, high: gotHigh });
        resolve(this.#ticket);
      };
      const waiting: Waiting = { low, high, served };
      line.push(waiting);
      if (timeoutMs !== Infinity) timer = setTimeout(giveUp, timeoutMs, () => resolve(0));
      signal?.addEventListener("abort", abort);
      this.#begin(pipe, end);
      if (signal?.aborted === true) abort();
    });
  }

  #begin(pipe: AwaitedPipe, end: PipeEndAwaited): void {
    end.announce(this.#reactor.thread);
    this.#pipes.add(pipe);
    if (end.sleepMsMax < SAFETY_MS) this.#timer ??= setInterval(() => this.#look(), end.sleepMsMax);
    this.#reactor.expect();
  }

  /** The outcome behind a ticket; once. */
  take(ticket: number): Outcome {
    const outcome = this.#outcomes.get(ticket) as Outcome;
    this.#outcomes.delete(ticket);
    return outcome;
  }
}
