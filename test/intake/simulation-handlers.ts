/**
 * The handlers, on their threads and in quarantine (in processes of their own): they begin, return,
 * fail, publish with their return, and end their process.
 */
import { poolError } from "@millrace/pool/internal/errors";
import { packFailure, packOutcome, unpackOutcome } from "@millrace/intake/internal/format/outcome";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import type { SimContext } from "./simulation-context.ts";
import type { SimOracle } from "./simulation-oracle.ts";
import type { SimProcess } from "./simulation-process.ts";
import { DEADLY, type SimPublisher } from "./simulation-publisher.ts";
import type { SimTask } from "./simulation-runner.ts";

export class SimHandlers {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #publisher: SimPublisher;
  readonly #oracle: SimOracle;
  /** At the end nothing new begins. */
  #isPublishing = true;

  constructor(context: SimContext, process: SimProcess, publisher: SimPublisher, oracle: SimOracle) {
    this.#context = context;
    this.#process = process;
    this.#publisher = publisher;
    this.#oracle = oracle;
  }

  stopPublishing(): void {
    this.#isPublishing = false;
  }

  /** False when the process has to die of it. */
  beginOne(): boolean {
    const waiting = [...this.#process.runner.tasks.values()].filter(({ isBegun }) => !isBegun);
    if (waiting.length === 0) return true;
    return this.begin(waiting[this.#context.random.below(waiting.length)] as SimTask);
  }

  /** False when the process has to die of it. */
  begin(task: SimTask): boolean {
    this.#process.runner.begin(task);
    return task.isAbandoned || Buffer.from(task.payload).toString() !== DEADLY;
  }

  /** One of those that run returns, fails or snoozes. */
  endOne(): void {
    const { conditions, random } = this.#context;
    const running = [...this.#process.runner.tasks.values()].filter(({ isBegun, isOver }) => isBegun && !isOver);
    if (running.length === 0) return;
    const task = running[random.below(running.length)] as SimTask;
    const header = new TaskHeader(task.header);
    const { sequence, redriven } = header;
    task.isOver = true;
    // Redriven records often die again, so that late commands meet another letter.
    const dice = redriven > 0 && random.below(2) === 0 ? 6 : random.below(10);
    task.isOk = dice < 10 - conditions.rates.failingTenths;
    if (task.isOk) task.value = this.#outcomeOf(sequence, !task.isAbandoned);
    else if (dice === 6) task.value = Object.assign(new Error("never"), { name: "NonRetryable" });
    else if (dice === 7) task.value = Object.assign(new Error("later"), { name: "Snooze", retryAfterMs: 100 });
    else task.value = new Error("failed");
    this.#context.trace(`over ${sequence} ${dice}`);
    // As machines send it.
    const isRecorded = this.#oracle.known.of(sequence).handler === "mail";
    if (!task.isOk && isRecorded) task.value = packFailure({ error: task.value, ranMs: 1 });
    if (task.isAbandoned) return;
    if (task.isOk) this.#oracle.returned(sequence);
    else this.#oracle.failed(header, dice === 7);
  }

  /** At the end of the schedule each one that runs returns. */
  returnAtTheEnd(task: SimTask): void {
    if (task.isOver) return;
    task.isOver = true;
    task.isOk = true;
    if (task.isAbandoned) return;
    const { sequence } = new TaskHeader(task.header);
    this.#context.trace(`over ${sequence} at the end`);
    this.#oracle.returned(sequence);
    task.value = this.#outcomeOf(sequence);
  }

  /** The process of the record that was put into quarantine first ends. */
  endQuarantine(mayReturn: boolean): void {
    const origin = this.#oracle.quarantined.shift();
    if (origin === undefined) return;
    const isOk = mayReturn && this.#oracle.known.of(origin).payload !== DEADLY;
    if (isOk) this.#oracle.returned(origin);
    else this.#oracle.failedAlone(origin);
    const isLate = this.#context.random.below(3) === 0;
    const error = poolError(isLate ? "ERR_QUARANTINE_TIMEOUT" : "ERR_QUARANTINE_DIED", "it has no process any more");
    const outcome = isOk ? unpackOutcome(this.#outcomeOf(origin)) : undefined;
    this.#process.delivery.quarantined(origin, isOk ? undefined : error, outcome);
  }

  /** The records that this record's handler has published, as its machine sends them. */
  #outcomeOf(origin: number, counts = true): unknown {
    const { clock, conditions, random } = this.#context;
    const count = this.#isPublishing && random.below(3) === 0 ? 1 + random.below(2) : 0;
    const known = this.#oracle.known.of(origin);
    const keeps = known.handler === "mail";
    known.mayBeRefused = count > 0 && conditions.deadBytesMax < Infinity;
    const outcome = this.#oracle.produced.returns(origin, count, { counts, keeps }, () => ({
      published: this.#publisher.describe(),
      timeMs: clock.wall(),
    }));
    return count === 0 && !keeps ? undefined : packOutcome(outcome);
  }
}
