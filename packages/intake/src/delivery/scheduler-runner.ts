/** The scheduler as the delivery's state machine sees it. */
import type { OutcomeSink, Submitter } from "@millrace/scheduler";
import { partsOfTaskHeader } from "../format/task-header.ts";
import type { Runner } from "./ports.ts";

export class SchedulerRunner implements Runner {
  readonly #submitter: Submitter;
  readonly #endMachine: (machine: number, ifBlocked: boolean) => void;

  constructor(submitter: Submitter, endMachine: (machine: number, ifBlocked: boolean) => void) {
    this.#submitter = submitter;
    this.#endMachine = endMachine;
  }

  get capacity(): number {
    return this.#submitter.slots.capacity;
  }

  get first(): number {
    return this.#submitter.slots.first;
  }

  get outstanding(): number {
    return this.#submitter.slots.outstanding;
  }

  get valueBytesMax(): number {
    return this.#submitter.shared.memory.arenas.bytesMax;
  }

  waiting(): number {
    return this.#submitter.waiting();
  }

  submit(handler: number, priority: number, payload: Uint8Array, header: Uint8Array, isTimed: boolean): number {
    // A death of the thread is the scheduler's matter as long as others ran there too: it runs the
    // innocent again, each alone, and tells only of a task that killed several threads by itself.
    return this.#submitter.submitBytes(handler, priority, payload, header, isTimed);
  }

  publish(): void {
    this.#submitter.publish();
  }

  drain(sink: OutcomeSink, limit: number): number {
    return this.#submitter.drain(sink, limit);
  }

  hasOutcomes(): boolean {
    return this.#submitter.hasOutcomes();
  }

  tick(): void {
    this.#submitter.tick();
  }

  cancelQueued(cancelled: (slot: number) => void): number {
    return this.#submitter.cancelQueued(cancelled);
  }

  runningMs(slot: number): number | undefined {
    return this.#submitter.runningMs(slot);
  }

  askToStop(slot: number): void {
    this.#submitter.askToStop(slot);
  }

  machineOf(slot: number): number {
    return this.#submitter.machineOf(slot);
  }

  endMachine(machine: number, ifBlocked: boolean): void {
    this.#endMachine(machine, ifBlocked);
  }

  isOk(slot: number): boolean {
    return this.#submitter.slots.isOk(slot);
  }

  value(slot: number): unknown {
    return this.#submitter.slots.value(slot);
  }

  partsOf(slot: number): { readonly key: Uint8Array; readonly headers: Uint8Array; readonly payload: Uint8Array } {
    const { slots } = this.#submitter;
    return { ...partsOfTaskHeader(slots.headerBytes(slot)), payload: slots.argumentBytes(slot) };
  }
}
