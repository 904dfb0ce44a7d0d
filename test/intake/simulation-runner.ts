/** The threads that run handlers, of a simulated intake. */
import type { OutcomeSink } from "@millrace/scheduler";
import { FULL } from "@millrace/shared-memory";
import type { Runner } from "@millrace/intake/internal/delivery/ports";
import { partsOfTaskHeader } from "@millrace/intake/internal/format/task-header";

/** Tasks that are in hand at once. */
export const CAPACITY = 8;

export interface SimTask {
  readonly slot: number;
  readonly handler: number;
  readonly payload: Uint8Array;
  readonly header: Uint8Array;
  isBegun: boolean;
  begunAtMs: number;
  /** Its time was over: another attempt may begin. */
  isAbandoned: boolean;
  isOver: boolean;
  isOk: boolean;
  /** Its error, or its outcome. */
  value: unknown;
}

/** Handlers that take as long as the schedule wants. */
export class SimRunner implements Runner {
  readonly capacity: number = CAPACITY;
  readonly valueBytesMax = 2 ** 20;
  readonly first = 100;
  readonly tasks = new Map<number, SimTask>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Told of every task that is handed out. */
  onSubmit: (task: SimTask) => void = () => {};
  /** Told of every task that is begun. */
  onBegin: (task: SimTask) => void = () => {};
  /** Told of every task whose time is over. */
  onAbandon: (task: SimTask) => void = () => {};

  get outstanding(): number {
    return this.tasks.size;
  }

  waiting(): number {
    return [...this.tasks.values()].filter(({ isBegun }) => !isBegun).length;
  }

  submit(handler: number, _priority: number, payload: Uint8Array, header: Uint8Array): number {
    for (let slot = this.first; slot < this.first + this.capacity; slot += 1) {
      if (this.tasks.has(slot)) continue;
      const own = { payload: Uint8Array.from(payload), header: Uint8Array.from(header) };
      const task: SimTask = {
        slot,
        handler,
        ...own,
        isBegun: false,
        begunAtMs: 0,
        isAbandoned: false,
        isOver: false,
        isOk: false,
        value: undefined,
      };
      this.tasks.set(slot, task);
      this.onSubmit(task);
      return slot;
    }
    return FULL;
  }

  publish(): void {}

  begin(task: SimTask): void {
    task.isBegun = true;
    task.begunAtMs = this.#now();
    this.onBegin(task);
  }

  drain(sink: OutcomeSink, limit: number): number {
    let drained = 0;
    for (const task of this.tasks.values()) {
      if (!task.isOver || drained >= limit) continue;
      sink.settled(task.slot);
      this.tasks.delete(task.slot);
      drained += 1;
    }
    return drained;
  }

  hasOutcomes(): boolean {
    return [...this.tasks.values()].some(({ isOver }) => isOver);
  }

  tick(): void {}

  cancelQueued(tell: (slot: number) => void): number {
    let cancelled = 0;
    for (const task of this.tasks.values()) {
      if (task.isBegun) continue;
      this.tasks.delete(task.slot);
      tell(task.slot);
      cancelled += 1;
    }
    return cancelled;
  }

  machineOf(_slot: number): number {
    return 0;
  }

  endMachine(): void {}

  runningMs(slot: number): number | undefined {
    const { isBegun, isOver, begunAtMs } = this.tasks.get(slot) as SimTask;
    return isBegun && !isOver ? this.#now() - begunAtMs : undefined;
  }

  askToStop(slot: number): void {
    const task = this.tasks.get(slot) as SimTask;
    task.isAbandoned = true;
    this.onAbandon(task);
  }

  isOk(slot: number): boolean {
    return (this.tasks.get(slot) as SimTask).isOk;
  }

  value(slot: number): unknown {
    return (this.tasks.get(slot) as SimTask).value;
  }

  partsOf(slot: number): { key: Uint8Array; headers: Uint8Array; payload: Uint8Array } {
    const { header, payload } = this.tasks.get(slot) as SimTask;
    return { ...partsOfTaskHeader(header), payload };
  }
}
