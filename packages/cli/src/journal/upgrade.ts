/**
 * `millrace journal upgrade`: says which versions the parts of a stopped intake's journal have, and
 * writes the old ones as this build does. With `--dry-run` it only says so.
 */
import { foreignRecord, readLogStates, snapshotParts, upgradeSnapshots } from "@millrace/intake";
import type { Storage } from "@millrace/journal";
import { lockDirectory, type LogScan, RecordCursor, scanLog } from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { grouped, table } from "../terminal/units.ts";
import { type JournalCommandOptions, missing, storageOf } from "./place.ts";

export interface UpgradeOptions extends JournalCommandOptions {
  readonly dryRun?: boolean;
}

export function upgrade(options: UpgradeOptions): number {
  const reporter = new Reporter(options);
  const storage = storageOf(options.dir);
  const unlock = lockDirectory(options.dir);
  try {
    const { scan, logId } = readWhole(options.dir, storage);
    const snapshots = snapshotParts(storage, logId);
    const rewritten = snapshots.filter(({ isRewritten }) => isRewritten).length;
    if (options.dryRun !== true) upgradeSnapshots(storage, logId);
    const states = readLogStates(storage, logId, scan.segments.at(-1)?.end.lastSequence ?? 0);
    const document = {
      directory: options.dir,
      dryRun: options.dryRun === true,
      segments: scan.segments.length,
      snapshots,
      rewritten,
      dead: states.deadCount,
    };
    reporter.result(document, () =>
      table([
        ["directory", options.dir],
        ["segments", `${grouped(document.segments)} of format 1, which is read and written`],
        ...snapshots.map(({ from, version, isRewritten }): [string, string] => [
          "snapshot",
          `version ${version || "none (empty)"}, up to sequence ${grouped(from - 1)}${isRewritten ? ", old" : ""}`,
        ]),
        ["to rewrite", document.dryRun ? grouped(rewritten) : `0 (${grouped(rewritten)} written)`],
        ["dead letters", grouped(document.dead)],
      ]),
    );
    return EXIT.ok;
  } finally {
    unlock();
  }
}

/** Reads every record: what this build doesn't know is refused before anything is written. */
function readWhole(directory: string, storage: Storage): { scan: LogScan; logId: Buffer } {
  const cursor = new RecordCursor();
  const scan = scanLog(storage, {
    isLocked: true,
    visit: (_, batch, body) => {
      cursor.reset(body, batch.firstSequence);
      while (cursor.next()) {
        const why = foreignRecord(cursor);
        if (why === undefined) continue;
        throw cliError("ERR_JOURNAL_FOREIGN", `${directory} is left as it is: record ${cursor.sequence}: ${why}`, {
          details: { directory, sequence: cursor.sequence },
        });
      }
    },
  });
  const logId = scan.segments.at(-1)?.header.logId;
  if (logId === undefined) throw missing(directory, "there are no segments in it");
  readLogStates(storage, logId, scan.segments.at(-1)?.end.lastSequence ?? 0);
  return { scan, logId };
}
