/**
 * The keeper thread's loop: all work that the writer shouldn't wait for.
 *
 *   spares     makes the reserve, then the next segment, zero-filled or out of a used one
 *   marks      writes what is durable: 100 ms after the log went idle, otherwise once a second
 *   commands   checkpoint, truncateBefore, backup: polls a port for the opener's commands, and
 *              carries out one after the other
 *   scrub      slowly reads each finished segment that has no index, or whose header alone the
 *              opening read
 *
 * Only the keeper writes `marks` and the checkpoints, and removes segments. It never touches the
 * segment that is being written. A dead keeper costs nothing but time: its successor continues from
 * the state of the disk.
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { Parker } from "@millrace/atomics-sync";
import { encodeThrown } from "@millrace/codec";
import { backUp } from "./backup.ts";
import { CheckpointWriter } from "./checkpoint-writer.ts";
import { CLOSED, COMMANDS, IS_QUIET, type JournalMemory, POISONED, SPARE_PAGES, STATE } from "../memory/control.ts";
import { ALIGNMENT, segmentName } from "../files/format.ts";
import { keyIndexName } from "../read/key-index.ts";
import { type JournalLimits, reserveBytes } from "../files/limits.ts";
import { type Marks, readMarks, writeMarks } from "../files/marks.ts";
import { segmentIds } from "../files/segments.ts";
import { type DamageReport, scrubSegment } from "./scrub.ts";
import { SpareMaker } from "./spare-maker.ts";
import { type WriterStats, writerStats } from "../memory/stats.ts";
import { isDiskFull, type Storage } from "../storage/storage.ts";
import { storageError } from "../storage/storage-errors.ts";
import { firstNeeded, giveUpSegments } from "./truncate.ts";

/** The opening's findings that the keeper needs. */
export interface KeeperStart {
  readonly directory: string;
  readonly logId: Buffer;
  readonly firstSegment: number;
  readonly firstSequence: number;
  /** Names of segments whose bodies were not read. */
  readonly unread: readonly string[];
  readonly limits: JournalLimits;
  /** Whether segments become spares instead of being deleted. */
  readonly isReusing: boolean;
  /** Without syncs nothing is durable, and `marks` must not say so. */
  readonly isSynced: boolean;
}

export type KeeperCommand = { readonly id: number } & (
  | { readonly kind: "checkpoint"; readonly bytes: Uint8Array; readonly from: number }
  | { readonly kind: "truncate"; readonly before: number }
  | { readonly kind: "backup"; readonly directory: string }
);

export type KeeperReply =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: Uint8Array }
  | { readonly damage: DamageReport }
  | { readonly scrubbed: string };

/** Longest sleep without a look around. */
const PARK_MS = 1000;
/**
 * How long the log must be idle before `marks` catches up, and how often it does while the log is
 * busy.
 */
const IDLE_MS = 100;
const MARKS_MS = 1000;
/**
 * The pause after a step of the scrub (about a MiB): at least this long, and this many times as
 * long as the step.
 */
const SCRUB_PAUSE_MS = 10;
const SCRUB_PAUSE_PART = 9;

interface Task {
  readonly id: number;
  readonly steps: Generator<void, unknown>;
}

export class Keeper {
  readonly #storage: Storage;
  readonly #start: KeeperStart;
  readonly #port: MessagePort;
  readonly #nowMs: () => number;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #parker: Parker;
  readonly #stats: WriterStats;
  readonly #spares: SpareMaker;
  #marks: Marks;
  /**
   * Whether the current marks are certainly on disk. Those of an earlier process may only be in the
   * page cache, even after a sync that succeeds (an earlier sync may have failed): they are written
   * again before the other page is touched. The file's name is certain, because an opening syncs
   * the directory.
   */
  #areMarksSure: boolean;
  #marksAt = 0;
  /** The durable sequence when the keeper last looked, and the time of that look. */
  #seen = -1;
  #seenAt = 0;
  #commandsSeen = 0;
  readonly #checkpoints: CheckpointWriter;
  #task: Task | undefined;
  #scrub: Generator<void, void> | undefined;
  readonly #scrubbed = new Set<string>();
  #scrubbedUpTo = 0;
  #scrubAt = 0;

  constructor(
    storage: Storage,
    memory: JournalMemory,
    start: KeeperStart,
    port: MessagePort,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#nowMs = nowMs;
    this.#storage = storage;
    this.#start = start;
    this.#port = port;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#parker = new Parker(this.#threads, memory.keeperThread);
    this.#stats = writerStats(memory.stats);
    this.#spares = new SpareMaker(storage, memory, start.limits, nowMs);
    this.#checkpoints = new CheckpointWriter(storage, start.logId);
    const found = readMarks(storage);
    const { logId, firstSegment, firstSequence } = start;
    this.#areMarksSure = found === undefined || !found.logId.equals(logId);
    this.#marks =
      found !== undefined && found.logId.equals(logId)
        ? found
        : { logId, generation: found?.generation ?? 0, durableSequence: 0, firstSegment, firstSequence };
  }

  /**
   * Runs until the journal is closed or poisoned. Throws when `marks` can't be written: then
   * nothing is certain.
   */
  run(): void {
    try {
      while (!this.#isOver()) {
        const sleepMs = this.turn();
        if (sleepMs > 0) this.#sleep(sleepMs);
      }
    } finally {
      this.#spares.end();
      // A backup removes what it has made: its caller is refused, or the next keeper begins anew.
      this.#task?.steps.return(undefined);
    }
    if (Atomics.load(this.#control, STATE) === CLOSED) this.finish();
  }

  /**
   * The last marks, behind the clean end: from then on every loss at the end of the log is refused.
   */
  finish(): void {
    const durableSequence = this.#durable();
    if (durableSequence !== this.#marks.durableSequence) this.#storeIfThereIsRoom({ durableSequence });
  }

  /**
   * Does one step of each duty that is due; returns how many ms are free after it. For `run`, and
   * for tests.
   */
  turn(): number {
    this.#spares.serve();
    const isBusy = this.#stepCommand();
    const marksInMs = this.#writeMarks();
    const scrubInMs = this.#stepScrub();
    const spareInMs = this.#spares.dueInMs();
    return isBusy || spareInMs === 0 ? 0 : Math.max(1, Math.min(marksInMs, scrubInMs, spareInMs));
  }

  #isOver(): boolean {
    const state = Atomics.load(this.#control, STATE);
    return state === CLOSED || state === POISONED;
  }

  // ── marks ─────────────────────────────────────────────────────────────────────────────────────

  /** Writes `marks` when it is time. Returns the time until the next. */
  #writeMarks(): number {
    const durable = this.#durable();
    const now = this.#nowMs();
    if (durable === this.#marks.durableSequence) return PARK_MS;
    if (durable !== this.#seen) {
      this.#seen = durable;
      this.#seenAt = now;
    }
    const dueAt = Math.min(this.#seenAt + IDLE_MS, this.#marksAt + MARKS_MS);
    if (now < dueAt) return dueAt - now;
    this.#marksAt = now;
    this.#storeIfThereIsRoom({ durableSequence: durable });
    return MARKS_MS;
  }

  #durable(): number {
    return this.#start.isSynced ? this.#stats.get("durableSequence") : 0;
  }

  /**
   * Only the first marks need room; later ones are written in place. Without marks an opening reads
   * everything.
   */
  #storeIfThereIsRoom(change: Partial<Marks>): void {
    try {
      this.#store(change);
    } catch (thrown) {
      if (!isDiskFull(thrown)) throw thrown;
    }
  }

  #store(change: Partial<Marks>): void {
    // The same bytes in the same place: a loss of power can't tear them.
    if (!this.#areMarksSure) writeMarks(this.#storage, this.#marks);
    const next = { ...this.#marks, ...change, generation: this.#marks.generation + 1 };
    writeMarks(this.#storage, next);
    this.#marks = next;
    this.#areMarksSure = true;
  }

  // ── commands ──────────────────────────────────────────────────────────────────────────────────

  /** One step of the command at hand. Returns whether there is more to do. */
  #stepCommand(): boolean {
    if (this.#task === undefined) {
      this.#commandsSeen = Atomics.load(this.#control, COMMANDS);
      const received = receiveMessageOnPort(this.#port) as { message: KeeperCommand } | undefined;
      if (received === undefined) return false;
      this.#task = { id: received.message.id, steps: this.#stepsOf(received.message) };
    }
    const { id, steps } = this.#task;
    try {
      const step = steps.next();
      if (step.done !== true) return true;
      this.#reply({ id, result: step.value });
    } catch (thrown) {
      this.#reply({ id, error: encodeThrown(storageError(this.#start.directory, thrown)) });
    }
    this.#task = undefined;
    return true;
  }

  #reply(reply: KeeperReply): void {
    this.#port.postMessage(reply);
  }

  #stepsOf(command: KeeperCommand): Generator<void, unknown> {
    switch (command.kind) {
      case "checkpoint":
        return this.#checkpoint(command.bytes, command.from);
      case "truncate":
        return this.#truncate(command.before);
      default:
        return backUp(this.#storage, command.directory, this.#marks, this.#stats.get("durableSequence"));
    }
  }

  *#checkpoint(bytes: Uint8Array, from: number): Generator<void, void> {
    yield* this.#checkpoints.write(bytes, from, this.#marks.checkpoint ?? 0);
    this.#store({ checkpoint: this.#checkpoints.sureGeneration });
  }

  /** Returns the first sequence that is kept. */
  *#truncate(before: number): Generator<void, number> {
    const { limits, isReusing } = this.#start;
    const checkpoints = this.#checkpoints.readTwo(this.#marks.checkpoint ?? 0);
    const bound = Math.min(before, ...checkpoints.map(({ from }) => from));
    const first = firstNeeded(this.#storage, this.#marks.firstSegment, bound);
    const { firstSegment, firstSequence } = this.#marks;
    const kept =
      first !== undefined && first.segment > firstSegment
        ? { firstSegment: first.segment, firstSequence: first.baseSequence }
        : { firstSegment, firstSequence };
    // Even with nothing to give up, an earlier keeper may have died half-way.
    const isClean = segmentIds(this.#storage).every((id) => id >= kept.firstSegment);
    if (isClean || before < kept.firstSequence) return kept.firstSequence;
    // On both pages before anything is removed: then even with one page lost no removed segment
    // looks missing.
    this.#store(kept);
    this.#store(kept);
    yield;
    const wanted = Atomics.load(this.#control, SPARE_PAGES) * ALIGNMENT;
    const reuse = { isReusing, wanted, most: limits.segmentBytesMax, reserve: reserveBytes(limits) };
    yield* giveUpSegments(this.#storage, kept.firstSegment, reuse);
    this.#spares.hasRoom();
    return kept.firstSequence;
  }

  // ── scrub ─────────────────────────────────────────────────────────────────────────────────────

  /** A step of the scrub when it is time. Returns the time until the next. */
  #stepScrub(): number {
    const startedAt = this.#nowMs();
    if (startedAt < this.#scrubAt) return this.#scrubAt - startedAt;
    this.#scrub ??= this.#nextScrub();
    if (this.#scrub === undefined) return PARK_MS;
    try {
      if (this.#scrub.next().done === true) this.#scrub = undefined;
    } catch (thrown) {
      // A disk that can't be read, or has no room for an index, is reported by the reading or
      // append that needs it.
      if ((thrown as NodeJS.ErrnoException).syscall === undefined) throw thrown;
      this.#scrub = undefined;
    }
    const tookMs = this.#nowMs() - startedAt;
    const pauseMs = Math.max(SCRUB_PAUSE_MS, tookMs * SCRUB_PAUSE_PART);
    this.#scrubAt = startedAt + tookMs + pauseMs;
    return pauseMs;
  }

  /**
   * The scrub of the next finished segment; looked for only after the writer has begun another
   * segment.
   */
  #nextScrub(): Generator<void, void> | undefined {
    const segment = this.#stats.get("segment");
    if (segment === this.#scrubbedUpTo) return undefined;
    for (const id of segmentIds(this.#storage)) {
      const name = segmentName(id);
      if (id >= segment || this.#scrubbed.has(name) || id < this.#marks.firstSegment) continue;
      this.#scrubbed.add(name);
      if (this.#start.unread.includes(name) || !this.#storage.list().includes(keyIndexName(id)))
        return this.#scrubOne(name);
    }
    this.#scrubbedUpTo = segment;
    return undefined;
  }

  *#scrubOne(name: string): Generator<void, void> {
    const damage = yield* scrubSegment(this.#storage, name);
    this.#reply(damage === undefined ? { scrubbed: name } : { damage });
  }

  // ── sleeping ──────────────────────────────────────────────────────────────────────────────────

  #sleep(ms: number): void {
    const isBehind = this.#start.isSynced && this.#stats.get("durableSequence") !== this.#marks.durableSequence;
    if (!isBehind) Atomics.store(this.#control, IS_QUIET, 1);
    this.#parker.prepare();
    if (this.#hasWork(isBehind)) this.#parker.cancel();
    else this.#parker.wait(ms);
    Atomics.store(this.#control, IS_QUIET, 0);
  }

  #hasWork(wasBehind: boolean): boolean {
    return (
      this.#isOver() ||
      this.#spares.isAsked() ||
      Atomics.load(this.#control, COMMANDS) !== this.#commandsSeen ||
      (!wasBehind && this.#start.isSynced && this.#stats.get("durableSequence") !== this.#marks.durableSequence)
    );
  }
}
