/**
 * Items from one thread to another, in ns per item, by the forms that block a thread; buffers of
 * 1024.
 *
 * Go's "batches" are slices of 64 numbers through a channel of 16. ringbuf.js has no waiting: its
 * two ends ask again, which costs a processor each while they do. `multithreading` isn't here: its
 * channels only go to its own workers, which need Node 22.
 */
import { Chan } from "@millrace/channels";
import { RingBuffer } from "ringbuf.js";
import type { ChannelWorker } from "./fixtures/channel-worker.ts";
import { runGo } from "./go-program.ts";
import type { Benchmark, Measure } from "./harness.ts";
import { betweenTwo } from "./two-threads.ts";

const CAPACITY = 1024;

async function measured(
  role: ChannelWorker["role"],
  ms: number,
  ends: Pick<ChannelWorker, "handle" | "ring">,
): Promise<Measure[]> {
  return [{ unit: "ns", value: await betweenTwo("channel-worker", ms, { role, ...ends }), better: "less" }];
}

async function millrace(caseId: string, ms: number): Promise<Measure[]> {
  const through = (role: ChannelWorker["role"], channel: Chan<never>): Promise<Measure[]> =>
    measured(role, ms, { handle: channel.handle, ring: undefined });
  switch (caseId) {
    case "one-to-one":
      return await through("items", Chan.oneToOneInt32(CAPACITY) as Chan<never>);
    case "batches":
      return await through("batches", Chan.oneToOneInt32(CAPACITY) as Chan<never>);
    case "shared":
      return await through("items", Chan.int32(CAPACITY) as Chan<never>);
    case "unbuffered":
      return await through("items", Chan.int32() as Chan<never>);
    default:
      return await through("values", new Chan<never>(CAPACITY));
  }
}

async function go(caseId: string, ms: number): Promise<Measure[]> {
  const result = runGo("channels", [caseId, String(ms)]);
  return result === undefined ? [] : [{ unit: "ns", value: result["ns"] as number, better: "less" }];
}

async function ringbuf(caseId: string, ms: number): Promise<Measure[]> {
  if (caseId !== "one-to-one" && caseId !== "batches") return [];
  const ring = RingBuffer.getStorageForCapacity(CAPACITY, Int32Array);
  return await measured(caseId === "batches" ? "ring-batches" : "ring-items", ms, { handle: undefined, ring });
}

export const channels: Benchmark = {
  name: "channels",
  cases: [
    { id: "one-to-one", words: "numbers, one sender and one receiver, one by one" },
    { id: "batches", words: "numbers, one sender and one receiver, 64 at a time" },
    { id: "shared", words: "numbers, a channel for any number of ends" },
    { id: "unbuffered", words: "numbers, without a buffer" },
    { id: "values", words: "small objects" },
  ],
  subjects: [
    { name: "millrace", run: millrace },
    { name: "Go", run: go },
    { name: "ringbuf.js", run: ringbuf },
  ],
  effort: { full: { rounds: 7, cellMs: 600 }, quick: { rounds: 2, cellMs: 250 } },
};
