/** Readers on an event loop that wait until more is durable. */
import type { Reactor, Source } from "@millrace/atomics-sync";
import { FOLLOWERS } from "../memory/control.ts";

interface Waiting {
  readonly after: number;
  readonly wake: () => void;
}

export class Followers implements Source {
  readonly pollMs = 0;
  readonly #reactor: Reactor;
  readonly #control: Int32Array;
  readonly #durable: () => number;
  readonly #isOver: () => boolean;
  #waiting: Waiting[] = [];

  constructor(reactor: Reactor, control: Int32Array, durable: () => number, isOver: () => boolean) {
    this.#reactor = reactor;
    this.#control = control;
    this.#durable = durable;
    this.#isOver = isOver;
    reactor.add(this);
  }

  /**
   * Resolves when a sequence above `after` is durable, the journal has ended, or `signal` is
   * aborted.
   */
  async moreThan(after: number, signal: AbortSignal | undefined): Promise<void> {
    if (this.#durable() > after || this.#isOver() || signal?.aborted === true) return;
    await new Promise<void>((resolve) => {
      this.#waiting.push({ after, wake: resolve });
      signal?.addEventListener("abort", this.wakeAll, { once: true });
      Atomics.store(this.#control, FOLLOWERS, this.#waiting.length);
      // The writer publishes first and looks at FOLLOWERS second. `expect` polls after this store.
      this.#reactor.expect();
    });
    signal?.removeEventListener("abort", this.wakeAll);
  }

  /** Everybody looks for himself. */
  readonly wakeAll = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    Atomics.store(this.#control, FOLLOWERS, 0);
    for (const { wake } of waiting) wake();
    this.#reactor.check();
  };

  poll(): number {
    if (this.#waiting.length === 0) return 0;
    const durable = this.#durable();
    const isOver = this.#isOver();
    const ready = this.#waiting.filter(({ after }) => isOver || durable > after);
    if (ready.length === 0) return 0;
    this.#waiting = this.#waiting.filter((each) => !ready.includes(each));
    Atomics.store(this.#control, FOLLOWERS, this.#waiting.length);
    for (const { wake } of ready) wake();
    return ready.length;
  }

  isExpecting(): boolean {
    return this.#waiting.length > 0;
  }

  detach(): void {
    this.wakeAll();
    this.#reactor.remove(this);
  }
}
