/**
 * Calls one handler after the other, and tells what came of the last call: a value, an error, or a
 * promise of either.
 */
import { type ContextHost, TaskContext } from "../handler/context.ts";
import { isThenable, type Items, type ItemsHost, runItems } from "../handler/fork-join.ts";
import type { HandlerEntry } from "../handler/handlers.ts";
import { withChildren } from "../handler/task-group.ts";
import { ITEMS } from "../shared/values.ts";
import type { Blamed } from "../handler/parent.ts";
import { Attribution } from "./attribution.ts";
import type { Load } from "./load.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Seat } from "./seat.ts";

export class HandlerCalls {
  readonly #handlers: readonly HandlerEntry[];
  readonly #load: Load;
  readonly #seat: Seat;
  readonly #host: ContextHost & ItemsHost;
  readonly #attribution = new Attribution();
  readonly #items = (items: Items, context: TaskContext): unknown =>
    runItems(this.#host, this.#handlers, items, context);
  /** Of the last call; read them before the next one. Whether the handler returned. */
  ok = true;
  /** The value that it returned or threw. */
  outcome: unknown;
  /** Its context, where it may look at one. */
  context: TaskContext | undefined;

  /** `host`: what the contexts of handlers ask. */
  constructor(parts: MachineParts, seat: Seat, host: ContextHost & ItemsHost) {
    this.#handlers = parts.handlers;
    this.#load = parts.load;
    this.#seat = seat;
    this.#host = host;
  }

  /**
   * Calls handler `number` for the task that was claimed in `slot` as `state`; `kind`: of its
   * argument. `blamed`: the attempt that fails when work that the handler leaves behind throws.
   */
  call(slot: number, state: number, number: number, kind: number, argument: unknown, blamed?: Blamed): void {
    const handler = this.#handlers[number] as HandlerEntry;
    let context: TaskContext | undefined;
    let outcome: unknown;
    let ok = true;
    this.#seat.handlerBegins(number, !this.#load.isRunning);
    this.#load.handlerBegins();
    try {
      if (blamed !== undefined || this.#attribution.isInside()) {
        if (kind === ITEMS || handler.takesContext) context = new TaskContext(this.#host, slot, state, blamed);
        const call = kind === ITEMS ? this.#items : handler.call;
        outcome = this.#attribution.run(blamed, call, argument, context);
      } else if (kind === ITEMS) {
        context = new TaskContext(this.#host, slot, state);
        outcome = runItems(this.#host, this.#handlers, argument as Items, context);
      } else if (handler.takesContext) {
        context = new TaskContext(this.#host, slot, state);
        outcome = handler.call(argument, context);
      } else outcome = handler.call(argument, undefined as never);
    } catch (thrown) {
      ok = false;
      outcome = thrown;
    }
    this.#load.handlerEnds();
    if (!this.#load.isRunning) this.#seat.outermostHandlerEnds();
    this.ok = ok;
    this.outcome = outcome;
    this.context = context;
  }

  /**
   * The promise that the last call's task ends with: the handler's, or that of the children it has
   * left. Undefined without.
   */
  promise(number: number, kind: number): Promise<unknown> | undefined {
    const { ok, outcome } = this;
    const children = this.context?.unjoined;
    if (ok && isThenable(outcome)) {
      // fork-join.ts has already marked those of a list.
      if (kind !== ITEMS) (this.#handlers[number] as HandlerEntry).isAsync = true;
      // A promise of our own: another one's `then` may call back twice, or throw.
      const own = Promise.resolve(outcome);
      return children === undefined ? own : withChildren(own, children);
    }
    if (children === undefined) return undefined;
    return withChildren(ok ? Promise.resolve(outcome) : Promise.reject(outcome as Error), children);
  }
}
