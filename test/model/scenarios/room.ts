/**
 * Machines with as many async tasks as they may have: what these have submitted is still run, here
 * or elsewhere, and nothing else.
 */
import * as assert from "uvu/assert";
import { runQueueLength } from "@millrace/shared-memory";
import type { MachineOutbox } from "@millrace/scheduler/internal/machine/machine-options";
import { machineParts } from "@millrace/scheduler/internal/machine/machine-parts";
import { Seat } from "@millrace/scheduler/internal/machine/seat";
import { TaskRunner, type TaskRunnerParts } from "@millrace/scheduler/internal/machine/task-runner";
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
import { STALE_ENTRY } from "../fixtures/races.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const PARENT = 1;
const OPEN = 3;
/** Children are numbered as their parents, and from here on. */
const PARENTS_MAX = 2;

interface Gated extends SchedulerShared {
  /** By parent: what its `hold` waits for and its `open` sets. */
  readonly gates: Int32Array;
}

function gated(processors: number): () => Gated {
  return () => ({ ...schedulerMemory(processors, 1, 2, 2), gates: new Int32Array(new SharedArrayBuffer(16)) });
}

/**
 * A machine with room for `room` async tasks. `parent` waits for its children, and so takes up no
 * room; `hold` takes it up until its gate is open. The parent opens it once it has the result of
 * `child`, which is submitted when the machine is full; or `open`, an async call from outside,
 * opens it. The argument of `child` goes into the log.
 */
function runMachine(index: number, room = 1, children = 1) {
  return (shared: Gated, log: unknown[]): Promise<void> => {
    const { gates } = shared;
    let holding = 0;
    const openGate = (value: number): void => {
      Atomics.store(gates, value, 1);
      Atomics.notify(gates, value);
    };
    const child = (value: number): number => {
      log.push(value);
      return value * 10;
    };
    const parent = async (value: number, context: TaskContext): Promise<number> => {
      if (room === 1) assert.is(holding, 0, "no call from outside is begun by a full machine");
      const holds = context.group();
      holds.spawn("hold", value);
      await Promise.resolve();
      const group = context.group();
      // The older one may be taken by others, and the younger one is run next.
      group.spawn("child", value);
      if (children > 1) group.spawn("child", value + PARENTS_MAX);
      const results = (await group.done()) as number[];
      if (room === 1) openGate(value);
      await holds.done();
      return results[0] as number;
    };
    const hold = async (value: number): Promise<void> => {
      holding += 1;
      // Ends: the gate is never closed again.
      while (Atomics.load(gates, value) === 0) {
        const opened = Atomics.waitAsync(gates, value, 0);
        if (opened.async) await opened.value;
      }
      holding -= 1;
    };
    const open = async (value: number): Promise<number> => {
      openGate(value);
      await Promise.resolve();
      return value * 100;
    };
    return runUntilClosed(
      shared,
      index,
      [
        ["child", child],
        ["parent", parent, true],
        ["hold", hold, true],
        ["open", open, true],
      ],
      room,
    );
  };
}

function runSubmitter(parents: number) {
  return ({ memory }: Gated, log: unknown[]): void => {
    const submitter = new Submitter(memory, 0);
    for (let parent = 1; parent <= parents; parent += 1) submitter.submit(PARENT, NORMAL, NO_RETRY, 0, parent);
    submitter.publish();
    awaitOutcomes(memory, submitter, parents, log);
    closeScheduler(memory);
  };
}

function check(parents: number, children = 1) {
  return ({ memory }: Gated, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void => {
    const inOrder = (list: readonly unknown[]): number[] => (list as number[]).toSorted((left, right) => left - right);
    const numbers = Array.from({ length: parents }, (_, n) => n + 1);
    assert.equal(
      inOrder(logs["submitter"] as unknown[]),
      numbers.map((n) => n * 10),
    );
    const spawned = children === 1 ? numbers : [...numbers, ...numbers.map((n) => n + PARENTS_MAX)];
    assert.equal(inOrder([...(logs["machine"] as unknown[]), ...(logs["other"] ?? [])]), spawned);
    const table = new Shared(memory).table();
    for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  };
}

/** One machine of two, with a processor, that runs nothing by itself. */
function seatOf({ memory, stats }: SchedulerShared, machine: number) {
  const options = { machine, memory, stats: stats[machine] as SharedArrayBuffer, asyncTasksMax: 1 };
  const parts = machineParts({ ...options, spinMs: 0, lookAroundMs: 0, trace: undefined }, [], {} as MachineOutbox);
  const seat = new Seat(parts);
  seat.take();
  return { parts, seat };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "room: a task that a machine leaves to others is in a queue, or has been claimed",
    setUp() {
      const shared = schedulerMemory(2, 1, 2, 2);
      const submitter = new Submitter(shared.memory, 0);
      submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 1);
      submitter.publish();
      return shared;
    },
    threads: {
      machine(shared) {
        const { parts, seat } = seatOf(shared, 0);
        const slot = seat.findWork();
        // The other parts of a runner have no part in this.
        if (slot >= 0) new TaskRunner({ parts, seat } as TaskRunnerParts).requeue(slot, seat.claimed);
      },
      other(shared) {
        const { seat } = seatOf(shared, 1);
        let slot = seat.findWork();
        if (slot < 0) slot = seat.findWork();
        return slot >= 0;
      },
    },
    check({ memory }, { results }) {
      const shared = new Shared(memory);
      if (results["other"] === true) return;
      let entries = runQueueLength(shared.outbox(0, NORMAL));
      for (let processor = 0; processor < 2; processor += 1) entries += runQueueLength(shared.runQueue(processor));
      assert.is(entries, 1, "a task that nobody looks for");
    },
    bounds: { preemptions: 3 },
  }),
  scenario<Gated>({
    name: "room: a task that waits for its children leaves its room to a call that they wait for",
    setUp: gated(1),
    threads: {
      submitter({ memory }, log) {
        const submitter = new Submitter(memory, 0);
        submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 1);
        submitter.submit(OPEN, NORMAL, NO_RETRY, 0, 1);
        submitter.publish();
        awaitOutcomes(memory, submitter, 2, log);
        closeScheduler(memory);
      },
      machine: runMachine(0, 2),
    },
    check(_, { logs }) {
      assert.equal(
        (logs["submitter"] as number[]).toSorted((left, right) => left - right),
        [10, 100],
      );
    },
    bounds: { preemptions: 1 },
  }),
  scenario<Gated>({
    name: "room: a full machine runs what its tasks have submitted, and then the next task",
    setUp: gated(1),
    threads: { submitter: runSubmitter(2), machine: runMachine(0) },
    check: check(2),
    bounds: { preemptions: 1 },
  }),
  scenario<Gated>({
    name: "room: another machine runs what a full one has submitted",
    setUp: gated(2),
    threads: { submitter: runSubmitter(1), machine: runMachine(0, 1, 2), other: runMachine(1, 1, 2) },
    check: check(1, 2),
    races: [STALE_ENTRY],
    bounds: { preemptions: 0 },
    random: { executions: 2000, changes: 5 },
  }),
  scenario<Gated>({
    name: "room: two full machines, each with what the other may run",
    setUp: gated(2),
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
    breaks: "a task that is left to others is queued before they may claim it",
    by: "leaves to others",
    file: "scheduler/machine/task-runner",
    from: "this.#parts.table.unclaim(slot, state);\n        this.#seat.push(slot);",
    to: "this.#seat.push(slot);\n        this.#parts.table.unclaim(slot, state);",
  },
  {
    breaks: "a full machine runs nothing",
    by: "runs what its tasks",
    file: MACHINE,
    from: "if (this.#nested.outstanding > 0 && (this.#runSubmitted() || this.#runWaiting()))\n            return true;",
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
    breaks: "a task that waits for its children takes up room",
    by: "leaves its room",
    file: "scheduler/machine/task-runner",
    from: "this.#load.selfGoing >= asyncTasksMax",
    to: "this.#load.pendingAsync >= asyncTasksMax",
  },
  {
    breaks: "a full machine that is woken goes on sleeping",
    by: "another machine runs",
    file: REST,
    from: 'if (this.#resumption === "room") {\n            this.#turn();\n            return;\n        }',
    to: 'if (this.#resumption === "room")\n            return;',
  },
];
