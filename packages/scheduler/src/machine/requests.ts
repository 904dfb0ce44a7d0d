/** What handlers ask of their machine through their contexts: to submit tasks, to join them, to learn about their own. */
import { encode } from "@millrace/codec";
import { FULL } from "@millrace/shared-memory";
import type { ContextHost, HeaderReader, TaskContext } from "../handler/context.ts";
import type { Items, ItemsHost } from "../handler/fork-join.ts";
import { TaskGroup } from "../handler/task-group.ts";
import { unknownHandler } from "../handler/handlers.ts";
import type { Joins } from "./joins.ts";
import type { MachineParts } from "./machine-parts.ts";
import type { Seat } from "./seat.ts";
import { NO_SLOT, type TaskRunner } from "./task-runner.ts";
import { attemptOf } from "../shared/task-table.ts";
import { ITEMS } from "../shared/values.ts";

/** What requests need of the loop. */
export interface RequestsHost {
  readonly runner: TaskRunner;
  /** Something was submitted: the loop may be asleep. */
  resume(): void;
  /** Before the thread blocks in a handler. Throws `ERR_ASYNC_PENDING`, `ERR_MACHINES_EXHAUSTED`. */
  enterBlocking(): void;
  leaveBlocking(): void;
  readonly joins: Joins;
}

export class Requests implements ContextHost, ItemsHost {
  readonly machine: number;
  readonly #parts: MachineParts;
  readonly #seat: Seat;
  readonly #host: RequestsHost;
  readonly #describe: HeaderReader | undefined;
  readonly #numbers: ReadonlyMap<string, number>;
  #isFlushDue = false;

  constructor(parts: MachineParts, seat: Seat, describe: HeaderReader | undefined, host: RequestsHost) {
    this.machine = parts.machine;
    this.#parts = parts;
    this.#seat = seat;
    this.#host = host;
    this.#describe = describe;
    this.#numbers = new Map(parts.handlers.map(({ name }, number) => [name, number]));
  }

  // ── about the task itself ────────────────────────────────────────────────────────────────────────────────────────

  attempt(running: number): number {
    return attemptOf(running);
  }

  record(slot: number): unknown {
    const header = this.#describe === undefined || slot === NO_SLOT ? undefined : this.#host.runner.io.header(slot);
    return header === undefined ? undefined : this.#describe?.(header);
  }

  isCancelled(slot: number): boolean {
    return slot !== NO_SLOT && this.#host.runner.cancellations.isCancelled(slot);
  }

  deadlineMs(slot: number): number | undefined {
    return slot === NO_SLOT ? undefined : this.#host.runner.cancellations.deadlineMs(slot);
  }

  watch(context: TaskContext, slot: number): void {
    if (slot !== NO_SLOT) this.#host.runner.cancellations.watch(context, slot);
  }

  blocking<T>(body: () => T): T {
    this.#host.enterBlocking();
    try {
      return body();
    } finally {
      this.#host.leaveBlocking();
    }
  }

  // ── about others ─────────────────────────────────────────────────────────────────────────────────────────────────

  run(name: string, argument: unknown): Promise<unknown> {
    const promise = this.#parts.nested.run(this.#handlerNumber(name), argument);
    if (!this.#host.runner.isRunning) this.#flushSoon();
    return promise;
  }

  spawn(group: TaskGroup, index: number, name: string, argument: unknown): void {
    const { runner } = this.#host;
    const handler = this.#handlerNumber(name);
    if (this.#parts.nested.spawn(group, index, handler, argument) === FULL) {
      runner.runOnTheSpot(group, index, handler, argument);
    } else if (runner.isRunning) runner.sharePrivateIfWanted();
    else this.#flushSoon();
  }

  join(group: TaskGroup): void {
    this.#host.joins.join(group);
  }

  newGroup(): TaskGroup {
    return new TaskGroup(this, true);
  }

  get isSharingWanted(): boolean {
    const { processors, idle } = this.#parts;
    return (
      this.#host.runner.pendingAsync === 0 &&
      processors.count > 1 &&
      idle.isAnyoneIdle() &&
      this.#seat.processor?.length() === 0
    );
  }

  spawnItems(group: TaskGroup, items: Items): boolean {
    const { nested, idle } = this.#parts;
    const { processor } = this.#seat;
    return group.adopt((index) => {
      const handler = items.map < 0 ? items.reduce : items.map;
      const slot = nested.spawnBytes(group, index, handler, ITEMS, encode(items));
      if (slot === FULL || processor === undefined) return slot !== FULL;
      nested.share(processor, true);
      idle.wakeOne();
      return true;
    });
  }

  #handlerNumber(name: string): number {
    const number = this.#numbers.get(name);
    if (number === undefined) throw unknownHandler(name, [...this.#numbers.keys()]);
    return number;
  }

  /** Something was submitted between tasks, by an async handler: it becomes visible once that has run on. */
  #flushSoon(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#host.runner.sharePrivate();
      this.#host.resume();
    });
  }
}
