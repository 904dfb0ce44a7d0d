/** Opens the directory of the journal that a command reads. */
import { existsSync, statSync } from "node:fs";
import { NodeStorage, type Storage } from "@millrace/journal";
import { cliError } from "../errors.ts";
import type { ReporterOptions } from "../terminal/reporter.ts";

export interface JournalCommandOptions extends ReporterOptions {
  readonly dir: string;
}

/** Throws `ERR_JOURNAL_MISSING`. */
export function storageOf(directory: string): Storage {
  if (!existsSync(directory) || !statSync(directory).isDirectory()) {
    throw missing(directory, "there is no such directory");
  }
  const storage = new NodeStorage(directory);
  if (!storage.list().some((name) => /^log-[0-9a-f]{16}\.wal$/.test(name) || name === "marks")) {
    throw missing(directory, "there are no segments in it");
  }
  return storage;
}

export function missing(directory: string, why: string): Error {
  return cliError("ERR_JOURNAL_MISSING", `${directory} holds no journal: ${why}`, { details: { directory } });
}
