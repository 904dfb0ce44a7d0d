/** The lives of the process: it opens, takes checkpoints, and ends in order or in a crash. */
import type { Checkpoint } from "@millrace/intake/internal/delivery/housekeeping";
import { CheckpointOracle } from "./simulation-checkpoints.ts";
import type { SimCommands } from "./simulation-commands.ts";
import type { SimContext } from "./simulation-context.ts";
import type { SimHandlers } from "./simulation-handlers.ts";
import type { SimOracle } from "./simulation-oracle.ts";
import type { SimProcess } from "./simulation-process.ts";
import type { SimPublisher } from "./simulation-publisher.ts";
import type { SimWriter } from "./simulation-writer.ts";

interface Parts {
  readonly publisher: SimPublisher;
  readonly writer: SimWriter;
  readonly handlers: SimHandlers;
  readonly commands: SimCommands;
}

export class SimLives {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #oracle: SimOracle;
  readonly #checkpoints: CheckpointOracle;
  readonly #parts: Parts;
  /** A segment was given up, and the checkpoint that did it is lost if the process dies now. */
  losesCheckpoint = false;

  constructor(context: SimContext, process: SimProcess, oracle: SimOracle, parts: Parts) {
    this.#context = context;
    this.#process = process;
    this.#oracle = oracle;
    this.#checkpoints = new CheckpointOracle(context, process, oracle.known);
    this.#parts = parts;
  }

  open(): void {
    this.#process.open(this.#oracle, (checkpoint) => this.#checkpoint(checkpoint));
    this.#oracle.processOpened();
    const { conditions, counts } = this.#context;
    const { stalled } = conditions;
    if (stalled !== undefined && counts.steps < stalled.untilStep) this.#parts.commands.pause(stalled.handler, true);
  }

  /** The process dies: rings, memory and what runs are gone. */
  crash(): void {
    const { counts, disk, random } = this.#context;
    counts.crashes += 1;
    this.#context.trace("crash");
    // Some of what was committed may have reached the disk.
    if (random.below(2) === 0) this.#parts.writer.sync();
    // The newest checkpoint may be lost: the log is kept from where the older one reads on.
    if ((this.losesCheckpoint || random.below(6) === 0) && disk.checkpoints.length > 1) {
      disk.checkpoints.pop();
      counts.checkpointsLost += 1;
    }
    this.losesCheckpoint = false;
    this.#parts.publisher.lose();
    this.#oracle.processEnded(false);
    this.open();
  }

  /** The process ends in order. */
  close(): void {
    const { counts, random } = this.#context;
    this.#context.trace("close");
    counts.closes += 1;
    this.#drain(random.below(2) === 0);
    // One that has handed out nothing may have nothing to say.
    const hasBegun = this.#process.delivery.counts.delivered > 0;
    const before = this.#process.suspects;
    this.#process.housekeeping.checkpoint(0);
    // A full disk has no room for the attempts that have failed.
    this.#oracle.processEnded(!this.#process.log.isFull);
    this.open();
    for (const [origin, ends] of hasBegun ? this.#process.suspects : []) {
      if (before.get(origin) === ends) continue;
      this.#context.broken(`an end in order made record ${origin} more suspect`);
    }
  }

  /** Every round lets what runs end or be abandoned, and makes what was written durable. */
  #drain(isAbandoning: boolean): void {
    const { delivery, log, runner } = this.#process;
    const { handlers, writer } = this.#parts;
    delivery.drain();
    for (let round = 0; round < 1000; round += 1) {
      this.#context.clock.advance(50);
      this.#process.turn();
      if (isAbandoning && round > 0) delivery.abandon();
      // An abandoned attempt may end all the same.
      const isWaiting = !isAbandoning || this.#context.random.below(3) === 0;
      for (const task of runner.tasks.values()) if (isWaiting && task.isBegun && !task.isOver) handlers.endOne();
      if (!isAbandoning) handlers.endQuarantine(true);
      writer.syncOwn();
      if (!log.hasNews() && delivery.isOver) break;
    }
  }

  #checkpoint(checkpoint: Checkpoint): void {
    const { counts, disk, random } = this.#context;
    counts.checkpoints += 1;
    this.#checkpoints.checkStates(checkpoint);
    disk.checkpoints.push(checkpoint);
    if (disk.checkpoints.length > 2) disk.checkpoints.shift();
    if (checkpoint.before > 0) {
      const before = disk.firstSequence;
      disk.truncate(checkpoint.before);
      if (disk.firstSequence > before) {
        this.#checkpoints.checkRetained(before);
        counts.truncations += 1;
        this.losesCheckpoint = random.below(4) === 0;
      }
    }
    this.#process.housekeeping.checkpointDone(true);
  }
}
