/**
 * A directory into which others may write at the same time. It takes no file that is there already,
 * and knows only the files that it has made: nobody else's is written or removed.
 */
import { NodeStorage } from "./node-storage.ts";
import type { OpenMode, Storage, StorageFile } from "./storage.ts";

export class OwnFiles implements Storage {
  readonly #directory: NodeStorage;
  readonly #made: string[] = [];

  constructor(directory: string) {
    this.#directory = new NodeStorage(directory);
  }

  list(): string[] {
    return [...this.#made];
  }

  /** Throws `EEXIST` for a file that somebody else has made. */
  open(name: string, mode: OpenMode): StorageFile {
    if (this.#made.includes(name)) return this.#directory.open(name, mode);
    const file = this.#directory.open(name, "create");
    this.#made.push(name);
    return file;
  }

  rename(from: string, to: string): void {
    this.#directory.rename(from, to);
    this.#made[this.#made.indexOf(from)] = to;
  }

  remove(name: string): void {
    this.#directory.remove(name);
  }

  makeDirectory(name: string): void {
    this.#directory.makeDirectory(name);
  }

  syncDirectory(name?: string): void {
    this.#directory.syncDirectory(name);
  }

  /**
   * The latest file first. Whoever makes the same files in the same order can't begin before all
   * are removed. Files that can't be removed stay: the caller has an error to tell already.
   */
  removeAll(): void {
    for (let name = this.#made.pop(); name !== undefined; name = this.#made.pop()) {
      try {
        this.remove(name);
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).syscall === undefined) throw thrown;
      }
    }
  }
}
