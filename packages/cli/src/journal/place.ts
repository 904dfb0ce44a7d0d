/** Opens the directory of the journal that a command reads. */
import { existsSync } from "node:fs";
import { NodeStorage, type Storage } from "@millrace/journal";
import { storageError } from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";
import type { ReporterOptions } from "../terminal/reporter.ts";

export interface JournalCommandOptions extends ReporterOptions {
  readonly dir: string;
}

/** Throws `ERR_JOURNAL_MISSING`, and `ERR_JOURNAL_STORAGE` for what this user may not read. */
export function storageOf(directory: string): Storage {
  const storage = new NodeStorage(directory);
  if (!namesIn(directory, storage).some((name) => /^log-[0-9a-f]{16}\.wal$/.test(name) || name === "marks")) {
    throw missing(directory, "there are no segments in it");
  }
  return storage;
}

function namesIn(directory: string, storage: Storage): string[] {
  try {
    return storage.list();
  } catch (thrown) {
    const { code } = thrown as NodeJS.ErrnoException;
    if (code === "ENOENT") throw missing(directory, "there is no such directory");
    if (code === "ENOTDIR") throw missing(directory, "it is no directory");
    throw storageError(directory, thrown);
  }
}

/** What ended the reading of a journal: it may have been removed meanwhile. */
export function readingError(directory: string, thrown: unknown): unknown {
  const isGone = (thrown as NodeJS.ErrnoException).code === "ENOENT" && !existsSync(directory);
  return isGone ? missing(directory, "it was removed") : thrown;
}

export function missing(directory: string, why: string): Error {
  return cliError("ERR_JOURNAL_MISSING", `${directory} holds no journal: ${why}`, { details: { directory } });
}
