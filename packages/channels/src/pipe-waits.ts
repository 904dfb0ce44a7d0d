/**
 * The async flows of one thread that wait at an end of a one-to-one channel (pipe-core.ts), in line at each end.
 */
import { Reactor, type Source } from "@millrace/atomics-sync";
import type { WaitOptions } from "@millrace/atomics-sync/kernel";
import type { PipeCore } from "./pipe-core.ts";

/** How long an event loop polls for values or room before it arms its bell. */
const POLL_MS = 0.05;
/** How often a thread that waits for room looks for itself (pipe-core.ts says why). */
export const ROOM_MS = 1;

/** A flow that waits. */
export interface Waiting {
  readonly low: number;
  readonly high: number;
  readonly served: (outcome: number, low: number, high: number) => void;
}

/** What came of a wait. */
interface Outcome {
  readonly outcome: number;
  readonly low: number;
  readonly high: number;
}

let current: PipeWaits | undefined;

export class PipeWaits implements Source {
  readonly pollMs: number = POLL_MS;
  readonly #reactor: Reactor = Reactor.current();
  /** Channels at which flows of this thread wait. */
  readonly #cores: Set<PipeCore> = new Set();
  readonly #outcomes: Map<number, Outcome> = new Map();
  #token = 0;
  #timer: NodeJS.Timeout | undefined;

  /** That of the calling thread. */
  static current(): PipeWaits {
    if (current === undefined) {
      current = new PipeWaits();
      current.#reactor.add(current);
    }
    return current;
  }

  isExpecting(): boolean {
    return this.#cores.size > 0;
  }

  poll(): number {
    let served = 0;
    for (const core of this.#cores) {
      served += core.poll();
      this.#forget(core);
    }
    return served;
  }

  #look(): void {
    if (this.poll() > 0) this.#reactor.check();
  }

  #forget(core: PipeCore): void {
    if (core.sends.length > 0 || core.receives.length > 0) return;
    this.#cores.delete(core);
    if (this.#cores.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  wait(core: PipeCore, gives: boolean, low: number, high: number, options: WaitOptions): Promise<number> {
    const { signal, timeoutMs = Infinity } = options;
    const line = gives ? core.sends : core.receives;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      };
      const giveUp = (settle: () => void): void => {
        line.splice(line.indexOf(waiting), 1);
        if (line.length === 0) core.retract(gives);
        end();
        this.#forget(core);
        this.#reactor.check();
        settle();
      };
      const abort = (): void => giveUp(() => reject(signal?.reason as Error));
      const served = (outcome: number, gotLow: number, gotHigh: number): void => {
        end();
        this.#token += 1;
        this.#outcomes.set(this.#token, { outcome, low: gotLow, high: gotHigh });
        resolve(this.#token);
      };
      const waiting: Waiting = { low, high, served };
      line.push(waiting);
      if (timeoutMs !== Infinity) timer = setTimeout(giveUp, timeoutMs, () => resolve(0));
      signal?.addEventListener("abort", abort);
      this.#begin(core, gives);
      if (signal?.aborted === true) abort();
    });
  }

  #begin(core: PipeCore, gives: boolean): void {
    core.announce(gives, this.#reactor.thread);
    this.#cores.add(core);
    if (gives) this.#timer ??= setInterval(() => this.#look(), ROOM_MS);
    this.#reactor.expect();
  }

  /** The outcome behind a token; once. */
  take(token: number): Outcome {
    const outcome = this.#outcomes.get(token) as Outcome;
    this.#outcomes.delete(token);
    return outcome;
  }
}
