/** Opens the directory of the journal that a command reads. */
import { closeSync, fstatSync, openSync, type Stats, statSync } from "node:fs";
import { isMillraceError } from "@millrace/base";
import { NodeStorage, type Storage } from "@millrace/journal";
import { isNotThere, storageError } from "@millrace/journal/kernel";
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

/**
 * The directory of a journal while a command reads it: it may be removed meanwhile, or another may
 * get its name. Until `close` the system gives its number to no other.
 */
export class JournalPlace {
  readonly directory: string;
  /** Throws as `storageOf` does. */
  readonly storage: Storage;
  readonly #fd: number;
  readonly #identity: string;

  constructor(directory: string) {
    this.directory = directory;
    this.storage = storageOf(directory);
    this.#fd = openSync(directory, "r");
    this.#identity = identityOf(fstatSync(this.#fd));
  }

  /** Throws `ERR_JOURNAL_MISSING`. */
  mustBeThere(): void {
    const stats = statsOf(this.directory);
    if (stats === undefined) throw missing(this.directory, "it was removed");
    if (identityOf(stats) !== this.#identity) throw missing(this.directory, "it was removed, and another stands there");
    storageOf(this.directory);
  }

  /** What ended the reading: that the journal is gone, or else `thrown`. */
  errorOf(thrown: unknown): unknown {
    // The output's failure.
    if (isMillraceError(thrown, "ERR_CLI_OUTPUT")) return thrown;
    try {
      this.mustBeThere();
      return thrown;
    } catch (gone) {
      return isMillraceError(gone, "ERR_JOURNAL_MISSING") ? gone : thrown;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Reads a journal. Throws `ERR_JOURNAL_MISSING` also when it is removed meanwhile. */
export function readingOf<T>(directory: string, read: (storage: Storage) => T): T {
  const place = new JournalPlace(directory);
  try {
    return read(place.storage);
  } catch (thrown) {
    throw place.errorOf(thrown);
  } finally {
    place.close();
  }
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev} ${ino}`;
}

/** Undefined where nothing is. */
function statsOf(directory: string): Stats | undefined {
  try {
    return statSync(directory);
  } catch (thrown) {
    if (isNotThere(thrown)) return undefined;
    throw thrown;
  }
}

export function missing(directory: string, why: string): Error {
  return cliError("ERR_JOURNAL_MISSING", `${directory} holds no journal: ${why}`, { details: { directory } });
}
