// Threads: how many there are, what they get, how they end, and what is left of their tasks.
import { once } from "node:events";
import { SHARE_ENV, Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Piscina } from "@millrace/piscina";
import { until } from "../support.ts";
import { both, filename, moduleOf, newWord, outcomeOf, type PoolOptions, wake, withPool } from "./support.ts";

test("minThreads start at once, more for tasks that wait, and maxThreads is the end", async () => {
  await withPool({ minThreads: 1, maxThreads: 3, idleTimeout: Infinity }, async (pool) => {
    const words = Array.from({ length: 4 }, newWord);
    assert.equal([pool.threads.length, pool.idleThreads], [1, 1]);
    const counts = words.map((word) => {
      const task = pool.run(word, { name: "wait" });
      return [pool.threads.length, pool.queueSize, task] as const;
    });
    assert.equal(
      counts.map(([threads, queued]) => [threads, queued]),
      [
        [1, 0],
        [2, 0],
        [3, 0],
        [3, 1],
      ],
    );
    assert.is(pool.idleThreads, 0);
    words.forEach(wake);
    await Promise.all(counts.map(([, , task]) => task));
    assert.ok(pool.threads.every((thread) => thread instanceof Worker));
  });
});

test("pools may be allowed more threads together than the scheduler has", async () => {
  const pools = Array.from({ length: 5 }, () => new Piscina({ filename, minThreads: 0, maxThreads: 300 }));
  assert.equal(await Promise.all(pools.map((pool) => pool.run("1"))), [1, 1, 1, 1, 1]);
  await Promise.all(pools.map((pool) => pool.destroy()));
});

test("a spare thread ends after idleTimeout, never one of minThreads", async () => {
  await withPool({ minThreads: 1, maxThreads: 3, idleTimeout: 20 }, async (pool) => {
    let created = 0;
    pool.on("workerCreate", () => created++);
    await Promise.all(["1", "2", "3"].map((code) => pool.run(code)));
    // While the thread that is left still starts, another one is started for the next task.
    await until(() => created === 3 && pool.threads.length === 1, "one thread is left");
    assert.is(await pool.run("4"), 4);
    assert.is(pool.threads.length, 1);
  });
});

for (const idleTimeout of [Infinity, 2 ** 40]) {
  test(`no thread ends with an idleTimeout of ${idleTimeout}`, async () => {
    await withPool({ minThreads: 0, maxThreads: 2, idleTimeout }, async (pool) => {
      await Promise.all([pool.run("1"), pool.run("2")]);
      await new Promise((resolve) => setTimeout(resolve, 50));
      assert.is(pool.threads.length, 2);
    });
  });
}

test("env, argv, execArgv, workerData and resourceLimits reach the thread", async () => {
  const options: PoolOptions = {
    env: { ONLY: "this" },
    argv: ["a", "b"],
    execArgv: ["--no-warnings"],
    workerData: { of: "the user" },
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    trackUnmanagedFds: false,
  };
  const code = `({ env: { ...process.env }, argv: process.argv.slice(2), execArgv: process.execArgv,
    data: require("node:worker_threads").workerData,
    limit: require("node:worker_threads").resourceLimits.maxOldGenerationSizeMb })`;
  const got = await both(options, (pool) => pool.run(code));
  assert.equal(got, {
    env: { ONLY: "this" },
    argv: ["a", "b"],
    execArgv: ["--no-warnings"],
    data: { of: "the user" },
    limit: 64,
  });
});

test("SHARE_ENV shares the environment, and workerData that can't be cloned throws", async () => {
  await withPool({ env: SHARE_ENV }, async (pool) => {
    await pool.run("process.env.DROPIN_TEST = 'set there'");
    assert.is(process.env["DROPIN_TEST"], "set there");
    delete process.env["DROPIN_TEST"];
  });
  assert.throws(() => new Piscina({ filename, workerData: { f() {} } }), /could not be cloned/);
});

test("a task knows that it is on a thread, and its workerData", async () => {
  const main = JSON.stringify(new URL("../../../packages/piscina/dist/main.js", import.meta.url).pathname);
  const module = moduleOf(`const { isWorkerThread, workerData } = require(${main});
    module.exports = () => [isWorkerThread, workerData]`);
  assert.equal([Piscina.isWorkerThread, Piscina.workerData], [false, undefined]);
  await withPool({ filename: module, workerData: 7 }, async (pool) => {
    assert.equal(await pool.run(null), [true, 7]);
  });
});

test("process.exit() in a task rejects it with the code, and the thread is replaced", async () => {
  const messages = await both({}, async (pool) => {
    const before = pool.threads[0]?.threadId;
    const { message } = await outcomeOf(pool.run("process.exit(7)"));
    const after = pool.threads[0]?.threadId;
    return [message, before !== after, await pool.run("'next'")];
  });
  assert.equal(messages, ["worker exited with code: 7", true, "next"]);
});

test("an uncaught error rejects the thread's tasks with it", async () => {
  const messages = await both({ concurrentTasksPerWorker: 2 }, async (pool) => {
    const tasks = [
      pool.run("new Promise(() => {})"),
      pool.run("setImmediate(() => { throw new TypeError('uncaught') }); new Promise(() => {})"),
    ];
    return (await Promise.all(tasks.map(outcomeOf))).map(({ name, message }) => [name, message]);
  });
  assert.equal(messages, [
    ["TypeError", "uncaught"],
    ["TypeError", "uncaught"],
  ]);
});

test("an uncaught error of a thread without tasks is an event", async () => {
  await withPool({ atomics: "disabled" }, async (pool) => {
    const failed = once(pool, "error");
    await pool.run("void setTimeout(() => { throw new Error('late') }, 1)");
    pool.threads[0]?.ref();
    assert.is(((await failed)[0] as Error).message, "late");
  });
});

test("a thread over its memory limit says so", async () => {
  const limits = { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 4 };
  await withPool({ minThreads: 0, resourceLimits: limits }, async (pool) => {
    const hungry = "const all = []; while (true) all.push(new Array(1000).fill({}));";
    const error = (await pool.run(hungry).catch((thrown: unknown) => thrown)) as NodeJS.ErrnoException;
    assert.is(error.code, "ERR_WORKER_OUT_OF_MEMORY");
    assert.is(await pool.run("'next'"), "next");
  });
});

test("tasks that wait when the only thread dies get another one", async () => {
  await withPool({ minThreads: 0 }, async (pool) => {
    const outcomes = await Promise.all(
      ["process.exit(1)", "'a'", "process.exit(2)", "'b'"].map((code) => outcomeOf(pool.run(code))),
    );
    assert.equal(
      outcomes.map(({ value, message }) => value ?? message),
      ["worker exited with code: 1", "a", "worker exited with code: 2", "b"],
    );
  });
});

test("a module that can't be loaded rejects what waits for it, and the pool lives on", async () => {
  const broken = moduleOf("throw new RangeError('at the top')");
  for (const minThreads of [0, 1]) {
    const errors: unknown[] = [];
    const pool = new Piscina({ filename: broken, minThreads, maxThreads: 1 });
    pool.on("error", (error) => errors.push(error));
    const outcomes = await Promise.all([1, 2, 3].map((value) => outcomeOf(pool.run(value))));
    for (const { message } of outcomes) assert.is(message, "at the top");
    assert.is((await outcomeOf(pool.run(4))).message, "at the top");
    await pool.destroy();
  }
});

test("a thread that exits while it loads rejects what waits for it", async () => {
  await withPool({ filename: moduleOf("process.exit(3)"), minThreads: 0 }, async (pool) => {
    assert.is((await outcomeOf(pool.run(1))).message, "worker exited with code: 3");
  });
});

test("a thread's answer counts even if the thread dies right after it", async () => {
  await withPool({ concurrentTasksPerWorker: 2, atomics: "disabled" }, async (pool) => {
    const dying = pool.run("new Promise(() => {}), setTimeout(() => process.exit(5), 100), new Promise(() => {})");
    const answered = pool.run("'answered'");
    const blocked = newWord();
    Atomics.wait(blocked, 0, 0, 400);
    assert.is(await answered, "answered");
    assert.is((await outcomeOf(dying)).message, "worker exited with code: 5");
  });
});

test("messages of a thread, its begin and its end are events", async () => {
  const pool = new Piscina({ filename, minThreads: 1, maxThreads: 2 });
  const events: string[] = [];
  pool.on("workerCreate", (worker: { id: number; destroyed: boolean }) => {
    events.push(`create ${typeof worker.id} ${worker.destroyed}`);
  });
  pool.on("workerDestroy", (worker: { destroyed: boolean }) => events.push(`destroy ${worker.destroyed}`));
  pool.on("close", () => events.push("close"));
  const message = once(pool, "message");
  await pool.run("require('node:worker_threads').parentPort.postMessage({ some: 'message' })");
  assert.equal((await message)[0], { some: "message" });
  await pool.close();
  assert.equal(events, ["create number false", "destroy true", "close"]);
});

test("threads of a nice pool are nicer, and the process isn't", async () => {
  if (process.platform !== "linux") return;
  const priority = "require('node:os').getPriority(0)";
  await withPool({ niceIncrement: 3 }, async (pool) => {
    const own = (await import("node:os")).getPriority(0);
    assert.is(await pool.run(priority), Math.min(own + 3, 19));
    assert.is((await import("node:os")).getPriority(0), own);
  });
});

test.run();
