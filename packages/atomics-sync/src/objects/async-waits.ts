/**
 * The nodes of one thread that wait in its event loop, each behind a promise.
 *
 * The thread that serves such a node sets its bit in the NEWS of its chunk and wakes the reactor.
 * The poll looks at those nodes only. After a burial it looks at all of them and pumps their
 * objects (block.ts).
 */
import { clearTimeout, setTimeout } from "@millrace/base";
import { CLAIMED_MS, isServed, type Waited } from "./block.ts";
import type { Reactor, Source } from "../threads/reactor.ts";
import type { SyncSpace } from "./space.ts";
import type { WaitOptions } from "./wait-options.ts";

/** How long an event loop polls for news before it arms its bell. */
const POLL_MS = 0.05;

interface Pending {
  readonly monitor: Waited;
  readonly served: () => void;
}

/** The nodes of one thread that wait in its event loop. */
export class AsyncWaits implements Source {
  readonly pollMs: number = POLL_MS;
  readonly #space: SyncSpace;
  readonly #reactor: Reactor;
  readonly #pending: Map<number, Pending> = new Map();
  /** Those of them that the process doesn't stay alive for. */
  readonly #watched: Set<number> = new Set();
  readonly #news: number[] = [];
  #deaths: number;

  constructor(space: SyncSpace, reactor: Reactor) {
    this.#space = space;
    this.#reactor = reactor;
    this.#deaths = space.deaths();
    reactor.add(this);
  }

  /** The thread number that nodes which wait here name in WAKES. */
  get thread(): number {
    return this.#reactor.thread;
  }

  isExpecting(): boolean {
    return this.#pending.size > 0;
  }

  keepsAlive(): boolean {
    return this.#pending.size > this.#watched.size;
  }

  poll(): number {
    this.#space.takeNews(this.#news);
    const deaths = this.#space.deaths();
    if (deaths !== this.#deaths) {
      this.#deaths = deaths;
      for (const [node, { monitor }] of this.#pending) {
        monitor.pump();
        this.#news.push(node);
      }
    }
    let served = 0;
    for (const node of this.#news) {
      const pending = this.#pending.get(node);
      if (pending === undefined || !isServed(this.#space.words, node)) continue;
      pending.served();
      served += 1;
    }
    this.#news.length = 0;
    return served;
  }

  /**
   * Calls `served` when `node` was served, once; `forget` takes that back. The process doesn't stay
   * alive for it.
   */
  watch(monitor: Waited, node: number, served: () => void): void {
    const once = (): void => {
      this.forget(node);
      served();
    };
    this.#pending.set(node, { monitor, served: once });
    this.#watched.add(node);
    this.#reactor.expect();
  }

  forget(node: number): void {
    this.#pending.delete(node);
    this.#watched.delete(node);
    this.#reactor.check();
  }

  /**
   * Resolves with true when `node` was served, with false when the time was up; rejects with the
   * signal's reason. After false and a rejection the node is taken back.
   */
  async wait(monitor: Waited, node: number, options: WaitOptions): Promise<boolean> {
    if (isServed(this.#space.words, node)) return true;
    const { signal, timeoutMs = Infinity } = options;
    return await new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const end = (): void => {
        this.#pending.delete(node);
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        this.#reactor.check();
      };
      // A node that is just being served can't be taken back. When that comes to nothing the wait
      // is still over, so it is tried again.
      const giveUp = (settle: () => void): void => {
        clearTimeout(timer);
        if (monitor.cancel(node)) {
          end();
          settle();
        } else if (!isServed(this.#space.words, node)) timer = setTimeout(giveUp, CLAIMED_MS, settle);
      };
      const abort = (): void => giveUp(() => reject(signal?.reason as Error));
      const served = (): void => {
        end();
        resolve(true);
      };
      this.#pending.set(node, { monitor, served });
      if (timeoutMs !== Infinity) timer = setTimeout(giveUp, timeoutMs, () => resolve(false));
      signal?.addEventListener("abort", abort);
      this.#reactor.expect();
      if (signal?.aborted === true) abort();
    });
  }
}
