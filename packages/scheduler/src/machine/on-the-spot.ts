/** Spawned tasks for which there is no slot: run at once, within the spawn, so that a handler may spawn without end. */
import { decode, encode, encodeThrown } from "@millrace/codec";
import { type ContextHost, TaskContext } from "../handler/context.ts";
import { isThenable } from "../handler/fork-join.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { type TaskGroup, withChildren } from "../handler/task-group.ts";
import { NO_SLOT } from "../shared/task-table.ts";
import { kindOf } from "../shared/values.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";

export class OnTheSpot {
  readonly #parts: MachineParts;
  readonly #load: Load;
  /** Called when an async task has ended: the loop may be waiting for that. */
  readonly #resume: () => void;

  constructor(parts: MachineParts, load: Load, resume: () => void) {
    this.#parts = parts;
    this.#load = load;
    this.#resume = resume;
  }

  /** Runs task `index` of the group. */
  run(host: ContextHost, group: TaskGroup, index: number, number: number, argument: unknown): void {
    const handler = this.#parts.handlers[number] as HandlerEntry;
    const context = handler.takesContext ? new TaskContext(host, NO_SLOT, 0) : undefined;
    this.#parts.stats.inline();
    let outcome: unknown;
    let ok = true;
    this.#load.handlerBegins();
    try {
      outcome = handler.call(copyOf(argument), context as TaskContext);
    } catch (thrown) {
      ok = false;
      outcome = thrown;
    }
    this.#load.handlerEnds();
    const children = context?.unjoined;
    if (children === undefined && !(ok && isThenable(outcome))) {
      context?.end();
      this.#settle(group, index, ok, outcome);
      return;
    }
    const own = ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error);
    this.#load.pendingBegins(false);
    const settle = (isOk: boolean, value: unknown): void => {
      context?.end();
      this.#load.pendingEnds();
      this.#settle(group, index, isOk, value);
      this.#resume();
    };
    (children === undefined ? own : withChildren(own, children)).then(
      (value) => settle(true, value),
      (error: unknown) => settle(false, error),
    );
  }

  #settle(group: TaskGroup, index: number, ok: boolean, value: unknown): void {
    this.#parts.stats.settled(ok);
    try {
      group.settled(index, ok, ok ? copyOf(value) : decode(encodeThrown(value)));
    } catch (thrown) {
      group.settled(index, false, thrown);
    }
  }
}

/** As if it had gone to another thread. */
function copyOf(value: unknown): unknown {
  return kindOf(value) < 0 ? decode(encode(value)) : value;
}
