/** `millrace journal backup`: copies a journal, whether or not a process has it open. */
import type { BackupSummary } from "@millrace/journal";
import { backUpFromOutside } from "@millrace/journal/kernel";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter } from "../terminal/reporter.ts";
import { amount, grouped, table } from "../terminal/units.ts";
import { type JournalCommandOptions, readingOf } from "./place.ts";

export interface BackupOptions extends JournalCommandOptions {
  readonly to: string;
}

export function backup(options: BackupOptions): number {
  const summary: BackupSummary = readingOf(options.dir, (storage) =>
    backUpFromOutside(storage, options.dir, options.to),
  );
  new Reporter(options).result({ from: options.dir, ...summary }, () =>
    table([
      ["copy", summary.directory],
      ["sequences", `${grouped(summary.firstSequence)} to ${grouped(summary.lastSequence)}`],
      ["bytes", `${grouped(summary.bytes)} in ${amount(summary.segments, "segment")}`],
    ]),
  );
  return EXIT.ok;
}
