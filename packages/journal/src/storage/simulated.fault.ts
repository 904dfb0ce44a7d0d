/**
 * A disk in memory behind the Storage seam, for tests. It knows which states a power cut may leave
 * behind, and fails on demand.
 *
 * After a power cut only the effects of completed syncs are certain. Everything later is open,
 * piece by piece:
 *
 *   a block of 4096 bytes   as it was, or any version written since, or a mixture of both in
 *                           sectors of 512 bytes; a block that is new to the file may also show
 *                           the content of some removed file
 *   the size of a file      as it was, or any size since, whatever became of the blocks
 *   a name                  created, renamed, removed, or not yet; operations on one file or one
 *                           name keep their order (file systems journal them so), all others are
 *                           independent; a sync of a file makes no name durable
 *
 * After a failed sync of a file its blocks stay readable, and may be on disk or not. Later syncs
 * succeed and change nothing about that. Linux behaves so (Rebello et al., "Can Applications
 * Recover from fsync Failures?", ATC 2020). A failed sync of a directory leaves its operations to
 * the next one, because a file system whose own journal fails becomes read-only.
 *
 * One thread uses the storage. `choices` and `crash` enumerate the states. `fork` is the death of
 * the process while the machine runs on, so the kernel still holds everything.
 *
 * Rejected: a trace of operations that is replayed up to each crash point (ALICE). Here all states
 * share a block's versions, so that a state costs a few arrays.
 */
import { invariant } from "@millrace/base";
import {
  BLOCK_BYTES,
  type Block,
  type Inode,
  copyInode,
  cut,
  emptyInode,
  fingerprintOf,
  mix,
  readInode,
  settle,
  truncateInode,
  writeInode,
  ZEROS,
} from "./simulated-files.fault.ts";
import type { OpenMode, Space, Storage, StorageFile } from "./storage.ts";

/** One operation on names, all of it or nothing. */
interface EntryChange {
  readonly directory: string;
  readonly names: readonly (readonly [name: string, inode: Inode | undefined])[];
}

/** Something that a power cut leaves open. */
export interface Choice {
  readonly kind: "block" | "size" | "entry";
  /** Values from 0 (as it was at the last sync) to `options - 1` (as the kernel shows it). */
  readonly options: number;
}

/**
 * The value of a block's choice that mixes its old content with `version`. Bit n of `sectors` takes
 * sector n from the new one.
 */
export function tornBlock(version: number, sectors: number): number {
  return version + (sectors << 8);
}
/** The value of a block's choice that shows the content of a removed file, if the block was new. */
export const STALE_BLOCK = -1;

export type OperationKind =
  | "list"
  | "write"
  | "read"
  | "sync"
  | "truncate"
  | "open"
  | "rename"
  | "remove"
  | "makeDirectory"
  | "syncDirectory"
  | "space";

/** A call that is about to be made, or was made. */
export interface Operation {
  readonly kind: OperationKind;
  readonly name: string;
  readonly position: number;
  readonly bytes: number;
}

/**
 * How a call fails: with the system's error, after having written `bytes`. Without a code it only
 * writes fewer bytes than asked.
 */
export interface Fault {
  readonly code?: keyof typeof ERRNO;
  readonly bytes?: number;
}

const ERRNO = { EIO: 5, ENOSPC: 28, EROFS: 30, EDQUOT: 122, ENOENT: 2, EEXIST: 17, EISDIR: 21 } as const;

export class SimulatedStorage implements Storage {
  /** Called before every call; the fault that it returns happens instead. */
  before: (operation: Operation) => Fault | undefined = () => undefined;
  /** Called after every call that succeeded. */
  after: (operation: Operation) => void = () => {};
  /**
   * Blocks that all files together may hold. Beyond, writes are short and then fail with ENOSPC.
   */
  blocksMax: number = Infinity;

  #names = new Map<string, Inode>();
  #safeNames = new Map<string, Inode>();
  #changes: EntryChange[] = [];
  /** Blocks of removed files: what a newly allocated block may show. */
  #stale: Block[] = [];
  readonly #locks = new Map<Inode, StorageFile>();

  // ── the seam ──────────────────────────────────────────────────────────────────────────────────

  list(): string[] {
    this.#begin("list", "");
    return [...this.#names.keys()].filter((name) => !name.includes("/"));
  }

  open(name: string, mode: OpenMode): StorageFile {
    this.#begin("open", name);
    let inode = this.#names.get(name);
    if (mode === "create" && inode !== undefined) throw systemError("EEXIST", "open", name);
    if ((mode === "read" || mode === "write") && inode === undefined) throw systemError("ENOENT", "open", name);
    if (inode?.isDirectory === true) throw systemError("EISDIR", "open", name);
    if (inode === undefined) {
      const directory = directoryOf(name);
      if (directory !== "" && !this.#names.has(directory)) throw systemError("ENOENT", "open", name);
      inode = emptyInode(false);
      this.#change(directory, [[name, inode]]);
    } else if (mode === "replace" && inode.size > 0) {
      truncateInode(inode, 0);
    }
    if (mode !== "read") this.#end("open", name);
    return new SimulatedFile(this, name, inode);
  }

  rename(from: string, to: string): void {
    this.#begin("rename", from);
    const inode = this.#names.get(from);
    if (inode === undefined) throw systemError("ENOENT", "rename", from);
    this.#bury(this.#names.get(to));
    this.#change(directoryOf(to), [
      [from, undefined],
      [to, inode],
    ]);
    this.#end("rename", to);
  }

  remove(name: string): void {
    this.#begin("remove", name);
    const inode = this.#names.get(name);
    if (inode === undefined) throw systemError("ENOENT", "unlink", name);
    if (inode.isDirectory) throw systemError("EISDIR", "unlink", name);
    this.#bury(inode);
    this.#change(directoryOf(name), [[name, undefined]]);
    this.#end("remove", name);
  }

  makeDirectory(name: string): void {
    this.#begin("makeDirectory", name);
    if (!this.#names.has(name)) this.#change(directoryOf(name), [[name, emptyInode(true)]]);
    this.#end("makeDirectory", name);
  }

  syncDirectory(name = ""): void {
    this.#begin("syncDirectory", name);
    const done = this.#changes.filter((change) => change.directory === name);
    this.#changes = this.#changes.filter((change) => change.directory !== name);
    for (const change of done) apply(change, this.#safeNames);
    this.#end("syncDirectory", name);
  }

  space(): Space {
    this.#begin("space", "");
    if (this.blocksMax === Infinity) return { freeBytes: Infinity, totalBytes: Infinity };
    const freeBytes = Math.max(0, this.blocksMax - this.#blocksUsed()) * BLOCK_BYTES;
    return { freeBytes, totalBytes: this.blocksMax * BLOCK_BYTES };
  }

  // ── crashes ───────────────────────────────────────────────────────────────────────────────────

  /** The choices that a power cut would leave open now. Values for `crash`, in this order. */
  choices(): Choice[] {
    const choices: Choice[] = this.#changes.map(() => ({ kind: "entry", options: 2 }));
    for (const inode of this.#inodes()) {
      if (inode.pendingSizes.length > 0) choices.push({ kind: "size", options: inode.pendingSizes.length + 1 });
      for (const { versions } of inode.pending.values()) choices.push({ kind: "block", options: versions.length + 1 });
    }
    return choices;
  }

  /** The disk after a power cut that decided as `values` say, one for each of `choices`. */
  crash(values: readonly number[]): SimulatedStorage {
    let next = 0;
    const take = (): number => values[next++] as number;
    const names = new Map(this.#safeNames);
    const skipped: EntryChange[] = [];
    for (const change of this.#changes) {
      if (take() === 1 && !skipped.some((earlier) => dependsOn(change, earlier))) apply(change, names);
      else skipped.push(change);
    }
    const settled = new Map<Inode, Inode>();
    for (const inode of this.#inodes()) {
      const size = inode.pendingSizes.length > 0 ? take() : 0;
      const after = emptyInode(inode.isDirectory);
      after.size = size === 0 ? inode.safeSize : (inode.pendingSizes[size - 1] as number);
      after.blocks = [...inode.safeBlocks];
      for (const [index, { versions }] of inode.pending) {
        after.blocks[index] = this.#decide(inode.safeBlocks[index], versions, take(), index);
      }
      cut(after);
      settle(after);
      settled.set(inode, after);
    }
    invariant(next === values.length, "there is one value for each choice");
    const disk = new SimulatedStorage();
    disk.blocksMax = this.blocksMax;
    disk.#stale = this.#stale;
    for (const [name, inode] of names) {
      if (hasDirectory(name, names)) disk.#names.set(name, settled.get(inode) as Inode);
    }
    disk.#safeNames = new Map(disk.#names);
    return disk;
  }

  /** The same disk and the same kernel, for another process. */
  fork(): SimulatedStorage {
    const copies = new Map<Inode, Inode>();
    for (const inode of this.#inodes()) copies.set(inode, copyInode(inode));
    const copyNames = (names: ReadonlyMap<string, Inode>): Map<string, Inode> =>
      new Map([...names].map(([name, inode]) => [name, copies.get(inode) as Inode]));
    const disk = new SimulatedStorage();
    disk.blocksMax = this.blocksMax;
    disk.#stale = [...this.#stale];
    disk.#names = copyNames(this.#names);
    disk.#safeNames = copyNames(this.#safeNames);
    disk.#changes = this.#changes.map(({ directory, names }) => ({
      directory,
      names: names.map(([name, inode]) => [name, inode === undefined ? undefined : copies.get(inode)]),
    }));
    return disk;
  }

  /**
   * Equal for disks whose files have the same names and content, as the kernel shows them. Pending
   * writes don't count.
   */
  fingerprint(): string {
    const parts: string[] = [];
    for (const [name, inode] of [...this.#names].toSorted(([left], [right]) => (left < right ? -1 : 1))) {
      parts.push(name, String(inode.size));
      for (const block of inode.blocks) parts.push(fingerprintOf(block ?? ZEROS));
    }
    return parts.join(" ");
  }

  /** The content of a file, as the kernel shows it. */
  contentOf(name: string): Buffer {
    const inode = this.#names.get(name);
    if (inode === undefined) throw systemError("ENOENT", "open", name);
    const bytes = Buffer.alloc(inode.size);
    readInode(inode, bytes, inode.size, 0);
    return bytes;
  }

  /** Names below a directory, as far as they would be there after any power cut. */
  safeNamesBelow(directory: string): string[] {
    return [...this.#safeNames.keys()].filter((name) => name.startsWith(`${directory}/`));
  }

  /** A file of another program, with all the room that is left. It may be written again. */
  fill(name: string): void {
    const file = this.open(name, "replace");
    const room = this.space().freeBytes;
    if (room > 0) file.write([new Uint8Array(room).fill(1)], 0);
    file.sync();
    file.close();
    this.syncDirectory();
  }

  /** Bytes of the blocks that a file takes up. */
  allocatedBytes(name: string): number {
    return (this.#names.get(name)?.blocks.filter((block) => block !== undefined).length ?? 0) * BLOCK_BYTES;
  }

  /** Changes bytes on the disk and in the cache, as a fault of the medium does. */
  corrupt(name: string, position: number, bytes: Uint8Array): void {
    const inode = this.#names.get(name) as Inode;
    writeInode(inode, [bytes], position, bytes.length, Infinity);
    settle(inode);
  }

  // ── for the files ─────────────────────────────────────────────────────────────────────────────

  write(name: string, inode: Inode, buffers: readonly Uint8Array[], position: number): number {
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    const fault = this.#fault("write", name, position, bytes);
    const room = this.blocksMax === Infinity ? Infinity : this.blocksMax - this.#blocksUsed();
    const written = writeInode(inode, buffers, position, Math.min(fault?.bytes ?? bytes, bytes), room);
    if (fault?.code !== undefined) throw systemError(fault.code, "write", name);
    if (written === 0 && bytes > 0) throw systemError("ENOSPC", "write", name);
    this.#end("write", name, position, written);
    return written;
  }

  read(name: string, inode: Inode, buffer: Uint8Array, length: number, position: number): number {
    this.#begin("read", name, position, length);
    return readInode(inode, buffer, length, position);
  }

  sync(name: string, inode: Inode): void {
    const fault = this.#fault("sync", name);
    if (fault !== undefined) {
      for (const block of inode.pending.values()) block.isLost = true;
      throw systemError(fault.code ?? "EIO", "fdatasync", name);
    }
    for (const [index, { versions, isLost }] of inode.pending) {
      if (isLost) continue;
      inode.safeBlocks[index] = versions.at(-1);
      inode.pending.delete(index);
    }
    inode.safeSize = inode.size;
    inode.pendingSizes = [];
    this.#end("sync", name);
  }

  truncate(name: string, inode: Inode, bytes: number): void {
    this.#begin("truncate", name, bytes);
    truncateInode(inode, bytes);
    this.#end("truncate", name, bytes);
  }

  has(name: string, inode: Inode): boolean {
    return this.#names.get(name) === inode;
  }

  /** Locks end with the process: neither a fork nor a crash has them. */
  tryLock(inode: Inode, file: StorageFile): boolean {
    if ((this.#locks.get(inode) ?? file) !== file) return false;
    this.#locks.set(inode, file);
    return true;
  }

  unlock(inode: Inode, file: StorageFile): void {
    if (this.#locks.get(inode) === file) this.#locks.delete(inode);
  }

  /** The file's name now: it may have been renamed since it was opened. */
  nameOf(inode: Inode, opened: string): string {
    if (this.#names.get(opened) === inode) return opened;
    for (const [name, other] of this.#names) if (other === inode) return name;
    return opened;
  }

  // ── inside ────────────────────────────────────────────────────────────────────────────────────

  #fault(kind: OperationKind, name: string, position = 0, bytes = 0): Fault | undefined {
    return this.before({ kind, name, position, bytes });
  }

  #begin(kind: OperationKind, name: string, position = 0, bytes = 0): void {
    const fault = this.#fault(kind, name, position, bytes);
    if (fault !== undefined) throw systemError(fault.code ?? "EIO", kind, name);
  }

  #end(kind: OperationKind, name: string, position = 0, bytes = 0): void {
    this.after({ kind, name, position, bytes });
  }

  #change(directory: string, names: EntryChange["names"]): void {
    const change = { directory, names };
    apply(change, this.#names);
    this.#changes.push(change);
  }

  #bury(inode: Inode | undefined): void {
    if (inode !== undefined) this.#stale = inode.blocks.map((block) => block ?? ZEROS);
  }

  /** Every file that may exist after a power cut or exists now. */
  #inodes(): Set<Inode> {
    const inodes = new Set([...this.#safeNames.values(), ...this.#names.values()]);
    for (const { names } of this.#changes) for (const [, inode] of names) if (inode !== undefined) inodes.add(inode);
    return inodes;
  }

  #blocksUsed(): number {
    let used = 0;
    for (const inode of new Set(this.#names.values()))
      for (const block of inode.blocks) if (block !== undefined) used += 1;
    return used;
  }

  #decide(before: Block | undefined, versions: readonly Block[], value: number, index: number): Block | undefined {
    if (value === 0) return before;
    if (value === STALE_BLOCK) return before ?? this.#stale[index];
    const version = versions[(value & 0xff) - 1] as Block;
    const sectors = value >> 8;
    return sectors === 0 ? version : mix(before ?? ZEROS, version, sectors);
  }
}

class SimulatedFile implements StorageFile {
  readonly #storage: SimulatedStorage;
  readonly #name: string;
  readonly #inode: Inode;

  constructor(storage: SimulatedStorage, name: string, inode: Inode) {
    this.#storage = storage;
    this.#name = name;
    this.#inode = inode;
  }

  write(buffers: readonly Uint8Array[], position: number): number {
    return this.#storage.write(this.#current(), this.#inode, buffers, position);
  }

  read(buffer: Uint8Array, length: number, position: number): number {
    return this.#storage.read(this.#current(), this.#inode, buffer, length, position);
  }

  sync(): void {
    this.#storage.sync(this.#current(), this.#inode);
  }

  size(): number {
    return this.#inode.size;
  }

  truncate(bytes: number): void {
    this.#storage.truncate(this.#current(), this.#inode, bytes);
  }

  isNamed(name: string): boolean {
    return this.#storage.has(name, this.#inode);
  }

  tryLock(): boolean {
    return this.#storage.tryLock(this.#inode, this);
  }

  close(): void {
    this.#storage.unlock(this.#inode, this);
  }

  #current(): string {
    return this.#storage.nameOf(this.#inode, this.#name);
  }
}

/** The error that Node would throw. */
function systemError(code: keyof typeof ERRNO, syscall: string, name: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${syscall} '${name}'`), { code, errno: -ERRNO[code], syscall });
}

// ── names ───────────────────────────────────────────────────────────────────────────────────────

function directoryOf(name: string): string {
  return name.includes("/") ? name.slice(0, name.lastIndexOf("/")) : "";
}

function apply(change: EntryChange, names: Map<string, Inode>): void {
  for (const [name, inode] of change.names) {
    if (inode === undefined) names.delete(name);
    else names.set(name, inode);
  }
}

function dependsOn(later: EntryChange, earlier: EntryChange): boolean {
  return later.names.some(([name, inode]) =>
    earlier.names.some(
      ([otherName, other]) =>
        name === otherName || directoryOf(name) === otherName || (inode !== undefined && inode === other),
    ),
  );
}

function hasDirectory(name: string, names: ReadonlyMap<string, Inode>): boolean {
  const directory = directoryOf(name);
  return directory === "" || names.has(directory);
}
