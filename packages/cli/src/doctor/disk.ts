/** The file system under a journal's directory, and how fast a sync is there. */
import { closeSync, existsSync, fdatasyncSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { messageOf } from "@millrace/base";
import { Journal, storageKind } from "@millrace/journal";
import { directoryIn } from "../terminal/temporary.ts";
import { duration, grouped } from "../terminal/units.ts";
import { type Finding, finding } from "./finding.ts";

const KIBI = 1024;
const MEBI: number = KIBI * KIBI;
/** As much as the default of the health option `freeBytesMin`, and what lets a day pass. */
const ROOM_BYTES_MIN: number = 128 * MEBI;
const ROOM_BYTES_FEW: number = KIBI * MEBI;
const INODES_MIN = 1000;

const BLOCK_BYTES: number = 4 * KIBI;
const BLOCKS = 256;
/** A measurement ends after this many syncs, or after this time. */
const SYNCS_MAX = 200;
const MEASURE_MS = 3000;
const SLOW_P99_MS = 50;
/** Faster than any disk: a write-back cache, which a loss of power may empty, or memory. */
const FAST_P50_MS = 0.02;
const APPENDS = 50;

/** The directory itself, or the nearest one above it that is there. */
function nearestDirectory(directory: string): string {
  let nearest = resolve(directory);
  while (!existsSync(nearest) && dirname(nearest) !== nearest) nearest = dirname(nearest);
  return nearest;
}

export async function diskFindings(directory: string): Promise<Finding[]> {
  const place = nearestDirectory(directory);
  const findings = [kindFinding(place), roomFinding(place)];
  let scratch: string | undefined;
  const remove = (): void => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  };
  // A signal ends the process in the midst.
  process.once("exit", remove);
  try {
    scratch = directoryIn(place, ".millrace-doctor-");
    findings.push(syncFinding(scratch), await journalFinding(join(scratch, "journal")));
  } catch (thrown) {
    findings.push(finding("directory", "unsafe", `nothing can be written in ${place}: ${messageOf(thrown)}`));
  } finally {
    remove();
    process.off("exit", remove);
  }
  return findings;
}

function kindFinding(place: string): Finding {
  const { fileSystem, trust, reason } = storageKind(place);
  const data = { directory: place, fileSystem, trust };
  if (trust === "unsafe") return finding("file system", "unsafe", `${place} is on ${fileSystem}: ${reason}`, data);
  if (trust === "doubtful") return finding("file system", "warning", `${place} is on ${fileSystem}: ${reason}`, data);
  if (trust === "safe") return finding("file system", "ok", `${place} is on ${fileSystem}`, data);
  return finding("file system", "warning", `${place} is on a file system of which nothing is known here`, data);
}

function roomFinding(place: string): Finding {
  const { bavail, bsize, ffree, files } = statfsSync(place);
  const freeBytes = bavail * bsize;
  const data = { freeBytes, freeInodes: ffree };
  const free = `${grouped(freeBytes / MEBI)} MiB are free`;
  if (freeBytes < ROOM_BYTES_MIN) {
    return finding("room", "unsafe", `${free}: less than the journal's next segments need`, data);
  }
  if (files > 0 && ffree < INODES_MIN) {
    return finding("room", "unsafe", `${free}, but only ${ffree} more files can be made`, data);
  }
  if (freeBytes < ROOM_BYTES_FEW) return finding("room", "warning", `${free}: that is little for a backlog`, data);
  return finding("room", "ok", free, data);
}

/** Into a file that has its length already, as the journal's segments have. */
function syncFinding(scratch: string): Finding {
  const block = Buffer.alloc(BLOCK_BYTES, 1);
  const fd = openSync(join(scratch, "sync"), "wx");
  const tookMs: number[] = [];
  try {
    for (let n = 0; n < BLOCKS; n += 1) writeSync(fd, block, 0, BLOCK_BYTES, n * BLOCK_BYTES);
    fdatasyncSync(fd);
    const end = performance.now() + MEASURE_MS;
    for (let n = 0; n < SYNCS_MAX && performance.now() < end; n += 1) {
      writeSync(fd, block, 0, BLOCK_BYTES, (n % BLOCKS) * BLOCK_BYTES);
      const startedMs = performance.now();
      fdatasyncSync(fd);
      tookMs.push(performance.now() - startedMs);
    }
  } finally {
    closeSync(fd);
  }
  const [p50Ms, p99Ms, maxMs] = [0.5, 0.99, 1].map((share) => quantile(tookMs, share)) as [number, number, number];
  const data = { syncs: tookMs.length, p50Ms, p99Ms, maxMs };
  const text = `a sync takes ${duration(p50Ms)} (p99 ${duration(p99Ms)}, longest ${duration(maxMs)})`;
  if (p50Ms < FAST_P50_MS) {
    return finding(
      "sync",
      "warning",
      `${text}: faster than a disk is; make sure that its cache survives a loss of power`,
      data,
    );
  }
  if (p99Ms > SLOW_P99_MS) return finding("sync", "warning", `${text}: each acknowledgement waits for one`, data);
  return finding("sync", "ok", text, data);
}

/** Lock, threads and files of a real journal, and the wait of a caller that awaits each record. */
async function journalFinding(directory: string): Promise<Finding> {
  try {
    const journal = await Journal.open({ directory, allowUnsafeStorage: true, segmentBytesMax: 8 * MEBI });
    const tookMs: number[] = [];
    try {
      for (let n = 0; n < APPENDS; n += 1) {
        const startedMs = performance.now();
        await journal.append({ n });
        tookMs.push(performance.now() - startedMs);
      }
    } finally {
      await journal.close();
    }
    const p50Ms = quantile(tookMs, 0.5);
    const perSecond = Math.round(1000 / p50Ms);
    const text = `an append is durable after ${duration(p50Ms)}: some ${grouped(perSecond)} a second one by one, many times that together`;
    return finding("journal", "ok", text, { p50Ms, perSecond });
  } catch (thrown) {
    return finding("journal", "unsafe", `a journal can't be opened here: ${messageOf(thrown)}`);
  }
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}
