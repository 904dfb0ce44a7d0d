/** Shared by the parts of a machine: its view of the shared memory, and its start data. */
import { Parker } from "@millrace/atomics-sync";
import type { HandlerEntry } from "../handler/handlers.ts";
import type { IdleSet } from "../shared/idle.ts";
import { Shared } from "../shared/shared.ts";
import type { MachineOptions, MachineOutbox } from "./machine-options.ts";
import { Load } from "./load.ts";
import { NestedTasks } from "./nested.ts";
import type { Processors } from "../shared/processors.ts";
import { MachineStats } from "./stats.ts";
import type { TaskTable } from "../shared/task-table.ts";
import { TraceRecorder } from "../shared/trace-ring.ts";

export interface MachineParts {
  readonly machine: number;
  readonly shared: Shared;
  readonly table: TaskTable;
  readonly idle: IdleSet;
  readonly processors: Processors;
  readonly parker: Parker;
  readonly handlers: readonly HandlerEntry[];
  /** The work under way on the thread. */
  readonly load: Load;
  readonly nested: NestedTasks;
  readonly stats: MachineStats;
  readonly trace: TraceRecorder | undefined;
  readonly outbox: MachineOutbox;
}

export function machineParts(
  { machine, memory, stats, trace }: MachineOptions,
  handlers: readonly HandlerEntry[],
  outbox: MachineOutbox,
): MachineParts {
  const shared = new Shared(memory);
  const load = new Load();
  const recorder = trace === undefined ? undefined : new TraceRecorder(trace, machine);
  return {
    machine,
    shared,
    table: shared.table(),
    idle: shared.idleSet(),
    processors: shared.processors(),
    parker: new Parker(shared.threads, memory.machineThreads[machine] as number),
    handlers,
    load,
    nested: new NestedTasks(shared, machine, load, recorder),
    stats: new MachineStats(stats),
    trace: recorder,
    outbox,
  };
}
