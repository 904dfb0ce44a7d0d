/** Tasks that handlers spawn: on a private stack, shared, stolen, joined; and a machine that ends while it has submitted some. */
import * as assert from "uvu/assert";
import { Shared } from "@millrace/scheduler/internal/layout";
import type { TaskContext } from "@millrace/scheduler/internal/context";
import { Submitter } from "@millrace/scheduler/internal/submitter";
import { FREE, NO_RETRY } from "@millrace/scheduler/internal/task-table";
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

/** A machine whose handler `parent` spawns `children` tasks and joins them; every call goes into the log. */
function runMachine(index: number, children: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const child = (value: number): number => {
      log.push(value);
      return value * 10;
    };
    const parent = (_: number, context: TaskContext): number => {
      const group = context.group();
      for (let n = 1; n <= children; n += 1) group.spawn("child", n);
      const results = group.join() as number[];
      let sum = 0;
      for (let n = 0; n < results.length; n += 1) sum += results[n] as number;
      return sum;
    };
    return runUntilClosed(shared, index, [
      ["child", child],
      ["parent", parent],
    ]);
  };
}

/** Submits the parent, waits for its result, and closes the scheduler. */
function runSubmitter({ memory }: SchedulerShared, log: unknown[]): void {
  const submitter = new Submitter(memory, 0);
  submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 0);
  submitter.publish();
  awaitOutcomes(memory, submitter, 1, log);
  closeScheduler(memory);
}

function check(children: number, sum: number) {
  return ({ memory }: SchedulerShared, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void => {
    assert.equal(logs["submitter"], [sum]);
    const ran = [...(logs["machine"] as number[]), ...((logs["other"] ?? []) as number[])];
    assert.equal(
      ran.toSorted((left, right) => left - right),
      Array.from({ length: children }, (_, n) => n + 1),
    );
    const table = new Shared(memory).table();
    for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "nested: a handler spawns three tasks with two slots and joins them",
    setUp: () => schedulerMemory(1, 1, 1, 2),
    threads: { submitter: runSubmitter, machine: runMachine(0, 3) },
    check: check(3, 60),
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "nested: another machine takes what was spawned, and the join waits for it",
    setUp: () => schedulerMemory(2, 1, 1, 2),
    threads: { submitter: runSubmitter, machine: runMachine(0, 2), other: runMachine(1, 2) },
    check: check(2, 30),
    bounds: { preemptions: 1 },
    random: { executions: 300, changes: 4 },
  }),
];

const FILE = "scheduler/nested";

export const mutants: Mutant[] = [
  {
    breaks: "a spawned task isn't queued by its state",
    file: FILE,
    from: "this.#slots.enqueue(slot);",
    to: "",
  },
  {
    breaks: "the outcomes of others are passed over",
    file: FILE,
    from: "this.#settled(this.#shared.words[word]);",
    to: "",
  },
];
