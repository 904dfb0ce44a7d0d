/**
 * Opening a log that is there: how long until the first new record can be taken.
 *
 *   read         ours checks every byte of the log; the peers open, and read every value once, since they check nothing when they open
 *   checkpoint   ours judges finished segments by their headers, reads the last one, and delivers what lies behind the checkpoint
 *   backlog      memory of a process whose log grows and is not read: it shall not depend on the log
 *
 * The log is read from the page cache: these are the costs of the CPU.
 */
import { statfsSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Journal } from "@millrace/journal";
import type { Benchmark, BenchmarkCase, Measure, Subject } from "./harness.ts";
import { millrace, peerStores, type StoreKind } from "./stores.ts";

/** Records that lie behind the checkpoint. */
const AFTER_CHECKPOINT = 10_000;
/** A log takes up so much more than its records, with spares and a peer's own log. */
const SPACE_FACTOR = 3;
/** Appends under way while a log grows. */
const IN_FLIGHT = 16_384;

interface Load {
  readonly kind: "read" | "checkpoint" | "backlog";
  readonly recordBytes: number;
  readonly count: number;
}

function loadOf(caseId: string): Load {
  const [kind, recordBytes, count] = caseId.split("/") as [Load["kind"], string, string];
  return { kind, recordBytes: Number(recordBytes), count: Number(count) };
}

function read(recordBytes: number, count: number, isQuick = false): BenchmarkCase {
  return {
    id: `read/${recordBytes}/${count}`,
    words: `${count.toLocaleString("en-US")} records of ${recordBytes} bytes, all read`,
    isQuick,
  };
}

function checkpoint(mebibytes: number, isQuick = false): BenchmarkCase {
  const recordBytes = 4096;
  return {
    id: `checkpoint/${recordBytes}/${(mebibytes * 2 ** 20) / recordBytes}`,
    words: `a log of ${mebibytes} MiB, read from its checkpoint`,
    isQuick,
  };
}

function backlog(power: number, isQuick = false): BenchmarkCase {
  return {
    id: `backlog/128/${10 ** power}`,
    words: `memory while 10^3 to 10^${power} records of 128 bytes are appended`,
    isQuick,
  };
}

function mustHaveSpace(directory: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(directory);
  const needed = bytes * SPACE_FACTOR;
  if (bavail * bsize < needed) throw new Error(`${directory} has less than ${needed} bytes of free space`);
}

/** Time, and what it makes of the records' own bytes. */
function speeds({ recordBytes, count }: Load, ms: number): Measure[] {
  return [
    { unit: "ms", value: ms, better: "less" },
    { unit: "records/s", what: "records", value: (count / ms) * 1000, better: "more" },
    { unit: "MB/s", what: "bytes", value: (count * recordBytes) / ms / 1000, better: "more" },
  ];
}

async function fill(open: StoreKind["open"], { recordBytes, count }: Load, directory: string): Promise<void> {
  mustHaveSpace(directory, recordBytes * count);
  const store = await open(directory);
  await store.fill(count, Buffer.alloc(recordBytes, 7));
  await store.close();
}

async function openAndCheck(load: Load, directory: string): Promise<Measure[]> {
  await fill(millrace.open, load, directory);
  const startedAt = performance.now();
  const journal = await Journal.open({ directory, verifyAll: true });
  const ms = performance.now() - startedAt;
  const { records, segments, segmentsRead } = journal.recovery;
  await journal.close();
  if (records !== load.count || segmentsRead !== segments) throw new Error("the opening has not read everything");
  return speeds(load, ms);
}

async function openFromCheckpoint(load: Load, directory: string): Promise<Measure[]> {
  await fill(millrace.open, load, directory);
  const before = await Journal.open({ directory });
  await before.checkpoint(Buffer.alloc(1024), load.count - AFTER_CHECKPOINT + 1);
  await before.close();
  const startedAt = performance.now();
  const journal = await Journal.open({ directory });
  const openedAt = performance.now();
  let count = 0;
  for await (const record of journal.read({ from: "checkpoint" })) if (record.payload.length > 0) count += 1;
  const ms = performance.now() - startedAt;
  await journal.close();
  if (count !== AFTER_CHECKPOINT) throw new Error(`${count} records lay behind the checkpoint`);
  return [
    { unit: "ms", value: ms, better: "less" },
    { unit: "ms", what: "the opening", value: openedAt - startedAt, better: "less" },
  ];
}

/** Memory after a collection, at every power of ten. */
async function growBacklog(load: Load, directory: string): Promise<Measure[]> {
  mustHaveSpace(directory, load.recordBytes * load.count);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const journal = await Journal.open({ directory });
  const record = Buffer.alloc(load.recordBytes, 7);
  const measures: Measure[] = [];
  let n = 0;
  for (let goal = 1000; goal <= load.count; goal *= 10) {
    let last: Promise<number> | undefined;
    for (; n < goal; n += 1) {
      last = journal.append(record);
      if (n % IN_FLIGHT === 0) await last;
    }
    await last;
    collect();
    const value = process.memoryUsage.rss() / 1e6;
    measures.push({ unit: "MB", what: `RSS at ${goal.toLocaleString("en-US")}`, value, better: "less" });
  }
  await journal.close();
  return measures;
}

const runs = { read: openAndCheck, checkpoint: openFromCheckpoint, backlog: growBacklog };

function peer({ name, open, unavailable }: StoreKind): Subject {
  const run: Subject["run"] = async (caseId, _, directory) => {
    const load = loadOf(caseId);
    await fill(open, load, directory);
    const startedAt = performance.now();
    const store = await open(directory);
    const count = await store.scan();
    const ms = performance.now() - startedAt;
    await store.close();
    if (count !== load.count) throw new Error(`${name} has kept ${count} records`);
    return speeds(load, ms);
  };
  return { name, run, unavailable, measures: (caseId) => loadOf(caseId).kind === "read" };
}

export const recovery: Benchmark = {
  name: "recovery",
  cases: [
    read(128, 300_000, true),
    read(128, 4_000_000),
    read(4096, 100_000),
    checkpoint(64, true),
    checkpoint(2048),
    checkpoint(10_240),
    backlog(5, true),
    backlog(7),
  ],
  subjects: [
    { name: "millrace", run: (caseId, _, directory) => runs[loadOf(caseId).kind](loadOf(caseId), directory) },
    ...peerStores.map(peer),
  ],
  // The cases say how much there is to do.
  effort: { full: { rounds: 3, cellMs: 0 }, quick: { rounds: 1, cellMs: 0 } },
  cellLimitMs: 15 * 60_000,
};
