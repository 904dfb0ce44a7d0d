/** Machines with as many async tasks as they may have: what these have submitted is still run, here or elsewhere, and nothing else. */
import * as assert from "uvu/assert";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import type { TaskContext } from "@millrace/scheduler/internal/handler/context";
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

const PARENT = 1;

/** A machine with room for one async task: `parent`, which waits for a child; every call goes into the log. */
function runMachine(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const child = (value: number): number => {
      log.push(value);
      return value * 10;
    };
    let pending = 0;
    const parent = async (value: number, context: TaskContext): Promise<number> => {
      assert.is(pending, 0, "one at a time");
      pending += 1;
      const group = context.group();
      group.spawn("child", value);
      const results = (await group.done()) as number[];
      pending -= 1;
      return results[0] as number;
    };
    return runUntilClosed(
      shared,
      index,
      [
        ["child", child],
        ["parent", parent, true],
      ],
      1,
    );
  };
}

function runSubmitter(parents: number) {
  return ({ memory }: SchedulerShared, log: unknown[]): void => {
    const submitter = new Submitter(memory, 0);
    for (let parent = 1; parent <= parents; parent += 1) submitter.submit(PARENT, NORMAL, NO_RETRY, 0, parent);
    submitter.publish();
    awaitOutcomes(memory, submitter, parents, log);
    closeScheduler(memory);
  };
}

function check(parents: number) {
  return ({ memory }: SchedulerShared, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void => {
    const inOrder = (list: readonly unknown[]): number[] => (list as number[]).toSorted((left, right) => left - right);
    const numbers = Array.from({ length: parents }, (_, n) => n + 1);
    assert.equal(
      inOrder(logs["submitter"] as unknown[]),
      numbers.map((n) => n * 10),
    );
    assert.equal(inOrder([...(logs["machine"] as unknown[]), ...(logs["other"] ?? [])]), numbers);
    const table = new Shared(memory).table();
    for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "room: a full machine runs what its tasks have submitted, and then the next task",
    setUp: () => schedulerMemory(1, 1, 2, 2),
    threads: { submitter: runSubmitter(2), machine: runMachine(0) },
    check: check(2),
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "room: another machine runs what a full one has submitted",
    setUp: () => schedulerMemory(2, 1, 2, 2),
    threads: { submitter: runSubmitter(1), machine: runMachine(0), other: runMachine(1) },
    check: check(1),
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "room: two full machines, each with what the other may run",
    setUp: () => schedulerMemory(2, 1, 2, 2),
    threads: { submitter: runSubmitter(2), machine: runMachine(0), other: runMachine(1) },
    check: check(2),
    bounds: { preemptions: 0 },
    random: { executions: 1000, changes: 4 },
  }),
];

const MACHINE = "scheduler/machine/machine";
const REST = "scheduler/machine/rest";

export const mutants: Mutant[] = [
  {
    breaks: "a full machine runs nothing",
    by: "runs what its tasks",
    file: MACHINE,
    from: "if (this.#nested.outstanding > 0 && this.#runSubmitted())\n            return true;",
    to: "",
  },
  {
    breaks: "a full machine passes over the task to run next",
    by: "runs what its tasks",
    file: MACHINE,
    from: "processor.publishPrivate();\n        for (let left",
    to: "for (let left",
  },
  {
    breaks: "a full machine runs tasks from outside as well",
    by: "runs what its tasks",
    file: MACHINE,
    from: "if (!this.#parts.shared.isFromOutside(slot)) {",
    to: "{",
  },
  {
    breaks: "a full machine doesn't look for outcomes before it sleeps",
    by: "another machine runs",
    file: REST,
    from: "this.#cancellations.look();\n        if (this.#parts.nested.hasOutcomes() || results.hasFreed()) {",
    to: "this.#cancellations.look();\n        if (false) {",
  },
  {
    breaks: "a full machine that is woken goes on sleeping",
    by: "two full machines",
    file: REST,
    from: 'if (this.#resumption === "room") {\n            this.#turn();\n            return;\n        }',
    to: 'if (this.#resumption === "room")\n            return;',
  },
];
