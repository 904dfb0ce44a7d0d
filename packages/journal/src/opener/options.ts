/** The options of a journal, each with its default and its range. */
import { resolve } from "node:path";
import {
  abortSignal,
  boolean,
  callback,
  custom,
  integer,
  oneOf,
  optional,
  path,
  powerOfTwo,
  type Resolved,
  resolveOptions,
  type Rules,
} from "@millrace/base";
import { isMemory } from "../storage/memory-storage.ts";
import { RECORD_TYPE } from "../files/format.ts";
import {
  checkLimits,
  HEADER_BYTES_MAX,
  type JournalLimits,
  KEY_BYTES_MAX,
  SEGMENT_BYTES_FIRST,
} from "../files/limits.ts";
import type { DamageReport } from "../keeper/scrub.ts";
import { FILE_MODE } from "../storage/node-storage.ts";
import type { StorageSource } from "../storage/storage.ts";

export interface JournalOptions {
  /**
   * Where the log lies. The opening creates it if needed; one process at a time may use it. A
   * relative path counts from the working directory of the opening. Required, except for a journal
   * in memory.
   */
  readonly directory?: string;
  /** Largest record, with header and key; at least 1 KiB. Default 1 MiB. */
  readonly recordBytesMax?: number;
  /** Largest batch, and largest atomic group. Default 4 MiB. */
  readonly batchBytesMax?: number;
  /** Size to which segments grow. Default 64 MiB. */
  readonly segmentBytesMax?: number;
  /**
   * Size of the first segment of an opening, at most `segmentBytesMax`. Each filled segment is
   * followed by one twice as large. An idle journal takes about four times this size: a segment,
   * the next one, and a reserve. Default 8 MiB.
   */
  readonly segmentBytesFirst?: number;
  /**
   * Memory of a producer's ring, a power of two. It limits the bytes on their way to the disk.
   * Default 8 MiB.
   */
  readonly ringBytes?: number;
  /**
   * Bytes that may wait on the heap while the ring is full; the journal refuses more. Default 256
   * MiB.
   */
  readonly pendingBytesMax?: number;
  /**
   * Memory that `get` and `find` may keep of the log, taken as they need it: pages, and checksums
   * of the pages of batches that were checked. 0 keeps nothing, so that each of them checks a whole
   * batch. Default 64 MiB.
   */
  readonly readCacheBytes?: number;
  /** How long this thread polls for receipts before its event loop may sleep. Default 100 µs. */
  readonly pollMicroseconds?: number;
  /**
   * Whether an opening sets a torn last batch aside or refuses the log. Nobody was promised the
   * records of such a batch. Default "tolerateTornTail".
   */
  readonly recovery?: "tolerateTornTail" | "strict";
  /** Read every batch at the opening, not old segments later in the background. Default false. */
  readonly verifyAll?: boolean;
  /**
   * "none" calls records durable although a loss of power takes them; it serves comparisons and
   * tests. Default "batch": a sync after every batch.
   */
  readonly sync?: "batch" | "none";
  /**
   * How long the opening waits for a directory that another process has open: for a restart that
   * begins a process before the last one has ended. Default 0: it is refused at once.
   */
  readonly lockWaitMs?: number;
  /** Ends that wait; `open` rejects with the signal's reason. */
  readonly lockSignal?: AbortSignal;
  /**
   * Permissions of the files that the journal creates. In a directory that it creates, users who
   * may read may also search. The process's umask takes away from both. Default 0o600: nobody else.
   */
  readonly fileMode?: number;
  /** Accept a file system that keeps nothing, or one over a network. Default false. */
  readonly allowUnsafeStorage?: boolean;
  /**
   * Number of threads besides the opener that can append. `producerHandle()` gives a handle for
   * each. Default 0.
   */
  readonly producers?: number;
  /** Called when the background finds damage in old segments. Default: a warning of the process. */
  readonly onDamage?: (damage: DamageReport) => void;
  /**
   * `memoryStorage()` makes a journal that needs no disk and keeps nothing (UNSAFE). A module can
   * give a storage of its own; the directory then holds only the lock. For tests.
   */
  readonly storage?: StorageSource;
  /**
   * Number, in this thread's `ThreadTable`, of a thread that reads records once they are durable.
   * Default none.
   */
  readonly deliveryThread?: number;
}

const MIB: number = 2 ** 20;
const WAIT_MS_MAX: number = 2 ** 31 - 1;
const isStorageSource = (value: unknown): value is StorageSource =>
  typeof value === "object" &&
  value !== null &&
  ("directory" in value ? isPath(value.directory) : "memory" in value || "url" in value);
const isPath = (value: unknown): value is string => path().accepts(value);

const rules = {
  directory: path(),
  recordBytesMax: integer(1024, 2 ** 27, MIB),
  batchBytesMax: integer(4096, 2 ** 28, 4 * MIB),
  segmentBytesMax: integer(2 ** 16, 2 ** 31, 64 * MIB),
  segmentBytesFirst: integer(2 ** 16, 2 ** 31, SEGMENT_BYTES_FIRST),
  ringBytes: powerOfTwo(2 ** 13, 2 ** 29, 8 * MIB),
  pendingBytesMax: integer(0, 2 ** 40, 256 * MIB),
  readCacheBytes: integer(0, 2 ** 34, 64 * MIB),
  pollMicroseconds: integer(0, 1_000_000, 100),
  recovery: oneOf(["tolerateTornTail", "strict"], "tolerateTornTail"),
  verifyAll: boolean(false),
  sync: oneOf(["batch", "none"], "batch"),
  lockWaitMs: integer(0, WAIT_MS_MAX, 0),
  lockSignal: optional(abortSignal()),
  fileMode: integer(0o600, 0o777, FILE_MODE),
  allowUnsafeStorage: boolean(false),
  producers: integer(0, 64, 0),
  onDamage: optional(callback<(damage: DamageReport) => void>()),
  storage: optional(custom("a storage source", isStorageSource)),
  deliveryThread: optional(integer(0, 65_535, 0)),
} satisfies Rules;

/** With every default in place. */
export type ResolvedJournalOptions = {
  readonly [Name in keyof JournalOptions]-?: Name extends "storage" | "onDamage" | "deliveryThread" | "lockSignal"
    ? JournalOptions[Name] | undefined
    : NonNullable<JournalOptions[Name]>;
};

/** Throws `ERR_INVALID_OPTION`. */
export function resolveJournalOptions(given: JournalOptions): ResolvedJournalOptions {
  return resolveOptions("Journal", rules, withDirectory(given));
}

const { deliveryThread: _, ...userRules } = rules;

/**
 * For a package whose user gives a journal's options together with `others`. Checks all of them,
 * except those that only the package may set. Throws `ERR_INVALID_OPTION`.
 */
export function resolveWithJournal<R extends Rules>(owner: string, others: R, given: JournalOptions): Resolved<R> {
  return resolveOptions(owner, { ...others, ...userRules }, withDirectory(given));
}

/**
 * A journal in memory needs no directory. Any other one stays where it is when the process goes to
 * another working directory: segments are opened by name as long as it runs.
 */
function withDirectory(given: JournalOptions): JournalOptions {
  // Anything that isn't what it must be is refused as it was given.
  if (typeof given !== "object" || given === null) return given;
  const storage = isStorageSource(given.storage) ? given.storage : undefined;
  if (storage !== undefined && isMemory(storage)) return { directory: "(memory)", ...given };
  return {
    ...given,
    ...(isPath(given.directory) ? { directory: resolve(given.directory) } : {}),
    ...(storage !== undefined && "directory" in storage
      ? { storage: { ...storage, directory: resolve(storage.directory) } }
      : {}),
  };
}

/** The directory of the log itself, unless a module or a memory keeps it. */
export function logDirectory({ directory, storage }: ResolvedJournalOptions): string | undefined {
  if (storage === undefined) return directory;
  return "directory" in storage ? storage.directory : undefined;
}

/** Throws `ERR_INVALID_OPTION` when the sizes don't fit each other. */
export function limitsOf(options: ResolvedJournalOptions): JournalLimits {
  const { recordBytesMax, batchBytesMax, segmentBytesMax, segmentBytesFirst, ringBytes } = options;
  const limits = { recordBytesMax, batchBytesMax, segmentBytesMax, segmentBytesFirst };
  checkLimits(limits, ringBytes);
  return limits;
}

export interface AppendOptions {
  /** For `find` and for order; up to 65,535 bytes. A text is stored as UTF-8. */
  readonly key?: Uint8Array | string;
  /** Data that a reader needs before the payload: bytes or a value; up to 65,535 bytes. */
  readonly headers?: unknown;
  /**
   * 0 to 255, default data. Those of RECORD_TYPE mean something to an intake, which opens no log
   * with others.
   */
  readonly type?: number;
  /** 0 to 255, only stored. Default 0. */
  readonly priority?: number;
}

const isKey = (value: unknown): value is Uint8Array | string =>
  value instanceof Uint8Array || typeof value === "string";
const isAnything = (value: unknown): value is unknown => value !== undefined;

const appendRules = {
  key: optional(custom(`bytes or a text of at most ${KEY_BYTES_MAX} bytes`, isKey)),
  headers: optional(custom(`a value of at most ${HEADER_BYTES_MAX} bytes`, isAnything)),
  type: integer(1, 255, RECORD_TYPE.data),
  priority: integer(0, 255, 0),
} satisfies Rules;

export interface ResolvedAppendOptions {
  readonly key: Uint8Array | string | undefined;
  readonly headers: unknown;
  readonly type: number;
  readonly priority: number;
}

const APPEND_DEFAULTS: ResolvedAppendOptions = resolveOptions("append", appendRules);

/**
 * Throws `ERR_INVALID_OPTION`. Checking costs more than appending, so calls without options skip
 * it.
 */
export function resolveAppendOptions(given: AppendOptions | undefined): ResolvedAppendOptions {
  return given === undefined ? APPEND_DEFAULTS : resolveOptions("append", appendRules, given);
}
