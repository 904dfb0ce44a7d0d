/** A directory of files in memory, which takes nothing when `isFull` says so. */
import type { OpenMode, Storage, StorageFile } from "@millrace/journal";

export class SimScratch implements Storage {
  /** The file of each name; an open file outlives its name. */
  readonly files = new Map<string, { bytes: Uint8Array }>();
  opened = 0;
  readonly #isFull: () => boolean;

  constructor(isFull: () => boolean) {
    this.#isFull = isFull;
  }

  list(): string[] {
    return [...this.files.keys()];
  }

  open(name: string, mode: OpenMode): StorageFile {
    if (mode === "replace") this.files.set(name, { bytes: new Uint8Array(0) });
    const file = this.files.get(name) as { bytes: Uint8Array };
    const bytes = (): Uint8Array => file.bytes;
    this.opened += 1;
    return {
      write: (buffers, position) => {
        if (this.#isFull()) throw Object.assign(new Error("ENOSPC"), { errno: -28 });
        const [buffer = new Uint8Array(0)] = buffers;
        // Short writes are allowed.
        const taken = buffer.subarray(0, Math.max(1, buffer.length >> 1));
        const grown = new Uint8Array(Math.max(bytes().length, position + taken.length));
        grown.set(bytes());
        grown.set(taken, position);
        file.bytes = grown;
        return taken.length;
      },
      read: (buffer, length, position) => {
        const found = bytes().subarray(position, position + Math.max(1, length >> 1));
        buffer.set(found);
        return found.length;
      },
      sync: () => {},
      size: () => bytes().length,
      truncate: () => {},
      close: () => void (this.opened -= 1),
    };
  }

  rename(from: string, to: string): void {
    this.files.set(to, this.files.get(from) as { bytes: Uint8Array });
    this.files.delete(from);
  }

  remove(name: string): void {
    if (!this.files.delete(name)) throw Object.assign(new Error(`ENOENT: ${name}`), { code: "ENOENT" });
  }

  makeDirectory(): void {}
  syncDirectory(): void {}
}
