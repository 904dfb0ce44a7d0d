/**
 * The scheduler as it is: submitter, machines and, after a machine's death at any instruction,
 * recovery. Nothing is lost, nothing is settled twice, nobody sleeps for ever.
 */
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { unpark } from "@millrace/atomics-sync";
import { hasBit, RunQueue, spscRingLength, SpscProducer } from "@millrace/shared-memory";
import type { Handler, TaskContext } from "@millrace/scheduler/internal/handler/context";
import { lowerFlag, raiseFlag } from "@millrace/scheduler/internal/shared/outbox-flags";
import { firstSlotOf, type SchedulerMemory } from "@millrace/scheduler/internal/shared/layout";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { Recovery } from "@millrace/scheduler/internal/supervisor/recovery";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import {
  ATTEMPTS_MAX,
  CRASHES_MAX,
  FREE,
  NO_RETRY,
  NOT_CLAIMED,
  RUNNING,
  taskPolicy,
} from "@millrace/scheduler/internal/shared/task-table";
import {
  awaitOutcomes,
  closeScheduler,
  NORMAL,
  RETRY,
  runUntilClosed,
  type SchedulerShared,
  schedulerMemory,
} from "../fixtures/scheduler.ts";
import { STALE_ENTRY } from "../fixtures/races.ts";
import { join, type Mutant, pause, scenario, type Scenario } from "../api.ts";

type Logs = Readonly<Record<string, readonly unknown[]>>;

/**
 * Runs a machine until the scheduler is closed; what its handler was called with goes into the log.
 */
function runMachine(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const handler: Handler = (value) => {
      log.push(value);
      return value;
    };
    return runUntilClosed(shared, index, [["echo", handler]]);
  };
}

interface Submitted extends SchedulerShared {
  /** For the submitter's thread only. */
  readonly submitter: Submitter;
  readonly tasks: number;
}

function submit(memory: SchedulerMemory, tasks: number, policy: number): Submitter {
  const submitter = new Submitter(memory, 0);
  for (let task = 1; task <= tasks; task += 1) submitter.submit(0, NORMAL, policy, 0, task);
  submitter.publish();
  return submitter;
}

/** A scheduler with its tasks submitted. */
function submitted(processors: number, tasks: number, policy: number, machines = processors): () => Submitted {
  return () => {
    const shared = schedulerMemory(processors, 1, tasks, 2, machines);
    return { ...shared, submitter: submit(shared.memory, tasks, policy), tasks };
  };
}

function runSubmitter({ memory, submitter, tasks }: Submitted, log: unknown[]): void {
  awaitOutcomes(memory, submitter, tasks, log);
  closeScheduler(memory);
}

/** Submits one task after the other. */
function submitInTurn(memory: SchedulerMemory, tasks: number, log: unknown[]): void {
  const submitter = new Submitter(memory, 0);
  for (let task = 1; task <= tasks; task += 1) {
    submitter.submit(0, NORMAL, NO_RETRY, 0, task);
    submitter.publish();
    awaitOutcomes(memory, submitter, task, log);
  }
  closeScheduler(memory);
}

/** Puts things right when machine 0 has died. */
function runSupervisor({ memory }: SchedulerShared, log: unknown[]): void {
  if (!join("machine")) return;
  log.push(new Recovery(new Shared(memory)).recover(0));
}

/** The last steps of a task whose result is its argument, as in completions.ts. */
function report(shared: Shared, machine: number, slot: number, running: number): void {
  const table = shared.table();
  const submitter = shared.submitterOf(slot);
  const ring = new SpscProducer(shared.completions(machine, submitter));
  table.setResultNumber(slot, table.argumentNumber(slot));
  table.setInlineResult(slot, table.argumentKind(slot));
  table.finish(slot, running, true);
  shared.words[ring.stage()] = slot;
  ring.publish();
  unpark(shared.threads, shared.memory.submitterThreads[submitter] as number);
}

/** A machine that starts when recovery is through. */
function takeOver(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    join("supervisor");
    return runMachine(index)(shared, log);
  };
}

function sorted(log: readonly unknown[]): unknown[] {
  return [...log].toSorted((a, b) => String(a).localeCompare(String(b)));
}

function ranTogether(logs: Logs): unknown[] {
  return [...(logs["machine"] as unknown[]), ...((logs["other"] ?? []) as unknown[])];
}

/** Each task has one outcome, and none is on its way any more. */
function assertSettledOnce({ memory, tasks }: Submitted, logs: Logs): void {
  const shared = new Shared(memory);
  const table = shared.table();
  const outcomes = logs["submitter"] as unknown[];
  assert.equal(
    sorted(outcomes.map((outcome) => Number.parseInt(String(outcome), 10))),
    Array.from({ length: tasks }, (_, index) => index + 1),
  );
  for (let slot = 0; slot < table.count; slot += 1) assert.is(table.state(slot), FREE);
  for (let machine = 0; machine < memory.machines; machine += 1) {
    assert.is(spscRingLength(shared.completions(machine, 0)), 0);
  }
}

function countCrashed(logs: Logs): number {
  return (logs["submitter"] as unknown[]).filter((outcome) => typeof outcome === "string").length;
}

function assertAllRan(shared: Submitted, { logs, died }: { logs: Logs; died: readonly string[] }): void {
  assertSettledOnce(shared, logs);
  assert.is(countCrashed(logs), 0);
  assert.ok(ranTogether(logs).length <= shared.tasks + died.length, "only what the dead machine ran runs again");
}

// ── two tasks at once on one machine ────────────────────────────────────────────────────────────

/**
 * A machine whose handler waits for a turn of the event loop: two of its tasks run side by side.
 */
function runAsyncMachine(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const handler = async (value: number): Promise<number> => {
      log.push(`begins ${value}`);
      await Promise.resolve();
      log.push(`ends ${value}`);
      return value;
    };
    return runUntilClosed(shared, index, [["wait", handler]]);
  };
}

function takeOverAsync(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    join("supervisor");
    return runAsyncMachine(index)(shared, log);
  };
}

// ── what the dead machine had submitted ─────────────────────────────────────────────────────────

/** A machine whose first handler spawns two tasks and joins them. */
function runParentMachine(index: number) {
  return (shared: SchedulerShared, log: unknown[]): Promise<void> => {
    const parent = (value: number, context: TaskContext): number => {
      const group = context.group();
      group.spawn("child", 7);
      group.spawn("child", 8);
      try {
        assert.equal(group.join(), [7, 8]);
      } catch (thrown) {
        // The other machine died with one of them.
        if (!isMillraceError(thrown, "ERR_MACHINE_DIED")) throw thrown;
      }
      return value;
    };
    const child = (value: number): number => {
      log.push(value);
      return value;
    };
    return runUntilClosed(shared, index, [
      ["parent", parent],
      ["child", child],
    ]);
  };
}

/** As the supervisor does before it starts another thread in the dead one's place. */
function runDrainingSupervisor({ memory }: SchedulerShared, log: unknown[]): void {
  if (!join("machine")) return;
  const shared = new Shared(memory);
  const recovery = new Recovery(shared);
  recovery.recover(0);
  for (let look = 0; look < 4; look += 1) {
    if (recovery.isDrained(0)) {
      assertNothingSubmitted(shared, 0);
      log.push("drained early");
      return;
    }
    pause();
  }
  join("other");
  assert.ok(recovery.isDrained(0), "what the dead machine had submitted is over with the others");
  assertNothingSubmitted(shared, 0);
  log.push("drained");
}

function assertNothingSubmitted(shared: Shared, machine: number): void {
  const table = shared.table();
  const own = shared.submitterOfMachine(machine);
  const first = firstSlotOf(shared.memory, own);
  for (let slot = first; slot < first + shared.memory.nestedSlots; slot += 1) {
    assert.is(table.state(slot), FREE, "another thread may use the slots");
  }
  for (let other = 0; other < shared.memory.machines; other += 1) {
    assert.is(spscRingLength(shared.completions(other, own)), 0);
  }
  for (let submitter = 0; submitter < shared.submitters; submitter += 1) {
    assert.is(spscRingLength(shared.completions(machine, submitter)), 0, "what it has reported was read");
  }
}

interface Handed extends SchedulerShared {
  readonly slot: number;
  readonly running: number;
}

/** A task that machine 0 had submitted and machine 1 has claimed. */
function setUpHanded(): Handed {
  const shared = schedulerMemory(2, 1, 1, 2);
  const view = new Shared(shared.memory);
  const table = view.table();
  const slot = firstSlotOf(shared.memory, view.submitterOfMachine(0));
  table.describe(slot, 0, NORMAL, NO_RETRY, 0);
  table.enqueue(slot, 0);
  return { ...shared, slot, running: table.claim(slot, 1) };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "scheduler: a submitter, a machine, two tasks",
    setUp: () => schedulerMemory(1, 1, 2, 2),
    threads: {
      submitter: ({ memory, stats }, log) =>
        runSubmitter({ memory, stats, submitter: submit(memory, 2, NO_RETRY), tasks: 2 }, log),
      machine: runMachine(0),
    },
    check(_shared, { logs }) {
      assert.equal(sorted(logs["submitter"] as unknown[]), [1, 2]);
      assert.equal(sorted(logs["machine"] as unknown[]), [1, 2]);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "scheduler: two tasks in turn, and another machine may be faster with one of them",
    setUp: () => schedulerMemory(2, 1, 1, 2),
    threads: {
      submitter: ({ memory }, log) => submitInTurn(memory, 2, log),
      machine: runMachine(0),
      other({ memory }, log) {
        const shared = new Shared(memory);
        const slot = new RunQueue(shared.runQueue(1)).takeFrom(shared.outbox(0, NORMAL), 1, 1);
        if (slot < 0) return;
        const running = shared.table().claim(slot, 1);
        if (running === NOT_CLAIMED) return;
        log.push(shared.table().argumentNumber(slot));
        report(shared, 1, slot, running);
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["submitter"], [1, 2]);
      assert.equal(sorted(ranTogether(logs)), [1, 2]);
    },
    races: [STALE_ENTRY],
    bounds: { preemptions: 1 },
  }),
  scenario<Submitted>({
    name: "scheduler: a machine that dies at any step, its task fails",
    setUp: submitted(2, 1, NO_RETRY),
    threads: { submitter: runSubmitter, machine: runMachine(0), supervisor: runSupervisor, other: takeOver(1) },
    check(shared, { logs, died }) {
      assertSettledOnce(shared, logs);
      assert.ok(countCrashed(logs) <= died.length);
      assert.ok(ranTogether(logs).length <= shared.tasks, "nothing runs twice");
    },
    kill: ["machine"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario<Submitted>({
    name: "scheduler: a machine that dies at any step, its task runs again",
    setUp: submitted(2, 2, RETRY),
    threads: { submitter: runSubmitter, machine: runMachine(0), supervisor: runSupervisor, other: takeOver(1) },
    check: assertAllRan,
    kill: ["machine"],
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario<Submitted>({
    name: "scheduler: a machine dies while another one runs",
    setUp: submitted(2, 2, RETRY),
    threads: { submitter: runSubmitter, machine: runMachine(0), supervisor: runSupervisor, other: runMachine(1) },
    check: assertAllRan,
    kill: ["machine"],
    random: { executions: 1500, changes: 3 },
  }),
  ...(["searches", "sleeps"] as const).map((state) =>
    scenario({
      name: `scheduler: nobody counts on a dead machine that ${state}, and a spare gets its processor`,
      setUp() {
        const shared = schedulerMemory(1, 1, 1, 2, 2);
        const view = new Shared(shared.memory);
        const idle = view.idleSet();
        view.processors().acquire(0);
        if (state === "searches") idle.search(0);
        else idle.sleep(0);
        return shared;
      },
      threads: {
        supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
        submitter({ memory }, log) {
          join("supervisor");
          submitInTurn(memory, 1, log);
        },
        other: runMachine(1),
      },
      check(_shared, { logs }) {
        assert.equal([logs["submitter"], logs["other"]], [[1], [1]]);
      },
      bounds: { preemptions: 1 },
    }),
  ),
  scenario<Submitted>({
    name: "scheduler: what a dead machine had taken from a queue is found, and what it had put into its own is taken",
    setUp() {
      const shared = submitted(2, 2, NO_RETRY)();
      const view = new Shared(shared.memory);
      // The first one is in no queue now.
      new RunQueue(view.runQueue(0)).takeFrom(view.outbox(0, NORMAL), 1, 2);
      return shared;
    },
    threads: {
      submitter: runSubmitter,
      supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
      other: runMachine(1),
    },
    check(shared, { logs }) {
      assertSettledOnce(shared, logs);
      assert.equal(sorted(logs["other"] as unknown[]), [1, 2]);
    },
    bounds: { preemptions: 1 },
  }),
  scenario<Submitted>({
    name: "scheduler: a task that recovery had no room for wakes a machine when it has",
    setUp() {
      const shared = submitted(2, 1, NO_RETRY)();
      const view = new Shared(shared.memory);
      new RunQueue(view.runQueue(0)).takeFrom(view.outbox(0, NORMAL), 1, 1);
      // Entries of tasks that are over.
      const place = view.outbox(shared.memory.outsiders, 0);
      const outbox = new RunQueue(place);
      for (let entry = 0; entry < place.capacity; entry += 1) outbox.push(1);
      outbox.publish();
      return shared;
    },
    threads: {
      submitter: runSubmitter,
      supervisor({ memory }) {
        const recovery = new Recovery(new Shared(memory));
        recovery.recover(0);
        for (let look = 0; !recovery.isDrained(0); look += 1) {
          assert.ok(look < 9);
          pause();
        }
      },
      other: runMachine(1),
    },
    check: (shared, { logs }) => assertSettledOnce(shared, logs),
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario<Submitted & { readonly running: number }>({
    name: "scheduler: a machine dies while it reports, and the submitter reads what it has reported",
    setUp() {
      const shared = submitted(1, 1, NO_RETRY)();
      return { ...shared, running: new Shared(shared.memory).table().claim(0, 0) };
    },
    threads: {
      submitter: runSubmitter,
      machine: ({ memory, running }) => report(new Shared(memory), 0, 0, running),
      supervisor: runSupervisor,
    },
    check(shared, { logs, died }) {
      assertSettledOnce(shared, logs);
      assert.ok(countCrashed(logs) <= died.length);
    },
    kill: ["machine"],
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "scheduler: a machine dies while it lowers a hint that a submitter relies on",
    setUp() {
      const shared = schedulerMemory(1, 1, 1, 2);
      // The machine has emptied the outbox.
      const { words, layout } = new Shared(shared.memory);
      raiseFlag(words, layout.outboxFlags[NORMAL] as number, 0);
      return shared;
    },
    threads: {
      submitter: ({ memory }) => void submit(memory, 1, NO_RETRY),
      machine({ memory }) {
        const shared = new Shared(memory);
        lowerFlag(shared.words, shared.layout.outboxFlags[NORMAL] as number, 0, shared.outbox(0, NORMAL));
      },
      supervisor: runSupervisor,
    },
    check({ memory }) {
      const { words, layout } = new Shared(memory);
      assert.ok(hasBit(words, layout.outboxFlags[NORMAL] as number, 0), "an entry that nobody looks for");
    },
    kill: ["machine"],
    bounds: { preemptions: 2 },
  }),
  ...[1, 2].map((together) =>
    scenario<Submitted>({
      name: `scheduler: a machine dies with ${together} of two async tasks under way`,
      setUp() {
        const shared = submitted(2, 2, RETRY)();
        const table = new Shared(shared.memory).table();
        for (let slot = 0; slot < together; slot += 1) table.claim(slot, 0);
        return shared;
      },
      threads: {
        submitter: runSubmitter,
        supervisor({ memory }, log) {
          const shared = new Shared(memory);
          new Recovery(shared).recover(0);
          for (let slot = 0; slot < together; slot += 1) log.push(...shared.table().crashedMachines(slot));
        },
        other: takeOverAsync(1),
      },
      check(shared, { logs }) {
        assertSettledOnce(shared, logs);
        assert.is(countCrashed(logs), 0);
        assert.equal(logs["supervisor"], together === 1 ? [0] : [], "who ran alone is blamed");
        const kinds = (logs["other"] as string[]).map((line) => line.slice(0, 4));
        // Those that ran side by side run one after the other.
        assert.equal(kinds, together === 1 ? ["begi", "begi", "ends", "ends"] : ["begi", "ends", "begi", "ends"]);
      },
      bounds: { preemptions: 1 },
    }),
  ),
  scenario<Submitted>({
    name: "scheduler: a task that has killed as many machines as it may isn't tried again",
    setUp() {
      const shared = submitted(1, 1, taskPolicy(true, false, ATTEMPTS_MAX, false))();
      const table = new Shared(shared.memory).table();
      table.claim(0, 0);
      for (let death = 1; death < CRASHES_MAX; death += 1) table.blame(0, death);
      return shared;
    },
    threads: {
      submitter: runSubmitter,
      supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
    },
    check(shared, { logs }) {
      assertSettledOnce(shared, logs);
      assert.is(countCrashed(logs), 1);
    },
  }),
  scenario<Submitted>({
    name: "scheduler: a task that was asked to stop isn't tried again on another machine",
    setUp() {
      const shared = submitted(1, 1, RETRY)();
      const table = new Shared(shared.memory).table();
      table.claim(0, 0);
      table.askToStop(0);
      return shared;
    },
    threads: {
      submitter: runSubmitter,
      supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
    },
    check(shared, { logs }) {
      assertSettledOnce(shared, logs);
      assert.is(countCrashed(logs), 1);
    },
  }),
  scenario<Submitted>({
    name: "scheduler: a machine dies with tasks that it has submitted",
    setUp: submitted(2, 1, NO_RETRY),
    threads: {
      submitter: runSubmitter,
      machine: runParentMachine(0),
      supervisor: runDrainingSupervisor,
      other: runParentMachine(1),
    },
    check(shared, { logs, died }) {
      assertSettledOnce(shared, logs);
      assert.ok(countCrashed(logs) <= died.length);
      assert.is(logs["supervisor"]?.length, died.length);
    },
    kill: ["machine"],
    random: { executions: 1000, changes: 3 },
  }),
  scenario<Handed>({
    name: "scheduler: another machine hands a task back that a dead machine had submitted",
    setUp: setUpHanded,
    threads: {
      supervisor: ({ memory }) => void new Recovery(new Shared(memory)).recover(0),
      other({ memory, slot, running }, log) {
        const shared = new Shared(memory);
        const table = shared.table();
        table.unclaim(slot, running);
        const again = table.claim(slot, 1);
        if (again === NOT_CLAIMED) return;
        log.push("claimed");
        assert.is(table.stateUnder(slot, 1), RUNNING, "nobody takes a task from the machine that runs it");
        report(shared, 1, slot, again);
      },
    },
    check({ memory }) {
      const shared = new Shared(memory);
      assert.ok(new Recovery(shared).isDrained(0));
      assertNothingSubmitted(shared, 0);
    },
    bounds: { preemptions: 4 },
  }),
];

const RECOVERY = "scheduler/supervisor/recovery";
const TASK_TABLE = "scheduler/shared/task-table";
const REST = "scheduler/machine/rest";
const COMPLETIONS = "scheduler/machine/completions";
const SUBMITTER = "scheduler/calls/submitter";

export const mutants: Mutant[] = [
  {
    breaks: "a task that is in no queue any more is not looked for",
    by: "had taken from a queue",
    file: RECOVERY,
    from: "report.found = this.sweep();",
    to: "",
  },
  {
    breaks: "a task that was found is pushed and not published",
    by: "had taken from a queue",
    file: RECOVERY,
    from: "this.#outbox.publish();",
    to: "",
  },
  {
    breaks: "a task that there was no room for is forgotten",
    by: "no room for",
    file: RECOVERY,
    from: "this.#hasPostponed = true;",
    to: ";",
  },
  {
    breaks: "a task that there is room for at last wakes nobody",
    by: "no room for",
    file: RECOVERY,
    from: "this.#shared.idleSet().wakeOne();",
    to: "",
  },
  {
    breaks: "nobody is told that the outbox of recovery has entries",
    by: "had taken from a queue",
    file: RECOVERY,
    from: "raiseFlag(this.#shared.words, recoveryFlags, this.#shared.memory.outsiders);",
    to: "",
  },
  {
    breaks: "a hint that a dead machine has lowered stays lowered",
    by: "lowers a hint",
    file: RECOVERY,
    from: "raiseFlag(this.#shared.words, flags, outbox);",
    to: "",
  },
  {
    breaks: "an outcome that a dead machine has reported is reported again",
    by: "while it reports",
    file: RECOVERY,
    from: "else if (published.has(slot))",
    to: "else if (published.has(-1))",
  },
  {
    breaks: "the ring of outcomes is read after the state of the task",
    by: "while it reports",
    file: RECOVERY,
    from: "else if (published.has(slot))",
    to: "else if (this.#publishedBy(machine, this.#shared.submitterOf(slot)).has(slot))",
  },
  {
    breaks: "an outcome that a dead machine didn't come to report is not reported",
    by: "while it reports",
    file: RECOVERY,
    from: "else\n            report.reported += 1;",
    to: "else\n            return;",
  },
  {
    breaks: "outcomes are put into the ring and not published",
    by: "while it reports",
    file: RECOVERY,
    from: "ring.publish();\n        }\n        report.found",
    to: "}\n        report.found",
  },
  {
    breaks: "a submitter that the dead machine was about to wake sleeps on",
    by: "while it reports",
    file: RECOVERY,
    from: "unparkAgain(this.#shared.threads, thread);",
    to: ";",
  },
  {
    breaks: "a dead machine goes on searching and sleeping",
    by: "counts on a dead machine",
    file: RECOVERY,
    from: "this.#shared.idleSet().forget(machine);",
    to: "",
  },
  {
    breaks: "the dead machine keeps its processor",
    by: "counts on a dead machine",
    file: RECOVERY,
    from: "this.#shared.processors().forget(machine);",
    to: "",
  },
  {
    breaks: "a task that shall run again isn't queued",
    by: "async tasks under way",
    file: RECOVERY,
    from: "this.#table.requeue(slot);",
    to: "",
  },
  {
    breaks: "a task that has failed with its machine runs on by its state",
    by: "while it reports",
    file: RECOVERY,
    from: "this.#table.fail(slot);",
    to: "",
  },
  {
    breaks: "the outcome doesn't say that the machine died",
    by: "while it reports",
    file: RECOVERY,
    from: "this.#table.setResult(slot, CRASHED, 0, 0);",
    to: "",
  },
  {
    breaks: "a task runs again although it must not",
    by: "while it reports",
    file: RECOVERY,
    from: "if (isWanted && this.#table.mayRetryAfterCrash(slot, this.#table.stateWord(slot)))",
    to: "if (isWanted)",
  },
  {
    breaks: "a task kills one machine after the other",
    by: "as many machines as it may",
    file: RECOVERY,
    from: " && crashes < CRASHES_MAX;",
    to: ";",
  },
  {
    breaks: "a task that blocks its thread beyond its time blocks the next one",
    by: "asked to stop",
    file: RECOVERY,
    from: "!this.#table.isAskedToStop(slot) && ",
    to: "",
  },
  {
    breaks: "a death is held against all that ran side by side",
    by: "async tasks under way",
    file: RECOVERY,
    from: "this.countRunning(machine) === 1",
    to: "this.countRunning(machine) >= 1",
  },
  {
    breaks: "a death isn't held against the task that ran alone",
    by: "async tasks under way",
    file: RECOVERY,
    from: "this.#table.blame(slot, machine);",
    to: ";",
  },
  {
    breaks: "tasks that ran side by side do so again",
    by: "async tasks under way",
    file: RECOVERY,
    from: "this.#table.isolate(slot);",
    to: ";",
  },
  {
    breaks: "what a dead machine had submitted and run itself is never over",
    by: "that it has submitted",
    file: RECOVERY,
    from: "report.orphaned = this.#takeBackSubmitted(machine);",
    to: "",
  },
  {
    breaks: "a task that is being handed back counts as one of machine 0",
    by: "hands a task back",
    file: RECOVERY,
    from: "this.#table.stateUnder(slot, machine) !== FREE)\n                this.#free(slot);",
    to: "this.#table.machine(slot) === machine)\n                this.#free(slot);",
  },
  {
    breaks: "a dead machine's place is given away while another one runs what it had submitted",
    by: "that it has submitted",
    file: RECOVERY,
    from: "if (!this.#table.cancel(slot))\n                return false;",
    to: "this.#table.cancel(slot);",
  },
  {
    breaks: "nobody reads the outcomes of what a dead machine had submitted",
    by: "that it has submitted",
    file: RECOVERY,
    from: "this.#free(this.#shared.words[word]);",
    to: "",
  },
  {
    breaks: "a dead machine's place is given away before its outcomes were read",
    by: "that it has submitted",
    file: RECOVERY,
    from: "if (spscRingLength(this.#shared.completions(machine, submitter)) > 0)\n                return false;",
    to: "",
  },
  {
    breaks: "nobody takes what is in the queue of a dead machine",
    by: "had taken from a queue",
    file: "scheduler/machine/processor",
    from: "const stolen = this.#steal();",
    to: "const stolen = EMPTY;",
  },
  {
    breaks: "what another machine runs is mended with the dead one",
    by: "while another one runs",
    file: TASK_TABLE,
    from: "isSettledOrRunning && ((word >> MACHINE_SHIFT) & MACHINE_MASK) === machine ? state : FREE",
    to: "isSettledOrRunning ? state : FREE",
  },
  {
    breaks: "a submitter gives the place of an outcome back before the slot of the task",
    by: "while it reports",
    file: SUBMITTER,
    from: "this.slots.release(slot);\n            ring.advance();",
    to: "ring.advance();\n            ring.release();\n            this.slots.release(slot);",
  },
  {
    breaks: "a submitter raises the hint before there is anything",
    by: "a submitter, a machine",
    file: SUBMITTER,
    from: "this.#outboxes[priority].publish();\n            raiseFlag(this.#shared.words, this.#shared.layout.outboxFlags[priority], this.#index);",
    to: "raiseFlag(this.#shared.words, this.#shared.layout.outboxFlags[priority], this.#index);\n            this.#outboxes[priority].publish();",
  },
  {
    breaks: "a submitter wakes nobody",
    by: "a submitter, a machine",
    file: SUBMITTER,
    from: "this.#idle.wakeOne();",
    to: "",
  },
  {
    breaks: "a machine reports a task before it is over",
    by: "a submitter, a machine",
    file: COMPLETIONS,
    from: 'this.#table.finish(slot, state, ok);\n        const submitter = this.#shared.submitterOf(slot);\n        const ring = this.#rings[submitter];\n        const word = ring.stage();\n        invariant(word !== FULL, "a completion ring has room for every slot of its submitter");\n        words[word] = slot;\n        // Before the outcome can be read, so that its reader finds it counted.\n        this.#stats.settled(ok);\n        ring.publish();',
    to: 'const submitter = this.#shared.submitterOf(slot);\n        const ring = this.#rings[submitter];\n        const word = ring.stage();\n        invariant(word !== FULL, "a completion ring has room for every slot of its submitter");\n        words[word] = slot;\n        // Before the outcome can be read, so that its reader finds it counted.\n        this.#stats.settled(ok);\n        ring.publish();\n        this.#table.finish(slot, state, ok);',
  },
  {
    breaks: "a machine wakes a submitter before it has reported",
    by: "a submitter, a machine",
    file: COMPLETIONS,
    from: "ring.publish();\n        unpark(threads, memory.submitterThreads[submitter]);",
    to: "unpark(threads, memory.submitterThreads[submitter]);\n        ring.publish();",
  },
  {
    breaks: "a machine doesn't look again before it sleeps",
    by: "a submitter, a machine",
    file: REST,
    from: "if (this.#seesWork() || (hasMore !== undefined && hasMore()))\n            this.#parker.cancel();\n        else {",
    to: "{",
  },
  {
    breaks: "a machine can be chosen before it can be woken",
    by: "may be faster",
    file: REST,
    from: "this.#parker.prepare();\n        this.#announce();",
    to: "this.#announce();\n        this.#parker.prepare();",
  },
  {
    breaks: "a machine that was chosen doesn't know that it searches",
    by: "may be faster",
    file: REST,
    from: "this.#seat.processor.wasPicked();",
    to: "",
  },
  {
    breaks: "a machine goes to sleep when the scheduler has been closed",
    by: "a submitter, a machine",
    file: REST,
    from: "this.#cancellations.hasNew() || mustClose;",
    to: "this.#cancellations.hasNew();",
  },
];
