/** Tells submitters which of their tasks are over. */
import { invariant } from "@millrace/base";
import { unpark } from "@millrace/atomics-sync";
import { FULL, SpscProducer } from "@millrace/shared-memory";
import type { Shared } from "../shared/shared.ts";
import type { TaskTable } from "../shared/task-table.ts";
import type { MachineStats } from "./stats.ts";

export class Completions {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #stats: MachineStats;
  readonly #rings: SpscProducer[];

  constructor(shared: Shared, table: TaskTable, machine: number, stats: MachineStats) {
    this.#shared = shared;
    this.#table = table;
    this.#stats = stats;
    this.#rings = Array.from(
      { length: shared.submitters },
      (_, submitter) => new SpscProducer(shared.completions(machine, submitter)),
    );
  }

  /** The result of the task in `slot`, claimed in `state`, is written. */
  complete(slot: number, state: number, ok: boolean): void {
    const { threads, words, memory } = this.#shared;
    this.#table.finish(slot, state, ok);
    const submitter = this.#shared.submitterOf(slot);
    const ring = this.#rings[submitter] as SpscProducer;
    const word = ring.stage();
    invariant(word !== FULL, "a completion ring has room for every slot of its submitter");
    words[word] = slot;
    // Before the outcome can be read, so that its reader finds it counted.
    this.#stats.settled(ok);
    ring.publish();
    unpark(threads, memory.submitterThreads[submitter] as number);
  }
}
