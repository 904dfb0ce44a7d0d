/**
 * Handlers that are paused because they end their threads, and tasks that no thread can be started
 * for.
 */
import * as assert from "uvu/assert";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { Recovery } from "@millrace/scheduler/internal/supervisor/recovery";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { FREE, NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import {
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const BAD = 0;
const GOOD = 1;

interface Given extends SchedulerShared {
  /** For the submitter's thread only. */
  readonly submitter: Submitter;
  /** 1 once the pause of the bad handler is over. */
  readonly isOver: Int32Array;
  readonly tasks: number;
}

/** A machine, a task for each of the handlers, and a pause for the bad one. */
function submitted(handlers: readonly number[], isPaused: boolean): () => Given {
  return () => {
    const shared = schedulerMemory(1, 1, 2, 2);
    const submitter = new Submitter(shared.memory, 0);
    handlers.forEach((handler, index) => submitter.submit(handler, NORMAL, NO_RETRY, 0, index + 1));
    submitter.publish();
    if (isPaused) new Shared(shared.memory).paused().begin(BAD);
    return { ...shared, submitter, isOver: new Int32Array(new SharedArrayBuffer(4)), tasks: handlers.length };
  };
}

function runMachine(shared: Given, log: unknown[]): Promise<void> {
  const run =
    (name: string) =>
    (value: number): number => {
      const isOver = Atomics.load(shared.isOver, 0) === 1;
      if (name === "bad") assert.ok(isOver, "no task of a paused handler is begun");
      log.push(name);
      return value;
    };
  return runUntilClosed(shared, 0, [
    ["bad", run("bad")],
    ["good", run("good")],
  ]);
}

function runSubmitter({ memory, submitter, tasks }: Given, log: unknown[]): void {
  awaitOutcomes(memory, submitter, tasks, log);
  closeScheduler(memory);
}

/** As Supervisor.#endPause. */
function endPause({ memory, isOver }: Given): void {
  const shared = new Shared(memory);
  const recovery = new Recovery(shared);
  Atomics.store(isOver, 0, 1);
  shared.paused().end(BAD);
  if (recovery.sweep() > 0) shared.idleSet().wakeOne();
}

const LOOKS = [
  {
    file: "scheduler/shared/paused",
    line: "this.#words[this.#count] !== 0",
    reason:
      "a machine that sees the start of a pause late begins one task more, and one that sees its end late looks at the bit",
  },
];

export const scenarios: Scenario[] = [
  scenario<Given>({
    name: "crash loop: a task of a paused handler waits for the end of the pause, and is never lost",
    setUp: submitted([BAD], true),
    threads: { supervisor: endPause, machine: runMachine, submitter: runSubmitter },
    check(_shared, { logs }) {
      assert.equal(logs["submitter"], [1]);
      assert.equal(logs["machine"], ["bad"]);
    },
    races: LOOKS,
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "crash loop: the task of another handler goes ahead of a paused one",
    setUp: submitted([BAD, GOOD], true),
    threads: { supervisor: endPause, machine: runMachine, submitter: runSubmitter },
    check(_shared, { logs }) {
      assert.equal(new Set(logs["submitter"]), new Set([1, 2]));
      assert.equal((logs["machine"] as string[]).toSorted(), ["bad", "good"]);
    },
    races: LOOKS,
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "crash loop: a sweep during the pause leaves paused tasks alone",
    setUp: submitted([BAD, GOOD], true),
    threads: {
      supervisor({ memory }, log) {
        const shared = new Shared(memory);
        // The tasks that a dead machine had taken out of its queue.
        new Recovery(shared).sweep();
        log.push("swept");
      },
      machine: runMachine,
      submitter: (shared, log) => {
        awaitOutcomes(shared.memory, shared.submitter, 1, log);
        closeScheduler(shared.memory);
      },
    },
    check({ memory }, { logs }) {
      assert.equal(logs["machine"], ["good"]);
      const shared = new Shared(memory);
      // In no queue: only the end of the pause brings it back.
      new Recovery(shared).sweep();
      shared.paused().end(BAD);
      assert.is(new Recovery(shared).sweep(), 1);
    },
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "crash loop: tasks that no thread can run are failed once, while their submitter takes one back",
    setUp: submitted([BAD, GOOD], false),
    threads: {
      supervisor: ({ memory }, log) => void log.push(new Recovery(new Shared(memory)).failQueued(0)),
      submitter({ memory, submitter, tasks }, log) {
        const isTakenBack = submitter.cancel(0);
        if (isTakenBack) log.push("taken back");
        awaitOutcomes(memory, submitter, tasks, log);
      },
    },
    check({ memory }, { logs }) {
      const table = new Shared(memory).table();
      const log = logs["submitter"] as string[];
      assert.equal(
        log.toSorted(),
        log.includes("taken back") ? ["2 crashed", "taken back"] : ["1 crashed", "2 crashed"],
      );
      assert.equal(logs["supervisor"], [log.includes("taken back") ? 1 : 2]);
      for (let slot = 0; slot < 2; slot += 1) assert.is(table.state(slot), FREE);
    },
    bounds: { preemptions: 3 },
  }),
];

const TASK_RUNNER = "scheduler/machine/task-runner";
const PAUSED = "scheduler/shared/paused";
const RECOVERY = "scheduler/supervisor/recovery";

export const mutants: Mutant[] = [
  {
    breaks: "a machine doesn't look again after it has put a task back",
    file: TASK_RUNNER,
    from: "if (!this.#paused.has(handler))\n            this.#seat.push(slot);",
    to: "",
  },
  {
    breaks: "a machine looks again before it has put the task back",
    file: TASK_RUNNER,
    from: "table.unclaim(slot, state);\n        if (!this.#paused.has(handler))\n            this.#seat.push(slot);",
    to: "const over = !this.#paused.has(handler);\n        table.unclaim(slot, state);\n        if (over)\n            this.#seat.push(slot);",
  },
  {
    breaks: "a task that is put back stays claimed",
    file: TASK_RUNNER,
    from: "table.unclaim(slot, state);\n        if (!this.#paused.has(handler))",
    to: "if (!this.#paused.has(handler))",
  },
  {
    breaks: "the bit of a handler outlives its pause",
    file: PAUSED,
    from: "clearBit(this.#words, this.#bits, handler);",
    to: "",
  },
  {
    breaks: "a pause isn't counted",
    file: PAUSED,
    from: "Atomics.add(this.#words, this.#count, 1);",
    to: "",
  },
  {
    breaks: "a sweep brings back the tasks of paused handlers",
    file: RECOVERY,
    from: "if (this.#paused.areAny && this.#paused.has(this.#table.handler(slot)))\n                continue;",
    to: "",
  },
  {
    breaks: "submitters aren't woken when their tasks are failed",
    file: RECOVERY,
    from: "unpark(this.#shared.threads, thread);",
    to: ";",
  },
];
