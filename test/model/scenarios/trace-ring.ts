/**
 * The trace of a thread: what a reader returns while the owner overwrites the oldest is whole, and
 * in order.
 */
import * as assert from "uvu/assert";
import {
  allocateTraceRings,
  readTrace,
  TraceRecorder,
  type TraceRings,
} from "@millrace/scheduler/internal/shared/trace-ring";
import { type Mutant, type Race, scenario, type Scenario } from "../api.ts";

const CAPACITY = 2;

/** Two rings of two records; the second one is there to be left alone. */
function setUp(): TraceRings {
  return allocateTraceRings(1, 1, CAPACITY);
}

/** Record n has n in all of its fields. */
function write(recorder: TraceRecorder, from: number, to: number): void {
  for (let n = from; n <= to; n += 1) recorder.started(n, n, n, n, n);
}

function read(rings: TraceRings): { tasks: number[]; dropped: number } {
  const { records, dropped } = readTrace(rings);
  for (const { ring, task, run, handler, a, b } of records) {
    assert.is(ring, 0);
    assert.equal([run, handler, a, b], [task, task, task, task], "a record is whole");
  }
  const tasks = records.map(({ task }) => task);
  for (let index = 1; index < tasks.length; index += 1) assert.is(tasks[index], (tasks[index - 1] as number) + 1);
  assert.is(dropped[1], 0);
  return { tasks, dropped: dropped[0] as number };
}

/** The reader copies first and throws away what may have been overwritten meanwhile. */
const COPIED: Race[] = [
  "timeMs: times[(at + TIME) >> 1],",
  "kind: words[at + KIND],",
  "task: words[at + TASK],",
  "run: words[at + RUN],",
  "handler: words[at + HANDLER],",
  "a: words[at + A],",
  "b: words[at + B],",
].map((line) => ({
  file: "scheduler/shared/trace-ring",
  line,
  reason: "a copy that may be torn, which is thrown away when WRITTEN has moved on",
}));

export const scenarios: Scenario[] = [
  scenario({
    name: "trace ring: what a reader returns is whole, while the owner overwrites",
    setUp,
    threads: {
      owner: (rings) => write(new TraceRecorder(rings, 0), 1, 4),
      reader(rings, log) {
        const { tasks, dropped } = read(rings);
        log.push(dropped);
        // The one that the owner may be about to overwrite is left out.
        assert.ok(tasks.length <= CAPACITY);
        if (tasks.length > 0) assert.is(tasks[0], dropped + 1, "those that were dropped are counted");
      },
    },
    check(rings, { died }) {
      if (died.length === 0) assert.equal(read(rings), { tasks: [4], dropped: 3 });
      else read(rings);
    },
    // Also so that the single words of a record are steps.
    kill: ["owner"],
    races: COPIED,
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "trace ring: an owner that dies leaves whole records to its successor",
    setUp,
    threads: {
      owner(rings) {
        write(new TraceRecorder(rings, 0), 1, 1);
      },
      reader(rings, log) {
        log.push(...read(rings).tasks);
      },
    },
    check(rings, { died }) {
      const { tasks } = read(rings);
      assert.ok(tasks.length === 1 || died.length === 1);
      write(new TraceRecorder(rings, 0), tasks.length + 1, tasks.length + 1);
      assert.is(read(rings).tasks.at(-1), tasks.length + 1);
    },
    kill: ["owner"],
    races: [],
    bounds: { preemptions: 2 },
  }),
];

const FILE = "scheduler/shared/trace-ring";

export const mutants: Mutant[] = [
  {
    breaks: "the count moves before the record is whole",
    file: FILE,
    from: "words[at + B] = b;\n        this.#written = (this.#written + 1) | 0;\n        Atomics.store(words, this.#base + WRITTEN, this.#written);",
    to: "this.#written = (this.#written + 1) | 0;\n        Atomics.store(words, this.#base + WRITTEN, this.#written);\n        words[at + B] = b;",
  },
  {
    breaks: "a reader doesn't throw away what was overwritten meanwhile",
    file: FILE,
    from: "records.push(...copied.slice(spoilt));",
    to: "records.push(...copied);",
  },
  {
    breaks: "a reader takes the record that is just being overwritten for whole",
    file: FILE,
    from: "now + 1 - rings.capacity - from",
    to: "now - rings.capacity - from",
  },
];
