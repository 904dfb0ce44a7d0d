/**
 * The processor that a machine holds: taken when there is one, handed over before the thread
 * blocks, taken back afterwards.
 *
 * With a processor go the tasks that lie there. Those on the machine's private stack are put there
 * first.
 */
import { seededRandom } from "@millrace/base";
import { EMPTY } from "@millrace/shared-memory";
import { schedulerError } from "../errors.ts";
import type { MachineParts } from "./machine-parts.ts";
import { Processor, type SearchCounters } from "./processor.ts";
import { NONE, RUNNING_HANDLER } from "../shared/processors.ts";

export class Seat {
  readonly counters: SearchCounters = { steals: 0, stolenTasks: 0, staleEntries: 0, overflows: 0 };
  readonly #parts: MachineParts;
  #processor: Processor | undefined;
  #last: number;
  #tick = 0;
  #blockDepth = 0;
  /** Tasks to run again, for which there was no processor. */
  readonly #homeless: number[] = [];

  constructor(parts: MachineParts) {
    this.#parts = parts;
    this.#last = parts.machine % parts.shared.memory.processors;
  }

  /** Undefined while the machine is a spare, or waits in a handler. */
  get processor(): Processor | undefined {
    return this.#processor;
  }

  /** Takes a processor that nobody has. Returns whether there was one. */
  take(): boolean {
    const { processors, machine, shared, trace } = this.#parts;
    const index = processors.acquire(machine, this.#last);
    if (index === NONE) return false;
    this.#last = index;
    const processor = new Processor(shared, index, machine, seededRandom(machine * 64 + index + 1), this.counters);
    this.#processor = processor;
    this.#tick = processors.tick(index) & ~1;
    trace?.took(index);
    for (const slot of this.#homeless.splice(0)) processor.push(slot);
    processor.publish();
    return true;
  }

  /** A task that this machine has claimed, or `EMPTY`; also without a processor to be had. */
  findWork(): number {
    if (this.#processor === undefined && !this.take()) return EMPTY;
    const processor = this.#processor as Processor;
    const slot = processor.findWork();
    if (slot !== EMPTY && processor.lastVictim >= 0) this.#traceSteal(processor, slot);
    return slot;
  }

  /** The state with which the last found task was claimed. */
  get claimed(): number {
    return (this.#processor as Processor).claimed;
  }

  /** Queues a task that is queued by its state; false when it has to wait for a processor. */
  push(slot: number): boolean {
    if (this.#processor === undefined) {
      this.#homeless.push(slot);
      return false;
    }
    this.#processor.push(slot);
    this.#processor.publish();
    return true;
  }

  /** The tick is odd while a handler runs: the watchdog sees for how long it hasn't changed. */
  handlerBegins(handler: number, isOutermost: boolean): void {
    if (this.#processor !== undefined) this.#setTick(this.#processor, handler + 1, isOutermost ? 1 : 2);
  }

  outermostHandlerEnds(): void {
    if (this.#processor !== undefined) this.#setTick(this.#processor, 0, this.#tick & 1);
  }

  #setTick(processor: Processor, running: number, steps: number): void {
    const { words } = this.#parts.shared;
    const word = this.#parts.processors.tickWord(processor.index);
    this.#tick = (this.#tick + steps) | 0;
    words[word + RUNNING_HANDLER] = running;
    words[word] = this.#tick;
  }

  // ── blocking ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Before a wait in a handler: another machine may have the processor. Throws
   * `ERR_MACHINES_EXHAUSTED`.
   */
  enterBlocking(): void {
    if (this.#blockDepth === 0) {
      if (!this.tryBlock()) throw this.exhausted();
      this.yieldProcessor();
    }
    this.#blockDepth += 1;
  }

  /** After it: takes a processor if there is one; otherwise the task goes on without. */
  leaveBlocking(): void {
    this.#blockDepth -= 1;
    if (this.#blockDepth === 0) this.unblock();
  }

  /** Whether the thread counts as blocked for a handler's sake. */
  get isInBlocking(): boolean {
    return this.#blockDepth > 0;
  }

  /** Counts the thread as blocked, unless too many are. */
  tryBlock(): boolean {
    return this.#parts.processors.tryBlock(this.#parts.machine);
  }

  exhausted(): Error {
    const { machines, processors } = this.#parts.shared.memory;
    return schedulerError("ERR_MACHINES_EXHAUSTED", `${machines - processors} threads wait in handlers already`, {
      details: { machines, processors },
    });
  }

  /** Gives the processor to a spare machine, with everything that lies there. */
  yieldProcessor(): void {
    const { nested, processors, trace, outbox } = this.#parts;
    const processor = this.#processor;
    if (processor === undefined) return;
    if (nested.size > 0) nested.share(processor, true);
    // The spare takes one task; the others needn't wait for it.
    processor.leaveToOthers();
    this.#processor = undefined;
    processors.release(processor.index);
    const spare = processors.wakeSpare();
    trace?.yielded(processor.index, spare);
    if (spare < 0) outbox.wantsMachine();
  }

  /** The thread isn't blocked any more. */
  unblock(): void {
    this.#parts.processors.unblock(this.#parts.machine);
    if (this.#processor === undefined) this.take();
  }

  // ── seeing it ─────────────────────────────────────────────────────────────────────────────────

  /** Notes the number of tasks that lie here, for the figures and the trace. */
  noteDepth(): void {
    const { stats, trace } = this.#parts;
    const entries = this.#processor?.length() ?? 0;
    stats.depth(entries);
    if (this.#processor !== undefined) trace?.depth(entries, this.#processor.index);
  }

  #traceSteal(processor: Processor, slot: number): void {
    const { trace, table } = this.#parts;
    trace?.stole(slot, table.handler(slot), processor.lastVictim, processor.length() + 1);
    processor.lastVictim = -1;
    this.noteDepth();
  }
}
