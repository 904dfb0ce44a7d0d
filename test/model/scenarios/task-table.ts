/** A task's slot: who claims, takes back, settles and requeues it. */
import * as assert from "uvu/assert";
import {
  DONE,
  FAILED,
  FREE,
  NO_RETRY,
  NOT_CLAIMED,
  QUEUED,
  RUNNING,
  SLOT_BYTES,
  TaskTable,
  taskPolicy,
} from "@millrace/scheduler/internal/shared/task-table";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";

const ARGUMENT = 2.5;
const RESULT = -7.25;
const HANDLER = 3;
const LAST_GENERATION = 0xffff;
const RETRY: number = taskPolicy(true, false, 3, false);
const NUMBER = 4;

/** A table whose only slot is in its last generation. */
function setUp(): SharedArrayBuffer {
  const slots = new SharedArrayBuffer(SLOT_BYTES);
  new Int32Array(slots)[0] = 0xffff << 16;
  return slots;
}

function tableOf(slots: SharedArrayBuffer): TaskTable {
  return new TaskTable(slots, 1);
}

function enqueue(table: TaskTable, retryAfterCrash: boolean, generation = LAST_GENERATION): void {
  table.setArgument(0, 0, 0, 0);
  table.setArgumentNumber(0, ARGUMENT);
  table.describe(0, HANDLER, 1, retryAfterCrash ? RETRY : NO_RETRY, NUMBER);
  table.enqueue(0, generation);
}

function queued(retryAfterCrash: boolean): () => SharedArrayBuffer {
  return () => {
    const slots = setUp();
    enqueue(tableOf(slots), retryAfterCrash);
    return slots;
  };
}

/** Claims the task and does it, as a machine does; whether it had it. */
function runTask(machine: number) {
  return (slots: SharedArrayBuffer, log: unknown[]): boolean => {
    const table = tableOf(slots);
    const running = table.claim(0, machine);
    if (running === NOT_CLAIMED) return false;
    assert.is(table.machine(0), machine);
    assert.is(table.handler(0), HANDLER);
    assert.is(table.argumentKind(0), NUMBER);
    assert.is(table.argumentNumber(0), ARGUMENT);
    log.push("ran");
    table.setResultNumber(0, RESULT);
    table.setResult(0, NUMBER, 0, 0);
    table.finish(0, running, true);
    return true;
  };
}

function readResult(table: TaskTable): void {
  assert.is(table.resultKind(0), NUMBER);
  assert.is(table.resultNumber(0), RESULT);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "task table: of two machines one claims the task, and the submitter reads a whole result",
    setUp,
    threads: {
      submitter(slots, log) {
        const table = tableOf(slots);
        enqueue(table, false);
        for (let look = 0; look < 3; look += 1) {
          if (table.state(0) !== DONE) continue;
          readResult(table);
          log.push("read");
          table.free(0, 0);
          return;
        }
      },
      first: runTask(5),
      second: runTask(255),
    },
    check(slots, { logs, results }) {
      const table = tableOf(slots);
      const ran = [...(logs["first"] as string[]), ...(logs["second"] as string[])];
      assert.ok(ran.length <= 1);
      assert.is(results["first"] === true && results["second"] === true, false);
      const expected = ran.length === 0 ? QUEUED : logs["submitter"]?.length === 1 ? FREE : DONE;
      assert.is(table.state(0), expected);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "task table: a task is taken back or run, never both",
    setUp: queued(false),
    threads: {
      submitter(slots) {
        const table = tableOf(slots);
        const back = table.cancel(0);
        // The slot serves the next task at once.
        if (back) enqueue(table, false, 0);
        return back;
      },
      first: runTask(1),
      second: runTask(2),
    },
    check(slots, { logs, results }) {
      const ran = [...(logs["first"] as string[]), ...(logs["second"] as string[])].length;
      const tasks = results["submitter"] === true ? 1 : 0;
      assert.ok(ran <= 1 + tasks);
      assert.is(tableOf(slots).state(0), ran === 1 ? DONE : QUEUED);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "task table: what a dead machine ran is queued again with its attempt counted",
    setUp: queued(true),
    threads: {
      machine: runTask(1),
      supervisor(slots, log) {
        join("machine");
        const table = tableOf(slots);
        const state = table.state(0);
        if (state === RUNNING && table.machine(0) === 1 && table.mayRetryAfterCrash(0, table.stateWord(0))) {
          table.requeue(0);
          log.push(table.attempt(0));
        }
      },
      other(slots, log) {
        for (let attempt = 0; attempt < 2; attempt += 1) {
          if (runTask(2)(slots, log)) return;
          pause();
        }
      },
    },
    check(slots, { logs, died }) {
      const table = tableOf(slots);
      if (table.state(0) === DONE) readResult(table);
      else assert.is(table.state(0), QUEUED);
      const requeued = logs["supervisor"] as number[];
      assert.equal(requeued, requeued.length === 0 ? [] : [1]);
      if (died.length === 0) assert.is(requeued.length, 0);
      assert.not(table.state(0) === FAILED);
    },
    kill: ["machine"],
    bounds: { preemptions: 2 },
  }),
];

const FILE = "scheduler/shared/task-table";

export const mutants: Mutant[] = [
  {
    breaks: "a task is claimed without a compare-and-swap",
    file: FILE,
    from: "return Atomics.compareExchange(this.#words, word, state, running) === state ? running : NOT_CLAIMED;",
    to: "Atomics.store(this.#words, word, running);\n        return running;",
  },
  {
    breaks: "any task is claimed",
    file: FILE,
    from: "claim(slot, machine) {\n        const word = slot * SLOT_WORDS + STATE;\n        const state = Atomics.load(this.#words, word);\n        if ((state & STATE_MASK) !== QUEUED)\n            return NOT_CLAIMED;",
    to: "claim(slot, machine) {\n        const word = slot * SLOT_WORDS + STATE;\n        const state = Atomics.load(this.#words, word);",
  },
  {
    breaks: "a claim compares the state only and stores what it has read before",
    file: FILE,
    from: "const running = (state & HISTORY_MASK) | (machine << MACHINE_SHIFT) | RUNNING;",
    to: "const running = (state & HISTORY_MASK) | RUNNING;",
  },
  {
    breaks: "a task is taken back without a compare-and-swap",
    file: FILE,
    from: "return Atomics.compareExchange(this.#words, word, state, freed) === state;",
    to: "Atomics.store(this.#words, word, freed);\n        return true;",
  },
  {
    breaks: "the submitter queues a task before it is filled",
    file: FILE,
    from: "Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (generation << GENERATION_SHIFT) | QUEUED);",
    to: "this.#words[slot * SLOT_WORDS + STATE] = (generation << GENERATION_SHIFT) | QUEUED;",
  },
  {
    breaks: "the result is settled by a plain store",
    file: FILE,
    from: "Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (running & ~STATE_MASK) | (ok ? DONE : FAILED));",
    to: "this.#words[slot * SLOT_WORDS + STATE] = (running & ~STATE_MASK) | (ok ? DONE : FAILED);",
  },
  {
    breaks: "the machine's number spills over into the attempts",
    file: FILE,
    from: "const MACHINE_MASK = 0xff;",
    to: "const MACHINE_MASK = 0x7f;",
  },
  {
    breaks: "a requeued task doesn't count its attempt",
    file: FILE,
    from: "Math.min(attemptOf(state) + 1, ATTEMPTS_MAX)",
    to: "Math.min(attemptOf(state), ATTEMPTS_MAX)",
  },
  {
    breaks: "a requeued task is still running",
    file: FILE,
    from: "afterAttempt(Atomics.load(this.#words, word)) | QUEUED",
    to: "afterAttempt(Atomics.load(this.#words, word)) | RUNNING",
  },
];
