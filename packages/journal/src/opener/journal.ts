/**
 * The journal as its opener sees it. It opens a directory, appends records, and reads them back. An
 * append resolves when its record is durable.
 */
import { resolve as absolute } from "node:path";
import { baseError, checkArgument, checkRuntime, messageOf, type MillraceError, path } from "@millrace/base";
import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import type { Histogram } from "@millrace/metrics";
import { allocate, stateRing } from "./allocate.ts";
import type { ProducerHandle } from "./appender.ts";
import { Appends, type AppendWaiter } from "./appends.ts";
import { awaitLock } from "./await-lock.ts";
import { type BackupSummary, mustLieOutside } from "../keeper/backup.ts";
import type { Checkpoint } from "../files/checkpoint.ts";
import { MARKS_NAME } from "../files/marks.ts";
import type { JournalMemory } from "../memory/control.ts";
import { journalError } from "../errors.ts";
import { DamageReports } from "./damage-reports.ts";
import { Figures } from "./figures.ts";
import { Followers } from "./followers.ts";
import { RECORD_FIXED_BYTES, RECORD_MOVED_BYTES, RECORD_TYPE } from "../files/format.ts";
import { type Health, healthOf } from "./health.ts";
import type { KeeperClient } from "./keeper-client.ts";
import type { JournalLimits } from "../files/limits.ts";
import { lockDirectory } from "../storage/lock.ts";
import { isMemory, lockMemory } from "../storage/memory-storage.ts";
import {
  type AppendOptions,
  type JournalOptions,
  limitsOf,
  logDirectory,
  type ResolvedJournalOptions,
  resolveJournalOptions,
} from "./options.ts";
import { OwnThreads } from "./own-threads.ts";
import { partsOf } from "./record-parts.ts";
import { GroupSize, JournalProducer, type RecordParts } from "../memory/producer.ts";
import type { JournalRecord } from "../read/record.ts";
import { type ReadOptions, Readings } from "./readings.ts";
import type { RecoverySummary } from "../writer/recovery.ts";
import type { StorageSource } from "../storage/storage.ts";
import { guardStorage, MEMORY_KIND, type StorageKind, storageKind } from "../storage/storage-guard.ts";
import { storageError } from "../storage/storage-errors.ts";
import { JournalState } from "./state.ts";
import type { JournalStats } from "./stats.ts";
import type { JournalVitals } from "./vitals.ts";

/** A plain value for `workerData`, with which the delivery thread uses the journal. */
export interface DeliveryHandle {
  readonly storage: StorageSource;
  readonly memory: JournalMemory;
  /** Its own ring, which is lazy. */
  readonly ring: number;
  readonly logId: Uint8Array;
  /** First sequence in the log when it was opened. */
  readonly firstSequence: number;
  /** Highest sequence in the log when it was opened. */
  readonly recoveredSequence: number;
}

export class Journal {
  readonly directory: string;
  readonly #options: ResolvedJournalOptions;
  readonly #source: StorageSource;
  readonly #storageKind: StorageKind;
  readonly #memory: JournalMemory;
  readonly #state: JournalState;
  readonly #threads: OwnThreads;
  readonly #unlock: () => void;
  readonly #appends: Appends;
  /** For records that go on when the disk is full. */
  readonly #stateAppends: Appends;
  readonly #followers: Followers;
  readonly #figures: Figures;
  readonly #damage: DamageReports;
  readonly #readings: Readings;
  #logId: Buffer = Buffer.alloc(16);
  #summary: RecoverySummary | undefined;
  #nextProducer = 0;
  #closing: Promise<void> | undefined;
  #isClosed = false;

  private constructor(options: ResolvedJournalOptions, kind: StorageKind, unlock: () => void) {
    this.directory = options.directory;
    this.#options = options;
    this.#source = options.storage ?? { directory: options.directory, fileMode: options.fileMode };
    this.#storageKind = kind;
    this.#unlock = unlock;
    const reactor = Reactor.current();
    this.#memory = allocate(options, ThreadTable.current(), reactor.thread);
    this.#state = new JournalState(this.#memory);
    this.#figures = new Figures(this.#memory);
    this.#damage = new DamageReports(options.onDamage);
    this.#threads = new OwnThreads({
      options,
      source: this.#source,
      memory: this.#memory,
      state: this.#state,
      writerEnded: () => this.poison(),
      damaged: (damage) => this.#damage.add(damage),
    });
    const { pendingBytesMax, pollMicroseconds } = options;
    const limits = { pendingBytesMax, pollMs: pollMicroseconds / 1000 };
    const appendsOf = (ring: number): Appends =>
      new Appends(new JournalProducer(this.#memory, ring), reactor, limits, () => this.stoppedError());
    this.#appends = appendsOf(0);
    this.#stateAppends = appendsOf(stateRing(options));
    const log = {
      durable: () => this.durableSequence,
      logId: () => this.#logId,
      newestSegment: () => this.#figures.segment,
      mustBeOpen: () => this.#mustBeOpen(),
      more: (after: number, signal: AbortSignal | undefined) => this.#more(after, signal),
    };
    this.#readings = new Readings(this.#source, log, options.readCacheBytes);
    this.#followers = new Followers(
      reactor,
      new Int32Array(this.#memory.control),
      () => this.durableSequence,
      () => this.#isOver(),
    );
  }

  /**
   * Opens the directory: locks it, recovers the log, begins a new segment. Throws
   * `ERR_JOURNAL_LOCKED`, `ERR_JOURNAL_STORAGE`, `ERR_JOURNAL_UNSAFE_STORAGE`,
   * `ERR_JOURNAL_DAMAGED`, `ERR_JOURNAL_TORN`, `ERR_JOURNAL_VERSION`, `ERR_INVALID_OPTION`.
   */
  static async open(given: JournalOptions): Promise<Journal> {
    checkRuntime();
    const options = resolveJournalOptions(given);
    const limits = limitsOf(options);
    const { directory, storage, allowUnsafeStorage, lockWaitMs, lockSignal } = options;
    const isInMemory = storage !== undefined && isMemory(storage);
    // Before the lock: what is refused leaves no trace on the storage.
    const kind = isInMemory ? MEMORY_KIND : guardPlaces(directory, logDirectory(options), allowUnsafeStorage);
    const lock = (): (() => void) => (isInMemory ? lockMemory(storage) : lockDirectory(directory, options.fileMode));
    const unlock = await awaitLock(lock, lockWaitMs, lockSignal);
    let journal: Journal;
    try {
      journal = new Journal(options, kind, unlock);
    } catch (thrown) {
      unlock();
      throw thrown;
    }
    try {
      await journal.#start(limits);
    } catch (thrown) {
      await journal.#release();
      throw thrown;
    }
    return journal;
  }

  /** The findings of the opening. */
  get recovery(): RecoverySummary {
    return this.#summary as RecoverySummary;
  }

  /** Everything up to this sequence is durable. */
  get durableSequence(): number {
    return this.#figures.durableSequence;
  }

  /** The first sequence that is still there; one more than the last one when there is none. */
  get firstSequence(): number {
    return this.#readings.firstSequence;
  }

  /** The name of this log, the same for a copy in any directory. */
  get logId(): Uint8Array {
    return this.#logId;
  }

  // ── appending ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Appends bytes, or any value that structured clone takes. Resolves with the record's sequence
   * when the record is durable. Rejects with `ERR_JOURNAL_UNCERTAIN` when nobody knows whether the
   * record is stored. With any other code it certainly isn't: `ERR_JOURNAL_FULL`,
   * `ERR_JOURNAL_BUSY`, `ERR_JOURNAL_RECORD_TOO_LARGE`, `ERR_JOURNAL_POISONED`,
   * `ERR_JOURNAL_CLOSED`.
   */
  append(payload: unknown, given?: AppendOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      if (given === undefined && payload instanceof Uint8Array) {
        this.#mustBeOpen();
        this.#appends.appendBytes(payload, resolve, reject);
      } else this.appendParts(partsOf(payload, given), { durable: resolve, failed: reject });
    });
  }

  /**
   * Appends records that are stored together or not at all. Resolves with their sequences, which
   * follow each other. Rejects as `append` does. `batchBytesMax` and half of `ringBytes` limit a
   * group.
   */
  appendMany(records: Iterable<{ readonly payload: unknown } & AppendOptions>): Promise<number[]> {
    return new Promise((resolve, reject) => {
      const parts = Array.from(records, ({ payload, ...options }) => partsOf(payload, options));
      if (parts.length === 0) {
        resolve([]);
        return;
      }
      this.#mustBeOpen();
      this.#appends.appendGroup(parts, {
        durable: (first) => resolve(parts.map((_, index) => first + index)),
        failed: reject,
      });
    });
  }

  /**
   * As `append`, without a promise and without checks of the options, for layers above. When it
   * throws, the record certainly isn't stored.
   */
  appendParts(record: RecordParts, waiter: AppendWaiter): void {
    this.#mustBeOpen();
    // A full disk stops data only; in all other times one ring keeps the order of the calls.
    const isDetour = record.type !== RECORD_TYPE.data && this.#state.isDiskFull;
    (isDetour ? this.#stateAppends : this.#appends).append(record, waiter);
  }

  /** The most bytes that header, key and payload of a record may have together. */
  get partsBytesMax(): number {
    return this.#options.recordBytesMax - RECORD_FIXED_BYTES - RECORD_MOVED_BYTES;
  }

  /**
   * As `appendMany`, for a package above that makes the parts itself; `waiter` gets the first
   * sequence.
   */
  appendGroupParts(records: readonly RecordParts[], waiter: AppendWaiter): void {
    this.#mustBeOpen();
    this.#appends.appendGroup(records, waiter);
  }

  /** For a package above: counts the bytes of a group before it is complete. */
  groupSize(): GroupSize {
    return new GroupSize(this.#appends.groupBytesMax);
  }

  /** As `appendParts`, of data; false, and nothing has happened, when the ring has no room. */
  tryAppendParts(record: RecordParts, waiter: AppendWaiter): boolean {
    this.#mustBeOpen();
    return this.#appends.tryAppend(record, waiter);
  }

  /** As `appendGroupParts`; false, and nothing has happened, when the ring has no room. */
  tryAppendGroupParts(records: readonly RecordParts[], waiter: AppendWaiter): boolean {
    this.#mustBeOpen();
    return this.#appends.tryAppendGroup(records, waiter);
  }

  /** How full the opener's ring is, for a package above: records under way, and bytes. */
  ringUse(): { readonly records: number; readonly bytes: number; readonly bytesMax: number } {
    const { outstanding: records, ringBytes: bytes } = this.#appends;
    return { records, bytes, bytesMax: this.#options.ringBytes };
  }

  /** Bytes that may wait for room in the ring. */
  get pendingBytesMax(): number {
    return this.#options.pendingBytesMax;
  }

  /**
   * Writes a record again at the end of the log, so that the journal can give up the segments
   * before. Resolves with the copy's sequence when the copy is durable. Its `origin` is the
   * sequence that the record was acknowledged with. Works on a full disk too. Throws
   * `ERR_JOURNAL_TRUNCATED` when the record isn't there any more.
   */
  async copyForward(sequence: number): Promise<number> {
    const record = await this.get(sequence);
    if (record === undefined) throw this.#readings.missing(sequence);
    const { type, priority, timeMs, header, key, payload, origin, flags } = record;
    return new Promise((resolve, reject) => {
      this.#mustBeOpen();
      const moved = { origin, replaces: sequence };
      const parts = { type, priority, timeMs, header, key, payload, flags, moved };
      this.#stateAppends.append(parts, { durable: resolve, failed: reject });
    });
  }

  /**
   * A handle for another thread that wants to append. There are as many as the option `producers`
   * says.
   */
  producerHandle(): ProducerHandle {
    if (this.#nextProducer === this.#options.producers) {
      throw journalError("ERR_JOURNAL_PRODUCERS", `all ${this.#options.producers} handles for producers are taken`);
    }
    const ring = stateRing(this.#options) + 1 + this.#nextProducer;
    this.#nextProducer += 1;
    const { pendingBytesMax, pollMicroseconds } = this.#options;
    return { memory: this.#memory, ring, pendingBytesMax, pollMs: pollMicroseconds / 1000 };
  }

  // ── reading ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Durable records in the order of their sequences. The journal gives up nothing that a reader
   * hasn't read yet, so leave the loop or call `return`. Throws `ERR_JOURNAL_DAMAGED` where a
   * record is missing, and the signal's reason.
   */
  read(options: ReadOptions = {}): AsyncGenerator<JournalRecord, void> {
    return this.#readings.read(options);
  }

  /**
   * The record with this sequence; undefined when it isn't durable yet, or was given up. Throws
   * `ERR_JOURNAL_DAMAGED` when it can't be read.
   */
  get(sequence: number): Promise<JournalRecord | undefined> {
    return this.#readings.get(sequence);
  }

  /**
   * The newest record with this key; undefined without one. Throws `ERR_JOURNAL_DAMAGED` when a
   * newer one may be lost.
   */
  find(key: Uint8Array | string): Promise<JournalRecord | undefined> {
    return this.#readings.find(key);
  }

  // ── checkpoints, giving up, backup ────────────────────────────────────────────────────────────

  /**
   * Keeps `bytes`, which stand for everything before sequence `from`. Resolves when they are
   * durable. Works on a full disk too, if an earlier checkpoint had at least as many bytes.
   */
  async checkpoint(bytes: Uint8Array, from: number): Promise<void> {
    if (!Number.isInteger(from) || from < 1 || from > this.durableSequence + 1) {
      const allowed = `a sequence between 1 and ${this.durableSequence + 1}`;
      throw baseError("ERR_INVALID_OPTION", `checkpoint: "from" must be ${allowed}, not ${from}`, {
        details: { name: "from", value: from, allowed },
      });
    }
    await this.#keeperNow().send({ kind: "checkpoint", bytes, from });
  }

  /** The newest checkpoint; undefined without one. */
  lastCheckpoint(): Promise<Checkpoint | undefined> {
    return this.#readings.lastCheckpoint();
  }

  /**
   * Gives up records before `sequence`, in whole segments. It never goes past the checkpoint before
   * the last, nor past a reader of this journal. Resolves with the first sequence that is still
   * there.
   */
  async truncateBefore(sequence: number): Promise<number> {
    const before = Math.min(sequence, this.durableSequence + 1, this.#readings.pinned ?? Infinity);
    if (before < this.firstSequence) return this.firstSequence;
    return this.#readings.truncating(
      async () => (await this.#keeperNow().send({ kind: "truncate", before })) as number,
    );
  }

  /**
   * Checks and copies everything that is durable now into an empty or absent directory. Meanwhile
   * the journal gives up nothing. Opening a copy whose making was killed is refused with
   * `ERR_JOURNAL_DAMAGED`. Throws `ERR_INVALID_OPTION`, and `ERR_JOURNAL_STORAGE` for a directory
   * in this journal's own.
   */
  async backup(directory: string): Promise<BackupSummary> {
    checkArgument("backup", "the directory", path(), directory);
    const log = logDirectory(this.#options);
    if (log !== undefined) mustLieOutside(directory, log);
    const command = { kind: "backup", directory: absolute(directory) } as const;
    return await this.#readings.holding(async () => (await this.#keeperNow().send(command)) as BackupSummary);
  }

  // ── state ─────────────────────────────────────────────────────────────────────────────────────

  /** For the thread named by `deliveryThread`. */
  deliveryHandle(): DeliveryHandle {
    return {
      storage: this.#source,
      memory: this.#memory,
      ring: 1,
      logId: this.#logId,
      firstSequence: this.firstSequence,
      recoveredSequence: this.recovery.lastSequence,
    };
  }

  /**
   * The delivery thread is gone. Nobody releases the rings' space any more, so the journal can
   * promise nothing.
   */
  poison(): void {
    if (this.#state.poison()) this.#followers.wakeAll();
  }

  /** The part of `stats` for health checks; costs some loads from shared memory. */
  vitals(): JournalVitals {
    const state = this.#state.name;
    return {
      state,
      failure: state === "poisoned" ? this.#threads.writer?.failure() : undefined,
      syncRunningMs: this.#figures.syncRunningMs,
      isDiskFull: this.#state.isDiskFull,
      isKeeperRunning: this.#threads.keeper?.isRunning === true,
      damaged: this.#damage.found.length,
    };
  }

  /** Why the journal takes no more records, after `poison`. */
  stoppedError(): MillraceError {
    return this.#threads.poisonedError();
  }

  /** Write and sync of a batch in µs, and how many records it has; for exporters. */
  histograms(): { readonly syncMicroseconds: Histogram; readonly batchRecords: Histogram } {
    return this.#figures.histograms;
  }

  stats(): JournalStats {
    return {
      state: this.#state.name,
      ...this.#figures.written(),
      outstanding: this.#appends.outstanding + this.#stateAppends.outstanding,
      isDiskFull: this.#state.isDiskFull,
      isSynced: this.#options.sync !== "none",
      storage: this.#storageKind,
      unverifiedSegments: this.#threads.keeper?.unread ?? 0,
      damage: [...this.#damage.found],
      pinnedSequence: this.#readings.pinned,
      keeperRestarts: this.#threads.keeper?.restarts ?? 0,
      recovery: this.recovery,
    };
  }

  /**
   * Whether records can be taken now, and every reason for doubt. Works while the disk is stuck,
   * too.
   */
  health(): Health {
    return healthOf(this.stats());
  }

  /**
   * Takes no more records, makes those under way durable, marks the end as clean, unlocks.
   * Idempotent.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Resolves when every append that was made so far is durable or has failed. */
  async settle(): Promise<void> {
    await Promise.all([this.#appends.drain(), this.#stateAppends.drain()]);
  }

  async #close(): Promise<void> {
    await Promise.all([this.settle(), this.#threads.keeper?.idle()]);
    this.#state.close();
    await this.#threads.writer?.exited;
    const unmarked = await this.#writeLastMarks();
    await this.#release();
    if (this.#state.name === "poisoned") throw this.stoppedError();
    if (unmarked !== undefined) throw unmarked;
  }

  /**
   * Returns the error that kept the keeper from its last duty. The log is closed and durable in any
   * case.
   */
  async #writeLastMarks(): Promise<Error | undefined> {
    if (this.#state.name !== "closed") return undefined;
    try {
      await this.#threads.keeper?.finish();
      return undefined;
    } catch (cause) {
      return journalError(
        "ERR_JOURNAL_STORAGE",
        `the journal in ${this.directory} is closed and all of it is durable, but its file marks couldn't be written: ${messageOf(cause)}`,
        { cause, details: { directory: this.directory, file: MARKS_NAME } },
      );
    }
  }

  #isOver(): boolean {
    return this.#closing !== undefined || this.#state.name === "poisoned";
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined)
      throw journalError("ERR_JOURNAL_CLOSED", `the journal in ${this.directory} is closed`);
  }

  #keeperNow(): KeeperClient {
    this.#mustBeOpen();
    if (this.#state.name === "poisoned") throw this.stoppedError();
    return this.#threads.keeper as KeeperClient;
  }

  async #more(after: number, signal: AbortSignal | undefined): Promise<boolean> {
    await this.#followers.moreThan(after, signal);
    if (this.#state.name === "poisoned") throw this.stoppedError();
    return this.#closing === undefined || this.durableSequence > after;
  }

  async #start(limits: JournalLimits): Promise<void> {
    const { summary, logId } = await this.#threads.start(limits);
    this.#summary = summary;
    this.#logId = Buffer.from(logId);
    this.#readings.firstSequence = summary.firstSequence;
  }

  /** The directory is unlocked when no thread of this journal can touch it any more. */
  async #release(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#appends.detach();
    this.#stateAppends.detach();
    this.#followers.detach();
    const closed = journalError("ERR_JOURNAL_CLOSED", `the journal in ${this.directory} is closed`);
    await Promise.all([this.#readings.close(), this.#threads.end(closed)]);
    this.#unlock();
  }
}

/**
 * Judges the directory of the lock, and the log's if that is another one. Returns the kind of the
 * latter. Throws `ERR_JOURNAL_UNSAFE_STORAGE`, `ERR_JOURNAL_STORAGE`.
 */
function guardPlaces(lock: string, log: string | undefined, isAllowed: boolean): StorageKind {
  let kind = kindOfPlace(lock);
  guardStorage(lock, kind, isAllowed);
  if (log === undefined || log === lock) return kind;
  kind = kindOfPlace(log);
  guardStorage(log, kind, isAllowed);
  return kind;
}

/** As `storageKind`. Throws `ERR_JOURNAL_STORAGE`. */
function kindOfPlace(directory: string): StorageKind {
  try {
    return storageKind(directory);
  } catch (thrown) {
    throw storageError(directory, thrown);
  }
}
