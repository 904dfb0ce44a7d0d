// One life of a journal's process on a simulated disk: the real writer loop, keeper, log writer and
// recovery, on one thread.
//
// The disk calls back before each of its operations. There the rig does what other threads would do
// at that moment. It puts the next records into the rings, lets the keeper have its turn, reads
// receipts, and then lets the caller look.
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { ThreadTable } from "@millrace/atomics-sync";
import { seededRandom } from "@millrace/base";
import { HISTOGRAM_BYTES } from "@millrace/metrics";
import { createByteRing } from "@millrace/shared-memory";
import type { JournalMemory } from "@millrace/journal/kernel";
import type { Keeper, KeeperReply, KeeperStart } from "@millrace/journal/internal/keeper/keeper";
import type { JournalLimits } from "@millrace/journal/internal/files/limits";
import type { LogWriter } from "@millrace/journal/internal/writer/log-writer";
import type { JournalProducer } from "@millrace/journal/internal/memory/producer";
import type { RecoveredLog } from "@millrace/journal/internal/writer/recovery";
import type { Fault, Operation, SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Storage } from "@millrace/journal/internal/storage/storage";
import type { Engine } from "./engine.ts";
import { type Content, type History, type PendingRecord, Violation } from "./history.ts";

export const LIMITS: JournalLimits = { recordBytesMax: 8192, batchBytesMax: 16384, segmentBytesMax: 49152 };
const RING_BYTES = 32768;
/**
 * The keeper's clock moves by this at most turns. It is little, so that marks are not always due.
 */
const TURN_MS = 20;
const LONG_TURN_MS = 400;
const LONG_TURN_EVERY = 4;
/** Turns that the keeper gets in a row for a command. */
const TURNS_MAX = 20;
/** And so often again until its clock says that the log is idle. */
const RESTS = 8;

/** Records of one commit, per ring; those of a ring fit in twice. */
export type Step = readonly (readonly PendingRecord[])[];

export interface LifeOptions {
  readonly engine: Engine;
  readonly disk: SimulatedStorage;
  /** The promises of the log so far; this life adds its records. */
  readonly history: History;
  readonly steps: readonly Step[];
  /**
   * After this many batches each the keeper gets a checkpoint to write, or the log's front to give
   * up. Default never.
   */
  readonly commandEvery?: number;
  /**
   * Whether the keeper comes to rest before the clean end. Its marks then know what is durable.
   * Default no.
   */
  readonly rests?: boolean;
  /** Looks at the disk before an operation changes it; may end the life by throwing. */
  readonly look?: (operation: Operation, history: History) => void;
  /** Makes an operation fail. `isKeeper`: one of those that the keeper thread makes. */
  readonly fault?: (operation: Operation, isKeeper: boolean) => Fault | undefined;
}

/** Calls that change nothing. */
const LOOKING: ReadonlySet<string> = new Set(["read", "list", "space"]);

export class Life {
  readonly #engine: Engine;
  readonly #disk: SimulatedStorage;
  readonly #options: LifeOptions;
  readonly #steps: Step[];
  readonly #ends = new Map<string, number>();
  readonly #channel = new MessageChannel();
  #producers: JournalProducer[] = [];
  #memory: JournalMemory | undefined;
  #control: Int32Array = new Int32Array(0);
  #keeper: Keeper | undefined;
  #start: KeeperStart | undefined;
  #isKeeping = false;
  #nowMs = 1_000_000;
  #batches = 0;
  #turns = 0;
  /** Whether the disk was full at some moment. */
  #wasFull = false;
  #found: unknown;
  history: History;

  constructor(options: LifeOptions) {
    this.#engine = options.engine;
    this.#disk = options.disk;
    this.#options = options;
    this.#steps = [...options.steps];
    this.history = options.history;
  }

  /** Opens, appends all steps, closes. Throws what the writer throws. */
  run(): void {
    this.#disk.before = (operation) => this.#before(operation);
    try {
      const { log, recovered } = this.#engine.opening.openLog(this.#disk, LIMITS, () => 1);
      const { firstSequence } = recovered.summary;
      this.history = this.history.reopened(readContent(this.#engine, this.#disk, firstSequence, log.nextSequence - 1));
      const memory = allocate(this.#engine, Math.max(1, ...this.#steps.map((step) => step.length)));
      this.#producers = memory.rings.map((_, index) => new this.#engine.producer.JournalProducer(memory, index));
      const writer = new this.#engine.writer.Writer(memory, log, LIMITS.batchBytesMax);
      this.#memory = memory;
      this.#control = new Int32Array(memory.control);
      this.#start = keeperStart(this.#engine, log, recovered);
      this.#feed();
      // From the beginning: so the writer ends when the rings are empty, instead of going to sleep.
      const { STATE, CLOSING, CLOSED } = this.#engine.control;
      Atomics.store(this.#control, STATE, CLOSING);
      writer.run();
      this.#takeReceipts();
      if (Atomics.load(this.#control, STATE) !== CLOSED)
        throw new Violation("the writer ended without closing the log");
      this.#finish();
      // A writer that refuses data may end before its producers. Nobody waits for what they commit
      // then.
      if (this.#wasFull) return;
      if (this.#steps.length > 0) throw new Error(`${this.#steps.length} steps were not taken`);
      if (this.history.pending.some((ring) => ring.length > 0)) throw new Violation("records were left behind");
    } finally {
      this.#takeReceipts();
      this.#channel.port1.close();
      this.#disk.before = () => undefined;
      // eslint-disable-next-line no-unsafe-finally
      if (this.#found !== undefined) throw this.#found;
    }
  }

  /** Whether everything was appended and acknowledged: what is written now is the clean end. */
  isTaken(): boolean {
    return (
      this.#memory !== undefined && this.#steps.length === 0 && this.history.pending.every((ring) => ring.length === 0)
    );
  }

  #before(operation: Operation): Fault | undefined {
    const { kind, name } = operation;
    // Code that has caught it goes on, although the process has ended.
    if (this.#found !== undefined) throw this.#found;
    if (this.#memory !== undefined && !this.#isKeeping) this.#actForOthers(kind, name);
    if (LOOKING.has(kind)) return this.#options.fault?.(operation, this.#isKeeping);
    this.#takeReceipts();
    try {
      this.#options.look?.(operation, this.history);
      const fault = this.#options.fault?.(operation, this.#isKeeping);
      if (fault === undefined) this.#check(operation);
      return fault;
    } catch (thrown) {
      // A violation that is found here must get out, even if other code catches errors on the way.
      this.#found ??= thrown;
      throw thrown;
    }
  }

  #check(operation: Operation): void {
    this.#refuseRewriting(operation);
    if (this.#isKeeping) this.#refuseEarlyDeletion(operation);
  }

  #actForOthers(kind: string, name: string): void {
    const { SPARE_STATE, SPARE_READY } = this.#engine.control;
    if (kind === "write" && name.startsWith("log-")) {
      // The next batch gathers during this write: its bytes must not touch those of this one.
      this.#feed();
      this.#scribble();
      this.#batches += 1;
      const every = this.#options.commandEvery ?? Infinity;
      if (this.#batches % every === 0) this.#command();
      this.#takeReceipts();
      this.#keep();
      if (this.#options.rests === true && this.isTaken()) for (let turn = 0; turn < RESTS; turn += 1) this.#keep();
    }
    // Producers go on while their records are refused.
    if (kind === "list" && this.#isFull()) {
      this.#wasFull = true;
      this.#takeReceipts();
      this.#feed();
    }
    // The writer looks for a spare, and would wait for the keeper.
    if (kind === "list" && Atomics.load(this.#control, SPARE_STATE) !== SPARE_READY) this.#keep();
  }

  #isFull(): boolean {
    const { SPACE, SPACE_FULL } = this.#engine.control;
    return Atomics.load(this.#control, SPACE) === SPACE_FULL;
  }

  /** Both pages of marks name a later first segment before one goes: one of them may be lost. */
  #refuseEarlyDeletion({ kind, name }: Operation): void {
    const segment = this.#engine.format.segmentOfName(name);
    if ((kind !== "remove" && kind !== "rename") || segment === undefined) return;
    const marks = this.#disk.contentOf("marks");
    for (const page of [0, 4096]) {
      const first = marks.readUInt32LE(page + 48);
      if (first <= segment) throw new Violation(`${kind} ${name}, while a page of marks begins with ${first}`);
    }
  }

  /** Checks that the log never writes over bytes that it has written. */
  #refuseRewriting({ kind, name, position, bytes }: Operation): void {
    if (!/^log-.*\.wal$/.test(name)) return;
    const end = this.#ends.get(name) ?? 0;
    if ((kind === "write" || kind === "truncate") && position < end) {
      throw new Violation(`${kind} at ${position} of ${name}, which had been written up to ${end}`);
    }
    if (kind === "write") this.#ends.set(name, position + bytes);
  }

  /**
   * Puts the next step into the rings, if it fits. So one is always ahead of the batch being
   * written.
   */
  #feed(): void {
    const step = this.#steps[0];
    if (step === undefined) return;
    if (!step.every((records, ring) => this.#stage(ring, records))) {
      for (const producer of this.#producers) producer.rollback();
      return;
    }
    step.forEach((records, ring) => {
      (this.#producers[ring] as JournalProducer).commit();
      for (const record of records) this.history.appended(ring, record);
    });
    this.#steps.shift();
  }

  /**
   * Fills what is free in the rings with other bytes, which nobody sees. A producer may do that at
   * any time.
   */
  #scribble(): void {
    for (const producer of this.#producers) {
      while (producer.stage(SCRIBBLE));
      producer.rollback();
    }
  }

  #stage(ring: number, records: readonly PendingRecord[]): boolean {
    const producer = this.#producers[ring] as JournalProducer;
    return records.every(({ text, continues }) =>
      producer.stage(
        { type: 1, priority: 0, timeMs: 1, header: NOTHING, key: NOTHING, payload: Buffer.from(text, "latin1") },
        continues,
      ),
    );
  }

  /**
   * Gives the keeper turns until it has done its command. If it fails, another one takes its place,
   * as in production.
   */
  #keep(): void {
    this.#isKeeping = true;
    try {
      this.#keeper ??= this.#newKeeper();
      for (let turn = 0; turn < TURNS_MAX; turn += 1) {
        this.#turns += 1;
        this.#nowMs += this.#turns % LONG_TURN_EVERY === 0 ? LONG_TURN_MS : TURN_MS;
        if (this.#keeper.turn() > 0) break;
      }
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).syscall === undefined) throw thrown;
      this.#keeper = undefined;
    } finally {
      this.#isKeeping = false;
    }
    if (this.#found !== undefined) throw this.#found;
    this.#takeReplies();
  }

  /** The keeper's last duty; the journal counts as closed only after it. */
  #finish(): void {
    this.#isKeeping = true;
    try {
      this.#keeper ??= this.#newKeeper();
      this.#keeper.finish();
    } finally {
      this.#isKeeping = false;
    }
    if (this.#found !== undefined) throw this.#found;
  }

  #newKeeper(): Keeper {
    const memory = this.#memory as JournalMemory;
    const start = this.#start as KeeperStart;
    return new this.#engine.keeper.Keeper(this.#disk, memory, start, this.#channel.port1, () => this.#nowMs);
  }

  #command(): void {
    const { COMMANDS } = this.#engine.control;
    const { acked } = this.history;
    this.history.commands += 1;
    const id = this.history.commands;
    const random = seededRandom(id);
    if (random.below(2) === 0) {
      const snapshot = {
        id,
        from: acked.length + 1,
        text: `checkpoint ${id} of ${acked.length} ${"y".repeat(random.below(9000))}`,
      };
      this.history.checkpoints = [...this.history.checkpoints, snapshot];
      this.#channel.port2.postMessage({
        id,
        kind: "checkpoint",
        bytes: Buffer.from(snapshot.text),
        from: snapshot.from,
      });
    } else {
      const before = Math.max(1, acked.length - random.below(2) * random.below(40));
      this.history.mayBeginAt = Math.max(this.history.mayBeginAt, before);
      this.#channel.port2.postMessage({ id, kind: "truncate", before });
    }
    Atomics.add(this.#control, COMMANDS, 1);
  }

  #takeReplies(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#channel.port2) as { message: KeeperReply } | undefined;
      if (received === undefined) return;
      const { message } = received;
      if ("damage" in message) throw new Violation(`the keeper found damage: ${JSON.stringify(message.damage)}`);
      if (!("result" in message)) continue;
      if (typeof message.result === "number") this.history.beginsAt = message.result;
      else this.history.checkpointed(message.id);
    }
  }

  #takeReceipts(): void {
    const found: { ring: number; first: number; count: number }[] = [];
    for (const [ring, producer] of this.#producers.entries()) {
      while (producer.nextReceipt()) {
        if (producer.isRefused) this.history.refused(ring, producer.count);
        else found.push({ ring, first: producer.firstSequence, count: producer.count });
      }
    }
    found.sort((left, right) => left.first - right.first);
    for (const { ring, first, count } of found) this.history.acknowledged(ring, first, count);
  }
}

const NOTHING = new Uint8Array(0);
const SCRIBBLE = {
  type: 1,
  priority: 0,
  timeMs: 1,
  header: NOTHING,
  key: NOTHING,
  payload: new Uint8Array(1000).fill(0xee),
};

/** All records from a sequence to another, through the reader that production uses. */
export function readContent(engine: Engine, storage: Storage, from: number, to: number): Content {
  const reader = new engine["log-reader"].LogReader(storage);
  const cursor = new engine.records.RecordCursor();
  const texts: string[] = [];
  try {
    reader.seek(from);
    while (reader.next(to)) {
      cursor.reset(reader.body, reader.batch.firstSequence);
      while (cursor.next()) {
        if (cursor.sequence < from) continue;
        if (cursor.sequence !== from + texts.length) {
          throw new Violation(`sequence ${cursor.sequence} was read after ${from + texts.length - 1}`);
        }
        texts.push(cursor.payload().toString("latin1"));
      }
    }
  } finally {
    reader.close();
  }
  return { from, texts };
}

export function keeperStart(engine: Engine, log: LogWriter, { logId, segments, summary }: RecoveredLog): KeeperStart {
  const first = segments[0];
  return {
    directory: "a simulated disk",
    logId,
    firstSegment: first === undefined ? log.segment : (engine.format.segmentOfName(first.name) as number),
    firstSequence: summary.firstSequence,
    unread: segments.filter(({ isRead }) => !isRead).map(({ name }) => name),
    limits: LIMITS,
    isReusing: true,
    isSynced: true,
  };
}

const threads = ThreadTable.current();
const thread = threads.reserve();

/** The memory of a journal with so many rings. */
export function allocate(engine: Engine, rings: number): JournalMemory {
  const control = new SharedArrayBuffer(engine.control.controlBytes(rings));
  const words = new Int32Array(control);
  for (let ring = 0; ring < rings; ring += 1) words[engine.control.producerWord(ring)] = thread;
  return {
    control,
    stats: new SharedArrayBuffer(engine.stats.WRITER_STATS_BYTES),
    syncHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    batchHistogram: new SharedArrayBuffer(HISTOGRAM_BYTES),
    threads: threads.buffer,
    writerThread: thread,
    keeperThread: thread,
    rings: Array.from({ length: rings }, (_, ring) => ({
      ring: createByteRing(RING_BYTES),
      receipts: new SharedArrayBuffer(engine.control.receiptsBytes()),
      isState: ring > 0,
      isLazy: false,
    })),
    delivery: undefined,
    recordBytesMax: LIMITS.recordBytesMax,
    batchBytesMax: LIMITS.batchBytesMax,
  };
}
