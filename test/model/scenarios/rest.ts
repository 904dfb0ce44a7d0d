/**
 * A machine that sleeps in its event loop: what is submitted meanwhile wakes it, and a wake-up that
 * is lost is a delay.
 */
import * as assert from "uvu/assert";
import { RunQueue } from "@millrace/shared-memory";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { MachineStats } from "@millrace/scheduler/internal/machine/stats";
import { raiseFlag } from "@millrace/scheduler/internal/shared/outbox-flags";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { TaskSlots } from "@millrace/scheduler/internal/shared/slots";
import { NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import {
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const HOLD = 0;
const OPEN = 1;

/**
 * `hold` is pending until `open` has run on the same machine, which sleeps in its event loop until
 * then.
 */
function runMachine(shared: SchedulerShared): Promise<void> {
  let letGo = (): void => {};
  let isOpen = false;
  const hold = async (value: number): Promise<number> => {
    if (!isOpen) await new Promise<void>((resolve) => (letGo = resolve));
    return value;
  };
  const open = (value: number): number => {
    isOpen = true;
    letGo();
    return value;
  };
  return runUntilClosed(shared, 0, [
    ["hold", hold, true],
    ["open", open],
  ]);
}

/** Where the submitter tells that it has queued a task and woken nobody. */
interface Silent extends SchedulerShared {
  readonly gate: Int32Array;
}

export const scenarios: Scenario[] = [
  scenario({
    name: "rest: a machine that is about to sleep in its event loop gets what is submitted meanwhile",
    setUp: () => schedulerMemory(1, 1, 2, 2),
    threads: {
      submitter({ memory }, log) {
        const submitter = new Submitter(memory, 0);
        submitter.submit(HOLD, NORMAL, NO_RETRY, 0, 1);
        submitter.publish();
        submitter.submit(OPEN, NORMAL, NO_RETRY, 0, 2);
        submitter.publish();
        awaitOutcomes(memory, submitter, 2, log);
        closeScheduler(memory);
      },
      machine: runMachine,
    },
    check({ stats }, { logs }) {
      assert.equal(
        (logs["submitter"] as number[]).toSorted((left, right) => left - right),
        [1, 2],
      );
      assert.is(new MachineStats(stats[0] as SharedArrayBuffer).read().wakeupsMissed, 0);
    },
    bounds: { preemptions: 2 },
  }),
  scenario<Silent>({
    name: "rest: a machine that nobody has woken looks around by itself, and counts that",
    setUp: () => ({ ...schedulerMemory(1, 1, 1, 2), gate: new Int32Array(new SharedArrayBuffer(4)) }),
    threads: {
      submitter({ memory, gate }) {
        const shared = new Shared(memory);
        const slots = new TaskSlots(shared, 0, undefined);
        const outbox = new RunQueue(shared.outbox(0, NORMAL));
        // Only once the machine sleeps in its event loop, as it does after 100 ms with nothing to
        // do.
        while (Atomics.load(shared.words, shared.layout.idleAsync) === 0) Atomics.wait(gate, 0, 0, 1);
        slots.enqueue(slots.fill(OPEN, NORMAL, NO_RETRY, 0, 3));
        outbox.push(slots.first);
        outbox.publish();
        raiseFlag(shared.words, shared.layout.outboxFlags[NORMAL] as number, 0);
      },
      machine: runMachine,
    },
    check({ stats }) {
      // Where the bounds allow no more time-outs the machine sleeps on, and has run nothing.
      const { ok, wakeupsMissed } = new MachineStats(stats[0] as SharedArrayBuffer).read();
      assert.is(wakeupsMissed, ok);
    },
    mayBlock: ["machine", "submitter"],
    bounds: { preemptions: 0, timeouts: 6 },
  }),
];

const FILE = "scheduler/machine/rest";

export const mutants: Mutant[] = [
  {
    breaks: "a machine that looks around by itself doesn't count that",
    by: "looks around by itself",
    file: FILE,
    from: "this.#parts.stats.missedWakeUp();",
    to: "",
  },
  {
    breaks: "a machine doesn't look again before it sleeps in its event loop",
    by: "about to sleep",
    file: FILE,
    from: "if (this.#seesWork()) {\n            this.#parker.cancel();\n            this.#withdrawAsync();",
    to: "if (false) {\n            this.#parker.cancel();\n            this.#withdrawAsync();",
  },
  {
    breaks: "a machine says that it sleeps in its event loop after it has looked again",
    by: "about to sleep",
    file: FILE,
    from: "else\n            idle.sleepAsync(machine);\n        if (this.#seesWork()) {",
    to: "else\n            void 0;\n        if (this.#seesWork()) {",
  },
];
