/** Storage in a real directory. */
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  statfsSync,
  statSync,
  unlinkSync,
  writeSync,
  writevSync,
} from "node:fs";
import { join } from "node:path";
import { alignedZeros } from "./aligned-zeros.ts";
import { tryLock } from "./file-lock.ts";
import { isNotThere } from "./not-there.ts";
import type { OpenMode, Space, Storage, StorageFile } from "./storage.ts";

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  replace: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

/** Payments are for the user that the process runs as. */
export const FILE_MODE = 0o600;

/**
 * Permissions of a directory whose files have `fileMode`: users that may read the files may list
 * it.
 */
export function directoryMode(fileMode: number): number {
  return fileMode | ((fileMode & 0o444) >> 2);
}

export class NodeStorage implements Storage {
  readonly #directory: string;
  readonly #fileMode: number;

  /**
   * `fileMode`: permissions of the files that it creates. The process's umask takes away from them.
   */
  constructor(directory: string, fileMode: number = FILE_MODE) {
    this.#directory = directory;
    this.#fileMode = fileMode;
  }

  list(): string[] {
    return readdirSync(this.#directory);
  }

  open(name: string, mode: OpenMode): StorageFile {
    const fd = openSync(join(this.#directory, name), FLAGS[mode], this.#fileMode);
    return new NodeFile(this.#directory, name, fd);
  }

  rename(from: string, to: string): void {
    renameSync(join(this.#directory, from), join(this.#directory, to));
  }

  remove(name: string): void {
    unlinkSync(join(this.#directory, name));
  }

  makeDirectory(name: string): void {
    mkdirSync(join(this.#directory, name), { recursive: true, mode: directoryMode(this.#fileMode) });
  }

  syncDirectory(name = "."): void {
    const fd = openSync(join(this.#directory, name), constants.O_RDONLY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }

  space(): Space {
    const { bavail, blocks, bsize } = statfsSync(this.#directory);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }
}

/** Where the system has no such flag, nothing goes past the page cache. */
const { O_DIRECT } = constants as { readonly O_DIRECT?: number };
/** What systems answer that don't write past the page cache there, or not from this memory. */
const NOT_DIRECT: ReadonlySet<string | undefined> = new Set(["EINVAL", "ENOTSUP", "EOPNOTSUPP"]);

class NodeFile implements StorageFile {
  readonly #directory: string;
  readonly #name: string;
  readonly #fd: number;
  /** The same file, for writing past the page cache; false where that can't be done. */
  #direct: number | false | undefined;

  constructor(directory: string, name: string, fd: number) {
    this.#directory = directory;
    this.#name = name;
    this.#fd = fd;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    return writevSync(this.#fd, buffers, position);
  }

  writeZeros(position: number, length: number): boolean {
    const zeros = alignedZeros();
    if (zeros === undefined) return false;
    try {
      this.#direct ??= this.#openDirect();
      if (this.#direct === false) return false;
      for (let done = 0; done < length;) {
        done += writeSync(this.#direct, zeros, 0, Math.min(zeros.length, length - done), position + done);
      }
      return true;
    } catch (thrown) {
      if (!NOT_DIRECT.has((thrown as NodeJS.ErrnoException).code)) throw thrown;
      this.#closeDirect();
      this.#direct = false;
      return false;
    }
  }

  /**
   * By its name, which may be another file's by now. (/proc/self/fd would lead to this very file,
   * but not every container has it.) False when it can't be opened again, for whatever reason, such
   * as a lack of descriptors: nobody needs it.
   */
  #openDirect(): number | false {
    if (O_DIRECT === undefined) return false;
    let fd: number;
    try {
      fd = openSync(join(this.#directory, this.#name), constants.O_RDWR | O_DIRECT);
    } catch {
      return false;
    }
    const [own, found] = [fstatSync(this.#fd), fstatSync(fd)];
    if (own.ino === found.ino && own.dev === found.dev) return fd;
    closeSync(fd);
    return false;
  }

  #closeDirect(): void {
    if (typeof this.#direct === "number") closeSync(this.#direct);
  }

  read(buffer: Uint8Array, length: number, position: number): number {
    return readSync(this.#fd, buffer, 0, length, position);
  }

  sync(): void {
    fdatasyncSync(this.#fd);
  }

  size(): number {
    return fstatSync(this.#fd).size;
  }

  truncate(bytes: number): void {
    ftruncateSync(this.#fd, bytes);
  }

  isNamed(name: string): boolean {
    const { ino, dev } = fstatSync(this.#fd);
    try {
      const found = statSync(join(this.#directory, name));
      return found.ino === ino && found.dev === dev;
    } catch (thrown) {
      if (isNotThere(thrown)) return false;
      throw thrown;
    }
  }

  tryLock(): boolean {
    return tryLock(this.#fd);
  }

  close(): void {
    this.#closeDirect();
    closeSync(this.#fd);
  }
}
