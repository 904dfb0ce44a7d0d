/**
 * A storage in shared memory, for tests of programs that use a journal. It is as fast as a storage
 * can be, touches no disk, and goes with the process.
 *
 * Words of the control part, then the blocks' bytes:
 *
 *   0        LOCK   0 free, 1 taken; by compare-and-swap by any thread, for the length of one call
 *   1        OWNED  1 while a journal has it open; by the opener
 *   32       FILES × 64 words: used, bytes (two words), first block, generation, length of the
 *            name, the name from word 8 on
 *   then     one word per block: the number of the file's next block, plus one; 0 at the end;
 *            -1 for a free block
 *
 * Threads read and write everything but LOCK while they hold LOCK. Somebody may have a file open
 * when it is removed; it then reads as empty, because its generation differs.
 *
 * Rejected: a directory on tmpfs, which not every system has.
 */
import { journalError } from "../errors.ts";
import type { OpenMode, Space, Storage, StorageFile, StorageSource } from "./storage.ts";

const LOCK = 0;
const OWNED = 1;
const TABLE = 32;
const FILES = 256;
const FILE_WORDS = 64;
const NAME_WORDS = 8;
const NAME_BYTES_MAX: number = (FILE_WORDS - NAME_WORDS) * 4;
const USED = 0;
const BYTES_LOW = 1;
const BYTES_HIGH = 2;
const FIRST = 3;
const GENERATION = 4;
const NAME_LENGTH = 5;
const NEXT: number = TABLE + FILES * FILE_WORDS;
const FREE = -1;

const BLOCK_BYTES = 1 << 16;
/** Longest wait for the lock before another look: its holder copies at most a batch. */
const LOCK_WAIT_MS = 10;
const ENOSPC = 28;

export interface MemorySource {
  readonly memory: SharedArrayBuffer;
}

/**
 * Memory of `bytesMax` bytes, for the option `storage` of a journal. A journal that opens it again
 * finds the records of the one before.
 */
export function memoryStorage(bytesMax: number = 256 * 2 ** 20): MemorySource {
  const blocks = Math.ceil(bytesMax / BLOCK_BYTES);
  const memory = new SharedArrayBuffer(dataOffset(blocks) + blocks * BLOCK_BYTES);
  new Int32Array(memory).fill(FREE, NEXT, NEXT + blocks);
  return { memory };
}

export function isMemory(source: StorageSource): source is MemorySource {
  return "memory" in source;
}

/** One journal at a time; the returned function gives it back. Throws `ERR_JOURNAL_LOCKED`. */
export function lockMemory({ memory }: MemorySource): () => void {
  const words = new Int32Array(memory);
  if (Atomics.compareExchange(words, OWNED, 0, 1) !== 0) {
    throw journalError("ERR_JOURNAL_LOCKED", "the memory is in use by another journal");
  }
  return () => {
    Atomics.store(words, OWNED, 0);
  };
}

function dataOffset(blocks: number): number {
  return Math.ceil(((NEXT + blocks) * 4) / BLOCK_BYTES) * BLOCK_BYTES;
}

/** Blocks of which both the words and the bytes fit. */
function blocksIn(bytes: number): number {
  let blocks = Math.floor((bytes - NEXT * 4) / (BLOCK_BYTES + 4));
  while (dataOffset(blocks) + blocks * BLOCK_BYTES > bytes) blocks -= 1;
  return blocks;
}

export class MemoryStorage implements Storage {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #blocks: number;
  readonly #data: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory);
    this.#bytes = new Uint8Array(memory);
    this.#blocks = blocksIn(memory.byteLength);
    this.#data = dataOffset(this.#blocks);
  }

  list(): string[] {
    return this.#locked(() => {
      const names: string[] = [];
      for (let file = 0; file < FILES; file += 1) if (this.#get(file, USED) === 1) names.push(this.#name(file));
      return names.filter((name) => !name.includes("/"));
    });
  }

  open(name: string, mode: OpenMode): StorageFile {
    return this.#locked(() => {
      let file = this.#find(name);
      if (file < 0) {
        if (mode === "read" || mode === "write") throw systemError("ENOENT", 2, "open", name);
        file = this.#create(name);
      } else if (mode === "create") {
        throw systemError("EEXIST", 17, "open", name);
      } else if (mode === "replace") {
        this.#resize(file, 0);
      }
      return new MemoryFile(this, file, this.#get(file, GENERATION));
    });
  }

  rename(from: string, to: string): void {
    this.#locked(() => {
      const file = this.#find(from);
      if (file < 0) throw systemError("ENOENT", 2, "rename", from);
      const replaced = this.#find(to);
      if (replaced >= 0 && replaced !== file) this.#remove(replaced);
      this.#setName(file, to);
    });
  }

  remove(name: string): void {
    this.#locked(() => {
      const file = this.#find(name);
      if (file < 0) throw systemError("ENOENT", 2, "unlink", name);
      this.#remove(file);
    });
  }

  makeDirectory(): void {
    // Names may hold slashes.
  }

  syncDirectory(): void {
    // Nothing outlives the process.
  }

  space(): Space {
    return this.#locked(() => {
      let free = 0;
      for (let block = 0; block < this.#blocks; block += 1) if (this.#words[NEXT + block] === FREE) free += 1;
      return { freeBytes: free * BLOCK_BYTES, totalBytes: this.#blocks * BLOCK_BYTES };
    });
  }

  // ── for the files ─────────────────────────────────────────────────────────────────────────────

  size(file: number, generation: number): number {
    return this.#locked(() => (this.#isThere(file, generation) ? this.#size(file) : 0));
  }

  isNamed(file: number, generation: number, name: string): boolean {
    return this.#locked(() => this.#isThere(file, generation) && this.#name(file) === name);
  }

  truncate(file: number, generation: number, bytes: number): void {
    this.#locked(() => {
      if (this.#isThere(file, generation)) this.#resize(file, bytes);
    });
  }

  transfer(file: number, generation: number, buffer: Uint8Array, position: number, isWrite: boolean): number {
    return this.#locked(() => {
      if (!this.#isThere(file, generation)) return 0;
      if (isWrite && position + buffer.length > this.#size(file)) this.#resize(file, position + buffer.length);
      const end = Math.min(position + buffer.length, this.#size(file));
      let block = this.#get(file, FIRST) - 1;
      let at = 0;
      for (; at + BLOCK_BYTES <= position; at += BLOCK_BYTES) block = this.#nextOf(block);
      for (let done = position; done < end; block = this.#nextOf(block), at += BLOCK_BYTES) {
        const stop = Math.min(end, at + BLOCK_BYTES);
        const start = this.#data + block * BLOCK_BYTES + (done - at);
        const stored = this.#bytes.subarray(start, start + (stop - done));
        if (isWrite) stored.set(buffer.subarray(done - position, stop - position));
        else buffer.set(stored, done - position);
        done = stop;
      }
      return Math.max(0, end - position);
    });
  }

  // ── under the lock ────────────────────────────────────────────────────────────────────────────

  #locked<T>(work: () => T): T {
    // Ends: no holder waits for anything while it has the lock.
    while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0) Atomics.wait(this.#words, LOCK, 1, LOCK_WAIT_MS);
    try {
      return work();
    } finally {
      Atomics.store(this.#words, LOCK, 0);
      Atomics.notify(this.#words, LOCK, 1);
    }
  }

  #get(file: number, word: number): number {
    return this.#words[TABLE + file * FILE_WORDS + word] as number;
  }

  #set(file: number, word: number, value: number): void {
    this.#words[TABLE + file * FILE_WORDS + word] = value;
  }

  #isThere(file: number, generation: number): boolean {
    return this.#get(file, USED) === 1 && this.#get(file, GENERATION) === generation;
  }

  #nextOf(block: number): number {
    return (this.#words[NEXT + block] as number) - 1;
  }

  #size(file: number): number {
    return (this.#get(file, BYTES_LOW) >>> 0) + this.#get(file, BYTES_HIGH) * 2 ** 32;
  }

  #name(file: number): string {
    const start = (TABLE + file * FILE_WORDS + NAME_WORDS) * 4;
    return Buffer.from(this.#bytes.subarray(start, start + this.#get(file, NAME_LENGTH))).toString("utf8");
  }

  #setName(file: number, name: string): void {
    const bytes = Buffer.from(name);
    if (bytes.length > NAME_BYTES_MAX) throw systemError("ENAMETOOLONG", 36, "open", name);
    this.#bytes.set(bytes, (TABLE + file * FILE_WORDS + NAME_WORDS) * 4);
    this.#set(file, NAME_LENGTH, bytes.length);
  }

  #find(name: string): number {
    for (let file = 0; file < FILES; file += 1) {
      if (this.#get(file, USED) === 1 && this.#name(file) === name) return file;
    }
    return -1;
  }

  #create(name: string): number {
    for (let file = 0; file < FILES; file += 1) {
      if (this.#get(file, USED) === 1) continue;
      this.#setName(file, name);
      this.#set(file, USED, 1);
      this.#set(file, FIRST, 0);
      this.#set(file, BYTES_LOW, 0);
      this.#set(file, BYTES_HIGH, 0);
      this.#set(file, GENERATION, this.#get(file, GENERATION) + 1);
      return file;
    }
    throw systemError("ENOSPC", ENOSPC, "open", name);
  }

  #remove(file: number): void {
    this.#resize(file, 0);
    this.#set(file, USED, 0);
  }

  /** Gives a file as many blocks as `bytes` need; new ones are zero-filled. */
  #resize(file: number, bytes: number): void {
    const needed = Math.ceil(bytes / BLOCK_BYTES);
    let count = 0;
    let last = -1;
    let block = this.#get(file, FIRST) - 1;
    for (; block >= 0 && count < needed; count += 1) {
      last = block;
      block = this.#nextOf(block);
    }
    // The blocks that are left over.
    for (let next = block; next >= 0;) {
      const free = next;
      next = this.#nextOf(free);
      this.#words[NEXT + free] = FREE;
    }
    this.#link(file, last, -1);
    for (; count < needed; count += 1) {
      const fresh = this.#words.indexOf(FREE, NEXT) - NEXT;
      if (fresh < 0 || fresh >= this.#blocks) throw systemError("ENOSPC", ENOSPC, "pwritev", this.#name(file));
      this.#bytes.fill(0, this.#data + fresh * BLOCK_BYTES, this.#data + (fresh + 1) * BLOCK_BYTES);
      this.#words[NEXT + fresh] = 0;
      this.#link(file, last, fresh);
      last = fresh;
    }
    this.#set(file, BYTES_LOW, (bytes % 2 ** 32) | 0);
    this.#set(file, BYTES_HIGH, Math.floor(bytes / 2 ** 32));
  }

  /** Makes `block` (-1: none) the one after `last` (-1: the first). */
  #link(file: number, last: number, block: number): void {
    if (last < 0) this.#set(file, FIRST, block + 1);
    else this.#words[NEXT + last] = block + 1;
  }
}

class MemoryFile implements StorageFile {
  readonly #storage: MemoryStorage;
  readonly #file: number;
  readonly #generation: number;

  constructor(storage: MemoryStorage, file: number, generation: number) {
    this.#storage = storage;
    this.#file = file;
    this.#generation = generation;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    let written = 0;
    for (const buffer of buffers) {
      written += this.#storage.transfer(this.#file, this.#generation, buffer, position + written, true);
    }
    return written;
  }

  read(buffer: Uint8Array, length: number, position: number): number {
    return this.#storage.transfer(this.#file, this.#generation, buffer.subarray(0, length), position, false);
  }

  sync(): void {
    // Nothing outlives the process.
  }

  size(): number {
    return this.#storage.size(this.#file, this.#generation);
  }

  truncate(bytes: number): void {
    this.#storage.truncate(this.#file, this.#generation, bytes);
  }

  isNamed(name: string): boolean {
    return this.#storage.isNamed(this.#file, this.#generation, name);
  }

  tryLock(): boolean {
    // Nobody opens the memory twice: its word OWNED can't be removed.
    return true;
  }

  close(): void {
    // Nothing is held.
  }
}

function systemError(code: string, errno: number, syscall: string, name: string): Error {
  return Object.assign(new Error(`${code}: ${syscall} '${name}' in memory`), {
    code,
    errno: -errno,
    syscall,
    path: name,
  });
}
