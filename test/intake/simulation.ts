/**
 * The whole intake without threads, files or clocks of the machine: one seed is one schedule.
 *
 * The real state machine (`Delivery`, `Housekeeping`, `RecordStates`) runs over a log that is an
 * array, handlers that are dice, and a clock that moves when it is told. Between any two steps the
 * process may die: what wasn't durable is gone, and the next life begins from the last checkpoint
 * and the log. `SimOracle` checks every step; a broken promise throws with the seed.
 *
 * Here the dice choose the steps. Each part that takes one has its file: `simulation-publisher.ts`,
 * `simulation-writer.ts`, `simulation-handlers.ts`, `simulation-commands.ts`,
 * `simulation-lives.ts`. All parts draw from the same dice, so the order in which they draw is what
 * a seed means.
 */
import type { Produced } from "./produced.ts";
import type { RecordedEnds } from "./recorded.ts";
import { SimCommands } from "./simulation-commands.ts";
import { SimContext } from "./simulation-context.ts";
import { checkEnd } from "./simulation-end.ts";
import { SimHandlers } from "./simulation-handlers.ts";
import type { Known } from "./simulation-known.ts";
import { SimLives } from "./simulation-lives.ts";
import { SimOracle } from "./simulation-oracle.ts";
import { ABSENT_HANDLER, HANDLERS, SimProcess } from "./simulation-process.ts";
import { SimPublisher } from "./simulation-publisher.ts";
import { CAPACITY } from "./simulation-runner.ts";
import { SimSchedules } from "./simulation-schedules.ts";
import { SimWriter } from "./simulation-writer.ts";

export class Simulation {
  readonly #context: SimContext;
  readonly #schedules: SimSchedules;
  readonly #process: SimProcess;
  readonly #oracle: SimOracle;
  readonly #publisher: SimPublisher;
  readonly #writer: SimWriter;
  readonly #handlers: SimHandlers;
  readonly #commands: SimCommands;
  readonly #lives: SimLives;

  constructor(seed: number) {
    const context = new SimContext(seed);
    this.#context = context;
    const { stalled } = context.conditions;
    const scheduled =
      stalled === undefined ? [...HANDLERS, ABSENT_HANDLER] : HANDLERS.filter((name) => name !== stalled.handler);
    this.#schedules = new SimSchedules(context.random, scheduled, (what) => context.broken(what));
    context.clock.onSet = () => this.#schedules.clockSet();
    this.#process = new SimProcess(context, this.#schedules);
    this.#oracle = new SimOracle(context, this.#process);
    this.#publisher = new SimPublisher(context);
    this.#writer = new SimWriter(context, this.#process, this.#publisher, this.#schedules, this.#oracle);
    this.#handlers = new SimHandlers(context, this.#process, this.#publisher, this.#oracle);
    this.#commands = new SimCommands(context, this.#process, this.#schedules, this.#oracle);
    this.#lives = new SimLives(context, this.#process, this.#oracle, {
      publisher: this.#publisher,
      writer: this.#writer,
      handlers: this.#handlers,
      commands: this.#commands,
    });
    this.#lives.open();
  }

  get counts(): SimContext["counts"] {
    return this.#context.counts;
  }

  get produced(): Produced {
    return this.#oracle.produced;
  }

  get recorded(): RecordedEnds {
    return this.#oracle.recorded;
  }

  step(): void {
    const { conditions, counts, random } = this.#context;
    counts.steps += 1;
    const { log, housekeeping } = this.#process;
    if (log.isFull) this.recorded.diskIsFull(counts.steps);
    const { stalled } = conditions;
    if (counts.steps === stalled?.untilStep) this.#commands.pause(stalled.handler, false);
    const dice = random.below(100);
    if (this.#lives.losesCheckpoint) this.#lives.crash();
    else if (dice < 22) this.#publisher.publish();
    else if (dice < 40) this.#writer.sync();
    else if (dice < 64) this.#process.turn();
    else if (dice < 66) this.#commands.commandLetters();
    else if (dice < 78) this.#beginOne();
    else if (dice < 90) {
      if (random.below(conditions.slowness) === 0) this.#handlers.endOne();
    } else if (dice < 95) this.#letTimePass();
    else if (dice < 96) this.#handlers.endQuarantine(random.below(2) === 0);
    else if (dice < 97) this.#commands.command();
    else if (dice === 97 && random.below(2) === 0) log.isFull = conditions.isDiskFull && !log.isFull;
    else if (dice < 98) housekeeping.checkpoint(0);
    else if (random.below(4) === 0) this.#lives.crash();
    else if (random.below(6) === 0) this.#lives.close();
    else this.#process.turn();
  }

  #letTimePass(): void {
    const { clock, conditions, random } = this.#context;
    const { longMs, lullRounds } = conditions;
    const isLong = random.below(3) === 0;
    clock.advance(isLong ? longMs : 50);
    for (let round = 0; isLong && round < lullRounds; round += 1) this.#catchUp();
  }

  /** Nothing is published, and handlers return what they can. */
  #catchUp(): void {
    this.#writer.sync();
    this.#process.turn();
    for (let task = 0; task < CAPACITY; task += 1) {
      this.#beginOne();
      this.#handlers.endOne();
    }
    this.#handlers.endQuarantine(true);
  }

  #beginOne(): void {
    if (!this.#handlers.beginOne()) this.#diesOfRecord();
  }

  /** A handler has ended the process. */
  #diesOfRecord(): void {
    this.#context.counts.kills += 1;
    this.#lives.crash();
  }

  /** Everything that can end ends. */
  settle(): void {
    this.#handlers.stopPublishing();
    this.#letGo();
    for (let round = 0; round < 3000; round += 1) {
      this.#process.turn();
      this.#handlers.endQuarantine(true);
      this.#endAll();
      this.#writer.syncAll();
      this.#context.clock.advance(500);
      this.#dropLetters(round);
      if (this.#isSettled()) break;
    }
    checkEnd(this.#context, this.#process, this.#oracle.known);
    this.#oracle.compareProduced();
  }

  /**
   * Begins the records that machines have, and lets those that run return, until the process dies
   * of one.
   */
  #endAll(): void {
    for (const task of this.#process.runner.tasks.values()) {
      if (!task.isBegun && !this.#handlers.begin(task)) {
        this.#diesOfRecord();
        this.#letGo();
        return;
      }
      this.#handlers.returnAtTheEnd(task);
    }
  }

  #dropLetters(round: number): void {
    const dead = [...this.#oracle.known.all()].filter(({ state }) => state === "dead");
    // Dead letters of this handler hold their keys.
    if (round % 20 === 0) this.#commands.drop(dead.filter(({ handler }) => handler === "mail"));
    // Records that wait for room among the dead letters get it.
    if (round % 20 === 10 && this.#process.delivery.deaths.waiting > 0) this.#commands.drop(dead);
  }

  /** Nobody is paused, the disk has room, and no schedule is left. */
  #letGo(): void {
    this.#commands.resumeAll();
    this.#process.log.isFull = false;
    // Due records are published; then the schedules end.
    for (let round = 0; round < 10; round += 1) {
      this.#process.turn();
      this.#writer.syncOwn();
    }
    this.#schedules.settled(this.#context.clock.wall());
    this.#schedules.removeAll(this.#process.delivery.schedules);
  }

  #isSettled(): boolean {
    const { delivery } = this.#process;
    if (!delivery.isDrained || delivery.waiting > 0 || delivery.suspects > 0) return false;
    const isOver = ({ handler, state }: Known): boolean => handler === ABSENT_HANDLER || state !== "unfinished";
    return [...this.#oracle.known.all()].every(isOver);
  }
}
