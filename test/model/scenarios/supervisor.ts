/**
 * Single words by which the opener of a scheduler tells its machines that it closes, and that a
 * task shall stop.
 */
import * as assert from "uvu/assert";
import type { TaskContext } from "@millrace/scheduler/internal/handler/context";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { PAUSED_WORDS, PausedHandlers } from "@millrace/scheduler/internal/shared/paused";
import { NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import { Supervisor, type SupervisorHost } from "@millrace/scheduler/internal/supervisor/supervisor";
import { awaitOutcomes, NORMAL, runUntilClosed, type SchedulerShared, schedulerMemory } from "../fixtures/scheduler.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const LISTEN = 0;
const HANDLER = 3;

interface Given extends SchedulerShared {
  /** For the thread `opener` only. */
  readonly submitter: Submitter;
  /** 1 when a handler runs. */
  readonly started: Int32Array;
}

/** A machine, and a task for one of the handlers unless none is given. */
function setUp(handler?: number): Given {
  const shared = schedulerMemory(1, 1, 2, 2);
  const submitter = new Submitter(shared.memory, 0);
  if (handler !== undefined) {
    submitter.submit(handler, NORMAL, NO_RETRY, 0, 7);
    submitter.publish();
  }
  return { ...shared, submitter, started: new Int32Array(new SharedArrayBuffer(4)) };
}

function runMachine(shared: Given): Promise<void> {
  const { started } = shared;
  const announce = (): void => {
    Atomics.store(started, 0, 1);
    Atomics.notify(started, 0);
  };
  const listen = (_value: number, context: TaskContext): Promise<string> =>
    new Promise((resolve) => {
      context.signal.addEventListener("abort", () => resolve("stopped"));
      announce();
    });
  return runUntilClosed(shared, 0, [["listen", listen as never, true]]);
}

const OPTIONS = {
  handlersUrl: "",
  headerReaderUrl: undefined,
  asyncTasksMax: 2,
  spinMs: 0,
  teardownTimeoutMs: 5000,
  startTimeoutMs: 1000,
  resourceLimits: undefined,
  trace: undefined,
};

/** The supervisor's `close`, of machines that this scenario runs itself. */
async function close({ memory }: Given): Promise<void> {
  await new Supervisor(memory, OPTIONS, {} as SupervisorHost).close();
}

/** Asks the task in slot 0 to stop once it runs. */
function stopTask({ submitter, started }: Given): void {
  while (Atomics.load(started, 0) === 0) Atomics.wait(started, 0, 0);
  submitter.askToStop(0);
}

export const scenarios: Scenario[] = [
  scenario<Given>({
    name: "supervisor: close() ends a machine, wherever it is on its way to sleep",
    setUp: () => setUp(),
    threads: { opener: (shared) => close(shared), machine: runMachine },
    bounds: { preemptions: 2 },
  }),
  scenario<Given>({
    name: "supervisor: a task that listens is stopped while its machine sleeps",
    setUp: () => setUp(LISTEN),
    threads: {
      async opener(shared, log) {
        stopTask(shared);
        awaitOutcomes(shared.memory, shared.submitter, 1, log);
        await close(shared);
      },
      machine: runMachine,
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], ["stopped"]);
    },
    bounds: { preemptions: 2 },
  }),
];

scenarios.push(
  scenario({
    name: "supervisor: a task that a machine left alone for a pause is queued again",
    // Word 0: the task is QUEUED, and in no queue; word 1: it was queued again.
    setUp: () => ({ words: new Int32Array(new SharedArrayBuffer((4 + PAUSED_WORDS) * 4)) }),
    threads: {
      supervisor({ words }) {
        const paused = new PausedHandlers(words, 4);
        paused.begin(HANDLER);
        paused.end(HANDLER);
        if (Atomics.load(words, 0) === 1) Atomics.store(words, 1, 1);
      },
      machine({ words }, log) {
        const paused = new PausedHandlers(words, 4);
        if (!paused.has(HANDLER)) return;
        log.push("left alone");
        Atomics.store(words, 0, 1);
        if (!paused.has(HANDLER)) Atomics.store(words, 1, 1);
      },
    },
    check({ words }, { logs }) {
      assert.is(words[1], logs["machine"]?.length);
      assert.not.ok(new PausedHandlers(words, 4).areAny);
    },
    bounds: { preemptions: 4 },
  }),
);

export const mutants: Mutant[] = [
  {
    breaks: "a pause that ends leaves its handler's bit",
    file: "scheduler/shared/paused",
    from: "Atomics.sub(this.#words, this.#count, 1);\n        clearBit(this.#words, this.#bits, handler);",
    to: "Atomics.sub(this.#words, this.#count, 1);",
  },
  {
    breaks: "close() says so after it has woken the machines",
    file: "scheduler/supervisor/supervisor",
    from: "Atomics.store(this.#shared.words, LIFECYCLE, CLOSED_LIFECYCLE);\n",
    to: "const lateWords = this.#shared.words; queueMicrotask(() => { Atomics.store(lateWords, LIFECYCLE, CLOSED_LIFECYCLE); });\n",
  },
  {
    breaks: "close() wakes nobody",
    file: "scheduler/supervisor/supervisor",
    from: "idle.wake(machine);\n",
    to: ";\n",
  },
  {
    breaks: "a stop is not counted",
    file: "scheduler/calls/submitter",
    from: "Atomics.add(this.#shared.words, this.#shared.layout.cancels, 1);",
    to: "",
  },
  {
    breaks: "a stop wakes nobody",
    file: "scheduler/calls/submitter",
    from: "this.#idle.wake(this.#table.machine(slot));",
    to: "",
  },
  {
    breaks: "a stop is counted before it is in the slot",
    file: "scheduler/calls/submitter",
    from: "this.#table.askToStop(slot);\n        Atomics.add(this.#shared.words, this.#shared.layout.cancels, 1);",
    to: "Atomics.add(this.#shared.words, this.#shared.layout.cancels, 1);\n        this.#table.askToStop(slot);",
  },
];
