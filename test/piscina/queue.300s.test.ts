// Tasks that wait: limits, order, queues and balancers of the user, and what the pool counts.
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  Piscina,
  ArrayTaskQueue,
  FixedQueue,
  type PiscinaTask,
  queueOptionsSymbol,
  type TaskQueue,
} from "@millrace/piscina";
import { both, filename, moduleOf, newWord, outcomeOf, wake, withPool } from "./support.ts";

/** A thread that is busy until the word is woken. */
function busy(pool: Piscina): { readonly free: () => void; readonly task: Promise<unknown> } {
  const word = newWord();
  return { task: pool.run(word, { name: "wait" }), free: () => wake(word) };
}

for (const minThreads of [0, 1]) {
  test(`a full queue rejects with piscina's errors, from ${minThreads} threads`, async () => {
    for (const maxQueue of [0, 2] as const) {
      const messages = await both({ minThreads, maxQueue }, async (pool) => {
        const { task, free } = busy(pool);
        const tasks = [1, 2, 3].map((value) => outcomeOf(pool.run(String(value))));
        free();
        await task;
        return (await Promise.all(tasks)).map(({ value, message }) => value ?? message);
      });
      const full = maxQueue === 0 ? "No task queue available and all Workers are busy" : "Task queue is at limit";
      assert.equal(messages, maxQueue === 0 ? [full, full, full] : [1, 2, full]);
    }
  });
}

test("maxQueue auto is the square of maxThreads", async () => {
  await withPool({ minThreads: 0, maxThreads: 3, maxQueue: "auto" }, async (pool) => {
    assert.is(pool.options.maxQueue, 9);
  });
});

for (const stricterFIFO of [false, true]) {
  test(`tasks run in the order of their calls, stricterFIFO ${stricterFIFO}`, async () => {
    const log = moduleOf("const seen = []; module.exports = (task) => { seen.push(task); return seen; }");
    await withPool({ filename: log, stricterFIFO }, async (pool) => {
      const controller = new AbortController();
      const calls = Array.from({ length: 40 }, (_, index) =>
        pool.run(index, index % 3 === 0 ? { signal: controller.signal } : {}),
      );
      assert.equal(
        await calls.at(-1),
        Array.from({ length: 40 }, (_, index) => index),
      );
      await Promise.all(calls);
    });
  });
}

test("a waiting task isn't passed by later ones for ever", async () => {
  await withPool({}, async (pool) => {
    let done = 0;
    const client = async (): Promise<number> => {
      let most = 0;
      for (let call = 0; call < 20; call++) {
        const before = done;
        await pool.run("1");
        most = Math.max(most, ++done - before);
      }
      return most;
    };
    const waits = await Promise.all(Array.from({ length: 10 }, client));
    // Nine others were called before, and nine between.
    assert.ok(Math.max(...waits) <= 20, String(waits));
  });
});

class Priorities implements TaskQueue {
  readonly tasks: PiscinaTask[] = [];
  readonly calls = new Set<string>();
  get size(): number {
    return this.tasks.length;
  }
  push(task: PiscinaTask): void {
    this.calls.add("push");
    this.tasks.push(task);
    const priority = (each: PiscinaTask): number =>
      (each[queueOptionsSymbol] as { priority: number } | null)?.priority ?? 0;
    this.tasks.sort((left, right) => priority(right) - priority(left));
  }
  shift(): PiscinaTask | null {
    this.calls.add("shift");
    return this.tasks.shift() ?? null;
  }
  remove(task: PiscinaTask): void {
    this.calls.add("remove");
    this.tasks.splice(this.tasks.indexOf(task), 1);
  }
}

test("a queue of the user's decides the order, for abortable tasks too", async () => {
  const log = moduleOf(`const seen = [];
    module.exports = ({ name }) => { seen.push(name); return seen; };
    module.exports.wait = (word) => { Atomics.wait(word, 0, 0); };`);
  const taskQueue = new Priorities();
  await withPool({ filename: log, taskQueue }, async (pool) => {
    const controller = new AbortController();
    const { task, free } = busy(pool);
    const call = (name: string, priority: number, signal?: AbortSignal): Promise<unknown> =>
      pool.run({ name, [queueOptionsSymbol]: { priority } }, signal === undefined ? {} : { signal });
    const calls = [call("low", 1), call("gone", 5, controller.signal), call("high", 9, new AbortController().signal)];
    assert.equal(
      taskQueue.tasks.map((each) => (each as unknown as { task: { name: string } }).task.name),
      ["high", "gone", "low"],
    );
    controller.abort();
    assert.is(pool.queueSize, 2);
    free();
    const outcomes = await Promise.all(calls.map(outcomeOf));
    assert.equal(outcomes[0]?.value, ["high", "low"]);
    assert.is(outcomes[1]?.message, "The task has been aborted");
    await task;
    assert.equal([...taskQueue.calls].toSorted(), ["push", "remove", "shift"]);
  });
});

for (const Queue of [FixedQueue, ArrayTaskQueue]) {
  test(`${Queue.name} is first in, first out, and lets go from the middle`, () => {
    const queue = new Queue();
    const tasks = Array.from({ length: 5000 }, (_, index) => ({ index, [queueOptionsSymbol]: null }));
    for (const task of tasks) queue.push(task);
    for (const task of tasks.filter(({ index }) => index % 2 === 1)) queue.remove(task);
    queue.remove({ [queueOptionsSymbol]: null });
    assert.is(queue.size, 2500);
    queue.unshift(tasks[1] as never);
    assert.is(queue.shift(), tasks[1]);
    for (const task of tasks.filter(({ index }) => index % 2 === 0)) assert.is(queue.shift(), task);
    assert.is(queue.shift(), null);
    assert.is(queue.size, 0);
    queue.push(tasks[0] as never);
    queue.push(tasks[0] as never);
    queue.remove(tasks[0] as never);
    assert.is(queue.size, 1);
  });
}

test("a balancer of the user's gets the task and the threads, and may decline", async () => {
  const tasks: unknown[] = [];
  let declined = 0;
  const pool = new Piscina({
    filename,
    minThreads: 2,
    maxThreads: 2,
    workerHistogram: true,
    loadBalancer: (task, workers) => {
      tasks.push([typeof task.taskId, task.filename === filename, task.name, task.isAbortable, typeof task.created]);
      const last = workers.at(-1);
      if (last === undefined || last.currentUsage > 0) {
        declined++;
        return null;
      }
      // A copy leads to the thread too.
      return { ...last };
    },
  });
  const id = "require('node:worker_threads').threadId";
  const ids = await Promise.all([1, 2, 3].map(() => pool.run(id, { signal: new AbortController().signal })));
  assert.is(new Set(ids).size, 1);
  assert.is(ids[0], pool.threads[1]?.threadId);
  assert.equal(tasks[0], ["number", true, "default", true, "number"]);
  assert.ok(declined > 0);
  await pool.close();
});

test("a balancer that throws rejects the task, now and when it waited", async () => {
  let calls = 0;
  const pool = new Piscina({
    filename,
    minThreads: 1,
    maxThreads: 1,
    loadBalancer: (_task, workers) => {
      if (++calls > 1) throw new Error("balancer");
      return workers[0] ?? null;
    },
  });
  const outcomes = await Promise.all(["1", "2"].map((code) => outcomeOf(pool.run(code))));
  assert.equal(
    outcomes.map(({ value, message }) => value ?? message),
    [1, "balancer"],
  );
  await pool.destroy();
});

test("each thread has a histogram where that is asked for", async () => {
  for (const workerHistogram of [true, false]) {
    const means: unknown[] = [];
    const pool = new Piscina({
      filename,
      minThreads: 1,
      maxThreads: 1,
      workerHistogram,
      loadBalancer: (_task, [worker]) => {
        means.push(worker?.histogram === null ? null : typeof worker?.histogram?.mean);
        return worker?.currentUsage === 0 ? worker : null;
      },
    });
    await pool.run("1");
    await pool.run("2");
    assert.ok(means.every((mean) => mean === (workerHistogram ? "number" : null)));
    await pool.destroy();
  }
});

test("drain and needsDrain take turns", async () => {
  const events: string[] = [];
  await withPool({}, async (pool) => {
    pool.on("needsDrain", () => events.push(`needsDrain ${pool.needsDrain}`));
    pool.on("drain", () => events.push(`drain ${pool.needsDrain}`));
    assert.is(pool.needsDrain, false);
    for (let round = 0; round < 2; round++) {
      await Promise.all([pool.run("1"), pool.run("2")]);
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
  const turns = events.filter((event, index) => event !== events[index - 1]);
  assert.equal(turns, ["needsDrain true", "drain false", "needsDrain true", "drain false"]);
});

test("run and wait times are there from the start, can be reset, and can be left out", async () => {
  await withPool({}, async (pool) => {
    assert.is(Number.isNaN(pool.histogram.runTime.mean), true);
    assert.is(pool.utilization, 0);
    await pool.run("const end = performance.now() + 20; while (performance.now() < end);");
    assert.ok(pool.histogram.runTime.max >= 20, "in milliseconds");
    assert.ok(pool.histogram.waitTime.min > 0);
    assert.ok(pool.utilization > 0 && pool.utilization < 1);
    pool.histogram.resetRunTime();
    pool.histogram.resetWaitTime();
    assert.equal([pool.histogram.runTime.max, pool.histogram.waitTime.max], [0, 0]);
    assert.ok(pool.duration > 20);
  });
  await withPool({ recordTiming: false }, async (pool) => {
    await pool.run("1");
    assert.equal([pool.histogram.runTime, pool.histogram.waitTime], [undefined, undefined]);
    pool.histogram.resetRunTime();
    assert.is(pool.utilization, 0);
  });
});

test.run();
