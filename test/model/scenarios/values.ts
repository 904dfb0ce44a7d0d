/**
 * Arguments and results that don't fit into a slot: encoded, in the arenas of those who hand them
 * over.
 */
import * as assert from "uvu/assert";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { Recovery } from "@millrace/scheduler/internal/supervisor/recovery";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { FREE, NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import { CRASHED } from "@millrace/scheduler/internal/shared/values";
import { Parker } from "@millrace/atomics-sync";
import {
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  RETRY,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

interface Given extends SchedulerShared {
  /** For the submitter's thread only. */
  readonly submitter: Submitter;
}

/** Longer than the room behind an argument, so that a result of it needs memory of the machine. */
const LONG = "x".repeat(60);

function setUp(policy: number, values: readonly unknown[], machines = 1): Given {
  const shared = schedulerMemory(1, 1, 4, 2, machines, 1024);
  const submitter = new Submitter(shared.memory, 0);
  for (const value of values) submitter.submit(0, NORMAL, policy, 0, value);
  submitter.publish();
  return { ...shared, submitter };
}

/** Gives back what it was given, and something of its own that is `suffix` longer. */
function runMachine(index: number, suffix: string) {
  return (shared: Given): Promise<void> =>
    runUntilClosed(shared, index, [["echo", (value: { text: string }) => ({ text: value.text + suffix })]]);
}

function runSubmitter({ memory, submitter }: Given, log: unknown[]): void {
  awaitOutcomes(memory, submitter, 2, log);
  closeScheduler(memory);
}

function assertAllFree({ memory }: Given): void {
  const table = new Shared(memory).table();
  for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
}

export const scenarios: Scenario[] = [
  scenario<Given>({
    name: "values: objects as arguments and results, in the room behind the argument",
    setUp: () => setUp(NO_RETRY, [{ text: "one" }, { text: "two" }]),
    threads: { submitter: runSubmitter, machine: runMachine(0, "!") },
    check(shared, { logs }) {
      assert.equal(logs["submitter"], [{ text: "one!" }, { text: "two!" }]);
      assertAllFree(shared);
    },
    bounds: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "values: results in memory of the machine, freed from another thread",
    setUp: () => setUp(NO_RETRY, [{ text: "one" }, { text: "two" }]),
    threads: {
      submitter({ memory, submitter }, log) {
        awaitOutcomes(memory, submitter, 2, log);
        // Freed memory is used again.
        submitter.submit(0, NORMAL, NO_RETRY, 0, { text: "three" });
        submitter.publish();
        awaitOutcomes(memory, submitter, 3, log);
        closeScheduler(memory);
      },
      machine: runMachine(0, LONG),
    },
    check(shared, { logs }) {
      assert.equal(
        logs["submitter"],
        ["one", "two", "three"].map((text) => ({ text: text + LONG })),
      );
      assertAllFree(shared);
    },
    bounds: { preemptions: 1 },
  }),
  scenario<Given>({
    name: "values: an argument outlives the machine that read it, and is read again",
    setUp: () => setUp(RETRY, [{ text: "one" }], 2),
    threads: {
      submitter({ memory, submitter }, log) {
        const { table } = submitter;
        const parker = new Parker(new Shared(memory).threads, memory.submitterThreads[0] as number);
        const sink = {
          settled: (slot: number): void => {
            log.push(table.resultKind(slot) === CRASHED ? "crashed" : submitter.slots.value(slot));
          },
        };
        for (let turn = 0; log.length < 1; turn += 1) {
          assert.ok(turn < 12, "woken without outcomes");
          if (submitter.drain(sink, 8) > 0) continue;
          parker.prepare();
          if (submitter.hasOutcomes()) parker.cancel();
          else parker.wait(Infinity);
        }
        closeScheduler(memory);
      },
      machine: runMachine(0, LONG),
      // The supervisor, and then the machine that goes on where the other one is gone.
      async other(shared) {
        if (join("machine")) new Recovery(new Shared(shared.memory)).recover(0);
        await runMachine(1, LONG)(shared);
      },
    },
    check(shared, { logs }) {
      assert.equal(logs["submitter"], [{ text: `one${LONG}` }]);
      assertAllFree(shared);
    },
    kill: ["machine"],
    bounds: { preemptions: 0 },
  }),
];

export const mutants: Mutant[] = [];
