/**
 * A task that throws and runs again, with the time of its start in its slot for the submitter to
 * read meanwhile.
 */
import * as assert from "uvu/assert";
import type { TaskContext } from "@millrace/scheduler/internal/handler/context";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { FREE, taskPolicy } from "@millrace/scheduler/internal/shared/task-table";
import {
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

interface Given extends SchedulerShared {
  /** For the submitter's thread only. */
  readonly submitter: Submitter;
}

/** Two attempts, also after an error, with times. */
const TWICE: number = taskPolicy(false, true, 2, true);

function setUp(machines: number): Given {
  const shared = schedulerMemory(machines, 1, 2, 2);
  const submitter = new Submitter(shared.memory, 0);
  submitter.submit(0, NORMAL, TWICE, 0, 7);
  submitter.publish();
  return { ...shared, submitter };
}

/** Fails at first; both attempts are in the log of the machine that made them. */
function runMachine(index: number) {
  return (shared: Given, log: unknown[]): Promise<void> => {
    const twice = (value: number, context: TaskContext): number => {
      log.push(context.attempt);
      if (context.attempt === 1) throw new Error("the first time");
      return value;
    };
    return runUntilClosed(shared, index, [["twice", twice]]);
  };
}

function runSubmitter({ memory, submitter }: Given, log: unknown[]): void {
  // Whether it has begun: 0, or the time of one of its starts, never a half of two.
  assert.ok(submitter.table.started(0) >= 0);
  awaitOutcomes(memory, submitter, 1, log);
  closeScheduler(memory);
}

function assertRanTwice({ memory }: Given, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void {
  assert.equal(logs["submitter"], [7]);
  const attempts = [...(logs["one"] ?? []), ...(logs["two"] ?? [])] as number[];
  assert.equal(
    attempts.toSorted((a, b) => a - b),
    [1, 2],
  );
  assert.is(new Shared(memory).table().state(0), FREE);
}

export const scenarios: Scenario[] = [
  scenario<Given>({
    name: "retry: a task that throws runs once more, and its outcome is told once",
    setUp: () => setUp(1),
    threads: { submitter: runSubmitter, one: runMachine(0) },
    check: assertRanTwice,
    bounds: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "retry: the second attempt on either of two machines",
    setUp: () => setUp(2),
    threads: { submitter: runSubmitter, one: runMachine(0), two: runMachine(1) },
    check: assertRanTwice,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
];

const FILE = "scheduler/shared/task-table";

export const mutants: Mutant[] = [
  {
    breaks: "an attempt isn't counted",
    file: FILE,
    from: "Atomics.store(this.#words, slot * SLOT_WORDS + STATE, afterAttempt(running) | QUEUED);",
    to: "Atomics.store(this.#words, slot * SLOT_WORDS + STATE, (running & HISTORY_MASK) | QUEUED);",
  },
  {
    breaks: "the time of a start is stored plainly while the submitter reads it",
    file: FILE,
    from: "Atomics.store(this.#words, slot * SLOT_WORDS + TIME, time | 0 || 1);",
    to: "this.#words[slot * SLOT_WORDS + TIME] = time | 0 || 1;",
  },
];
