/** A shadow replay of a directory, whether a process has it open or not: nothing is written. */
import { NodeStorage } from "@millrace/journal";
import { storedRedactor } from "../letters/redact.ts";
import { WINDOW_DEFAULTS } from "../states/dedupe-window.ts";
import { shadow, type ShadowOptions } from "./shadow.ts";
import type { ShadowReport } from "./report.ts";
import { StoredLog } from "./stored-log.ts";

/** Most bytes of a record that a handler publishes: the limit of the service isn't known here. */
const RECORD_BYTES_MAX: number = 16 * 2 ** 20;

/** Throws as `shadow` does, and what the storage throws. */
export async function shadowOfStored(directory: string, options: ShadowOptions): Promise<ShadowReport> {
  const log = new StoredLog(new NodeStorage(directory));
  const redactor = storedRedactor(directory);
  return await shadow(
    {
      log,
      logId: log.logId,
      dedupe: WINDOW_DEFAULTS,
      recordBytesMax: RECORD_BYTES_MAX,
      redacted: (handler, value) => redactor.redacted(handler, value),
    },
    options,
  );
}
