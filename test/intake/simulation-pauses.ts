/**
 * The oracle of pauses: from the command on, and in each later process that finds it in the log, no
 * record of the handler is handed out. A record that a thread has by then may begin.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { decodeControl } from "@millrace/intake/internal/format/state-records";
import type { SimContext } from "./simulation-context.ts";

export class PauseOracle {
  readonly #context: SimContext;
  readonly #paused = new Set<string>();

  constructor(context: SimContext) {
    this.#context = context;
  }

  commanded(handler: string, isPaused: boolean): void {
    if (isPaused) this.#paused.add(handler);
    else this.#paused.delete(handler);
  }

  /** Commands that weren't durable are lost. */
  processOpened(): void {
    this.#paused.clear();
    for (const record of this.#context.disk.records) {
      if (record.type !== RECORD_TYPE.control) continue;
      const control = decodeControl(record.payload());
      if (control.kind === "paused" || control.kind === "resumed") {
        this.commanded(control.handler, control.kind === "paused");
      }
    }
  }

  handedOut(origin: number, handler: string): void {
    if (this.#paused.has(handler)) this.#context.broken(`record ${origin} is handed out, and ${handler} is paused`);
  }
}
