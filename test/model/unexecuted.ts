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
    module: "journal/state",
    lines: [
      "switch (Atomics.load(this.#control, STATE)) {",
      "return Atomics.load(this.#control, SPACE) === SPACE_FULL;",
      "if (Atomics.compareExchange(this.#control, STATE, OPEN, CLOSING) !== OPEN)",
      "if (Atomics.load(this.#control, STATE) === CLOSED)",
      "Atomics.store(this.#control, STATE, POISONED);",
      "const thread = Atomics.load(this.#control, producerWord(ring));",
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
    module: "intake/thread",
    lines: [
      "const commands = Atomics.load(this.#words, COMMANDS);",
      "Atomics.load(this.#words, COMMANDS) !== this.#commandsTaken ||",
    ],
    reason:
      "Delivery reads and writes files. Its rings and its state have scenarios (journal, questions, intake-state); this word only counts, and every turn of its loop reads it again.",
  },
  {
    module: "intake/delivery-client",
    lines: ["Atomics.add(this.#commandCount, COMMANDS, 1);"],
    reason: "The opener's side of the same word; needs a journal and worker threads.",
  },
  {
    module: "atomics-sync/threads",
    lines: [
      "return Atomics.load(this.words, id * ENTRY_WORDS + PARENT);",
      "return Atomics.load(this.words, id * ENTRY_WORDS + LENT) === 1;",
    ],
    reason: "Written with NODE_THREAD before the thread starts, read by a burial after its end.",
  },
  {
    module: "scheduler/print",
    lines: ["Atomics.add(count, 0, 1);"],
    reason: "Needs the streams and the port of a worker thread. The count says that a message was sent before.",
  },
  {
    module: "scheduler/arenas",
    lines: [
      "Atomics.load(this.table, arena * ARENA_WORDS + MAPPED) * 1024;",
      "if (Atomics.load(this.table, arena * ARENA_WORDS + index) === number)",
      "Atomics.wait(wait, 0, 0, 1);",
      "if (Atomics.load(this.table, message.arena * ARENA_WORDS + message.index) !== message.number)",
    ],
    reason:
      "Regions go to other threads over a BroadcastChannel, which the checker doesn't have. Scenarios of arenas hand them over at once.",
  },
  {
    module: "channels/chan",
    lines: ["space.giveCell(cell, Atomics.load(space.words, cell + CELL_KIND));"],
    reason:
      "Undoes a place that this thread has just taken and nobody else knows, when there is no memory for the channel.",
  },
  {
    module: "shared-memory/bit-mask",
    lines: ["if (Atomics.load(words, base + index) !== 0)"],
    reason: "isMaskEmpty(), which tests call and the runtime doesn't.",
  },
  {
    module: "atomics-sync/mutex-core",
    reason: "No scenario yet: reset() after the death of an owner whose heir is gone as well.",
  },
  {
    module: "atomics-sync/wait-group",
    reason: "No scenario yet: a count that is read for people, and a claim that is taken back.",
  },
  {
    module: "atomics-sync/monitor",
    reason: "No scenario yet: a latch that its own thread has left behind by a stack overflow.",
  },
  { module: "atomics-sync/scope", reason: "No scenario yet: deadlines, which the checker's clock doesn't reach." },
  { module: "atomics-sync/space", reason: "No scenario yet: the second look of a place that is being given up." },
  { module: "atomics-sync/wait-queue", reason: "No scenario yet: more cancelled waiters than a scenario has threads." },
  { module: "channels/channel-core", reason: "No scenario yet: lengths for people, and several values at once." },
  {
    module: "channels/pipe-core",
    reason: "No scenario yet: lengths for people, and a pipe that is freed with values in it.",
  },
  { module: "scheduler/idle", reason: "No scenario yet: machines beyond the first word of the set." },
  { module: "scheduler/processors", reason: "No scenario yet: a permit that is another machine's." },
  {
    module: "scheduler/recovery",
    reason: "No scenario yet: a task in the word for the next one of a processor whose machine died.",
  },
  { module: "shared-memory/arena", reason: "No scenario yet: a region that is dropped while it is made." },
  { module: "shared-memory/shared-heap", reason: "No scenario yet: a count of used bytes for people." },
  {
    module: "thread-pool/mailbox",
    lines: [
      "Atomics.add(this.counters, exports.REQUESTS, 1);",
      "Atomics.notify(this.counters, exports.REQUESTS, 1);",
      "const sent = Atomics.load(this.counters, exports.RESPONSES);",
    ],
    reason:
      "A drop-in's threads are woken as piscina wakes its own: a count of messages on a port, one writer each way. Tests of both drop-ins run it, with three kinds of waiting.",
  },
  {
    module: "thread-pool/serve",
    lines: [
      "Atomics.add(counters, mailbox_ts_1.RESPONSES, 1);",
      "Atomics.wait(this.#options.counters, mailbox_ts_1.REQUESTS, this.#seen);",
      "const { async, value } = Atomics.waitAsync(this.#options.counters, mailbox_ts_1.REQUESTS, this.#seen);",
      "this.#seen = Atomics.load(counters, mailbox_ts_1.REQUESTS);",
    ],
    reason: "The other end of thread-pool/mailbox.",
  },
];
