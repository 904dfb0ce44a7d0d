/** Entry of the writer thread: recovers the log, begins a segment, reports, runs. */
import { parentPort, workerData } from "node:worker_threads";
import { encodeThrown } from "@millrace/codec";
import { invariant } from "@millrace/base";
import type { JournalMemory } from "../memory/control.ts";
import { segmentOfName } from "../files/format.ts";
import type { JournalLimits } from "../files/limits.ts";
import type { LogWriter } from "./log-writer.ts";
import { openStorage } from "../storage/open-storage.ts";
import { openLog } from "./opening.ts";
import type { RecoveryOptions, RecoverySummary } from "./recovery.ts";
import type { Storage, StorageSource } from "../storage/storage.ts";
import { storageError } from "../storage/storage-errors.ts";
import { Writer } from "./writer.ts";

export interface WriterWorkerData {
  readonly directory: string;
  readonly storage: StorageSource;
  readonly memory: JournalMemory;
  readonly limits: JournalLimits;
  readonly recovery: RecoveryOptions;
  readonly isSynced: boolean;
}

/** The thread's one report: the log is open, or why not (encoded, to keep code and cause). */
export type WriterReport =
  | {
      readonly summary: RecoverySummary;
      readonly logId: Uint8Array;
      readonly firstSegment: number;
      /** Segments that were judged by their headers. */
      readonly unread: readonly string[];
    }
  | { readonly error: Uint8Array };

const port = parentPort;
invariant(port !== null, "writer.worker runs in a worker thread");
const { directory, storage: source, memory, limits, recovery, isSynced } = workerData as WriterWorkerData;

const opened = open(await openStorage(source));
if (opened !== undefined) {
  const writer = new Writer(memory, opened.log, limits.batchBytesMax);
  port.postMessage(opened.report);
  writer.run();
}

function open(storage: Storage): { log: LogWriter; report: WriterReport } | undefined {
  try {
    const { log, recovered } = openLog(storage, limits, Date.now, { recovery, isSynced });
    const { logId, segments, summary } = recovered;
    const firstSegment = segments[0] === undefined ? log.segment : (segmentOfName(segments[0].name) as number);
    const unread = segments.filter(({ isRead }) => !isRead).map(({ name }) => name);
    return { log, report: { summary, logId, firstSegment, unread } };
  } catch (thrown) {
    port?.postMessage({ error: encodeThrown(storageError(directory, thrown)) } satisfies WriterReport);
    return undefined;
  }
}
