// Calls within calls: tasks that wait for their children never keep these from running, at any
// depth and width.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Scheduler, type SchedulerOptions } from "@millrace/scheduler";
import type * as handlers from "../fixtures/tree-handlers.ts";
import { sizeOf } from "../fixtures/tree-handlers.ts";
import { rejectsWith, until } from "../support.ts";
import { nothingSwept, schedulersOf } from "./with-scheduler.ts";

const url = new URL("../fixtures/tree-handlers.js", import.meta.url);

/** Every table at its smallest. */
function smallest(processors: number): Partial<SchedulerOptions> {
  return { processors, machinesMax: processors, tasksMax: 2, nestedTasksMax: 2, asyncTasksPerMachine: 1 };
}

const withScheduler = schedulersOf<typeof handlers>({ handlers: url, onHint: () => {} }, async (scheduler) => {
  assert.is(await scheduler.run.echo(7), 7, "later calls run");
  nothingSwept(scheduler);
});

const sizes: readonly (readonly [name: string, options: Partial<SchedulerOptions>])[] = [
  ["one processor, defaults", { processors: 1 }],
  ["two processors, defaults", { processors: 2 }],
  ["one processor, smallest tables", smallest(1)],
  ["two processors, smallest tables", smallest(2)],
  ["four processors, smallest tables", smallest(4)],
];

for (const [name, options] of sizes) {
  test(`400 calls, each of which waits for four below it: ${name}`, () =>
    withScheduler(options, async ({ run }) => {
      const depths = await Promise.all(Array.from({ length: 400 }, () => run.deep(4)));
      assert.ok(depths.every((depth) => depth === 4));
    }));

  test(`a chain of 2,000 calls, a fan of 5,000, a chain of 5,000 spawned tasks: ${name}`, () =>
    withScheduler(options, async ({ run }) => {
      assert.is(await run.chain({ n: 2000, ms: 1 }), 2000);
      assert.is(await run.fan(5000), 5000);
      await run.chainSpawned(5000);
    }));

  test(`1,000 joins within one another; more than the stack holds is ERR_JOIN_DEPTH: ${name}`, () =>
    withScheduler(options, async ({ run }) => {
      assert.is(await run.chainSync(1000), 1000);
      const error = await rejectsWith(run.chainSync(1_000_000), "ERR_JOIN_DEPTH");
      assert.ok((error.details.joins as number) >= 1000);
      assert.is(await run.chainSync(1000), 1000);
    }));
}

test("an endless recursion is stopped by memory, and its thread lives on", () =>
  withScheduler({ processors: 1, resourceLimits: { maxOldGenerationSizeMb: 64 } }, async (scheduler) => {
    const error = await rejectsWith(scheduler.run.endless(0), "ERR_TASK_MEMORY");
    assert.ok((error.details.tasks as number) > 8000);
    assert.is(scheduler.stats().restarts, 0);
  }));

test("callers that give up in the midst of trees leave nothing stuck", () =>
  withScheduler(smallest(2), async ({ run }) => {
    const controller = new AbortController();
    const given = [
      ...Array.from({ length: 20 }, (_, n) => run.chain({ n: 50, ms: 20 }, { timeoutMs: 1 + n })),
      ...Array.from({ length: 20 }, () => run.deep(10, { signal: controller.signal })),
      ...Array.from({ length: 20 }, () => run.deep(10, { runTimeoutMs: 2 })),
    ];
    setTimeout(() => controller.abort(), 15);
    const outcomes = await Promise.allSettled(given);
    assert.ok(outcomes.some(({ status }) => status === "rejected"));
    assert.is(await run.chain({ n: 200, ms: 1 }), 200);
  }));

test("close() in the midst of trees waits for them", async () => {
  for (const processors of [1, 2]) {
    const scheduler = await Scheduler.open<typeof handlers>({ handlers: url, ...smallest(processors) });
    const tree = { seed: 5, depth: 5, width: 4 };
    const calls = [scheduler.run.grow(tree), scheduler.run.chain({ n: 300, ms: 5 }), scheduler.run.deep(20)];
    const closed = scheduler.close();
    assert.equal(await Promise.all(calls), [sizeOf(tree), 300, 20]);
    await closed;
  }
});

test("a thread that ends in a tree takes its own tasks along, nothing else", () =>
  withScheduler({ ...smallest(2), machinesMax: 3 }, async (scheduler) => {
    for (let round = 0; round < 4; round += 1) {
      const tree = { seed: 40 + round, depth: 4, width: 4 };
      const outcomes = await Promise.allSettled(
        Array.from({ length: 6 }, (_, n) => scheduler.run.growThenDie({ tree, dies: n === 3 })),
      );
      assert.is(outcomes[3]?.status, "rejected");
      for (const outcome of outcomes) {
        if (outcome.status === "fulfilled") assert.is(outcome.value, sizeOf(tree));
        else assert.is((outcome.reason as { code: string }).code, "ERR_MACHINE_DIED");
      }
    }
    await until(() => scheduler.stats().outstanding === 0, "everything is over");
    const tree = { seed: 3, depth: 5, width: 4 };
    assert.is(await scheduler.run.grow(tree), sizeOf(tree));
  }));

test("a join beside async tasks ends or says ERR_ASYNC_PENDING", async () => {
  for (const processors of [1, 2, 4]) {
    await withScheduler(smallest(processors), async (scheduler) => {
      const joins = Array.from({ length: 60 }, (_, n) => scheduler.run.joinAsync(1 + (n % 4)));
      const others = Array.from({ length: 30 }, (_, n) => scheduler.run.mixed(1 + (n % 4)));
      for (const outcome of await Promise.allSettled(joins)) {
        if (outcome.status === "fulfilled") assert.ok(outcome.value >= 1);
        else assert.is((outcome.reason as { code: string }).code, "ERR_ASYNC_PENDING");
      }
      assert.equal(await Promise.all(others), new Array(30).fill(3));
      assert.is(scheduler.stats().threads, processors);
    });
  }
});

test.run();
