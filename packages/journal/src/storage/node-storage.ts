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
  rmSync,
  writevSync,
} from "node:fs";
import { join } from "node:path";
import type { OpenMode, Storage, StorageFile } from "./storage.ts";

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  replace: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

export class NodeStorage implements Storage {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  list(): string[] {
    return readdirSync(this.#directory);
  }

  open(name: string, mode: OpenMode): StorageFile {
    return new NodeFile(openSync(join(this.#directory, name), FLAGS[mode], 0o644));
  }

  rename(from: string, to: string): void {
    renameSync(join(this.#directory, from), join(this.#directory, to));
  }

  remove(name: string): void {
    rmSync(join(this.#directory, name));
  }

  makeDirectory(name: string): void {
    mkdirSync(join(this.#directory, name), { recursive: true });
  }

  syncDirectory(name = "."): void {
    const fd = openSync(join(this.#directory, name), constants.O_RDONLY);
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  }
}

class NodeFile implements StorageFile {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    return writevSync(this.#fd, buffers, position);
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

  close(): void {
    closeSync(this.#fd);
  }
}
