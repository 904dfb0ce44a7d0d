/** The start data of a machine, and its requests to the supervisor. */
import type { SchedulerMemory } from "../shared/layout.ts";
import type { TraceRings } from "../shared/trace-ring.ts";

export interface MachineOptions {
  readonly machine: number;
  readonly memory: SchedulerMemory;
  readonly stats: SharedArrayBuffer;
  readonly asyncTasksMax: number;
  /** How long to look for work before sleeping, ms: always, and as long as it pays. */
  readonly spinMs: number;
  readonly lookAroundMs: number;
  readonly trace: TraceRings | undefined;
}

/** A machine's requests to the supervisor, by message. */
export interface MachineOutbox {
  /** A processor has no machine. */
  wantsMachine(): void;
  /** A task is queued by its state and could not be put into a queue. */
  wantsSweep(): void;
  /** Sends a result by message; returns its ticket. */
  sendParcel(value: unknown, transferList: readonly object[]): number;
  /** Asks for an argument that is sent by message; `Machine.parcelArrived` gets it. */
  fetchParcel(ticket: number, slot: number): void;
  /** Sends a value to the opening thread; resolves with its answer. */
  ask(value: unknown): Promise<unknown>;
  closed(): void;
}
