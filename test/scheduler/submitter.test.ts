import { test } from "uvu";
import * as assert from "uvu/assert";
import { Cancellations } from "@millrace/scheduler/internal/machine/cancellations";
import { allocateMemory } from "@millrace/scheduler/internal/shared/layout";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { ThreadTable } from "@millrace/atomics-sync";
import { Submitter } from "@millrace/scheduler/internal/calls/submitter";
import { PRIORITY } from "@millrace/scheduler/internal/shared/priorities";
import { NO_RETRY } from "@millrace/scheduler/internal/shared/task-table";
import { SpscProducer } from "@millrace/shared-memory";

const HANDLER = 0;

function open(): { shared: Shared; submitter: Submitter; submit: (priority: number) => number } {
  const shape = { processors: 1, machines: 1, outsiders: 1, slotsEach: 4, nestedSlots: 2, runQueueCapacity: 4 };
  const memory = allocateMemory(shape, 64, ThreadTable.allocate(2), [0], [1]);
  const submitter = new Submitter(memory, 0);
  return {
    shared: new Shared(memory),
    submitter,
    submit: (priority) => {
      const slot = submitter.submit(HANDLER, priority, NO_RETRY, 0, 1);
      submitter.publish();
      return slot;
    },
  };
}

const DAY_MS = 24 * 60 * 60 * 1000;

test("deadlines are right however long the scheduler has run", () => {
  const { shared: young } = open();
  for (const days of [0, 24.8, 24.9, 49.7, 60, 400]) {
    const shared = new Shared({ ...young.memory, epochMs: young.memory.epochMs - days * DAY_MS });
    const table = shared.table();
    const cancellations = new Cancellations(shared);
    const nowMs = shared.nowMs();
    assert.ok(nowMs >= days * DAY_MS);
    table.describe(0, HANDLER, 1, NO_RETRY, 0);
    table.setTimes(0, 0, Math.ceil(nowMs + 60_000));
    assert.not(cancellations.isCancelled(0), `${days} days`);
    const leftMs = (cancellations.deadlineMs(0) as number) - Date.now();
    assert.ok(leftMs > 50_000 && leftMs < 61_000, `${days} days: ${leftMs} ms`);
    table.setTimes(0, 0, Math.ceil(nowMs - 60_000));
    assert.ok(cancellations.isCancelled(0), `${days} days`);
    table.setStarted(0, Math.ceil(nowMs - 5000));
    assert.ok(Math.abs(shared.msUntil(table.started(0)) + 5000) < 1000, `${days} days`);
    table.setTimes(0, 0, 0);
    assert.not(cancellations.isCancelled(0));
  }
});

/** As the machine does. */
function run(shared: Shared, slot: number): void {
  const table = shared.table();
  const state = table.claim(slot, 0);
  table.setInlineResult(slot, 0);
  table.finish(slot, state, true);
  const completions = new SpscProducer(shared.completions(0, 0));
  shared.words[completions.stage()] = slot;
  completions.publish();
}

test("tasks of high priority are urgent until they are over or taken back", () => {
  const { shared, submitter, submit } = open();
  const first = submit(PRIORITY.high);
  submit(PRIORITY.normal);
  assert.is(submitter.urgent, 1);
  const second = submit(PRIORITY.high);
  assert.is(submitter.urgent, 2);
  assert.ok(submitter.cancel(second));
  assert.not(submitter.cancel(second));
  assert.is(submitter.urgent, 1);
  run(shared, first);
  assert.is(submitter.urgent, 1, "until its outcome is read");
  assert.is(submitter.drain({ settled: () => {} }, 8), 1);
  assert.is(submitter.urgent, 0);
  const cancelled: number[] = [];
  assert.is(
    submitter.cancelQueued((slot) => cancelled.push(slot)),
    1,
  );
  assert.is(cancelled.length, 1);
  assert.is(submitter.urgent, 0);
});

test("what waits for the machines is counted without what is of low priority", () => {
  const { submitter, submit } = open();
  assert.is(submitter.waiting(), 0);
  submit(PRIORITY.high);
  submit(PRIORITY.normal);
  submit(PRIORITY.low);
  assert.is(submitter.waiting(), 2);
  assert.not(submitter.isAnyoneIdle());
});

test.run();
