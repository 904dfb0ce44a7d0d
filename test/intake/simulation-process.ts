/**
 * The process that runs the intake: the real `Delivery` and `Housekeeping` over a simulated log and
 * simulated threads. When it has ended, `open` begins the next one from the last checkpoint and the
 * log, and the parts of the simulation find that one in its place.
 */
import { seededRandom } from "@millrace/base";
import { Delivery } from "@millrace/intake/internal/delivery/delivery";
import type { DeliveryEvents } from "@millrace/intake/internal/delivery/events";
import { type Checkpoint, Housekeeping } from "@millrace/intake/internal/delivery/housekeeping";
import { handlerTerms } from "@millrace/intake/internal/delivery/policy";
import { findSuspects } from "@millrace/intake/internal/delivery/suspects";
import { HeaderParser } from "@millrace/intake/internal/format/record-header";
import { readStates } from "@millrace/intake/internal/snapshot/read-states";
import type { RecordStates } from "@millrace/intake/internal/states/record-states";
import type { SimContext } from "./simulation-context.ts";
import { SimLog } from "./simulation-disk.ts";
import { SimRunner, type SimTask } from "./simulation-runner.ts";
import type { SimSchedules } from "./simulation-schedules.ts";
import { SimScratch } from "./simulation-scratch.ts";

/** Handlers that every process has. */
export const HANDLERS = ["pay", "mail", "skip"];
/** A handler that no process has: its records stay in the log. */
export const ABSENT_HANDLER = "later";
/** Of idempotency keys. */
export const LIMITS = { keysMax: 40, forMs: 15_000 };

const LOG_ID = Buffer.alloc(16, 7);
/** The ends of this handler are recorded, its results kept: some when their segments go. */
const KEPT = { result: "keep", resultKeepMs: 20_000, record: "outcomes" } as const;

/** Sees what the process does. */
export interface Watcher extends DeliveryEvents {
  /** A thread gets a record. */
  handedOut(task: SimTask): void;
  /** A handler is called. */
  begun(task: SimTask): void;
  /** The time of a handler's attempt is over. */
  abandoned(task: SimTask): void;
  /** Delivery and housekeeping have had a turn. */
  turned(): void;
}

export class SimProcess {
  readonly #context: SimContext;
  readonly #schedules: SimSchedules;
  readonly #scratch: SimScratch;
  #watcher!: Watcher;
  log!: SimLog;
  runner!: SimRunner;
  delivery!: Delivery;
  housekeeping!: Housekeeping;
  /** Records that were suspect at the opening, with the number of unclean ends. */
  suspects: ReadonlyMap<number, number> = new Map();

  constructor(context: SimContext, schedules: SimSchedules) {
    this.#context = context;
    this.#schedules = schedules;
    this.#scratch = new SimScratch(() => context.random.below(10) === 0);
  }

  /** `checkpoint` writes one. */
  open(watcher: Watcher, checkpoint: (checkpoint: Checkpoint) => void): void {
    const { clock, conditions, disk, random } = this.#context;
    this.#watcher = watcher;
    this.log = new SimLog(disk, random);
    this.runner = new SimRunner(() => clock.now());
    this.runner.onSubmit = (task) => watcher.handedOut(task);
    this.runner.onBegin = (task) => watcher.begun(task);
    this.runner.onAbandon = (task) => watcher.abandoned(task);
    const newest = disk.checkpoints.at(-1);
    const states = readStates(this.log, newest && { bytes: Buffer.from(newest.bytes), from: newest.from }, LIMITS);
    this.suspects = findSuspects(this.log, states, clock.wall(), conditions.behindLeaseMax);
    this.delivery = this.#deliver(states);
    this.housekeeping = new Housekeeping(
      {
        segments: () => disk.segments(),
        walk: () => this.log.walk(),
        reserveBytes: () => 4096,
        // So few that most checkpoints want WINDOW records.
        windowRestMax: 3,
        checkpoint,
      },
      this.log,
      clock,
      this.delivery,
      conditions.retain,
    );
  }

  #deliver(states: RecordStates): Delivery {
    const { clock, conditions, random } = this.#context;
    return new Delivery(
      {
        log: this.log,
        runner: this.runner,
        clock,
        random: seededRandom(random.below(2 ** 31)),
        scratch: this.#scratch,
      },
      states,
      new HeaderParser(HANDLERS),
      HANDLERS.length,
      {
        logId: LOG_ID,
        laneRecordsMax: conditions.laneRecordsMax,
        behindLeaseMax: conditions.behindLeaseMax,
        waitsMemoryMax: 3,
        jobsBytesMax: 3000,
        schedules: this.#schedules.declared(),
        // So little that most groups wait for room.
        reserveBytes: () => 512,
        deadBytesMax: conditions.deadBytesMax,
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
      this.#watcher,
    );
  }

  /** Turns until nothing is left to do, or a few times. */
  turn(): void {
    for (let turns = 0; turns < 8; turns += 1) {
      const handled = this.delivery.turn() + this.housekeeping.turn();
      this.#watcher.turned();
      this.#checkAside();
      if (handled === 0) return;
    }
  }

  /**
   * Records that are set aside, so that they hold up no publish, are a part of the unfinished ones.
   * When nothing can run they are all of them, but for pauses between attempts and records behind
   * others of their key.
   */
  #checkAside(): void {
    const { aside, states, waiting, delayed, keyWaiting, isDrained } = this.delivery;
    const unfinished = this.log.known - states.settled.size;
    if (aside > unfinished) this.#context.broken(`${aside} records are set aside, of ${unfinished}`);
    // Those that were abandoned at the end have no outcome, and groups that were given up no ACK.
    if (!isDrained || this.delivery.stateLog.groupsGivenUp > 0) return;
    if (this.delivery.handlerReports().some(({ running }) => running > 0)) return;
    const known = aside + waiting - delayed;
    if (known <= unfinished && unfinished <= known + keyWaiting) return;
    this.#context.broken(`${known} records are set aside, of ${unfinished} of which none can run`);
  }
}
