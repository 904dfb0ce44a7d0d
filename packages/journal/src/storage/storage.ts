/**
 * The one seam through which the journal touches files. Tests put a simulated disk in its place.
 *
 * All calls are synchronous (they run on the journal's own threads) and throw the system's error.
 */
import { getSystemErrorName } from "node:util";

export interface Storage {
  /** Names in the directory. */
  list(): string[];
  open(name: string, mode: OpenMode): StorageFile;
  /** Atomic, also where there is a file of that name already; durable after `syncDirectory`. */
  rename(from: string, to: string): void;
  remove(name: string): void;
  /** Creates a directory below this one if there is none. */
  makeDirectory(name: string): void;
  /** Makes creations, renames and removals durable, in the directory itself or in one below it. */
  syncDirectory(name?: string): void;
  /** The room on the file system; without it nobody knows. */
  space?(): Space;
}

/** Bytes that this user may still write to a file system, and its size; Infinity if unknown. */
export interface Space {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/**
 * A storage as a plain value: a real directory, or a module that makes one. Every thread of a
 * journal makes its own storage from it.
 */
export type StorageSource =
  /** `fileMode`: permissions of files that are created, as in `JournalOptions`. Default 0o600. */
  | { readonly directory: string; readonly fileMode?: number }
  /** Made by `memoryStorage()`: nothing on a disk, for tests of programs that use a journal. */
  | { readonly memory: SharedArrayBuffer }
  /**
   * The module `url`, a file URL as text, exports `openStorage(data)`. `data` must be cloneable.
   */
  | { readonly url: string; readonly data: unknown };

export interface StorageModule {
  readonly openStorage: (data: unknown) => Storage;
}

/** `create` fails if there is such a file; `replace` makes it empty. */
export type OpenMode = "read" | "write" | "create" | "replace";

export interface StorageFile {
  /** Writes some of the bytes, at least one, and returns how many: fewer than asked is no error. */
  write(buffers: readonly Uint8Array[], position: number): number;
  /** Reads up to `length` bytes into `buffer[0…]`; returns how many, 0 at the end of the file. */
  read(buffer: Uint8Array, length: number, position: number): number;
  /**
   * Writes zeros past the page cache; false where the system doesn't do that, and then what the
   * range holds is unknown. Without it nobody tries.
   */
  writeZeros?(position: number, length: number): boolean;
  /**
   * Makes written data durable (fdatasync). After a failure nothing is known about the data, and a
   * second call proves nothing.
   */
  sync(): void;
  size(): number;
  truncate(bytes: number): void;
  /**
   * Whether the directory has this very file under this name. Somebody may have removed or replaced
   * it.
   */
  isNamed?(name: string): boolean;
  /**
   * Locks a file that is open for writing until it is closed; false when another opening of it is
   * locked.
   */
  tryLock?(): boolean;
  close(): void;
}

const EEXIST = 17;
const ENOSPC = 28;
/** Linux's number; libuv has no name for it. */
const EDQUOT = 122;

/** Whether an error number means a lack of space, which passes. A broken disk's errors don't. */
export function isNoSpace(errno: number): boolean {
  return Math.abs(errno) === ENOSPC || Math.abs(errno) === EDQUOT;
}

export function isDiskFull(thrown: unknown): boolean {
  return isNoSpace((thrown as { errno?: number }).errno ?? 0);
}

/**
 * As `rename`, but never in place of another file: throws EEXIST. Nobody comes between the look and
 * the renaming: the directory and the newest segment are locked.
 */
export function renameNew(storage: Storage, from: string, to: string): void {
  if (storage.list().includes(to)) {
    const error = new Error(`EEXIST: rename '${from}' to '${to}'`);
    throw Object.assign(error, { code: "EEXIST", errno: -EEXIST, syscall: "rename", path: to });
  }
  storage.rename(from, to);
}

export function spaceOf(storage: Storage): Space {
  return storage.space?.() ?? { freeBytes: Infinity, totalBytes: Infinity };
}

/** The error of a file that isn't begun, because there is no room for it. */
export function diskFullError(name: string, bytes: number): NodeJS.ErrnoException {
  return Object.assign(new Error(`ENOSPC: no room for the ${bytes} bytes of ${name}`), {
    code: "ENOSPC",
    errno: -ENOSPC,
    syscall: "statfs",
    path: name,
  });
}

/** Such as "EIO". */
export function errnoName(errno: number): string {
  return Math.abs(errno) === EDQUOT ? "EDQUOT" : getSystemErrorName(-Math.abs(errno));
}

/**
 * Writes all bytes, and continues after a short write. When the disk runs full halfway, Node
 * reports a short write without an error; only the next call throws the reason.
 */
export function writeFully(file: Pick<StorageFile, "write">, buffers: readonly Uint8Array[], position: number): void {
  let rest = buffers;
  let at = position;
  for (;;) {
    let written = file.write(rest, at);
    at += written;
    let whole = 0;
    while (whole < rest.length && written >= (rest[whole] as Uint8Array).length) {
      written -= (rest[whole] as Uint8Array).length;
      whole += 1;
    }
    if (whole === rest.length) return;
    rest = [(rest[whole] as Uint8Array).subarray(written), ...rest.slice(whole + 1)];
  }
}

/** Writes a whole file in place of an older one. Its bytes become durable, its name doesn't. */
export function replaceFile(storage: Storage, name: string, bytes: Uint8Array): void {
  const file = storage.open(name, "replace");
  try {
    writeFully(file, [bytes], 0);
    file.sync();
  } finally {
    file.close();
  }
}

/** Reads up to `length` bytes, fewer only at the end of the file. */
export function readFully(file: StorageFile, buffer: Uint8Array, length: number, position: number): number {
  let done = 0;
  while (done < length) {
    const rest = done === 0 ? buffer : buffer.subarray(done);
    const read = file.read(rest, length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}
