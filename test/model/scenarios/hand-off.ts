/**
 * A handler that waits gives its processor to a spare: with everything that lies there, and also
 * when its machine dies.
 */
import * as assert from "uvu/assert";
import type { TaskContext } from "@millrace/scheduler/internal/handler/context";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { Recovery } from "@millrace/scheduler/internal/supervisor/recovery";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { FREE, NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
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

const PASS = 0;
const WAIT = 1;
const OPEN = 2;

interface Given extends SchedulerShared {
  /** For the submitter's thread only. */
  readonly submitter: Submitter;
  /** The word that `wait` waits for and `open` sets. */
  readonly gate: Int32Array;
  readonly tasks: number;
}

/**
 * One processor, a spare or two, and a task for each of the handlers; task n has the argument n.
 */
function submitted(policy: number, handlers: readonly number[], machines = 2): () => Given {
  return () => {
    const shared = schedulerMemory(1, 1, 4, 2, machines);
    const submitter = new Submitter(shared.memory, 0);
    for (let task = 1; task <= handlers.length; task += 1) {
      submitter.submit(handlers[task - 1] as number, NORMAL, policy, 0, task);
    }
    submitter.publish();
    return { ...shared, submitter, gate: new Int32Array(new SharedArrayBuffer(4)), tasks: handlers.length };
  };
}

function openGate(gate: Int32Array): void {
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
}

function runMachine(index: number) {
  return (shared: Given, log: unknown[]): Promise<void> => {
    const { gate } = shared;
    const pass = (value: number): number => value;
    const wait = (value: number, context: TaskContext): number => {
      context.blocking(() => {
        // Ends: the gate is never closed again.
        while (Atomics.load(gate, 0) === 0) Atomics.wait(gate, 0, 0);
      });
      log.push("has waited");
      return value;
    };
    const open = (value: number): number => {
      openGate(gate);
      return value;
    };
    return runUntilClosed(shared, index, [
      ["pass", pass],
      ["wait", wait],
      ["open", open],
    ]);
  };
}

function runSubmitter({ memory, submitter, tasks }: Given, log: unknown[]): void {
  awaitOutcomes(memory, submitter, tasks, log);
  closeScheduler(memory);
}

function runSupervisor({ memory }: Given): void {
  if (join("machine")) new Recovery(new Shared(memory)).recover(0);
}

function assertAllRan(
  { memory, tasks }: Given,
  { logs }: { logs: Readonly<Record<string, readonly unknown[]>> },
): void {
  const expected = Array.from({ length: tasks }, (_, index) => index + 1);
  assert.equal(
    (logs["submitter"] as number[]).toSorted((a, b) => a - b),
    expected,
  );
  const shared = new Shared(memory);
  const table = shared.table();
  for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  for (let machine = 0; machine < memory.machines; machine += 1) assert.not(shared.processors().isBlocked(machine));
}

export const scenarios: Scenario[] = [
  scenario<Given>({
    name: "hand-off: a task waits for one that a spare must run",
    setUp: submitted(NO_RETRY, [WAIT, OPEN]),
    threads: { submitter: runSubmitter, machine: runMachine(0), other: runMachine(1) },
    check: assertAllRan,
    bounds: { preemptions: 1 },
  }),
  scenario<Given>({
    name: "hand-off: a task waits for one that its machine has taken in advance",
    setUp: submitted(NO_RETRY, [PASS, WAIT, OPEN]),
    threads: { submitter: runSubmitter, machine: runMachine(0), other: runMachine(1) },
    check: assertAllRan,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario<Given>({
    name: "hand-off: a spare goes to sleep while a processor is given back, and a dead one isn't woken in its stead",
    setUp() {
      const shared = submitted(NO_RETRY, [PASS], 3)();
      const processors = new Shared(shared.memory).processors();
      processors.announceSpare(0);
      processors.acquire(2);
      return shared;
    },
    threads: {
      submitter: runSubmitter,
      supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
      // As in Machine.enterBlocking.
      giver({ memory }) {
        join("supervisor");
        const processors = new Shared(memory).processors();
        processors.release(0);
        processors.wakeSpare();
      },
      other: runMachine(1),
    },
    check: assertAllRan,
    bounds: { preemptions: 1 },
  }),
  scenario<Given>({
    name: "hand-off: a machine dies anywhere, also while its task waits, and the task waits on another one",
    setUp: submitted(RETRY, [WAIT]),
    threads: {
      submitter(shared, log) {
        openGate(shared.gate);
        runSubmitter(shared, log);
      },
      machine: runMachine(0),
      supervisor: runSupervisor,
      other: runMachine(1),
    },
    check: assertAllRan,
    kill: ["machine"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
];

const REST = "scheduler/machine/rest";
const SEAT = "scheduler/machine/seat";
const PROCESSORS = "scheduler/shared/processors";

export const mutants: Mutant[] = [
  {
    breaks: "a machine that waits keeps its processor",
    by: "a spare must run",
    file: SEAT,
    from: "processors.release(processor.index);",
    to: "",
  },
  {
    breaks: "a processor is given back after the spares were looked for",
    by: "a spare must run",
    file: SEAT,
    from: "processors.release(processor.index);\n        const spare = processors.wakeSpare();",
    to: "const spare = processors.wakeSpare();\n        processors.release(processor.index);",
  },
  {
    breaks: "a spare isn't woken",
    by: "a spare must run",
    file: SEAT,
    from: "const spare = processors.wakeSpare();",
    to: "const spare = -1;",
  },
  {
    breaks: "a spare doesn't look again before it sleeps",
    by: "a spare goes to sleep",
    file: REST,
    from: "processor === undefined ? processors.isAnyFree() : processor.seesWork()",
    to: "processor !== undefined && processor.seesWork()",
  },
  {
    breaks: "a spare doesn't say that it sleeps",
    by: "a spare must run",
    file: PROCESSORS,
    from: "setBit(this.#words, this.#place.spares, machine);",
    to: "",
  },
  {
    breaks: "what a machine has taken in advance waits with it",
    by: "taken in advance",
    file: SEAT,
    from: "processor.leaveToOthers();",
    to: "processor.stopSearching();",
  },
  {
    breaks: "a machine whose wait is over still counts as one that waits",
    by: "a spare must run",
    file: SEAT,
    from: "this.#parts.processors.unblock(this.#parts.machine);",
    to: "",
  },
  {
    breaks: "a dead machine still counts as one that waits",
    by: "a machine dies",
    file: PROCESSORS,
    from: "this.unblock(machine);\n        this.joinEnds(machine);",
    to: "this.joinEnds(machine);",
  },
  {
    breaks: "a dead machine still counts as a spare",
    by: "a spare goes to sleep",
    file: PROCESSORS,
    from: "this.joinEnds(machine);\n        this.cancelSpare(machine);",
    to: "this.joinEnds(machine);",
  },
];
