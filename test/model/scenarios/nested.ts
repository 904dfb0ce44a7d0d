/**
 * Tasks that handlers spawn: on a private stack, shared, stolen, joined; and a machine that ends
 * while it has submitted some.
 */
import * as assert from "uvu/assert";
import { hasBit } from "@millrace/shared-memory";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import type { TaskContext } from "@millrace/scheduler/internal/handler/context";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { FREE, NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import {
  assertNotSearching,
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const PARENT = 1;
const FILE = "scheduler/machine/nested";

/**
 * A machine whose handler `parent` spawns `children` tasks and joins them; every call goes into the
 * log.
 */
function runMachine(index: number, children: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const child = (value: number): number => {
      assertNotSearching(shared.memory, index);
      log.push(value);
      return value * 10;
    };
    const parent = (_: number, context: TaskContext): number => {
      const group = context.group();
      for (let n = 1; n <= children; n += 1) group.spawn("child", n);
      const results = group.join() as number[];
      assertNotSearching(shared.memory, index);
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

/**
 * Submits the parent, and a child of nobody's that machines may be woken for meanwhile; waits for
 * the results, and closes the scheduler.
 */
function runSubmitter(children: number) {
  return ({ memory }: SchedulerShared, log: unknown[]): void => {
    const submitter = new Submitter(memory, 0);
    submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 0);
    submitter.publish();
    for (let child = 1; child <= children; child += 1) {
      submitter.submit(0, NORMAL, NO_RETRY, 0, LONE + child);
      submitter.publish();
    }
    awaitOutcomes(memory, submitter, 1 + children, log);
    closeScheduler(memory);
  };
}

/** Children that nobody has spawned are numbered from here. */
const LONE = 100;

function check(children: number, sum: number) {
  return ({ memory }: SchedulerShared, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void => {
    assert.ok((logs["submitter"] as unknown[]).includes(sum));
    const ran = [...(logs["machine"] as number[]), ...((logs["other"] ?? []) as number[])];
    assert.equal(
      ran.filter((value) => value < LONE).toSorted((left, right) => left - right),
      Array.from({ length: children }, (_, n) => n + 1),
    );
    const table = new Shared(memory).table();
    for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  };
}

interface Gated extends SchedulerShared {
  readonly gate: Int32Array;
}

const SPAWNED = 0;
const OPENED = 1;

function set(words: Int32Array, word: number): void {
  Atomics.store(words, word, 1);
  Atomics.notify(words, word);
}

/** Ends: nothing is ever taken back. */
function awaitSet(words: Int32Array, word: number): void {
  while (Atomics.load(words, word) === 0) Atomics.wait(words, word, 0);
}

/**
 * A machine of two processors and three machines: what `hold` waits for is done by `open`, which is
 * async, so that no join may run it.
 */
function runGated(index: number) {
  return (shared: Gated, log: unknown[]): Promise<void> => {
    const { gate } = shared;
    const hold = (value: number): number => {
      awaitSet(gate, OPENED);
      log.push(value);
      return value;
    };
    const parent = (value: number, context: TaskContext): number => {
      const group = context.group();
      // The oldest is given away first.
      group.spawn("hold", 1);
      group.spawn("pass", 2);
      set(gate, SPAWNED);
      group.join();
      return value;
    };
    // oxlint-disable-next-line typescript/require-await
    const open = async (value: number): Promise<number> => {
      set(gate, OPENED);
      return value;
    };
    return runUntilClosed(shared, index, [
      ["hold", hold],
      ["parent", parent],
      ["open", open, true],
      ["pass", (value: number): number => value],
    ]);
  };
}

/**
 * Three machines: one joins, one runs what it waits for, and one may run the async task that opens
 * the gate.
 */
function joinBesideAsync(name: string, processors: number, executions: number): Scenario {
  return scenario<Gated>({
    name,
    setUp: () => ({ ...schedulerMemory(processors, 1, 2, 2, 3), gate: new Int32Array(new SharedArrayBuffer(8)) }),
    threads: {
      submitter({ memory, gate }, log) {
        const submitter = new Submitter(memory, 0);
        submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 7);
        submitter.publish();
        awaitSet(gate, SPAWNED);
        submitter.submit(2, NORMAL, NO_RETRY, 0, 8);
        submitter.publish();
        awaitOutcomes(memory, submitter, 2, log);
        closeScheduler(memory);
      },
      machine: runGated(0),
      other: runGated(1),
      spare: runGated(2),
    },
    check({ memory }, { logs }) {
      assert.equal(
        (logs["submitter"] as number[]).toSorted((left, right) => left - right),
        [7, 8],
      );
      const shared = new Shared(memory);
      for (let machine = 0; machine < memory.machines; machine += 1) assert.not(shared.processors().isBlocked(machine));
      for (let processor = 0; processor < processors; processor += 1) {
        assert.not(hasBit(shared.words, shared.layout.joining, processor), "nobody joins any more");
      }
    },
    bounds: { preemptions: 0 },
    random: { executions, changes: 4 },
  });
}

/**
 * Handlers of machines with a slot each: `root` submits `hold`, which another machine may take, and
 * then `open`, for which there is no slot.
 */
function runWithOneSlot(index: number) {
  return (shared: Gated, log: unknown[]): Promise<void> => {
    const { gate } = shared;
    const hold = async (value: number): Promise<number> => {
      // Ends: the gate is never closed again.
      while (Atomics.load(gate, OPENED) === 0) {
        const opened = Atomics.waitAsync(gate, OPENED, 0);
        if (opened.async) await opened.value;
      }
      return value;
    };
    const root = async (value: number, context: TaskContext): Promise<number> => {
      const group = context.group();
      group.spawn("hold", value);
      const opened = (await context.run("open", value)) as number;
      await group.done();
      return opened;
    };
    const open = (value: number): number => {
      log.push(value);
      set(gate, OPENED);
      return value * 10;
    };
    return runUntilClosed(shared, index, [
      ["hold", hold, true],
      ["root", root, true],
      ["open", open],
    ]);
  };
}

export const scenarios: Scenario[] = [
  scenario<Gated>({
    name: "nested: a call without a slot runs, though all slots are held by tasks that wait for it",
    setUp: () => ({ ...schedulerMemory(2, 1, 2, 2, 2, 64, 1), gate: new Int32Array(new SharedArrayBuffer(8)) }),
    threads: {
      submitter({ memory }, log) {
        const submitter = new Submitter(memory, 0);
        submitter.submit(PARENT, NORMAL, NO_RETRY, 0, 5);
        submitter.publish();
        awaitOutcomes(memory, submitter, 1, log);
        closeScheduler(memory);
      },
      machine: runWithOneSlot(0),
      other: runWithOneSlot(1),
    },
    check({ memory }, { logs }) {
      assert.equal(logs["submitter"], [50]);
      assert.equal([...(logs["machine"] as unknown[]), ...(logs["other"] as unknown[])], [5], "it ran once");
      const table = new Shared(memory).table();
      for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
    },
    bounds: { preemptions: 0 },
    random: { executions: 800, changes: 4 },
  }),
  joinBesideAsync("nested: a join makes way for an async task that a spare must run", 2, 1000),
  joinBesideAsync("nested: a join leaves an async task to a machine with a processor of its own", 3, 1500),
  scenario({
    name: "nested: a handler spawns three tasks with two slots and joins them",
    setUp: () => schedulerMemory(1, 1, 1, 2),
    threads: { submitter: runSubmitter(0), machine: runMachine(0, 3) },
    check: check(3, 60),
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "nested: another machine takes what was spawned, and the join waits for it",
    setUp: () => schedulerMemory(2, 1, 1, 2),
    threads: { submitter: runSubmitter(0), machine: runMachine(0, 2), other: runMachine(1, 2) },
    check: check(2, 30),
    bounds: { preemptions: 1 },
    random: { executions: 300, changes: 4 },
  }),
  scenario({
    name: "nested: a join during which another task is submitted, and nobody searches while a handler runs",
    setUp: () => schedulerMemory(2, 1, 2, 2),
    threads: { submitter: runSubmitter(1), machine: runMachine(0, 2), other: runMachine(1, 2) },
    check: check(2, 30),
    bounds: { preemptions: 0 },
    random: { executions: 1500, changes: 5 },
  }),
];

export const mutants: Mutant[] = [
  {
    breaks: "a call without a slot waits until there is one",
    by: "a call without a slot",
    file: "scheduler/machine/machine",
    from: "if (this.#nested.hasWaiting && this.#seat.processor?.hasLocal() !== true && this.#runWaiting())",
    to: "if (false)",
  },
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
  {
    breaks: "a join that ends leaves its machine a searcher",
    by: "nobody searches while",
    file: "scheduler/machine/joins",
    from: "this.#load.joinEnds();\n            // It may have been woken to search, and goes on with its handler.\n            this.#seat.processor?.passSearchOn();",
    to: "this.#load.joinEnds();",
  },
  {
    breaks: "a join keeps its processor while there is only work that it can't do",
    by: "a join makes way",
    file: "scheduler/machine/joins",
    from: "this.#refusals > processor.length() && !this.#helpGroup(group)",
    to: "false",
  },
  {
    breaks: "a join that makes way keeps its processor",
    by: "a join makes way",
    file: "scheduler/machine/joins",
    from: "if (isBlocked || isInBlocking)\n            this.#seat.yieldProcessor();",
    to: "if (isBlocked || isInBlocking)\n            void 0;",
  },
  {
    breaks: "a join that made way still counts as blocked",
    by: "a join makes way",
    file: "scheduler/machine/joins",
    from: "if (isBlocked)\n            this.#seat.unblock();",
    to: "",
  },
  {
    breaks: "a join that makes way doesn't look for outcomes before it sleeps",
    by: "a join makes way",
    file: "scheduler/machine/joins",
    from: "if (nested.hasOutcomes())\n                break;",
    to: "",
  },
];
