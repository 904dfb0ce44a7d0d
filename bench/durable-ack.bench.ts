/**
 * Durable acknowledgements: 128-byte records, each awaited until a sync has returned.
 *
 * `pwrite+fdatasync` is the limit that the disk sets: one thread that writes all records in flight
 * with one call into a zero-filled file and syncs. Its p50 with one record at a time is t_sync, the
 * unit in which the others' latency is to be read.
 *
 * `sync: "none"` acknowledges what isn't durable: unsafe, and here only to show what the syncs
 * cost.
 */
import { closeSync, fdatasyncSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Journal, type JournalOptions } from "@millrace/journal";
import { type Benchmark, closedLoop, type Measure, percentile, type Subject } from "./harness.ts";
import { openRedis, redisUnavailable } from "./redis.ts";
import { peerStores, type StoreKind } from "./stores.ts";

const RECORD_BYTES = 128;
const FILE_BYTES: number = 64 * 2 ** 20;
/**
 * The sustained run takes so many times as long as the others, and has to fill so many segments.
 */
const SUSTAINED_FACTOR = 10;
const SUSTAINED_SEGMENTS_MIN = 4;

interface Load {
  readonly inFlight: number;
  readonly ms: number;
  readonly isSustained: boolean;
}

function loadOf(caseId: string, ms: number): Load {
  const [inFlight, kind] = caseId.split("/");
  const isSustained = kind === "sustained";
  return { inFlight: Number(inFlight), ms: isSustained ? ms * SUSTAINED_FACTOR : ms, isSustained };
}

function measures(perSecond: number, latencies: Float64Array): Measure[] {
  return [
    { unit: "records/s", value: perSecond, better: "more" },
    { unit: "µs", what: "p50", value: percentile(latencies, 50), better: "less" },
    { unit: "µs", what: "p99", value: percentile(latencies, 99), better: "less" },
  ];
}

function millrace(options: Omit<JournalOptions, "directory"> = {}): Subject["run"] {
  return async (caseId, cellMs, directory) => {
    const { inFlight, ms, isSustained } = loadOf(caseId, cellMs);
    const journal = await Journal.open({ directory, ...options });
    const record = Buffer.alloc(RECORD_BYTES, 7);
    const { perSecond, latencies } = await closedLoop(inFlight, ms, () => journal.append(record));
    const { records, batches, segment } = journal.stats();
    await journal.close();
    if (isSustained && segment < SUSTAINED_SEGMENTS_MIN) {
      throw new Error(`the sustained run filled ${segment} segments, not ${SUSTAINED_SEGMENTS_MIN}: it was too short`);
    }
    return [
      ...measures(perSecond, latencies),
      { unit: "records", what: "records per sync", value: records / batches, better: "more" },
    ];
  };
}

function peer({ name, open, unavailable }: StoreKind): Subject {
  const run: Subject["run"] = async (caseId, cellMs, directory) => {
    const { inFlight, ms } = loadOf(caseId, cellMs);
    const store = await open(directory);
    const record = Buffer.alloc(RECORD_BYTES, 7);
    const { perSecond, latencies } = await closedLoop(inFlight, ms, (n) => store.append(n + 1, record));
    await store.close();
    return measures(perSecond, latencies);
  };
  return { name, run, unavailable };
}

async function redis(caseId: string, cellMs: number, directory: string): Promise<Measure[]> {
  const { inFlight, ms } = loadOf(caseId, cellMs);
  const server = await openRedis(directory);
  const record = Buffer.alloc(RECORD_BYTES, 7);
  const { perSecond, latencies } = await closedLoop(inFlight, ms, (n) => server.set(n, record));
  await server.close();
  return measures(perSecond, latencies);
}

async function raw(caseId: string, cellMs: number, directory: string): Promise<Measure[]> {
  const { inFlight, ms } = loadOf(caseId, cellMs);
  const fd = openSync(join(directory, "raw"), "wx+");
  const zeros = Buffer.alloc(2 ** 20);
  for (let offset = 0; offset < FILE_BYTES; offset += zeros.length) writeSync(fd, zeros, 0, zeros.length, offset);
  fdatasyncSync(fd);
  const batch = Buffer.alloc(RECORD_BYTES * inFlight, 7);
  const latencies: number[] = [];
  let offset = 0;
  let records = 0;
  const warmUntil = performance.now() + ms / 5;
  let startedAt = 0;
  for (;;) {
    const from = performance.now();
    if (startedAt === 0 && from >= warmUntil) startedAt = from;
    if (startedAt > 0 && from - startedAt >= ms) break;
    writeSync(fd, batch, 0, batch.length, offset);
    fdatasyncSync(fd);
    // Batches begin on pages of their own, as ours do.
    offset = (offset + Math.ceil(batch.length / 4096) * 4096) % (FILE_BYTES - batch.length);
    offset -= offset % 4096;
    if (startedAt === 0) continue;
    records += inFlight;
    latencies.push((performance.now() - from) * 1000);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  closeSync(fd);
  return measures(records / seconds, Float64Array.from(latencies));
}

const words = (inFlight: number): string =>
  `128-byte record, ${inFlight === 1 ? "one at a time" : `${inFlight} in flight`}`;

export const durableAck: Benchmark = {
  name: "durable-ack",
  cases: [
    ...[1, 64, 256, 4096].map((inFlight) => ({
      id: String(inFlight),
      words: words(inFlight),
      isQuick: inFlight !== 256,
    })),
    { id: "4096/sustained", words: `${words(4096)}, far past the space prepared` },
  ],
  subjects: [
    { name: "millrace", run: millrace() },
    { name: 'millrace, sync: "none" (unsafe)', run: millrace({ sync: "none" }) },
    ...peerStores.map(peer),
    { name: "Redis, appendfsync always", run: redis, unavailable: redisUnavailable },
    { name: "pwrite+fdatasync", run: raw },
  ],
  effort: { full: { rounds: 7, cellMs: 2000 }, quick: { rounds: 1, cellMs: 400 } },
};
