/**
 * The delivery thread: turns of the state machine, and sleep between them.
 *
 * It sleeps on one word, and is woken by the writer (new records), the machines (outcomes) and the
 * opener (questions, commands, the end). Before it sleeps it announces so, and looks once more.
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { Parker, unpark } from "@millrace/atomics-sync";
import { type Random, seededRandom } from "@millrace/base";
import { decode } from "@millrace/codec";
import type { Storage } from "@millrace/journal";
import { findReserve, isNotThere, readCheckpoints, SegmentList } from "@millrace/journal/kernel";
import { Submitter } from "@millrace/scheduler";
import { unpackOutcome } from "../format/outcome.ts";
import type { RangeSet } from "../format/range-set.ts";
import { HeaderParser } from "../format/record-header.ts";
import { reasonName } from "../format/state-records.ts";
import type { Verdict, WindowLimits } from "../states/dedupe-window.ts";
import { readStates } from "../snapshot/read-states.ts";
import type { DeadState } from "../states/dead-table.ts";
import { type ProducerSnapshot, ProducerState } from "../states/producer-state.ts";
import { Answers } from "./answers.ts";
import { COMMANDS } from "./control.ts";
import { findDead, scanDead } from "./dead-scan.ts";
import { Delivery } from "./delivery.ts";
import type { DeliveryEvent, DeliveryEvents } from "./events.ts";
import { Figures } from "./figures.ts";
import { Housekeeping } from "./housekeeping.ts";
import { JournalLog } from "./journal-log.ts";
import type { Command, DeliveryData, DeliveryOrder, DeliveryReport, RecordDeath } from "./messages.ts";
import { type HandlerOptions, handlerTerms } from "./policy.ts";
import type { Clock } from "./ports.ts";
import { SchedulerRunner } from "./scheduler-runner.ts";
import { ABANDONING, DRAINING, RUNNING, StateWord, STOPPED } from "./state-word.ts";

/** Longest sleep without a look around. */
const PARK_MS = 1000;
const TICK_MS = 1000;
/**
 * Ticks at the end without room on the disk, after which the thread tells the opener; the journal
 * tries for room every five seconds at least.
 */
const ROOM_TICKS_MAX = 7;
/** Between two words of forgotten idempotency keys. */
const EVICTED_MS = 60_000;
/** Shortest sleep before something that is due. */
const SLEEP_MS_MIN = 1;
const NOTHING_PRODUCED: ProducerSnapshot = new ProducerState().snapshot();
const clock: Clock = { now: () => performance.now(), wall: () => Date.now() };

export class DeliveryThread implements DeliveryEvents {
  readonly #words: Int32Array;
  readonly #state: StateWord;
  readonly #figures: Figures;
  readonly #threads: Int32Array;
  readonly #openerThread: number;
  readonly #parker: Parker;
  readonly #port: MessagePort;
  readonly #log: JournalLog;
  readonly #runner: SchedulerRunner;
  readonly #delivery: Delivery;
  readonly #housekeeping: Housekeeping;
  readonly #answers: Answers;
  /** The storage whose free bytes are measured; undefined when nobody needs them. */
  readonly #measured: Storage | undefined;
  #commandsTaken = 0;
  readonly #limitsUnfinished: boolean;
  #stoppedTold: ReadonlySet<string> = new Set();
  /** Deaths of this turn. */
  #died: RecordDeath[] = [];
  #deathsVersion = 0;
  #tickAt = 0;
  #roomTicks = 0;
  #knownAtTick = 0;
  readonly #dedupe: WindowLimits;
  #evictedTold: number;
  #evictedTellAt = 0;

  constructor(data: DeliveryData, storage: Storage, port: MessagePort) {
    const { journal, scheduler, options } = data;
    this.#words = new Int32Array(data.words);
    this.#state = new StateWord(this.#words);
    this.#threads = new Int32Array(scheduler.memory.threads);
    this.#openerThread = scheduler.memory.submitterThreads[0] as number;
    this.#parker = new Parker(this.#threads, scheduler.thread);
    this.#port = port;
    this.#limitsUnfinished = options.limitsUnfinished;
    this.#measured = options.measuresDisk ? storage : undefined;
    this.#log = new JournalLog(journal, storage);
    this.#runner = new SchedulerRunner(new Submitter(scheduler.memory, scheduler.submitter), (machine, ifBlocked) =>
      this.#report({ endMachine: machine, ifBlocked }),
    );
    const [checkpoint] = readCheckpoints(storage, Buffer.from(journal.logId));
    const states = readStates(this.#log, checkpoint, options.dedupe);
    this.#answers = new Answers(
      this.#words,
      this.#threads,
      scheduler.memory.submitterThreads[0] as number,
      {
        known: () => this.#log.known,
        isDead: (origin) => states.isDead(origin),
        isSettled: (origin) => states.isSettled(origin),
      },
      (answer) => this.#report(answer),
    );
    const recovered = this.#log.recoveredSequence;
    this.#dedupe = options.dedupe;
    this.#evictedTold = states.window.evictedEarly;
    const waiting = recovered - states.settled.countUpTo(recovered);
    const random: Random = seededRandom(Date.now());
    // Bytes of the reserve, or those that it must have had if it is in use already.
    const reserveBytes = (): number => Math.max(findReserve(storage)?.bytes ?? 0, this.#log.batchBytesMax);
    this.#delivery = new Delivery(
      { log: this.#log, runner: this.#runner, clock, random, scratch: storage },
      states,
      new HeaderParser(scheduler.handlerNames),
      scheduler.handlerNames.length,
      {
        logId: journal.logId,
        schedules: options.schedules,
        laneRecordsMax: options.laneRecordsMax,
        reserveBytes,
        deadBytesMax: options.deadBytesMax,
        producersMax: options.producersMax,
        onProducer: (producer) => this.#report({ producer }),
        handlerTerms: (name) =>
          handlerTerms(`handlers.${name}`, ownOf(options.handlers, name), options.handlerDefaults),
      },
      this,
    );
    const segments = new SegmentList(storage);
    this.#housekeeping = new Housekeeping(
      {
        segments: () => readUnlessGone(segments),
        walk: () => this.#log.walk(),
        reserveBytes,
        checkpoint: (each) => this.#report({ checkpoint: { ...each, bytes: shared(each.bytes) } }),
      },
      this.#log,
      clock,
      this.#delivery,
      options.retain,
    );
    const parts = { delivery: this.#delivery, housekeeping: this.#housekeeping, log: this.#log, runner: this.#runner };
    this.#figures = new Figures(data.stats, waiting, parts);
    this.#tick();
    this.#publish();
  }

  #report(report: DeliveryReport): void {
    this.#port.postMessage(report);
  }

  /** Runs until the opener ends it, or the journal is poisoned. */
  run(): void {
    this.#state.raise(RUNNING);
    while (this.#turn());
    const { groupsGivenUp } = this.#delivery.stateLog;
    if (groupsGivenUp > 0) this.#report({ groupsGivenUp });
    // The next opening begins here.
    if (!this.#log.isPoisoned()) {
      this.#housekeeping.checkpoint(0);
      this.#delivery.close();
    }
    this.#state.raise(STOPPED);
    unpark(this.#threads, this.#openerThread);
  }

  /** All duties once, then sleep if there was nothing to do; false at the end. */
  #turn(): boolean {
    if (this.#log.isPoisoned()) return false;
    const state = this.#state.value;
    if (state >= DRAINING) this.#delivery.drain();
    if (state === ABANDONING) this.#delivery.abandon();
    this.#delivery.stateLog.isAwaited = this.#answers.isUrgent;
    let handled = this.#delivery.turn();
    handled += this.#housekeeping.turn();
    this.#tick();
    this.#publish();
    this.#answers.answerFirsts();
    // This comes before the questions are read. Every record that the asker knows of was looked at,
    // or is news.
    if (this.#answers.isAllAwaited && this.#delivery.isDrained && !this.#log.hasNews()) this.#tellDrained();
    const asked = this.#answers.read();
    this.#answers.send();
    // The ACK of an awaited record may lie in the ring without hurry.
    if (asked > 0 && this.#answers.isUrgent) this.#delivery.stateLog.urge();
    handled += asked + this.#readOrders();
    if (handled > 0) return true;
    if (state >= DRAINING && this.#delivery.isOver) return false;
    this.#sleep(state);
    return true;
  }

  #tellDrained(): void {
    this.#figures.keepLeft();
    this.#answers.allDone();
  }

  #tick(): void {
    const now = clock.now();
    if (now < this.#tickAt) return;
    this.#tickAt = now + TICK_MS;
    this.#runner.tick();
    this.#tellEvicted(now);
    this.#lookForRoom();
    if (this.#measured !== undefined) {
      this.#figures.setFreeBytes(this.#measured.space?.().freeBytes ?? Infinity);
    }
  }

  /** Ticks and not a time: a process that was stopped hasn't waited. */
  #lookForRoom(): void {
    const isWaiting = this.#state.value >= DRAINING && this.#delivery.waitsForRoom && !this.#log.hasNews();
    this.#roomTicks = isWaiting && this.#log.known === this.#knownAtTick ? this.#roomTicks + 1 : 0;
    this.#knownAtTick = this.#log.known;
    if (this.#roomTicks >= ROOM_TICKS_MAX) this.#report({ withoutRoomSeconds: (this.#roomTicks * TICK_MS) / 1000 });
  }

  /** Keys that were forgotten before their time; not those that an opening forgets once more. */
  #tellEvicted(now: number): void {
    const { evictedEarly } = this.#delivery.states.window;
    if (evictedEarly === this.#evictedTold || now < this.#evictedTellAt) return;
    const count = evictedEarly - this.#evictedTold;
    this.#evictedTold = evictedEarly;
    this.#evictedTellAt = now + EVICTED_MS;
    this.told({ name: "keysEvicted", count, ...this.#dedupe });
  }

  // ── events of the state machine ───────────────────────────────────────────────────────────────

  get wantsFinished(): boolean {
    return this.#answers.wantsFinished;
  }

  finished(origin: number): void {
    this.#answers.finished(origin);
  }

  dead(origin: number, history: Uint8Array): void {
    this.#answers.dead(origin, history);
    const { handler, reason, attempts, atMs } = this.#delivery.states.dead.get(origin) as DeadState;
    this.#died.push({ sequence: origin, handler, reason: reasonName(reason), attempts, diedAtMs: atMs });
  }

  expired(origin: number): void {
    this.#answers.expired(origin);
  }

  judged(place: number, verdict: Verdict, isAsked: boolean): void {
    if (isAsked) this.#answers.judged(place, verdict);
  }

  quarantine(origin: number, handler: string, header: Uint8Array, payload: Uint8Array, timeoutMs: number): void {
    this.#report({ quarantine: origin, handler, header, payload, timeoutMs });
  }

  told(event: DeliveryEvent): void {
    this.#report({ event });
  }

  // ── orders ────────────────────────────────────────────────────────────────────────────────────

  #readOrders(): number {
    const commands = Atomics.load(this.#words, COMMANDS);
    if (commands === this.#commandsTaken) return 0;
    this.#commandsTaken = commands;
    let taken = 0;
    for (let got = receiveMessageOnPort(this.#port); got !== undefined; got = receiveMessageOnPort(this.#port)) {
      const order = got.message as DeliveryOrder;
      taken += 1;
      if ("quarantined" in order) {
        const error = order.error === undefined ? undefined : thrownIn(order.error);
        this.#delivery.quarantined(order.quarantined, error, unpackOutcome(order.outcome));
      } else if ("checkpointDone" in order) this.#housekeeping.checkpointDone(order.checkpointDone);
      else this.#carryOut(order.command, (result) => this.#report({ id: order.id, result }));
    }
    return taken;
  }

  /** `answer` is called when what the command has written is durable. */
  #carryOut(command: Command, answer: (result: unknown) => void): void {
    // Who is told of a change finds it in the counters.
    const done = (): void => {
      this.#figures.write();
      answer(undefined);
    };
    switch (command.kind) {
      case "pause":
      case "resume":
        this.#delivery.commands.pause(command.handler, command.kind === "pause", done);
        break;
      case "redrive":
        this.#delivery.commands.redrive(command.letters, command.handler, done);
        break;
      case "drop":
        this.#delivery.commands.drop(command.letters, done);
        break;
      case "findResult":
        answer(this.#delivery.states.results.all.get(command.sequence));
        break;
      case "recordState":
        answer(this.#answers.hasExpired(command.sequence) ? "expired" : this.#delivery.stateOf(command.sequence));
        break;
      case "scanDead":
        answer(scanDead(this.#delivery.states, command.query, command.behind));
        break;
      case "findDead":
        answer(findDead(this.#delivery.states, command.sequence));
        break;
      case "dropProducer":
        this.#delivery.commands.dropProducer(command.id, done);
        break;
      case "producers":
        answer(Array.from(this.#delivery.states.producers, ([id, { sequences }]) => sequencesOf(id, sequences)));
        break;
      case "producer":
        answer(this.#delivery.states.producers.get(command.id)?.snapshot() ?? NOTHING_PRODUCED);
        break;
      case "schedule": {
        const { name, definition } = command;
        const refusal = this.#delivery.schedules.define(
          { name, definition, isDeclared: false, atMs: clock.wall() },
          done,
        );
        if (refusal !== undefined) answer(refusal);
        break;
      }
      case "unschedule":
        this.#delivery.schedules.remove(command.name, answer);
        break;
      case "handlers":
        answer(this.#delivery.handlerReports());
        break;
      case "lanes":
        answer(this.#delivery.laneReports());
        break;
      case "schedules":
        this.#delivery.schedules.list(answer);
        break;
    }
  }

  // ── the end of a turn ─────────────────────────────────────────────────────────────────────────

  #publish(): void {
    this.#figures.write();
    if (this.#died.length > 0) {
      this.#report({ died: this.#died });
      this.#died = [];
    }
    const { deaths, states } = this.#delivery;
    if (deaths.version !== this.#deathsVersion) {
      this.#deathsVersion = deaths.version;
      this.#report({ fullHandlers: deaths.fullHandlers });
    }
    const balance = this.#log.known - states.settled.size - this.#log.takenFromOpener;
    if (this.#limitsUnfinished) {
      this.#tellStopped();
      this.#answers.tellBalance(balance | 0, (balance - this.#delivery.aside) | 0);
    } else this.#answers.tellBalance(balance | 0, balance | 0);
  }

  #tellStopped(): void {
    const names = this.#delivery.stoppedNames();
    if (names.length === this.#stoppedTold.size && names.every((name) => this.#stoppedTold.has(name))) return;
    this.#stoppedTold = new Set(names);
    this.#report({ stoppedHandlers: this.#stoppedTold });
  }

  /** `seen`: the state that the turn went by. */
  #sleep(seen: number): void {
    this.#parker.prepare();
    if (
      this.#state.value !== seen ||
      this.#runner.hasOutcomes() ||
      this.#log.hasNews() ||
      this.#answers.hasQuestions() ||
      Atomics.load(this.#words, COMMANDS) !== this.#commandsTaken ||
      this.#log.isPoisoned()
    ) {
      this.#parker.cancel();
      return;
    }
    const untilMs = Math.min(this.#delivery.nextTurnAt(), this.#housekeeping.dueAt) - clock.now();
    this.#parker.wait(Math.min(PARK_MS, Math.max(untilMs, SLEEP_MS_MIN)));
  }
}

/** A handler may throw undefined, which isn't to have returned. */
function thrownIn(error: Uint8Array): unknown {
  return decode(Buffer.from(error)) ?? new Error("the handler threw nothing");
}

function sequencesOf(id: string, sequences: RangeSet): object {
  const [, lastSequence] = sequences.range(sequences.ranges - 1);
  return { id, records: sequences.size, lastSequence };
}

/** A handler may have a name that every object has. */
function ownOf(handlers: Readonly<Record<string, HandlerOptions>>, name: string): HandlerOptions {
  return Object.hasOwn(handlers, name) ? (handlers[name] as HandlerOptions) : {};
}

/** A snapshot goes to the keeper past the main thread, which hands on the memory alone. */
function shared(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/**
 * None when the directory itself is gone. The writer thread finds that out as well, and stops the
 * journal with an error that says so.
 */
function readUnlessGone(segments: SegmentList): ReturnType<SegmentList["read"]> {
  try {
    return segments.read();
  } catch (thrown) {
    if (isNotThere(thrown)) return [];
    throw thrown;
  }
}
