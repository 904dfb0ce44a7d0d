/** Files that stay open between readings: opening one costs more than reading a page of it. */
import type { Storage, StorageFile } from "../storage/storage.ts";

/** Descriptors are scarce (often 1024 a process); 32 of them serve 1 GiB of segments and more. */
const FILES_MAX = 32;
/** Of the process, of the system. */
const NO_DESCRIPTOR: ReadonlySet<string | undefined> = new Set(["EMFILE", "ENFILE"]);

/**
 * Files open for reading, the latest ones first. A file that was removed takes up the disk's space
 * until it is closed here.
 */
export class OpenFiles {
  readonly #storage: Storage;
  /** In the order of insertion. Once it is full: the first file is the one least recently used. */
  readonly #files = new Map<string, StorageFile>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** The file; valid until the next call. Throws the system's error where it can't be opened. */
  get(name: string): StorageFile {
    const open = this.#files.get(name);
    if (open !== undefined) {
      if (this.#files.size < FILES_MAX) return open;
      this.#files.delete(name);
      this.#files.set(name, open);
      return open;
    }
    const file = this.#open(name);
    for (const oldest of this.#files.keys()) {
      if (this.#files.size < FILES_MAX) break;
      this.close(oldest);
    }
    this.#files.set(name, file);
    return file;
  }

  /** Where no descriptor is free, those that are held here are. */
  #open(name: string): StorageFile {
    try {
      return this.#storage.open(name, "read");
    } catch (thrown) {
      if (this.#files.size === 0 || !NO_DESCRIPTOR.has((thrown as NodeJS.ErrnoException).code)) throw thrown;
      this.closeAll();
      return this.#storage.open(name, "read");
    }
  }

  close(name: string): void {
    const file = this.#files.get(name);
    this.#files.delete(name);
    file?.close();
  }

  closeAll(): void {
    for (const name of this.#files.keys()) this.close(name);
  }
}
