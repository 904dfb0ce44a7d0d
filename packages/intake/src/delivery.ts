/**
 * Delivery: hands durable records to the scheduler, and writes down which are finished.
 *
 * One loop on a thread of its own; it alone decides what becomes of a record, so that a stalled main thread stalls nothing. It
 * sleeps on one word and is woken by the writer (new records), the machines (outcomes) and the opener (questions, the end).
 *
 * A record is finished when its handler has returned; it is told as finished when the ACK record that says so is durable. Whatever
 * has no durable ACK is delivered again after a crash: at least once. ACK records name ranges, ride along with the next batch of
 * the log, and cause a sync of their own only when somebody awaits them, or after 10 ms.
 *
 *   durable ──submit──► running ──returned──► finished ──ACK durable──► told
 *                          │
 *                          └──threw, or the machine died──► waits, then running again; after the last attempt: DEAD record
 */
import { Parker, unpark } from "@millrace/atomics-sync";
import { invariant, type Random, seededRandom } from "@millrace/base";
import { RECORD_TYPE, type Storage } from "@millrace/journal";
import {
  type DeliveryHandle,
  findReserve,
  JournalProducer,
  readCheckpoints,
  type RecordCursor,
  sequenceOf,
} from "@millrace/journal/kernel";
import { type OutcomeSink, PRIORITY, type SubmitterHandle, Submitter } from "@millrace/scheduler";
import { EMPTY, FULL, SpscConsumer, SpscProducer } from "@millrace/shared-memory";
import { Backlog } from "./backlog.ts";
import {
  ALL,
  answersPlace,
  CELLS,
  CHECKPOINTS,
  DRAINING,
  FINISHED,
  QUESTION,
  questionsPlace,
  RECOVERING,
  RUNNING,
  STATE,
  STOPPED,
} from "./control.ts";
import { RangeSet } from "./range-set.ts";
import { readStates, type RecordStates } from "./record-states.ts";
import { encodedHeaders, encodedHeadersOfTask, HeaderParser, TaskHeaderWriter } from "./record-header.ts";
import { type Copy, Retention } from "./retention.ts";
import { backoffMs, RetryQueue } from "./retries.ts";
import { encodeAck, encodeDead, rangesIn } from "./state-records.ts";

export interface DeliveryOptions {
  /** Attempts before a record is dead. */
  readonly attemptsMax: number;
  readonly retryBaseMs: number;
  readonly retryMaxMs: number;
  /** Whether finished records are deleted. */
  readonly isDeleting: boolean;
}

export interface DeliveryData {
  readonly journal: DeliveryHandle;
  readonly scheduler: SubmitterHandle;
  readonly options: DeliveryOptions;
  readonly words: SharedArrayBuffer;
  readonly stats: SharedArrayBuffer;
}

/** Told to the opener by message: rare, and with a value that no ring takes. */
export interface DeadReport {
  readonly sequence: number;
  /** The last error, encoded; empty when it isn't kept any more. */
  readonly error: Uint8Array;
}

/** Longest sleep without a look around. */
const PARK_MS = 1000;
const TICK_MS = 1000;
/** Shortest sleep before something that is due. */
const SLEEP_MS_MIN = 1;
/** Outcomes handled before the other duties get their turn. */
const DRAIN_MAX = 1024;
/** Submitted before the machines are told. */
const SUBMIT_MAX = 256;
/** Records that wait for another attempt keep a copy in memory; beyond these limits nothing new is started. */
const RETRIES_MAX = 16384;
const RETRY_BYTES_MAX: number = 64 * 2 ** 20;
/** Copied forward before the other duties get their turn. */
const COPIES_PER_TURN = 64;
/** While the disk is full what is finished is written down no more often than this: each time takes a page of the reserve at least. */
const FULL_DISK_PAUSE_MS = 250;
/** While the disk is full copies may take this part of the reserve, for they may end that. The rest of it is for ACK records. */
const FULL_DISK_PART = 2;
/** Errors of dead records that are kept for those who ask late. */
const DEAD_ERRORS_MAX = 1024;
const NO_BYTES = new Uint8Array(0);

/** A record of this thread's own on its way to the disk, in the order of the ring. */
type Staged =
  | { readonly kind: "ack"; readonly finished: RangeSet }
  | { readonly kind: "dead"; readonly report: DeadReport }
  | { readonly kind: "copy"; readonly copy: Copy };

/** Told to the opener by message: what is finished so far, to be kept, and the place before which nothing is needed (0: keep all). */
export interface CheckpointRequest {
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly before: number;
}

export interface DeliveryReports {
  readonly dead: (report: DeadReport) => void;
  readonly checkpoint: (request: CheckpointRequest) => void;
}

/** A record that the scheduler has. */
interface Running {
  /** The record's origin: the sequence that it was acknowledged with. */
  sequence: number;
  attempts: number;
  handler: number;
  priority: number;
  timeMs: number;
}

/** A record that failed for the last time. */
interface DeadRecord {
  readonly sequence: number;
  readonly payload: Buffer;
}

export class Delivery implements OutcomeSink {
  readonly #words: Int32Array;
  readonly #cells: Float64Array;
  readonly #options: DeliveryOptions;
  readonly #threads: Int32Array;
  readonly #openerThread: number;
  readonly #parker: Parker;
  readonly #submitter: Submitter;
  readonly #producer: JournalProducer;
  /** State records keep to the limit of all records, so that a batch always takes them. */
  readonly #payloadBytesMax: number;
  readonly #backlog: Backlog;
  readonly #headers: HeaderParser;
  readonly #taskHeaders = new TaskHeaderWriter();
  readonly #questions: SpscConsumer;
  readonly #answers: SpscProducer;
  readonly #reports: DeliveryReports;
  readonly #random: Random = seededRandom(Date.now());

  /** Places that need no delivery any more. */
  readonly #finished: RangeSet;
  /** What is durable of that. */
  readonly #states: RecordStates;
  /** Finished, and not yet in an ACK record. */
  #toAck = new RangeSet();
  readonly #staged: Staged[] = [];
  /** Up to here records are of earlier runs. */
  readonly #recoveredUpTo: number;
  /** Up to here every record of this thread's own was taken note of. */
  #notedUpTo: number;
  /** Dead records without a DEAD record yet, those whose DEAD record isn't durable yet, and the errors of the latest. */
  readonly #unwrittenDead: DeadRecord[] = [];
  readonly #dying = new Set<number>();
  /** Places whose copies aren't durable yet. */
  readonly #copying = new Set<number>();
  readonly #deadErrors = new Map<number, DeadReport>();

  readonly #running: Running[];
  readonly #retries = new RetryQueue();
  readonly #storage: Storage;
  readonly #retention: Retention;
  /** While the disk is full: when state records may be written again, and whether some wait for that. */
  #statesAt = 0;
  #isPaused = false;
  /** Bytes that may be copied before the disk has room again. */
  #copyRoom = Infinity;
  #checkpointsAsked = 0;
  #checkpointFrom = 0;
  #checkpointBefore = 0;
  #isRepeated = false;
  #tickAt = 0;
  readonly #awaited = new Set<number>();
  #isAllAwaited = false;

  constructor(data: DeliveryData, storage: Storage, reports: DeliveryReports) {
    const { journal, scheduler, options } = data;
    this.#words = new Int32Array(data.words);
    this.#cells = new Float64Array(data.stats);
    this.#options = options;
    this.#threads = new Int32Array(scheduler.memory.threads);
    this.#openerThread = scheduler.memory.submitterThreads[0] as number;
    this.#parker = new Parker(this.#threads, scheduler.thread);
    this.#submitter = new Submitter(scheduler.memory, scheduler.submitter);
    this.#producer = new JournalProducer(journal.memory, journal.ring);
    this.#payloadBytesMax = this.#producer.payloadBytesMax;
    this.#headers = new HeaderParser(scheduler.handlerNames);
    this.#questions = new SpscConsumer(questionsPlace(this.#words));
    this.#answers = new SpscProducer(answersPlace(this.#words));
    this.#reports = reports;
    this.#running = Array.from({ length: this.#submitter.slots.capacity }, () => ({
      sequence: 0,
      attempts: 0,
      handler: 0,
      priority: 0,
      timeMs: 0,
    }));
    const logId = Buffer.from(journal.logId);
    this.#states = readStates(journal, storage, readCheckpoints(storage, logId)[0]);
    this.#storage = storage;
    this.#retention = new Retention(storage, this.#states);
    this.#finished = this.#states.settled.copy();
    const known = journal.recoveredSequence;
    this.#recoveredUpTo = known;
    this.#notedUpTo = known;
    this.#cells[CELLS.recovered] = known - this.#finished.countUpTo(known);
    this.#backlog = new Backlog(journal, storage, this.#finished.endOf(1) + 1, known);
    this.#publishStats();
  }

  /** Runs until the opener ends it, or the journal is poisoned. */
  run(): void {
    Atomics.compareExchange(this.#words, STATE, RECOVERING, RUNNING);
    while (this.#turn());
    // The next opening begins here.
    if (!this.#producer.isPoisoned() && this.#notedUpTo >= this.#checkpointFrom) this.#askForCheckpoint(0);
    Atomics.store(this.#words, STATE, STOPPED);
    unpark(this.#threads, this.#openerThread);
  }

  /** All duties once, then sleep if there was nothing to do; false at the end. */
  #turn(): boolean {
    if (this.#producer.isPoisoned()) return false;
    const isDraining = Atomics.load(this.#words, STATE) === DRAINING;
    let handled = this.#submitter.drain(this, DRAIN_MAX);
    handled += this.#backlog.takeReceipts();
    handled += this.#readOwnReceipts();
    // What no machine has yet stays unfinished in the journal.
    handled += isDraining ? this.#submitter.cancelQueued() : this.#submitRetries() + this.#submitNew();
    if (this.#mayWriteStates()) {
      this.#writeDead();
      this.#writeAcks(isDraining);
    }
    if (this.#options.isDeleting && !isDraining) handled += this.#retain();
    this.#publishStats();
    this.#tick();
    // Before the questions are read: whoever asks knows only of records whose receipts were taken above.
    if (this.#isAllAwaited && this.#isAllSettled()) {
      this.#isAllAwaited = false;
      this.#answer(ALL, 0);
    }
    handled += this.#readQuestions();
    if (handled > 0) return true;
    if (isDraining && this.#isQuiet()) return false;
    this.#sleep(isDraining);
    return true;
  }

  /** Once a second the memory of arguments that is not needed any more is given back. */
  #tick(): void {
    const now = performance.now();
    if (now < this.#tickAt) return;
    this.#tickAt = now + TICK_MS;
    this.#submitter.tick();
  }

  // ── submitting ───────────────────────────────────────────────────────────────────────────────────────────────────

  #submitNew(): number {
    let submitted = 0;
    this.#backlog.skipTo(this.#finished.endOf(this.#backlog.next) + 1);
    while (submitted < SUBMIT_MAX && this.#hasRoomForFailures()) {
      const record = this.#backlog.peek();
      if (record === undefined) break;
      if (this.#handle(record) === FULL) break;
      this.#backlog.advance();
      submitted += 1;
    }
    if (submitted > 0) this.#submitter.publish();
    return submitted;
  }

  /** Submits a record that needs delivery; `FULL` when it has to wait. */
  #handle(record: RecordCursor): number {
    const { sequence: place, origin: sequence } = record;
    // A copy of a record that was handed out from its old place is in hand. One of this run may be seen here before its own receipt is.
    if (this.#finished.has(place) || this.#states.isCopy(place)) return 0;
    if (sequence !== place && place > this.#recoveredUpTo) return 0;
    if (sequence !== place && this.#states.isDead(sequence)) {
      // Its DEAD record names it by its first sequence, and was read without its place being known.
      this.#states.diedAt(sequence, place);
      this.#finished.add(place);
      return 0;
    }
    if (record.type !== RECORD_TYPE.data) {
      this.#finished.add(place);
      // A DEAD record is taken note of when its receipt comes, and kept.
      if (record.type !== RECORD_TYPE.dead) this.#states.noted(place);
      return 0;
    }
    const header = record.header();
    const handler = this.#headers.handler(header);
    if (handler < 0) {
      // Stays unfinished in the journal, until there is a handler of that name.
      this.#count(CELLS.parked);
      if (sequence !== place) this.#states.adopt(sequence, place);
      return 0;
    }
    const { priority, timeMs } = record;
    const running = { sequence, attempts: 1, handler, priority, timeMs };
    const slot = this.#submit(running, encodedHeaders(header), record.payload());
    if (slot !== FULL && sequence !== place) this.#states.adopt(sequence, place);
    return slot;
  }

  #submit(record: Running, headers: Uint8Array, payload: Uint8Array): number {
    const { sequence, attempts, handler, priority, timeMs } = record;
    const taskHeader = this.#taskHeaders.write(sequence, timeMs, attempts, headers);
    const slot = this.#submitter.submitBytes(handler, Math.min(priority, PRIORITY.low), false, payload, taskHeader);
    if (slot === FULL) return FULL;
    Object.assign(this.#running[slot - this.#submitter.slots.first] as Running, record);
    this.#count(CELLS.delivered);
    return slot;
  }

  #hasRoomForFailures(): boolean {
    return this.#retries.size < RETRIES_MAX && this.#retries.bytes < RETRY_BYTES_MAX;
  }

  #submitRetries(): number {
    let submitted = 0;
    while (this.#retries.nextDueMs <= performance.now()) {
      const { sequence, attempts, handler, priority, timeMs, headers, payload } = this.#retries.peek();
      const record = { sequence, attempts: attempts + 1, handler, priority, timeMs };
      if (this.#submit(record, headers, payload) === FULL) break;
      this.#retries.remove();
      submitted += 1;
    }
    if (submitted > 0) this.#submitter.publish();
    return submitted;
  }

  // ── outcomes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** From `Submitter.drain`: a handler is done with a record. */
  settled(slot: number): void {
    const running = this.#running[slot - this.#submitter.slots.first] as Running;
    if (this.#submitter.slots.isOk(slot)) {
      const place = this.#states.placeOf(running.sequence);
      this.#finished.add(place);
      // An ACK of the old place would say nothing of a copy that is under way: `#settleCopy` acknowledges that one.
      if (!this.#copying.has(place)) this.#toAck.add(place);
      this.#count(CELLS.done);
    } else if (running.attempts < this.#options.attemptsMax) {
      this.#retryLater(slot, running);
    } else {
      const payload = encodeDead(running.sequence, this.#submitter.slots.value(slot), this.#payloadBytesMax);
      this.#unwrittenDead.push({ sequence: running.sequence, payload });
      this.#dying.add(running.sequence);
    }
  }

  #retryLater(slot: number, running: Running): void {
    const { retryBaseMs, retryMaxMs } = this.#options;
    const waitMs = backoffMs(running.attempts, retryBaseMs, retryMaxMs, this.#random.fraction());
    this.#retries.add(performance.now() + waitMs, {
      ...running,
      headers: Uint8Array.from(encodedHeadersOfTask(this.#submitter.slots.headerBytes(slot))),
      payload: Uint8Array.from(this.#submitter.slots.argumentBytes(slot)),
    });
    this.#count(CELLS.retried);
  }

  // ── state records ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether there are state records to be written, now. */
  #mayWriteStates(): boolean {
    this.#isPaused = false;
    if (this.#toAck.ranges === 0 && this.#unwrittenDead.length === 0) return false;
    if (!this.#producer.isDiskFull()) return true;
    const now = performance.now();
    this.#isPaused = now < this.#statesAt;
    if (!this.#isPaused) this.#statesAt = now + FULL_DISK_PAUSE_MS;
    return !this.#isPaused;
  }

  #writeAcks(isDraining: boolean): void {
    if (this.#toAck.ranges === 0) return;
    const rangesMax = rangesIn(this.#payloadBytesMax);
    let from = 0;
    for (; from < this.#toAck.ranges; from += rangesMax) {
      // What finds no room is written when the ring has moved on.
      if (!this.#stage(RECORD_TYPE.ack, encodeAck(this.#toAck, from, rangesMax))) break;
    }
    if (from === 0) return;
    this.#commit(isDraining);
    const [written, left] = this.#toAck.split(from);
    // The last of them tells for all.
    for (let record = rangesMax; record < from; record += rangesMax)
      this.#staged.push({ kind: "ack", finished: new RangeSet() });
    this.#staged.push({ kind: "ack", finished: written });
    this.#toAck = left;
  }

  #writeDead(): void {
    for (let next = this.#unwrittenDead[0]; next !== undefined; next = this.#unwrittenDead[0]) {
      if (!this.#stage(RECORD_TYPE.dead, next.payload)) return;
      this.#unwrittenDead.shift();
      this.#commit(true);
      this.#finished.add(this.#states.placeOf(next.sequence));
      const report = { sequence: next.sequence, error: Uint8Array.from(next.payload.subarray(8)) };
      this.#staged.push({ kind: "dead", report });
      this.#count(CELLS.dead);
    }
  }

  #stage(type: number, payload: Buffer): boolean {
    return this.#producer.stage({ type, priority: 0, timeMs: Date.now(), header: NO_BYTES, key: NO_BYTES, payload });
  }

  #commit(isUrgent: boolean): void {
    this.#producer.commitLazily();
    if (isUrgent || this.#awaited.size > 0 || this.#isAllAwaited) this.#producer.urge();
  }

  /** Records of this thread's own that have become durable. */
  #readOwnReceipts(): number {
    let handled = 0;
    while (this.#producer.nextReceipt()) {
      const { firstSequence, count } = this.#producer;
      for (let index = 0; index < count; index += 1) {
        this.#becameDurable(this.#staged.shift() as Staged, firstSequence + index);
      }
      this.#notedUpTo = firstSequence + count - 1;
      handled += 1;
    }
    return handled;
  }

  #becameDurable(staged: Staged, sequence: number): void {
    if (staged.kind === "copy") {
      this.#settleCopy(staged.copy, sequence);
      return;
    }
    this.#finished.add(sequence);
    if (staged.kind === "ack") {
      this.#states.noted(sequence);
      this.#settleAck(staged.finished);
    } else {
      this.#settleDead(staged.report, sequence);
    }
  }

  #settleAck(finished: RangeSet): void {
    for (let index = 0; index < finished.ranges; index += 1) {
      const [first, last] = finished.range(index);
      for (const origin of this.#states.copiesIn(first, last)) this.#tellFinished(origin);
      for (let place = first; place <= last && this.#awaited.size > 0; place += 1) {
        // The place of a copy is no record that anybody was told of.
        if (!this.#states.isCopy(place)) this.#tellFinished(place);
      }
      this.#states.acknowledged(first, last);
    }
  }

  #tellFinished(origin: number): void {
    if (this.#awaited.delete(origin)) this.#answer(FINISHED, origin);
  }

  #settleDead(report: DeadReport, sequence: number): void {
    this.#states.died(report.sequence, sequence);
    this.#dying.delete(report.sequence);
    if (this.#awaited.delete(report.sequence)) this.#reports.dead(report);
    this.#deadErrors.set(report.sequence, report);
    if (this.#deadErrors.size > DEAD_ERRORS_MAX) {
      const [oldest] = this.#deadErrors.keys();
      this.#deadErrors.delete(oldest as number);
    }
  }

  // ── retention ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** From time to time: asks for a checkpoint when that gives up a segment, and copies forward what holds the log; how many records. */
  #retain(): number {
    const now = performance.now();
    if (this.#retention.isDue(now)) {
      const before = this.#retention.look(now, this.#backlog.next);
      const isNews = this.#notedUpTo + 1 > this.#checkpointFrom || before > this.#checkpointBefore;
      // The log is given up to where the older of both checkpoints reads on: without news, once more brings both to the same place.
      this.#isRepeated &&= !isNews;
      if (before > 0 && (isNews || !this.#isRepeated) && !this.#isCheckpointing()) {
        this.#isRepeated = !isNews;
        this.#askForCheckpoint(before);
      }
    }
    return this.#copyForward();
  }

  /** How many copies were begun. */
  #copyForward(): number {
    let staged = 0;
    if (!this.#producer.isDiskFull()) this.#copyRoom = Infinity;
    else if (this.#copyRoom === Infinity) this.#copyRoom = this.#reserveBytes() / FULL_DISK_PART;
    // Ends: each turn takes one out of what is to be copied, or stops.
    while (staged < COPIES_PER_TURN) {
      const copy = this.#retention.nextCopy(this.#backlog.known);
      if (copy === undefined) break;
      if (this.#isDone(copy)) {
        this.#retention.skipped();
        continue;
      }
      const bytes = this.#producer.bytesOf(copy.parts);
      if (bytes > this.#copyRoom || !this.#producer.stage(copy.parts)) break;
      this.#copyRoom -= bytes;
      this.#retention.copied();
      this.#copying.add(copy.from);
      this.#staged.push({ kind: "copy", copy });
      staged += 1;
    }
    if (staged > 0) this.#commit(false);
    return staged;
  }

  /** What the reserve has, or must have had if it is in use already. */
  #reserveBytes(): number {
    return Math.max(findReserve(this.#storage)?.bytes ?? 0, this.#producer.batchBytesMax);
  }

  /** Whether a record needs no copy: its ACK is on its way, and would come before the copy. */
  #isDone({ origin, from, isDead }: Copy): boolean {
    return !isDead && this.#finished.has(from) && !this.#states.isDead(origin) && !this.#dying.has(origin);
  }

  #isCheckpointing(): boolean {
    return Atomics.load(this.#words, CHECKPOINTS) !== this.#checkpointsAsked;
  }

  /** Everything that is known to be finished up to the last record of this thread's own. */
  #askForCheckpoint(before: number): void {
    this.#checkpointsAsked += 1;
    this.#checkpointFrom = this.#notedUpTo + 1;
    this.#checkpointBefore = before;
    const bytes = Uint8Array.from(this.#states.encode());
    this.#reports.checkpoint({ bytes, from: this.#checkpointFrom, before });
  }

  /** A record has another place now. If it was finished meanwhile, the copy is finished too. */
  #settleCopy({ origin, from, isDead }: Copy, to: number): void {
    this.#count(CELLS.copied);
    // A copy of what has moved on already would be taken for one of a finished record.
    invariant(
      isDead || !this.#states.isMoved(origin) || this.#states.placeOf(origin) === from,
      "a copy is of the newest",
    );
    const isFinished = this.#finished.has(from);
    this.#finished.add(from);
    this.#copying.delete(from);
    if (isDead) this.#states.deadMoved(origin, from, to);
    else this.#states.moved(origin, from, to);
    this.#retention.arrived();
    // What isn't finished is in hand: its new place isn't delivered a second time.
    if (!isFinished) return;
    this.#finished.add(to);
    if (!isDead && !this.#states.isDead(origin) && !this.#dying.has(origin)) this.#toAck.add(to);
  }

  // ── questions ────────────────────────────────────────────────────────────────────────────────────────────────────

  #readQuestions(): number {
    let asked = 0;
    for (let word = this.#questions.peek(); word !== EMPTY; word = this.#questions.peek()) {
      const sequence = sequenceOf(
        this.#words[word + QUESTION.sequenceLow] as number,
        this.#words[word + QUESTION.sequenceHigh] as number,
      );
      if (this.#words[word + QUESTION.kind] === ALL) this.#isAllAwaited = true;
      else this.#askedFor(sequence);
      this.#questions.advance();
      asked += 1;
    }
    if (asked === 0) return 0;
    this.#questions.release();
    // What they wait for may lie in the ring without hurry.
    if (this.#staged.length > 0) this.#producer.urge();
    return asked;
  }

  #askedFor(sequence: number): void {
    if (this.#states.isDead(sequence)) {
      this.#reports.dead(this.#deadErrors.get(sequence) ?? { sequence, error: NO_BYTES });
    } else if (!this.#states.isMoved(sequence) && this.#states.settled.has(sequence)) this.#answer(FINISHED, sequence);
    else this.#awaited.add(sequence);
  }

  #answer(kind: number, sequence: number): void {
    const word = this.#answers.stage();
    invariant(word !== FULL, "there is room for an answer to every question");
    this.#words[word + QUESTION.kind] = kind;
    this.#words[word + QUESTION.sequenceLow] = sequence | 0;
    this.#words[word + QUESTION.sequenceHigh] = Math.floor(sequence / 2 ** 32);
    this.#answers.publish();
    unpark(this.#threads, this.#openerThread);
  }

  // ── the end of a turn ────────────────────────────────────────────────────────────────────────────────────────────

  /** Nothing runs, and everything that was finished is durably so. */
  #isQuiet(): boolean {
    return (
      this.#submitter.slots.outstanding === 0 &&
      this.#toAck.ranges === 0 &&
      this.#staged.length === 0 &&
      this.#unwrittenDead.length === 0
    );
  }

  /** No record waits for anything but a handler that isn't there. */
  #isAllSettled(): boolean {
    return this.#isQuiet() && this.#retries.size === 0 && this.#backlog.next > this.#backlog.known;
  }

  #publishStats(): void {
    const cells = this.#cells;
    cells[CELLS.floor] = this.#finished.endOf(1);
    cells[CELLS.known] = this.#backlog.known;
    cells[CELLS.waitingRetries] = this.#retries.size;
    cells[CELLS.fallBacks] = this.#backlog.fallBacks;
    cells[CELLS.deadKept] = this.#states.deadCount;
    cells[CELLS.isReading] = this.#backlog.isReadingSegments ? 1 : 0;
  }

  #count(cell: number): void {
    this.#cells[cell] = (this.#cells[cell] as number) + 1;
  }

  #sleep(wasDraining: boolean): void {
    this.#parker.prepare();
    const isDraining = Atomics.load(this.#words, STATE) === DRAINING;
    if (
      isDraining !== wasDraining ||
      this.#submitter.hasOutcomes() ||
      this.#backlog.hasReceipts() ||
      this.#producer.hasReceipts() ||
      this.#questions.peek() !== EMPTY ||
      this.#producer.isPoisoned()
    ) {
      this.#parker.cancel();
      return;
    }
    // A retry that is due already waits for a free slot, and the outcome that frees it wakes this thread.
    const untilRetryMs = Math.max(this.#retries.nextDueMs - performance.now(), SLEEP_MS_MIN);
    const untilStatesMs = this.#isPaused ? Math.max(this.#statesAt - performance.now(), SLEEP_MS_MIN) : PARK_MS;
    this.#parker.wait(Math.min(PARK_MS, untilRetryMs, untilStatesMs));
  }
}
