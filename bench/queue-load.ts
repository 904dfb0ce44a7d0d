/** Loads on a queue of payments, the same for each: as much as it takes, at a rate, and alone. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { type Measure, percentile } from "./harness.ts";
import { paymentOf } from "./payments.ts";
import type { OnDone, Queue, QueueKind } from "./queues.ts";

/** How long a publisher sleeps when too much is outstanding, and between turns at a rate. */
const TURN_MS = 1;
/** Saturation is measured this many times longer at most: until every place was used once. */
const TURN_MS_FACTOR = 20;
const NS_PER_MS = 1e6;

/** A queue under load, and what became of its payments. */
export class LoadedQueue {
  readonly #kind: QueueKind;
  readonly #queue: Queue;
  #published = 0;
  #done = 0;
  readonly #accounts: number | undefined;
  #onDone: OnDone = () => {};

  private constructor(kind: QueueKind, queue: Queue, accounts: number | undefined) {
    this.#kind = kind;
    this.#queue = queue;
    this.#accounts = accounts;
  }

  /** `accounts`: how many there are; by default as many as in the ordinary load. */
  static async open(kind: QueueKind, directory: string, accounts?: number): Promise<LoadedQueue> {
    let loaded: LoadedQueue | undefined;
    const queue = await kind.open(directory, (n) => loaded?.countDone(n));
    loaded = new LoadedQueue(kind, queue, accounts);
    return loaded;
  }

  countDone(n: number): void {
    this.#done += 1;
    this.#onDone(n);
  }

  /**
   * Publishes as much as the queue takes, for a fifth more than `ms`, or longer where what is under
   * way takes longer than that; payments done per second.
   */
  async saturate(ms: number): Promise<number> {
    let isOver = false;
    const call = async (): Promise<void> => {
      while (!isOver) {
        if (this.#published - this.#done > this.#kind.outstandingMax) await sleep(TURN_MS);
        else await this.#publish(this.#kind.batch);
      }
    };
    const calls = Array.from({ length: this.#kind.calls }, call);
    const failed = Promise.all(calls);
    await Promise.race([failed, sleep(ms / 5)]);
    const before = this.#done;
    const startedAt = performance.now();
    do await Promise.race([failed, sleep(ms)]);
    while (this.#done - before < this.#kind.outstandingMax && performance.now() - startedAt < ms * TURN_MS_FACTOR);
    const perSecond = ((this.#done - before) / (performance.now() - startedAt)) * 1000;
    isOver = true;
    await failed;
    await this.#settle();
    return perSecond;
  }

  /**
   * Publishes `perSecond` payments evenly for `ms`, whether or not earlier ones are done. Latency
   * counts from when a payment was due until it is handled and that is durable.
   */
  async keepRate(perSecond: number, ms: number): Promise<Measure[]> {
    const first = this.#published;
    const latencies: number[] = [];
    const startedAt = performance.now();
    this.#onDone = (n) => latencies.push(performance.now() - startedAt - ((n - first) * 1000) / perSecond);
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    const calls: Promise<void>[] = [];
    for (let elapsed = 0; elapsed < ms; elapsed = performance.now() - startedAt) {
      const due = first + Math.floor((elapsed * perSecond) / 1000) - this.#published;
      if (due > 0) calls.push(this.#publish(due));
      await sleep(TURN_MS);
    }
    delays.disable();
    await Promise.all(calls);
    await this.#settle();
    this.#onDone = () => {};
    return [
      ...latencyMeasures(Float64Array.from(latencies)),
      { unit: "ms", what: "event-loop delay p99", value: delays.percentile(99) / NS_PER_MS, better: "less" },
    ];
  }

  /** Publishes one payment and waits until it is handled; ms until it was durable. */
  async publishAlone(): Promise<number> {
    const startedAt = performance.now();
    await this.#publish(1);
    const ms = performance.now() - startedAt;
    await this.#settle();
    return ms;
  }

  /** Publishes `count` payments, and waits until all are handled. */
  async settle(count: number): Promise<void> {
    const until = this.#published + count;
    const call = async (): Promise<void> => {
      while (this.#published < until) await this.#publish(Math.min(this.#kind.batch, until - this.#published));
    };
    await Promise.all(Array.from({ length: this.#kind.calls }, call));
    await this.#settle();
  }

  close(): Promise<void> {
    return this.#queue.close();
  }

  async #publish(count: number): Promise<void> {
    const from = this.#published;
    this.#published += count;
    await this.#queue.publish(Array.from({ length: count }, (_, index) => paymentOf(from + index, this.#accounts)));
  }

  async #settle(): Promise<void> {
    await this.#queue.settled();
    // A settled payment has been reported, or its report is on its way through the event loop.
    for (let turn = 0; this.#done < this.#published && turn < 1000; turn += 1) await sleep(TURN_MS);
    if (this.#done !== this.#published) {
      throw new Error(`${this.#kind.name} has handled ${this.#done} of ${this.#published} payments`);
    }
  }
}

/** In ms: from a payment's due time to the end of it. */
export function latencyMeasures(latencies: Float64Array): Measure[] {
  const at = (what: string, percent: number): Measure => ({
    unit: "ms",
    what: `ack ${what}`,
    value: percentile(latencies, percent),
    better: "less",
  });
  return [at("p50", 50), at("p99", 99), at("p99.9", 99.9), at("max", 100)];
}
