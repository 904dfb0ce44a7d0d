/**
 * Lines with `Atomics` that no scenario executes, each with its reason. A line of production code
 * that stands neither here nor in a scenario fails the run, and so does a piece of a line here that
 * fits no such line.
 */
export interface Exception {
  /** Package and file, without the folders between. */
  readonly module: string;
  /**
   * Pieces of the compiled lines; without them, every line of the module that no scenario executes.
   */
  readonly lines?: readonly string[];
  readonly reason: string;
}

export const UNEXECUTED: readonly Exception[] = [
  {
    module: "scheduler/arenas",
    reason:
      "Sends regions over a BroadcastChannel, which the checker doesn't have. The scenarios of arenas send them over shared words, and run both ends of the table.",
  },
  {
    module: "journal/journal",
    lines: [
      "const isDetour = record.type !== RECORD_TYPE.data && Atomics.load(this.#control, SPACE) === SPACE_FULL;",
      "if (Atomics.load(this.#control, STATE) === CLOSED)",
      "Atomics.store(this.#control, STATE, POISONED);",
      "const thread = Atomics.load(this.#control, producerWord(ring));",
      "isDiskFull: Atomics.load(this.#control, SPACE) === SPACE_FULL,",
      "if (Atomics.compareExchange(this.#control, STATE, OPEN, CLOSING) === OPEN) {",
      "if (Atomics.load(this.#control, STATE) === POISONED)",
      "switch (Atomics.load(this.#control, STATE)) {",
      "if (Atomics.load(this.#control, STATE) !== CLOSED)",
    ],
    reason:
      "The opener starts worker threads and locks a directory. Scenarios of the journal take its steps at the same words: poison, close, appends of both kinds.",
  },
  {
    module: "journal/writer-client",
    lines: [
      "const errno = Atomics.load(this.#control, ERRNO);",
      'const step = STEPS[Atomics.load(this.#control, STEP)] ?? "the writer thread";',
    ],
    reason: "Needs a worker thread. The scenario of a write that fails reads both words as this does, after STATE.",
  },
  {
    module: "journal/keeper-client",
    lines: ["Atomics.add(this.#control, COMMANDS, 1);"],
    reason: "Needs a worker thread and its port. The keeper looks at the port whenever the count has changed.",
  },
  {
    module: "journal/keeper",
    lines: ["const wanted = Atomics.load(this.#control, SPARE_PAGES) * ALIGNMENT;"],
    reason: "In a generator, which the checker can't run. A hint for which old segments are kept as spares.",
  },
  {
    module: "journal/memory-storage",
    lines: [
      "if (Atomics.compareExchange(words, OWNED, 0, 1) !== 0) {",
      "Atomics.store(words, OWNED, 0);",
      "while (Atomics.compareExchange(this.#words, LOCK, 0, 1) !== 0)",
      "Atomics.wait(this.#words, LOCK, 1, LOCK_WAIT_MS);",
      "Atomics.store(this.#words, LOCK, 0);",
      "Atomics.notify(this.#words, LOCK, 1);",
    ],
    reason: "A storage for tests: a lock with a time limit around copies of whole blocks, which the checker refuses.",
  },
  {
    module: "intake/delivery",
    lines: [
      "Atomics.compareExchange(this.#words, STATE, RECOVERING, RUNNING);",
      "Atomics.store(this.#words, STATE, STOPPED);",
      "const isDraining = Atomics.load(this.#words, STATE) === DRAINING;",
      "return Atomics.load(this.#words, CHECKPOINTS) !== this.#checkpointsAsked;",
    ],
    reason:
      "Delivery reads and writes files. Its rings have scenarios (journal, questions); these words hold states that only move forward and that every turn of its loop reads again.",
  },
  {
    module: "intake/intake",
    lines: [
      "const state = Atomics.load(this.#words, STATE);",
      "Atomics.store(this.#words, STATE, DRAINING);",
      "Atomics.add(this.#words, CHECKPOINTS, 1);",
      "if (Atomics.load(this.#words, STATE) === STOPPED && this.#closing !== undefined)",
    ],
    reason: "The opener's side of the same words; needs a journal and worker threads.",
  },
  { module: "atomics-sync/mutex-core", reason: "no scenario yet" },
  { module: "atomics-sync/wait-group", reason: "no scenario yet" },
  { module: "atomics-sync/monitor", reason: "no scenario yet" },
  { module: "atomics-sync/scope", reason: "no scenario yet" },
  { module: "atomics-sync/space", reason: "no scenario yet" },
  { module: "atomics-sync/wait-queue", reason: "no scenario yet" },
  { module: "channels/channel-core", reason: "no scenario yet" },
  { module: "channels/pipe-core", reason: "no scenario yet" },
  { module: "scheduler/processor", reason: "no scenario yet" },
  { module: "scheduler/result-memory", reason: "no scenario yet" },
  { module: "scheduler/arenas", reason: "no scenario yet" },
  { module: "scheduler/idle", reason: "no scenario yet" },
  { module: "scheduler/slots", reason: "no scenario yet" },
  { module: "scheduler/recovery", reason: "no scenario yet" },
  { module: "shared-memory/arena-view", reason: "no scenario yet" },
  { module: "shared-memory/arena", reason: "no scenario yet" },
  { module: "shared-memory/bit-mask", reason: "no scenario yet" },
  { module: "shared-memory/byte-ring", reason: "no scenario yet" },
  { module: "shared-memory/shared-heap", reason: "no scenario yet" },
];
