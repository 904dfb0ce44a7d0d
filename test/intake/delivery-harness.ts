import type { Random } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import { Delivery } from "@millrace/intake/internal/delivery/delivery";
import { handlerTerms, type HandlerOptions } from "@millrace/intake/internal/delivery/policy";
import { HeaderParser, type Terms } from "@millrace/intake/internal/format/record-header";
import { packOutcome } from "@millrace/intake/internal/format/outcome";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import { readStates } from "@millrace/intake/internal/snapshot/read-states";
import { partsOf } from "./produced.ts";
import { SimDisk, SimLog, SimRecord } from "./simulation-disk.ts";
import { SimRunner, type SimTask } from "./simulation-runner.ts";

const random = { below: (n: number) => (n === 1 ? 0 : 1), fraction: () => 1 } as unknown as Random;
const LIMITS = { keysMax: 40, forMs: 15_000 };

export class World {
  now = 1000;
  wall = 1_700_000_000_000;
  readonly disk = new SimDisk(() => ({ wallMs: this.wall, atMs: this.now }));
  log!: SimLog;
  runner!: SimRunner;
  delivery!: Delivery;
  readonly handlers: Record<string, HandlerOptions>;
  begun: number[] = [];
  quarantined: number[] = [];
  constructor(handlers: Record<string, HandlerOptions>) {
    this.handlers = handlers;
    this.open();
  }
  open(): void {
    this.begun = [];
    this.quarantined = [];
    this.log = new SimLog(this.disk, random);
    this.runner = new SimRunner(() => this.now);
    this.runner.onBegin = (task) => this.begun.push(new TaskHeader(task.header).sequence);
    const names = Object.keys(this.handlers);
    const states = readStates(this.log, undefined, LIMITS);
    this.delivery = new Delivery(
      { log: this.log, runner: this.runner, clock: { now: () => this.now, wall: () => this.wall }, random },
      states,
      new HeaderParser(names),
      names.length,
      {
        logId: Buffer.alloc(16, 7),
        reserveBytes: () => 100_000,
        handlerTerms: (name) =>
          handlerTerms(name, this.handlers[name] ?? {}, { retryBaseMs: 60_000, backoff: "constant" }),
      },
      {
        wantsFinished: false,
        finished: () => {},
        dead: () => {},
        expired: () => {},
        judged: () => {},
        told: () => {},
        quarantine: (origin: number) => void this.quarantined.push(origin),
      } as never,
    );
  }
  crash = (): void => this.open();
  publish(handler: string, key?: string, terms: Partial<Terms> = {}): number {
    const parts = partsOf(
      { handler, priority: 1, key, payload: "p", terms: { isOrdered: key !== undefined, ...terms } as Terms },
      this.wall,
    );
    this.disk.append(new SimRecord({ ...parts, type: RECORD_TYPE.data }));
    return this.disk.last;
  }
  sync(): void {
    for (const record of this.log.committed.splice(0)) this.disk.append(record);
  }
  /** Turns until nothing happens; all that is handed out is begun. */
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
  task(origin: number): SimTask | undefined {
    return [...this.runner.tasks.values()].find(
      ({ header, isOver }) => !isOver && new TaskHeader(header).sequence === origin,
    );
  }
  end(origin: number, error?: unknown): void {
    const task = this.task(origin) as SimTask;
    task.isOver = true;
    task.isOk = error === undefined;
    task.value = error;
  }
  /** As `end`, of a handler whose result is kept. */
  endWith(origin: number, bytes: Uint8Array): void {
    this.end(origin);
    this.over(origin).value = packOutcome({ staged: [], result: { isOk: true, bytes } });
  }
  private over(origin: number): SimTask {
    return [...this.runner.tasks.values()].find(({ header }) => new TaskHeader(header).sequence === origin) as SimTask;
  }
  close(): void {
    this.delivery.drain();
    for (let i = 0; i < 20; i += 1) {
      this.delivery.turn();
      if (i > 2) this.delivery.abandon();
      this.sync();
      if (this.delivery.isOver && !this.log.hasNews()) break;
    }
    this.open();
  }
}
