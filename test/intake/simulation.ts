/**
 * The whole intake without threads, files or clocks of the machine: one seed is one schedule.
 *
 * The real state machine (`Delivery`, `Housekeeping`, `RecordStates`) runs over a log that is an
 * array, handlers that are dice, and a clock that moves when it is told. Between any two steps the
 * process may die: what wasn't durable is gone, and the next life begins from the last checkpoint
 * and the log.
 *
 * The oracle stands outside. It knows what was published and what became durable, and checks at
 * every step what `docs/intake-states.md` promises; a broken promise throws with the seed.
 */
import { isDeepStrictEqual } from "node:util";
import { type Random, seededRandom } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import { poolError } from "@millrace/pool/internal/errors";
import { Delivery } from "@millrace/intake/internal/delivery/delivery";
import type { DeliveryEvents } from "@millrace/intake/internal/delivery/events";
import type { Letters } from "@millrace/intake/internal/delivery/commands";
import { type Checkpoint, Housekeeping } from "@millrace/intake/internal/delivery/housekeeping";
import { findSuspects, QUARANTINE_ENDS } from "@millrace/intake/internal/delivery/suspects";
import { handlerTerms } from "@millrace/intake/internal/delivery/policy";
import { packFailure, packOutcome, unpackOutcome } from "@millrace/intake/internal/format/outcome";
import {
  handlerName,
  HeaderParser,
  type Idempotency,
  type Terms,
  termsOf,
} from "@millrace/intake/internal/format/record-header";
import { decodeFate, decodeRedrive } from "@millrace/intake/internal/format/state-records";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import { ContentSums } from "@millrace/intake/internal/states/producer-state";
import type { Verdict } from "@millrace/intake/internal/states/dedupe-window";
import { readStates } from "@millrace/intake/internal/snapshot/read-states";
import { encodeStates } from "@millrace/intake/internal/snapshot/snapshot";
import { originsOf, partsOf, Produced, type Published } from "./produced.ts";
import { RecordedEnds } from "./recorded.ts";
import { type Conditions, conditionsOf, SEGMENT_BYTES, SEGMENT_RECORDS } from "./simulation-conditions.ts";
import { groupsOf, isProducerDrop, isSteady, SimDisk, SimLog, SimRecord } from "./simulation-disk.ts";
import { CAPACITY, SimRunner, type SimTask } from "./simulation-runner.ts";
import { SimScratch } from "./simulation-scratch.ts";
import { SimSchedules } from "./simulation-schedules.ts";

const HANDLERS = ["pay", "mail", "skip"];
const LIMITS = { keysMax: 40, forMs: 15_000 };
const START_MS = 1_700_000_000_000;
/** Payload of a record that ends the process of its handler. */
const DEADLY = "deadly";
const LOG_ID = Buffer.alloc(16, 7);

/** One handler's ends are recorded, its results kept; some are needed when their segments go. */
const KEPT = { result: "keep", resultKeepMs: 20_000, record: "outcomes" } as const;

/** What the oracle knows of one record. */
interface Known {
  readonly sequence: number;
  readonly handler: string;
  readonly priority: number;
  readonly key: string | undefined;
  readonly terms: Terms;
  readonly payload: string;
  /** By the log: the first of its key, or not. */
  first: number | undefined;
  /** The records that it was published with. */
  group: readonly Known[];
  state: "unfinished" | "finished" | "dead" | "expired";
  /** Whether that is durable: it survives a crash. */
  isDurable: boolean;
  inHand: boolean;
  /** Its last handler has published: that may be refused, and the attempt has failed then. */
  mayBeRefused: boolean;
  runs: number;
  /** Ends of the intake's own process since it was redriven so often. */
  kills: number;
  redriven: number;
  attempt: number;
  readonly steadyMs: number;
}

export class Broken extends Error {}

/**
 * Two payloads under one key are refused by the publisher. And whether a producer's sequence is
 * free again would depend on what becomes of the group.
 */
function withoutConflicts({ terms, handler, payload }: Published, group: readonly Published[]): void {
  const own = terms as { producer?: unknown; idempotency?: Terms["idempotency"] };
  delete own.producer;
  const key = String(own.idempotency?.key);
  const isConflict = group.some(
    (other) => other.handler === handler && other.payload !== payload && String(other.terms.idempotency?.key) === key,
  );
  if (isConflict) delete own.idempotency;
}

/** What a schedule has published. */
function scheduledIn(record: SimRecord): Published {
  const header = record.header();
  const terms = termsOf(header);
  const key = terms.isOrdered === true ? record.key().toString() : undefined;
  const payload = record.payload().toString();
  return { handler: handlerName(header), priority: record.priority, key, terms, payload };
}

export interface SimulationCounts {
  crashes: number;
  runs: number;
  records: number;
  checkpoints: number;
  truncations: number;
  checkpointsLost: number;
  redriven: number;
  closes: number;
  quarantined: number;
  /** Processes that records have ended. */
  kills: number;
  scheduled: number;
  steps: number;
}

export class Simulation implements DeliveryEvents {
  readonly #random: Random;
  readonly seed: number;
  readonly known = new Map<number, Known>();
  readonly counts: SimulationCounts = {
    crashes: 0,
    runs: 0,
    records: 0,
    checkpoints: 0,
    truncations: 0,
    checkpointsLost: 0,
    redriven: 0,
    closes: 0,
    quarantined: 0,
    kills: 0,
    scheduled: 0,
    steps: 0,
  };
  wantsFinished = true;
  readonly #schedules: SimSchedules;
  readonly #scratch: SimScratch;
  #now = 1000;
  #wall = START_MS + 1000;
  readonly disk = new SimDisk(() => ({ wallMs: this.#wall, atMs: this.#now }));
  #latestWall = 0;
  #wasSetBack = false;
  #log!: SimLog;
  #runner!: SimRunner;
  #delivery!: Delivery;
  #housekeeping!: Housekeeping;
  /** Records of producers that aren't durable yet. */
  #published: (readonly Published[])[] = [];
  readonly produced = new Produced((what) => this.broken(what));
  readonly recorded = new RecordedEnds((what) => this.broken(what));
  /** Sequences of producers that are durable, and records that repeat one. */
  readonly #produced = new Set<string>();
  /** Places of durable records by which the producer was dropped. */
  readonly #producerDrops: number[] = [];
  readonly #repeated = new Set<number>();
  #isSettling = false;
  /** Attempts that have failed since the latest crash, by record and redrive. */
  readonly #failed = new Map<string, number>();
  /** Records that have ended a process of their own, or had to be ended there. */
  readonly #onlyAlone = new Set<number>();
  /** A handler has ended the process. */
  #isKilled = false;
  #paused = new Set<string>();
  #quarantined: number[] = [];
  /** The process dies at the next step, and the checkpoint that gave up a segment is lost. */
  #losesCheckpoint = false;
  /** What the paused ones will be when the commands are durable. */
  #pausedSoon: { handler: string; isPaused: boolean }[] = [];

  readonly #conditions: Conditions;
  /** Commands that were given before, and may be given again when the letter is another. */
  readonly #letters: Letters[] = [];

  constructor(seed: number) {
    this.seed = seed;
    this.#conditions = conditionsOf(seed);
    this.#random = seededRandom(seed);
    this.#scratch = new SimScratch(() => this.#random.below(10) === 0);
    const { stalled } = this.#conditions;
    const scheduled =
      stalled === undefined ? [...HANDLERS, "later"] : HANDLERS.filter((name) => name !== stalled.handler);
    this.#schedules = new SimSchedules(this.#random, scheduled, (what) => this.broken(what));
    this.#open();
  }

  // ── lives ─────────────────────────────────────────────────────────────────────────────────────

  /** Of the opening: with the number of unclean ends. */
  #suspects: ReadonlyMap<number, number> = new Map();

  #open(): void {
    this.#onlyAlone.clear();
    this.#log = new SimLog(this.disk, this.#random);
    this.#runner = new SimRunner(() => this.#now);
    this.#runner.onBegin = (task) => this.#begun(task);
    this.#runner.onAbandon = (task) => {
      const { sequence } = new TaskHeader(task.header);
      this.#trace(`time over ${sequence}`);
      if (!task.isBegun) this.broken(`the time of record ${sequence} is over before a handler has it`);
      (this.known.get(sequence) as Known).inHand = false;
    };
    const checkpoint = this.disk.checkpoints.at(-1);
    const states = readStates(
      this.#log,
      checkpoint && { bytes: Buffer.from(checkpoint.bytes), from: checkpoint.from },
      LIMITS,
    );
    const clock = { now: () => this.#now, wall: () => this.#wall };
    this.#suspects = findSuspects(this.#log, states, this.#wall);
    this.#delivery = new Delivery(
      {
        log: this.#log,
        runner: this.#runner,
        clock,
        random: seededRandom(this.#random.below(2 ** 31)),
        scratch: this.#scratch,
      },
      states,
      new HeaderParser(HANDLERS),
      HANDLERS.length,
      {
        logId: LOG_ID,
        laneRecordsMax: this.#conditions.laneRecordsMax,
        waitsMemoryMax: 3,
        jobsBytesMax: 3000,
        schedules: this.#schedules.declared(),
        // So little that most groups wait for room.
        reserveBytes: () => 512,
        deadBytesMax: this.#conditions.deadBytesMax,
        handlerTerms: (name) =>
          handlerTerms(
            name,
            { order: name === "skip" ? "skip" : "strict", holdsKeyWhenDead: name === "mail" },
            {
              attemptsMax: 4,
              failuresMax: 6,
              concurrencyMax: name === "mail" ? 2 : 100,
              ...(name === "mail" ? KEPT : undefined),
              ...(name === "pay" ? { timeoutMs: 4000 } : undefined),
            },
          ),
      },
      this,
    );
    this.#housekeeping = new Housekeeping(
      {
        segments: () => this.disk.segments(),
        walk: () => this.#log.walk(),
        reserveBytes: () => 4096,
        // So few that most checkpoints want WINDOW records.
        windowRestMax: 3,
        checkpoint: (each) => this.#checkpoint(each),
      },
      this.#log,
      clock,
      this.#delivery,
      this.#conditions.retain,
    );
    const { stalled } = this.#conditions;
    if (stalled !== undefined && this.counts.steps < stalled.untilStep) this.#pause(stalled.handler, true);
  }

  /** The process dies: rings, memory and what runs are gone. */
  crash(): void {
    this.counts.crashes += 1;
    this.#trace("crash");
    // Some of what was committed may have reached the disk.
    if (this.#random.below(2) === 0) this.#sync();
    // The newest checkpoint may be lost: the log is kept from where the older one reads on.
    if ((this.#losesCheckpoint || this.#random.below(6) === 0) && this.disk.checkpoints.length > 1) {
      this.disk.checkpoints.pop();
      this.counts.checkpointsLost += 1;
    }
    this.#losesCheckpoint = false;
    this.#published = [];
    this.#quarantined = [];
    this.#pausedSoon = [];
    this.#failed.clear();
    this.#reopen();
  }

  #reopen(): void {
    this.#open();
    for (const known of this.known.values()) {
      known.inHand = false;
      this.#believeTheDisk(known);
    }
    this.#compareProduced();
  }

  #compareProduced(): void {
    const { states } = this.#delivery;
    this.produced.compare(
      (origin) => states.isSettled(origin),
      states.results.all,
      (place) => this.disk.at(place),
    );
  }

  /** The process ends in order. */
  close(): void {
    this.#trace("close");
    this.counts.closes += 1;
    const isAbandoning = this.#random.below(2) === 0;
    this.#delivery.drain();
    // Ends: every round lets what runs end or be abandoned, and makes what was written durable.
    for (let round = 0; round < 1000; round += 1) {
      this.#advance(50);
      this.#turn();
      if (isAbandoning && round > 0) this.#delivery.abandon();
      // What was abandoned may end all the same.
      const isWaiting = !isAbandoning || this.#random.below(3) === 0;
      for (const task of this.#runner.tasks.values()) if (isWaiting && task.isBegun && !task.isOver) this.#endOne();
      if (!isAbandoning) this.#endQuarantine(true);
      while (this.#log.committed.length > 0) this.#sync();
      if (!this.#log.hasNews() && this.#delivery.isOver) break;
    }
    // One that has handed out nothing may have nothing to say.
    const hasBegun = this.#delivery.counts.delivered > 0;
    const before = this.#suspects;
    this.#housekeeping.checkpoint(0);
    // Records that were on their way are stored, and nobody has seen them.
    this.#quarantined = [];
    // Otherwise the log knows what has failed.
    if (this.#log.isFull) this.#failed.clear();
    this.#reopen();
    for (const [origin, ends] of hasBegun ? this.#suspects : []) {
      if (before.get(origin) !== ends) this.broken(`an end in order made record ${origin} more suspect`);
    }
  }

  /** What was decided and not told yet is what the disk says. */
  #believeTheDisk(known: Known): void {
    const { states } = this.#delivery;
    const { sequence } = known;
    if (states.isDead(sequence)) this.#foundDead(known);
    else if (!states.isSettled(sequence)) {
      if (known.isDurable && known.state === "finished") this.broken(`record ${sequence} was finished, and isn't`);
      known.state = "unfinished";
    } else if (known.state !== "finished") {
      if (known.state === "unfinished" && !this.#mayHaveEnded(known))
        this.broken(`record ${sequence} wasn't finished, and is settled`);
      known.state = "expired";
    }
    known.isDurable = known.state !== "unfinished";
  }

  /** Whether a record may be over although no handler has finished it. */
  #mayHaveEnded(known: Known): boolean {
    const { expiresAtMs } = known.terms;
    if (expiresAtMs !== undefined && this.#latestWall >= expiresAtMs) return true;
    // A member of a group is refused with the others.
    return this.#repeated.has(known.sequence) || [known, ...known.group].some((each) => this.#repeatsKey(each));
  }

  #repeatsKey({ sequence, handler, terms: { idempotency } }: Known): boolean {
    if (idempotency === undefined) return false;
    return [...this.known.values()].some((other) => {
      const key = other.terms.idempotency?.key;
      const isBefore = other.sequence < sequence && other.handler === handler;
      return isBefore && key !== undefined && Buffer.compare(key, idempotency.key) === 0;
    });
  }

  #checkpoint(checkpoint: Checkpoint): void {
    this.counts.checkpoints += 1;
    this.#compareStates(checkpoint);
    this.disk.checkpoints.push(checkpoint);
    if (this.disk.checkpoints.length > 2) this.disk.checkpoints.shift();
    if (checkpoint.before > 0) {
      const before = this.disk.firstSequence;
      this.disk.truncate(checkpoint.before);
      if (this.disk.firstSequence > before) {
        this.#checkRetained(before);
        this.counts.truncations += 1;
        this.#losesCheckpoint = this.#random.below(4) === 0;
      }
    }
    this.#housekeeping.checkpointDone(true);
  }

  /** What was given up, from `first` on, was old enough, or beyond the bytes. */
  #checkRetained(first: number): void {
    const { forMs, bytesMax } = this.#conditions.retain;
    for (let base = first; base < this.disk.firstSequence; base += SEGMENT_RECORDS) {
      const end = this.disk.begun.get(base + SEGMENT_RECORDS);
      // A clock that is set between two processes may make it older than it is.
      const isYoung = !this.#conditions.isClockSet && this.#now - (end?.atMs ?? Infinity) < forMs;
      const segments = Math.floor((this.disk.last - base + 1) / SEGMENT_RECORDS) + 1;
      if (isYoung && segments * SEGMENT_BYTES <= bytesMax) {
        this.broken(`the segment from ${base} on was given up, and was to be kept`);
      }
    }
  }

  /** A snapshot says what the log says: from the checkpoint before it, or from the beginning. */
  #compareStates(checkpoint: Checkpoint): void {
    const older = this.disk.checkpoints.at(-1);
    const log = new SimLog(this.disk, this.#random);
    log.known = checkpoint.from - 1;
    const again = readStates(log, older && { bytes: Buffer.from(older.bytes), from: older.from }, LIMITS);
    const left = Buffer.from(encodeStates(again));
    if (!left.equals(Buffer.from(checkpoint.bytes))) {
      this.broken(`the states of a checkpoint from ${checkpoint.from} aren't what the log says`);
    }
    // Most keys stand in WINDOW records, and not in the checkpoint.
    const keys = this.#delivery.states.window.encode(0, Infinity);
    if (!keys.equals(again.window.encode(0, Infinity))) {
      this.broken(`keys of records before ${checkpoint.from} are forgotten`);
    }
    const sums = again.producers.get("src")?.content.sums ?? new Uint32Array(0);
    if (!isDeepStrictEqual(sums, this.#contentBefore(checkpoint.from).sums)) {
      this.broken(`what the producer has said before ${checkpoint.from} isn't remembered`);
    }
  }

  /** The sums over what the records of the producer have said, each sequence the first time. */
  #contentBefore(place: number): ContentSums {
    const content = new ContentSums();
    const seen = new Set<number>();
    const droppedAt = this.#producerDrops.findLast((drop) => drop < place) ?? 0;
    for (const { sequence, terms } of this.known.values()) {
      const { producer } = terms;
      if (
        producer?.payloadCrc === undefined ||
        sequence >= place ||
        sequence < droppedAt ||
        seen.has(producer.sequence)
      )
        continue;
      seen.add(producer.sequence);
      content.add(producer.sequence, producer.payloadCrc);
    }
    return content;
  }

  // ── steps ─────────────────────────────────────────────────────────────────────────────────────

  step(): void {
    this.counts.steps += 1;
    if (this.#log.isFull) this.recorded.diskIsFull(this.counts.steps);
    const { stalled } = this.#conditions;
    if (this.counts.steps === stalled?.untilStep) this.#pause(stalled.handler, false);
    const dice = this.#random.below(100);
    if (this.#losesCheckpoint) this.crash();
    else if (dice < 22) this.#publish();
    else if (dice < 40) this.#sync();
    else if (dice < 64) this.#turn();
    else if (dice < 66) this.#commandLetters();
    else if (dice < 78) this.#beginOne();
    else if (dice < 90) {
      if (this.#random.below(this.#conditions.slowness) === 0) this.#endOne();
    } else if (dice < 95) this.#letTimePass();
    else if (dice < 96) this.#endQuarantine(this.#random.below(2) === 0);
    else if (dice < 97) this.#command();
    else if (dice === 97 && this.#random.below(2) === 0)
      this.#log.isFull = this.#conditions.isDiskFull && !this.#log.isFull;
    else if (dice < 98) this.#housekeeping.checkpoint(0);
    else if (this.#random.below(4) === 0) this.crash();
    else if (this.#random.below(6) === 0) this.close();
    else this.#turn();
  }

  #letTimePass(): void {
    const { longMs, lullRounds } = this.#conditions;
    const isLong = this.#random.below(3) === 0;
    this.#advance(isLong ? longMs : 50);
    for (let round = 0; isLong && round < lullRounds; round += 1) this.#catchUp();
  }

  /** Nothing is published, and handlers return what they can. */
  #catchUp(): void {
    this.#sync();
    this.#turn();
    for (let task = 0; task < CAPACITY; task += 1) {
      this.#beginOne();
      this.#endOne();
    }
    this.#endQuarantine(true);
  }

  #publish(): void {
    const count = this.#random.below(8) === 0 ? 2 + this.#random.below(3) : 1;
    const group = Array.from({ length: count }, () => this.#describe());
    if (count > 1) for (const published of group) withoutConflicts(published, group);
    this.#published.push(group);
  }

  #someHandler(): string {
    const { stalled } = this.#conditions;
    if (stalled === undefined) return HANDLERS[this.#random.below(HANDLERS.length)] as string;
    if (this.#random.below(stalled.oneIn) === 0) return stalled.handler;
    const others = HANDLERS.filter((name) => name !== stalled.handler);
    return others[this.#random.below(others.length)] as string;
  }

  #describe(): Published {
    const { rates } = this.#conditions;
    const handler = this.#random.below(rates.later) === 0 ? "later" : this.#someHandler();
    const priority = this.#random.below(3);
    const key = this.#random.below(2) === 0 ? `k${this.#random.below(3)}` : undefined;
    const isDeadly = rates.deadly > 0 && this.#random.below(rates.deadly) === 0;
    const payload = isDeadly ? DEADLY : `p${this.#random.below(3)}`;
    const idempotencyKey = this.#random.below(3) === 0 ? `i${this.#random.below(30)}` : undefined;
    const terms: Terms = {
      isOrdered: key !== undefined,
      idempotency:
        idempotencyKey === undefined
          ? undefined
          : {
              key: Buffer.from(idempotencyKey),
              payloadCrc: payload.charCodeAt(1),
              payloadBytes: payload.length,
              steadyMs: this.#steadyUnlessWall(),
            },
      producer:
        this.#random.below(8) === 0
          ? { id: "src", sequence: this.#random.below(40), payloadCrc: payload.charCodeAt(1) }
          : undefined,
      notBeforeMs: this.#random.below(rates.delayed) === 0 ? this.#wall + this.#random.below(8000) : undefined,
      expiresAtMs: this.#random.below(rates.expiring) === 0 ? this.#wall + 8000 + this.#random.below(8000) : undefined,
    };
    return { handler, priority, key, terms, payload };
  }

  /** As a publisher tells it, where somebody has set the clock. */
  #steadyUnlessWall(): number | undefined {
    const steadyMs = START_MS + this.#now;
    return Math.abs(steadyMs - this.#wall) <= 1000 ? undefined : steadyMs;
  }

  /** One batch becomes durable: whole groups of each ring, in any order between them. */
  #sync(): void {
    const own = groupsOf(this.#log.committed);
    const taken = own.slice(0, this.#random.below(own.length + 1));
    this.#log.committed.splice(0, taken.flat().length);
    const others = this.#published.splice(0, this.#random.below(this.#published.length + 1));
    while (taken.length > 0 || others.length > 0) {
      if (taken.length > 0 && (others.length === 0 || this.#random.below(2) === 0)) {
        this.#appendOwn(taken.shift() as SimRecord[]);
      } else this.#appendPublished(others.shift() as (typeof others)[0]);
    }
  }

  #appendOwn(group: readonly SimRecord[]): void {
    for (const record of group) {
      this.disk.append(record);
      // It may have been written before the clock was set back.
      this.#schedules.stored(record, this.#latestWall);
      const { type, replaces, origin } = record;
      if (isProducerDrop(record)) {
        this.#produced.clear();
        this.#producerDrops.push(this.disk.last);
      }
      this.#trace(`own ${this.disk.last} type ${type}${replaces > 0 ? ` copy of ${origin} from ${replaces}` : ""}`);
    }
    this.counts.scheduled = this.#schedules.published;
    const originOf = (place: number): number => (this.disk.records[place - 1] as SimRecord).origin;
    for (const record of group) this.#checkRecorded(record, originOf);
    for (const [index, published] of this.produced.appended(group, originOf).entries()) {
      const record = group[index] as SimRecord;
      if (published !== undefined) this.#know(published, record.sequence);
      else if (record.type === RECORD_TYPE.data && record.replaces === 0)
        this.#know(scheduledIn(record), record.sequence);
    }
    // A result that waited for room in the log may be over when its ACK comes.
    for (const record of group) if (isSteady(record)) this.produced.read(record.timeMs);
  }

  /** What the log says of the handler's records whose ends are recorded. */
  #checkRecorded(record: SimRecord, originOf: (place: number) => number): void {
    const { type, replaces } = record;
    const isRecorded = (origin: number): boolean => this.known.get(origin)?.handler === "mail";
    if (type === RECORD_TYPE.attempt) this.recorded.attempted(record);
    else if (type === RECORD_TYPE.ack) {
      const origins = originsOf(record, originOf).filter((origin) => isRecorded(origin));
      for (const origin of origins) this.recorded.acknowledged(origin, this.produced.resultOf(origin));
    } else if ((type === RECORD_TYPE.retry || type === RECORD_TYPE.dead) && replaces === 0) {
      if (isRecorded(decodeFate(record.payload()).origin)) this.recorded.failed(record);
    }
  }

  #appendPublished(group: readonly Published[]): void {
    const members: Known[] = [];
    for (const [index, published] of group.entries()) {
      const parts = { ...partsOf(published, this.#wall), type: RECORD_TYPE.data };
      this.disk.append(new SimRecord(parts, index < group.length - 1));
      const known = this.#know(published, this.disk.last);
      members.push(known);
      known.group = members;
    }
  }

  #know(published: Published, sequence: number): Known {
    const { handler, priority, key, terms } = published;
    this.#trace(`published ${sequence} ${handler} ${priority} ${key} ${JSON.stringify(terms)}`);
    this.counts.records += 1;
    const state = "unfinished";
    const first = undefined;
    const fresh = {
      state,
      isDurable: false,
      inHand: false,
      mayBeRefused: false,
      runs: 0,
      kills: 0,
      redriven: 0,
      attempt: 0,
      first,
      group: [],
    } as const;
    const known: Known = { ...published, ...fresh, sequence, steadyMs: this.#steadyOf(terms, sequence) };
    this.known.set(sequence, known);
    if (terms.producer === undefined) return known;
    const name = `${terms.producer.id}/${terms.producer.sequence}`;
    if (this.#produced.has(name)) this.#repeated.add(sequence);
    this.#produced.add(name);
    return known;
  }

  /** When a record with an idempotency key was published. */
  #steadyOf({ idempotency }: Terms, sequence: number): number {
    return idempotency?.steadyMs ?? (this.disk.records[sequence - 1] as SimRecord).timeMs;
  }

  #turn(): void {
    for (let turns = 0; turns < 8; turns += 1) {
      const handled = this.#delivery.turn() + this.#housekeeping.turn();
      this.#checkLetters();
      for (const { handler, isPaused } of this.#pausedSoon.splice(0)) {
        if (isPaused) this.#paused.add(handler);
        else this.#paused.delete(handler);
      }
      if (handled === 0) return;
    }
  }

  #beginOne(): void {
    const waiting = [...this.#runner.tasks.values()].filter(({ isBegun }) => !isBegun);
    if (waiting.length > 0) this.#begin(waiting[this.#random.below(waiting.length)] as SimTask);
  }

  /** False when the process has died of it. */
  #begin(task: SimTask): boolean {
    this.#runner.begin(task);
    if (!this.#isKilled) return true;
    this.#isKilled = false;
    this.counts.kills += 1;
    this.crash();
    return false;
  }

  #endOne(): void {
    const running = [...this.#runner.tasks.values()].filter(({ isBegun, isOver }) => isBegun && !isOver);
    if (running.length === 0) return;
    const task = running[this.#random.below(running.length)] as SimTask;
    const { sequence, redriven } = new TaskHeader(task.header);
    task.isOver = true;
    // What was redriven dies again often: commands that come late meet another letter.
    const dice = redriven > 0 && this.#random.below(2) === 0 ? 6 : this.#random.below(10);
    task.isOk = dice < 10 - this.#conditions.rates.failingTenths;
    if (task.isOk) task.value = this.#outcomeOf(sequence, !task.isAbandoned);
    else if (dice === 6) task.value = Object.assign(new Error("never"), { name: "NonRetryable" });
    else if (dice === 7) task.value = Object.assign(new Error("later"), { name: "Snooze", retryAfterMs: 100 });
    else task.value = new Error("failed");
    this.#trace(`over ${sequence} ${dice}`);
    const known = this.known.get(sequence) as Known;
    // As machines send it.
    if (!task.isOk && known.handler === "mail") task.value = packFailure({ error: task.value, ranMs: 1 });
    if (task.isAbandoned) return;
    if (!task.isOk && dice !== 7) this.#countFailed(task);
    known.inHand = false;
    if (task.isOk) known.state = "finished";
  }

  #countFailed(task: SimTask): void {
    const { sequence, redriven } = new TaskHeader(task.header);
    const name = `${sequence}/${redriven}`;
    this.#failed.set(name, (this.#failed.get(name) ?? 0) + 1);
  }

  /** What the handler of this record has published, as its machine sends it. */
  #outcomeOf(origin: number, counts = true): unknown {
    // At the end nothing new begins.
    const count = !this.#isSettling && this.#random.below(3) === 0 ? 1 + this.#random.below(2) : 0;
    const known = this.known.get(origin) as Known;
    const keeps = known.handler === "mail";
    known.mayBeRefused = count > 0 && this.#conditions.deadBytesMax < Infinity;
    const outcome = this.produced.returns(origin, count, { counts, keeps }, () => ({
      published: this.#describe(),
      timeMs: this.#wall,
    }));
    return count === 0 && !keeps ? undefined : packOutcome(outcome);
  }

  #advance(ms: number): void {
    this.#now += ms;
    this.#wall += ms;
    this.#latestWall = Math.max(this.#latestWall, this.#wall);
    if (!this.#conditions.isClockSet || this.#random.below(20) > 0) return;
    const isBack = this.#random.below(2) !== 0;
    this.#wall += isBack ? -20_000 : 20_000;
    this.#wasSetBack ||= isBack;
    this.#latestWall = Math.max(this.#latestWall, this.#wall);
    this.#schedules.clockSet();
  }

  #command(): void {
    if (this.#random.below(3) === 0) {
      this.#schedules.command(this.#delivery.schedules, this.#wall);
      return;
    }
    this.#commandLetters();
  }

  /** Dead letters are redriven and dropped, and handlers paused. */
  #commandLetters(): void {
    const dead = [...this.known.values()].filter(({ state, isDurable }) => state === "dead" && isDurable);
    const dice = this.#random.below(5);
    if (dice === 0 && this.#random.below(4) === 0) this.#delivery.commands.dropProducer("src");
    else if (dice === 0) {
      const handler = HANDLERS[this.#random.below(HANDLERS.length)] as string;
      const isPaused = this.#random.below(2) === 0;
      this.#pause(handler, isPaused);
    } else if (dice === 4) this.#commandAgain();
    else if (dead.length > 0) {
      const { sequence } = dead[this.#random.below(dead.length)] as Known;
      const lastDeath = this.#delivery.states.dead.get(sequence)?.death ?? 0;
      const letters = { origins: [sequence, sequence], lastDeath: this.#random.below(3) === 0 ? 0 : lastDeath };
      this.#letters.push(letters);
      if (dice === 1) this.#delivery.commands.drop(letters);
      else {
        // Twice at once: it happens once. Naming its own handler changes nothing.
        const own = this.#random.below(2) === 0 ? "" : (this.known.get(sequence) as Known).handler;
        this.#delivery.commands.redrive(letters, own);
        if (dice === 2) this.#delivery.commands.redrive(letters, "");
        this.counts.redriven += 1;
      }
    }
  }

  #pause(handler: string, isPaused: boolean): void {
    this.#delivery.commands.pause(handler, isPaused);
    if (isPaused) this.#paused.add(handler);
    else this.#paused.delete(handler);
  }

  /** A command that comes late: the letter may be another by now. */
  #commandAgain(): void {
    const { dead } = this.#delivery.states;
    const isOld = ({ origins, lastDeath }: Letters): boolean =>
      lastDeath > 0 && (dead.get(origins[0] as number)?.death ?? 0) > lastDeath;
    const old = this.#letters.find(isOld) ?? this.#letters.find(({ lastDeath }) => lastDeath > 0);
    if (old !== undefined) this.#delivery.commands.redrive(old, "");
  }

  // ── the oracle ────────────────────────────────────────────────────────────────────────────────

  /** A handler is called. */
  #begun(task: SimTask): void {
    // It may begin late: what it leaves doesn't count.
    if (task.isAbandoned) return;
    const header = new TaskHeader(task.header);
    const { sequence } = header;
    this.#trace(`begun ${sequence} attempt ${header.attempt}`);
    const known = this.known.get(sequence);
    if (known === undefined) return this.broken(`record ${sequence} is handled and was never published`);
    this.counts.runs += 1;
    known.runs += 1;
    this.#openAgain(known);
    this.#checkAttempt(header);
    if (this.#onlyAlone.has(sequence)) this.broken(`record ${sequence} may end its process, and isn't alone there`);
    const { suspects, trying } = this.#delivery.states.endings;
    if (suspects.has(sequence) && !trying.includes(sequence)) {
      this.broken(`record ${sequence} is suspect, and is handled without a word in the log`);
    }
    const name = HANDLERS[task.handler];
    if (name !== known.handler) this.broken(`record ${sequence} of ${known.handler} is handled by ${name}`);
    if (Buffer.from(task.payload).toString() !== known.payload) this.broken(`record ${sequence} has another payload`);
    if (known.inHand) this.broken(`record ${sequence} is in hand twice`);
    if (known.state !== "unfinished") {
      if (known.state === "dead" && this.#wasRedriven(sequence)) known.state = "unfinished";
      else this.broken(`record ${sequence} is handled although it is ${known.state}`);
    }
    if (this.#repeated.has(sequence)) this.broken(`record ${sequence} repeats its producer's sequence, and is handled`);
    if (known.first !== undefined) this.broken(`record ${sequence} is a duplicate of ${known.first}, and is handled`);
    const { notBeforeMs, expiresAtMs } = known.terms;
    // It may have been handed out before the clock was set back.
    if (notBeforeMs !== undefined && this.#latestWall < notBeforeMs)
      this.broken(`record ${sequence} is handled too early`);
    void expiresAtMs;
    if (this.#paused.has(known.handler) && !this.#wasHandedOut(task)) {
      this.broken(`record ${sequence} is handled although ${known.handler} is paused`);
    }
    this.#checkOrder(known);
    this.#checkKey(known);
    this.#checkDeaths(header);
    if (header.attempt < 1) this.broken(`record ${sequence} has attempt ${header.attempt}`);
    this.recorded.began(sequence, this.counts.steps);
    known.inHand = true;
    known.isDurable = false;
    if (known.payload !== DEADLY) return;
    if (known.redriven !== header.redriven) known.kills = 0;
    known.redriven = header.redriven;
    known.kills += 1;
    if (known.kills > QUARANTINE_ENDS) this.broken(`record ${sequence} ends the process for the ${known.kills}th time`);
    this.#isKilled = true;
  }

  /** What its handler has left was refused, since dead letters have no room. */
  #openAgain(known: Known): void {
    const wasRefused = known.state === "finished" && !known.isDurable && known.mayBeRefused;
    if (wasRefused) known.state = "unfinished";
  }

  /** No attempt is forgotten that the log says, or that has failed since the opening. */
  #checkAttempt({ sequence, attempt, redriven }: TaskHeader): void {
    const name = `${sequence}/${redriven}`;
    const failed = this.#failed.get(name) ?? 0;
    if (attempt <= failed) this.broken(`record ${sequence} has attempt ${attempt} after ${failed} that failed`);
    const said = this.#delivery.states.retries.get(sequence)?.attempts ?? 0;
    if (attempt <= said) this.broken(`record ${sequence} has attempt ${attempt}, and the log says ${said}`);
  }

  /** A key is remembered for its time, by a clock that nobody sets, unless there are too many. */
  #checkKey({ sequence, handler, terms: { idempotency } }: Known): void {
    if (idempotency === undefined) return;
    const before = [...this.known.values()].filter(
      (other) => other.sequence < sequence && other.terms.idempotency !== undefined,
    );
    let newestMs = 0;
    for (const each of before.slice(-LIMITS.keysMax + 1).toReversed()) {
      newestMs = Math.max(newestMs, each.steadyMs);
      const { key } = each.terms.idempotency as Idempotency;
      const isSame = each.handler === handler && Buffer.compare(key, idempotency.key) === 0;
      if (!isSame || each.runs === 0 || newestMs - each.steadyMs > LIMITS.forMs - 1000) continue;
      this.broken(`record ${sequence} is handled, and so was ${each.sequence} of the same idempotency key`);
    }
  }

  /** A death is redriven once, by a command that knew of it; the end of attempts is an end. */
  #checkDeaths({ sequence, redriven }: TaskHeader): void {
    const { states } = this.#delivery;
    if (states.retries.get(sequence)?.dueMs === Infinity) {
      this.broken(`record ${sequence} is handled although it has no attempt left`);
    }
    let death = 0;
    let times = 0;
    for (const record of this.disk.records) {
      if (record.sequence > this.#log.known) break;
      if (record.type === RECORD_TYPE.dead && record.replaces === 0) {
        if (decodeFate(record.payload()).origin === sequence) death = record.sequence;
      } else if (record.type === RECORD_TYPE.redrive && death > 0) {
        const { origins, lastDeath } = decodeRedrive(record.payload());
        if (!origins.includes(sequence) || (lastDeath > 0 && lastDeath < death)) continue;
        death = 0;
        times += 1;
      }
    }
    if (redriven !== times) this.broken(`record ${sequence} was redriven ${times} times, and learns ${redriven}`);
  }

  #checkLetters(): void {
    const { dead } = this.#delivery.states;
    if (dead.size > 1 && dead.bytes > this.#conditions.deadBytesMax)
      this.broken(`dead letters take ${dead.bytes} bytes`);
    let last = 0;
    for (const [origin, { death }] of dead) {
      if (death <= last || this.disk.records[death - 1]?.replaces !== 0) {
        this.broken(`record ${origin} died by ${death}, behind ${last}`);
      }
      last = death;
    }
  }

  /** What a machine had before the pause may begin after it. */
  #wasHandedOut(_task: SimTask): boolean {
    return true;
  }

  #wasRedriven(sequence: number): boolean {
    return !this.#delivery.states.isDead(sequence);
  }

  #checkOrder(known: Known): void {
    const { key, handler, priority, sequence } = known;
    if (key === undefined) return;
    for (const other of this.known.values()) {
      if (other === known || other.key !== key || other.handler !== handler || other.priority !== priority) continue;
      if (other.inHand) this.broken(`records ${other.sequence} and ${sequence} of key ${key} are in hand together`);
      if (handler === "skip" || other.sequence > sequence || other.first !== undefined) continue;
      if (this.#delivery.ends.isEnding(other.sequence, this.#delivery.states.placeOf(other.sequence))) continue;
      const isBefore =
        other.state === "unfinished" && !this.#isDelayed(other) && !this.#wasEverDead.has(other.sequence);
      if (isBefore) this.broken(`record ${sequence} of key ${key} is handled before ${other.sequence}`);
      if (handler === "mail" && other.state === "dead" && other.isDurable && !this.#wasEverDead.has(other.sequence)) {
        this.broken(`record ${sequence} of key ${key} is handled although ${other.sequence} is dead and holds the key`);
      }
    }
  }

  /**
   * A delayed record takes its place when it is due, and a redriven one when it is redriven. If the
   * clock was set back, one that has run already may be delayed again after a restart.
   */
  #isDelayed({ terms: { notBeforeMs, expiresAtMs }, runs }: Known): boolean {
    if (notBeforeMs !== undefined && this.#wasSetBack) return true;
    return runs === 0 && (notBeforeMs !== undefined || expiresAtMs !== undefined);
  }

  readonly #wasEverDead = new Set<number>();

  /** A dead letter of `mail` holds its key until it is redriven; any other loses its place. */
  #foundDead(known: Known): void {
    known.state = "dead";
    if (known.handler !== "mail") this.#wasEverDead.add(known.sequence);
  }

  finished(origin: number): void {
    const known = this.known.get(origin);
    // An ACK range may name what isn't data.
    if (known === undefined) return;
    if (known.state === "unfinished") this.broken(`record ${origin} is told as finished, and isn't`);
    known.isDurable = true;
  }

  dead(origin: number, history: Uint8Array): void {
    const known = this.known.get(origin) as Known;
    if (history.length === 0) this.broken(`dead record ${origin} has no errors`);
    this.#openAgain(known);
    if (known.state === "finished") this.broken(`record ${origin} is dead, and was finished`);
    known.isDurable = true;
    this.#foundDead(known);
  }

  expired(origin: number): void {
    const known = this.known.get(origin) as Known;
    if (known.state === "finished" && known.isDurable) this.broken(`record ${origin} expires, and was finished`);
    known.state = "expired";
    known.isDurable = true;
  }

  /** A process of its own takes a while, and ends now and then. */
  told(): void {}

  quarantine(origin: number): void {
    this.#quarantined.push(origin);
    const known = this.known.get(origin) as Known;
    if (known.inHand) this.broken(`record ${origin} is in hand twice`);
    this.#openAgain(known);
    if (known.state === "dead" && this.#wasRedriven(origin)) known.state = "unfinished";
    if (known.state !== "unfinished")
      this.broken(`record ${origin} is put into quarantine although it is ${known.state}`);
    this.#checkOrder(known);
    this.recorded.began(origin, this.counts.steps);
    known.inHand = true;
    known.isDurable = false;
    known.runs += 1;
    this.counts.quarantined += 1;
  }

  #endQuarantine(mayReturn: boolean): void {
    const origin = this.#quarantined.shift();
    if (origin === undefined) return;
    const known = this.known.get(origin) as Known;
    known.inHand = false;
    const isOk = mayReturn && known.payload !== DEADLY;
    if (isOk) known.state = "finished";
    const isLate = this.#random.below(3) === 0;
    const error = poolError(isLate ? "ERR_QUARANTINE_TIMEOUT" : "ERR_QUARANTINE_DIED", "it has no process any more");
    if (!isOk) this.#onlyAlone.add(origin);
    const outcome = isOk ? unpackOutcome(this.#outcomeOf(origin)) : undefined;
    this.#delivery.quarantined(origin, isOk ? undefined : error, outcome);
  }

  judged(place: number, verdict: Verdict): void {
    const known = this.known.get(place) as Known;
    if (verdict.kind === "first") return;
    if (verdict.first > place) this.broken(`record ${place} is called a duplicate of a later one`);
    known.first = verdict.first;
    const refused = verdict.kind === "mismatch" ? [known, ...known.group] : [known];
    for (const each of refused) {
      if (each.runs > 0) this.broken(`record ${each.sequence} of a group that is refused was handled`);
      each.state = "expired";
      each.isDurable = true;
    }
  }

  /** Everything that can end has ended. */
  settle(): void {
    this.#isSettling = true;
    this.#letGo();
    for (let round = 0; round < 3000; round += 1) {
      this.#turn();
      this.#endQuarantine(true);
      for (const task of this.#runner.tasks.values()) {
        if (!task.isBegun && !this.#begin(task)) {
          this.#letGo();
          break;
        }
        if (task.isOver) continue;
        task.isOver = true;
        task.isOk = true;
        if (task.isAbandoned) continue;
        const known = this.known.get(new TaskHeader(task.header).sequence) as Known;
        this.#trace(`over ${known.sequence} at the end`);
        known.inHand = false;
        known.state = "finished";
        task.value = this.#outcomeOf(known.sequence);
      }
      while (this.#log.committed.length > 0 || this.#published.length > 0) this.#sync();
      this.#advance(500);
      // Dead letters of this handler hold their keys.
      const holding = [...this.known.values()].filter(({ handler, state }) => handler === "mail" && state === "dead");
      if (round % 20 === 0) this.#drop(holding);
      // Records that wait for room among the dead letters get it.
      if (round % 20 === 10 && this.#delivery.deaths.waiting > 0) {
        this.#drop([...this.known.values()].filter(({ state }) => state === "dead"));
      }
      if (this.#isSettled()) break;
    }
    for (const known of this.known.values()) {
      if (known.handler === "later" || known.state !== "unfinished") continue;
      this.broken(`record ${known.sequence} of ${known.handler} is never handled; ${this.#delivery.describe()}`);
    }
    if (!this.#delivery.isDrained) this.broken("everything has ended, and delivery isn't drained");
    this.#checkDisk();
    this.#checkHeld();
    this.#compareProduced();
  }

  /** Nobody is paused, the disk has room, and no schedule is left. */
  #letGo(): void {
    for (const handler of HANDLERS) this.#delivery.commands.pause(handler, false);
    this.#paused.clear();
    this.#log.isFull = false;
    this.#settleSchedules();
  }

  /** What is due is published; then the schedules end. */
  #settleSchedules(): void {
    for (let round = 0; round < 10; round += 1) {
      this.#turn();
      while (this.#log.committed.length > 0) this.#sync();
    }
    this.#schedules.settled(this.#wall);
    this.#schedules.removeAll(this.#delivery.schedules);
  }

  #drop(dead: readonly Known[]): void {
    this.#delivery.commands.drop({ origins: dead.map(({ sequence }) => sequence), lastDeath: 0 });
  }

  #isSettled(): boolean {
    if (!this.#delivery.isDrained || this.#delivery.waiting > 0 || this.#delivery.suspects > 0) return false;
    return [...this.known.values()].every(({ handler, state }) => handler === "later" || state !== "unfinished");
  }

  /** What isn't finished, and what is dead, is still in the log. */
  #checkDisk(): void {
    const { states } = this.#delivery;
    for (const known of this.known.values()) {
      const isNeeded = known.handler === "later" ? known.first === undefined : known.state === "dead";
      if (!isNeeded || known.state === "expired") continue;
      if (this.disk.at(states.placeOf(known.sequence)) === undefined) this.broken(`record ${known.sequence} is gone`);
    }
  }

  #trace(what: string): void {
    if (process.env["MILLRACE_INTAKE_TRACE"] !== undefined) console.log(`${this.counts.steps}: ${what}`);
  }

  /** What isn't needed holds nothing: every place that isn't given away has a reason. */
  #checkHeld(): void {
    const { states } = this.#delivery;
    const needed = new Set<number>(states.windowChunks.keys());
    for (const [, { place }] of states.retries) needed.add(place);
    for (const { place } of states.results.all.values()) needed.add(place);
    for (const [origin, { place }] of states.dead) needed.add(place).add(states.placeOf(origin));
    for (const { sequence, state } of this.known.values()) {
      if (state === "unfinished") needed.add(states.placeOf(sequence));
    }
    for (let place = this.disk.firstSequence; place <= this.#log.known; place += 1) {
      if (!states.droppable.has(place) && !needed.has(place)) this.broken(`place ${place} is kept for nothing`);
    }
    for (const origin of [...states.redriven.keys(), ...states.redirected.keys()]) {
      const isOver = states.isSettled(origin) && !states.isDead(origin);
      if (isOver) this.broken(`record ${origin} is over, and is remembered as redriven`);
    }
  }

  broken(what: string): never {
    throw new Broken(`seed ${this.seed}, step ${this.counts.steps}: ${what}`);
  }
}
