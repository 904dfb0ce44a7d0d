/**
 * `Delivery` in a world that a test moves by hand: the simulation's log, disk and threads, a clock
 * that stands still, and dice that always fall the same. For a case that the simulation meets in
 * few schedules or in none, told step by step: publish, turn, end, crash, close.
 *
 * Nothing is checked here, and every handler does what the test says. There are no checkpoints: a
 * process that opens reads the whole log.
 */
import type { Random } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import { Delivery, type DeliveryTerms } from "@millrace/intake/internal/delivery/delivery";
import type { DeliveryEvents } from "@millrace/intake/internal/delivery/events";
import { handlerTerms, type HandlerOptions } from "@millrace/intake/internal/delivery/policy";
import { HeaderParser, type Terms } from "@millrace/intake/internal/format/record-header";
import { packOutcome } from "@millrace/intake/internal/format/outcome";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import { readStates } from "@millrace/intake/internal/snapshot/read-states";
import { partsOf } from "./produced.ts";
import { SimDisk, SimLog, SimRecord } from "./simulation-disk.ts";
import { SimRunner, type SimTask } from "./simulation-runner.ts";

/** The ring is never full, and pauses are as long as they can be. */
const random = { below: (n: number) => (n === 1 ? 0 : 1), fraction: () => 1 } as unknown as Random;
const LIMITS = { keysMax: 40, forMs: 15_000 };

type Limits = Pick<DeliveryTerms, "jobsBytesMax" | "laneRecordsMax" | "behindLeaseMax">;

export class World {
  now = 1000;
  wall = 1_700_000_000_000;
  /** Time that passes whenever the process reads the clock, ms. */
  readingMs = 0;
  readonly disk = new SimDisk(() => ({ wallMs: this.wall, atMs: this.now }));
  log!: SimLog;
  runner!: SimRunner;
  delivery!: Delivery;
  readonly handlers: Record<string, HandlerOptions>;
  /** Records whose handlers this process has called, in order. */
  begun: number[] = [];
  /** Records that this process has put into quarantine, in order. */
  quarantined: number[] = [];

  readonly #limits: Limits;
  readonly #clock = {
    now: (): number => {
      this.advance(this.readingMs);
      return this.now;
    },
    wall: (): number => this.wall,
  };

  constructor(handlers: Record<string, HandlerOptions>, limits: Limits = {}) {
    this.handlers = handlers;
    this.#limits = limits;
    this.open();
  }

  /** A process begins; one that lived until now has died. */
  open(): void {
    this.begun = [];
    this.quarantined = [];
    this.log = new SimLog(this.disk, random);
    this.runner = new SimRunner(() => this.now);
    this.runner.onBegin = (task) => this.begun.push(new TaskHeader(task.header).sequence);
    const names = Object.keys(this.handlers);
    const states = readStates(this.log, undefined, LIMITS);
    const events: DeliveryEvents = {
      wantsFinished: false,
      finished: () => {},
      dead: () => {},
      expired: () => {},
      judged: () => {},
      told: () => {},
      quarantine: (origin) => void this.quarantined.push(origin),
    };
    this.delivery = new Delivery(
      { log: this.log, runner: this.runner, clock: this.#clock, random },
      states,
      new HeaderParser(names),
      names.length,
      {
        logId: Buffer.alloc(16, 7),
        reserveBytes: () => 100_000,
        ...this.#limits,
        handlerTerms: (name) =>
          handlerTerms(name, this.handlers[name] ?? {}, { retryBaseMs: 60_000, backoff: "constant" }),
      },
      events,
    );
  }

  /** The process dies; what it has committed and `sync` hasn't written is gone. */
  crash(): void {
    this.open();
  }

  /** Durable at once; returns its sequence. */
  publish(handler: string, key?: string, terms: Partial<Terms> = {}, priority = 1): number {
    const parts = partsOf(
      { handler, priority, key, payload: "p", terms: { isOrdered: key !== undefined, ...terms } as Terms },
      this.wall,
    );
    this.disk.append(new SimRecord({ ...parts, type: RECORD_TYPE.data }));
    return this.disk.last;
  }

  /** The records that the process has committed become durable. */
  sync(): void {
    for (const record of this.log.committed.splice(0)) this.disk.append(record);
  }

  /** By default as many turns as any test needs; all that is handed out is begun. */
  turn(rounds = 12): void {
    for (let round = 0; round < rounds; round += 1) {
      this.delivery.turn();
      for (const task of this.runner.tasks.values()) if (!task.isBegun) this.runner.begin(task);
      this.sync();
    }
  }

  advance(ms: number): void {
    this.now += ms;
    this.wall += ms;
  }

  /** Whether a thread has the record and its handler hasn't ended. */
  isInHand(origin: number): boolean {
    return this.#inHand(origin) !== undefined;
  }

  /** The handler that has the record in hand; undefined without. */
  handlerOf(origin: number): string | undefined {
    const task = this.#inHand(origin);
    return task === undefined ? undefined : Object.keys(this.handlers)[task.handler];
  }

  /** The handler of a record in hand returns, or throws `error`. */
  end(origin: number, error?: unknown): void {
    this.#over(origin, error === undefined, error);
  }

  /** As `end`, of a handler whose result is kept. */
  endWith(origin: number, bytes: Uint8Array): void {
    this.#over(origin, true, packOutcome({ staged: [], result: { isOk: true, bytes } }));
  }

  #over(origin: number, isOk: boolean, value: unknown): void {
    const task = this.#inHand(origin) as SimTask;
    task.isOver = true;
    task.isOk = isOk;
    task.value = value;
  }

  #inHand(origin: number): SimTask | undefined {
    const isIt = ({ header, isOver }: SimTask): boolean => !isOver && new TaskHeader(header).sequence === origin;
    return [...this.runner.tasks.values()].find(isIt);
  }

  /** The process ends in order and abandons what is in hand; the next one opens. */
  close(): void {
    this.delivery.drain();
    for (let round = 0; round < 20; round += 1) {
      this.delivery.turn();
      if (round > 2) this.delivery.abandon();
      this.sync();
      if (this.delivery.isOver && !this.log.hasNews()) break;
    }
    this.open();
  }
}
