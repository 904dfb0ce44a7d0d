/** Two threads that do something with each other for a while; bench/fixtures has what they run. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { READY, STOP, VALUE } from "./fixtures/sync-layout.ts";

interface Played {
  readonly count: number;
  readonly ms: number;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Nanoseconds per operation of two threads together, each of which gets `data`. */
export async function betweenTwo(
  fixture: string,
  ms: number,
  data: Readonly<Record<string, unknown>>,
): Promise<number> {
  const shared = new Int32Array(new SharedArrayBuffer(4 * 256));
  const url = new URL(`./fixtures/${fixture}.js`, import.meta.url);
  const workers = [0, 1].map((index) => new Worker(url, { workerData: { ...data, words: shared, index } }));
  const results = Promise.all(workers.map((worker) => once(worker, "message") as Promise<[Played]>));
  while (Atomics.load(shared, READY) < 2) await pause(1);
  await pause(ms);
  Atomics.store(shared, STOP, 1);
  const [[one], [two]] = (await results) as [[Played], [Played]];
  if (data.role === "mutex-2" && shared[VALUE] !== one.count + two.count) throw new Error("the lock doesn't exclude");
  return (Math.max(one.ms, two.ms) * 1e6) / (one.count + two.count);
}
