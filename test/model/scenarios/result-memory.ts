/**
 * Results without room: they wait until others have been read, and the reader wakes the machine
 * that has them.
 */
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

/** A result of 64 bytes with its block: the fixture's `arenaBytesMax`. */
function textOf(value: number): string {
  return String(value).repeat(60);
}

const TEXT = 0;
const LATER = 1;
const JOIN = 2;

function runMachine(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const text = (value: number): string => {
      log.push(value);
      return textOf(value);
    };
    const later = async (value: number): Promise<string> => {
      await Promise.resolve();
      return text(value);
    };
    /** Its children's results are as large, and it can't end without them. */
    const joining = (value: number, context: TaskContext): string => {
      const group = context.group();
      group.spawn("text", value + 2);
      group.join();
      return text(value);
    };
    return runUntilClosed(
      shared,
      index,
      [
        ["text", text],
        ["later", later, true],
        ["joining", joining],
      ],
      2,
    );
  };
}

function runSubmitter(handlers: readonly number[]) {
  return ({ memory }: SchedulerShared, log: unknown[]): void => {
    const submitter = new Submitter(memory, 0);
    for (const [index, handler] of handlers.entries()) submitter.submit(handler, NORMAL, NO_RETRY, 0, index + 1);
    submitter.publish();
    awaitOutcomes(memory, submitter, handlers.length, log);
    closeScheduler(memory);
  };
}

function check(tasks: number) {
  return ({ memory }: SchedulerShared, { logs }: { logs: Readonly<Record<string, readonly unknown[]>> }): void => {
    const numbers = Array.from({ length: tasks }, (_, n) => n + 1);
    assert.equal((logs["submitter"] as string[]).toSorted(), numbers.map(textOf), "every result arrives whole");
    const table = new Shared(memory).table();
    for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "result memory: a result waits until the one before it is read",
    setUp: () => schedulerMemory(1, 1, 2, 2),
    threads: { submitter: runSubmitter([TEXT, TEXT]), machine: runMachine(0) },
    check: check(2),
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "result memory: three results in a row, each without room at first",
    setUp: () => schedulerMemory(1, 1, 4, 4),
    threads: { submitter: runSubmitter([TEXT, LATER, TEXT]), machine: runMachine(0) },
    check: check(3),
    bounds: { preemptions: 0 },
    random: { executions: 600, changes: 4 },
  }),
  scenario({
    name: "result memory: nothing waits below a join",
    setUp: () => schedulerMemory(1, 1, 2, 2),
    threads: { submitter: runSubmitter([TEXT, JOIN]), machine: runMachine(0) },
    check: check(2),
    bounds: { preemptions: 1 },
  }),
];

const RESULTS = "scheduler/machine/result-memory";
const REST = "scheduler/machine/rest";
const SLOTS = "scheduler/shared/slots";

export const mutants: Mutant[] = [
  {
    breaks: "the machine doesn't announce that results wait",
    by: "a result waits",
    file: REST,
    from: "results.announce();",
    to: "",
  },
  {
    breaks: "the machine doesn't look for freed blocks after the announcement",
    by: "a result waits",
    file: REST,
    from: "if (this.#parts.nested.hasOutcomes() || results.hasFreed()) {",
    to: "if (this.#parts.nested.hasOutcomes()) {",
  },
  {
    breaks: "the machine looks for freed blocks before the announcement",
    by: "a result waits",
    file: REST,
    from: "results.announce();\n        this.#cancellations.look();\n        if (this.#parts.nested.hasOutcomes() || results.hasFreed()) {",
    to: "this.#cancellations.look();\n        const hasFreed = results.hasFreed();\n        results.announce();\n        if (this.#parts.nested.hasOutcomes() || hasFreed) {",
  },
  {
    breaks: "the reader looks who waits before it has handed blocks back",
    by: "a result waits",
    file: SLOTS,
    from: "this.#frees[machine].publish();",
    to: "const isWanted = Atomics.load(this.#shared.arenas.table, this.#shared.resultArena(machine) * ARENA_WORDS + WANTED);\n        this.#frees[machine].publish();\n        if (isWanted === 0)\n            return;",
  },
  {
    breaks: "the reader wakes nobody",
    by: "a result waits",
    file: SLOTS,
    from: "unpark(threads, memory.machineThreads[machine]);",
    to: ";",
  },
  {
    breaks: "a block is handed back before its result was read",
    by: "a result waits",
    file: "scheduler/calls/submitter",
    from: "sink.settled(slot);",
    to: "this.slots.release(slot);\n            this.slots.publishFrees(machine);\n            sink.settled(slot);",
  },
  {
    breaks: "a result that waits is forgotten",
    by: "a result waits",
    file: RESULTS,
    from: "this.#waiting.push({ slot,",
    to: "[].push({ slot,",
  },
  {
    breaks: "a result that has no room for the second time is forgotten",
    by: "three results",
    file: RESULTS,
    from: "this.#waiting.push(result);",
    to: "",
  },
  {
    breaks: "freed blocks stay in the ring",
    by: "three results",
    file: RESULTS,
    from: "ring.advance();\n            }\n            if (bytes === 0)",
    to: "break;\n            }\n            if (bytes === 0)",
  },
  {
    breaks: "a machine with results that wait begins further tasks and never comes back to them",
    by: "a result waits",
    file: "scheduler/machine/task-runner",
    from: "if (this.#io.results.isWaiting)\n            return true;",
    to: "",
  },
];
