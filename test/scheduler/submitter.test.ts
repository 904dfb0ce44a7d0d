import { test } from "uvu";
import * as assert from "uvu/assert";
import { allocateMemory, Shared } from "@millrace/scheduler/internal/layout";
import { ThreadTable } from "@millrace/atomics-sync";
import { PRIORITY, Submitter } from "@millrace/scheduler/internal/submitter";
import { NO_RETRY } from "@millrace/scheduler/internal/task-table";
import { SpscProducer } from "@millrace/shared-memory";

const HANDLER = 0;

function open(): { shared: Shared; submitter: Submitter; submit: (priority: number) => number } {
  const shape = { processors: 1, machines: 1, externals: 1, slotsEach: 4, nestedSlots: 2, runQueueCapacity: 4 };
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
  assert.is(submitter.cancelQueued(), 1);
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
