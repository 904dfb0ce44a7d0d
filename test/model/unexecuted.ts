/**
 * Lines with `Atomics` that no scenario executes, each with its reason. A line of production code that stands neither here nor in
 * a scenario fails the run, and so does an entry here that fits no such line.
 */
export interface Exception {
  /** Package and file, without the folders between. */
  readonly module: string;
  /** A piece of the compiled line; without it, all lines of the module that no scenario executes. */
  readonly line?: string;
  readonly reason: string;
}

export const UNEXECUTED: readonly Exception[] = [
  { module: "atomics-sync/mutex", reason: "no scenario yet" },
  { module: "atomics-sync/permits", reason: "no scenario yet" },
  { module: "atomics-sync/wait-group", reason: "no scenario yet" },
  { module: "atomics-sync/monitor", reason: "no scenario yet" },
  { module: "atomics-sync/scope", reason: "no scenario yet" },
  { module: "atomics-sync/space", reason: "no scenario yet" },
  { module: "atomics-sync/threads", reason: "no scenario yet" },
  { module: "channels/channel-core", reason: "no scenario yet" },
  { module: "channels/pipe-core", reason: "no scenario yet" },
  { module: "intake/delivery", reason: "no scenario yet" },
  { module: "intake/intake", reason: "no scenario yet" },
  { module: "journal/keeper", reason: "no scenario yet" },
  { module: "journal/journal", reason: "no scenario yet" },
  { module: "journal/keeper-client", reason: "no scenario yet" },
  { module: "journal/writer-client", reason: "no scenario yet" },
  { module: "journal/memory-storage", reason: "no scenario yet" },
  { module: "scheduler/processor", reason: "no scenario yet" },
  { module: "scheduler/idle", reason: "no scenario yet" },
  { module: "scheduler/processors", reason: "no scenario yet" },
  { module: "scheduler/task-table", reason: "no scenario yet" },
  { module: "scheduler/recovery", reason: "no scenario yet" },
  { module: "shared-memory/bit-mask", reason: "no scenario yet" },
  { module: "shared-memory/byte-ring", reason: "no scenario yet" },
  { module: "shared-memory/shared-heap", reason: "no scenario yet" },
];
