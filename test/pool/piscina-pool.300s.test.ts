// `Pool` as a program that uses piscina sees it; where both must agree, both are asked.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Pool, type PoolOptions, type PoolRunOptions } from "@millrace/pool";
import { rejectsWith, temporaryDirectory, throwsWith, until } from "../support.ts";

const filename = fileURLToPath(new URL("../fixtures/pool-tasks.js", import.meta.url));

async function withPool(options: PoolOptions, body: (pool: Pool) => Promise<void>): Promise<void> {
  const pool = new Pool({ filename, maxThreads: 1, ...options });
  try {
    await body(pool);
  } finally {
    await pool.destroy();
  }
}

interface Gate {
  readonly words: Int32Array;
  readonly waiting: () => number;
  readonly open: () => void;
}

function newGate(): Gate {
  const words = new Int32Array(new SharedArrayBuffer(8));
  return {
    words,
    waiting: () => Atomics.load(words, 1),
    open: () => {
      Atomics.store(words, 0, 1);
      Atomics.notify(words, 0);
    },
  };
}

type Outcome =
  | { readonly value: unknown }
  | { readonly name: string; readonly message: string; readonly cause: unknown };

async function outcomeOf(promise: Promise<unknown>): Promise<Outcome> {
  try {
    return { value: await promise };
  } catch (thrown) {
    const { name, message, cause } = thrown as Error;
    return { name, message, cause };
  }
}

function commonJs(text: string): string {
  const file = join(temporaryDirectory(), "tasks.cjs");
  writeFileSync(file, text);
  return file;
}

test("values, errors, names, files and aborts come out as from piscina", async () => {
  const cjs = commonJs("module.exports = (n) => n * 2; module.exports.half = (n) => n / 2;");
  const objects = commonJs("exports.third = (n) => n / 3;");
  const aborted = AbortSignal.abort("no longer");
  const tasks: [task: unknown, options?: PoolRunOptions][] = [
    [{ a: 1, b: 2 }],
    [{ a: 1, b: 2 }, { name: "default" }],
    [
      { a: 1, b: 2 },
      { name: null, filename: null, signal: null },
    ],
    ["text", { name: "echo" }],
    [undefined, { name: "echo" }],
    [new Map([[1, new Set([2])]]), { name: "later" }],
    ["too much", { name: "fail" }],
    ["anything", { name: "argumentCount" }],
    [21, { filename: cjs, name: "default" }],
    [21, { filename: objects, name: "third" }],
    [1, { name: "echo", signal: aborted }],
    [3, { name: "moved" }],
  ];
  const ours = new Pool({ filename, maxThreads: 1 });
  const theirs = new Piscina({ filename, minThreads: 1, maxThreads: 1 });
  for (const [task, options] of tasks) {
    assert.equal(
      await outcomeOf(ours.run(task, options)),
      await outcomeOf(theirs.run(task, options as object) as Promise<unknown>),
      `${String(task)} ${JSON.stringify(options)}`,
    );
  }
  assert.is(ours.completed, tasks.length - 1, "one was aborted before it was a task");
  assert.is(theirs.completed, tasks.length - 1);
  await Promise.all([ours.close(), theirs.close()]);
});

test("an error keeps its code, which piscina loses", () =>
  withPool({}, async (pool) => {
    const error = (await pool.run("x", { name: "fail" }).catch((thrown: unknown) => thrown)) as RangeError & {
      code: string;
    };
    assert.ok(error instanceof RangeError);
    assert.is(error.code, "E_TASK");
  }));

test("a module or an export that isn't there rejects the task and nothing else", () =>
  withPool({ filename: null }, async (pool) => {
    const unnamed = await rejectsWith(pool.run(1), "ERR_POOL_TASK");
    assert.is(unnamed.message, "filename must be provided to run() or in options object");
    await rejectsWith(pool.run(1, { filename, name: "nothing" }), "ERR_POOL_TASK");
    await rejectsWith(pool.run(1, { filename, name: "notAFunction" }), "ERR_POOL_TASK");
    const missing = await outcomeOf(pool.run(1, { filename: "/nowhere/tasks.js" }));
    assert.match((missing as Error).message, "Cannot find module");
    assert.is(await pool.run("here", { filename, name: "echo" }), "here");
  }));

test("a task is taken as it is at the call, also before the threads are there", () =>
  withPool({ name: "echo" }, async (pool) => {
    const value = { n: 0 };
    const results = Array.from({ length: 5 }, (_, n) => {
      value.n = n;
      return pool.run(value) as Promise<unknown>;
    });
    assert.equal(
      await Promise.all(results),
      Array.from({ length: 5 }, (_, n) => ({ n })),
    );
  }));

test("transferList hands memory over, before and after the threads are there", () =>
  withPool({ name: "echo" }, async (pool) => {
    for (let round = 0; round < 2; round += 1) {
      const bytes = new Uint8Array([round, 8]);
      const result = pool.run(bytes, { transferList: [bytes.buffer] }) as Promise<Uint8Array>;
      assert.is(bytes.length, 0, "detached");
      assert.equal([...(await result)], [round, 8]);
    }
  }));

test("maxQueue limits what waits, with piscina's words; needsDrain and drain tell when", () =>
  withPool({ maxQueue: 2 }, async (pool) => {
    const events: string[] = [];
    pool.on("needsDrain", () => events.push("needsDrain"));
    pool.on("drain", () => events.push("drain"));
    const gate = newGate();
    const tasks = Array.from({ length: 3 }, () => pool.run(gate.words, { name: "gate" }) as Promise<unknown>);
    await until(() => gate.waiting() === 1, "the first runs");
    assert.equal([pool.queueSize, pool.needsDrain, pool.completed], [2, true, 0]);
    const full = await rejectsWith(pool.run(1, { name: "echo" }), "ERR_POOL_FULL");
    assert.is(full.message, "Task queue is at limit");
    gate.open();
    await Promise.all(tasks);
    assert.is(await pool.run(1, { name: "echo" }), 1);
    assert.equal([pool.queueSize, pool.needsDrain, pool.completed], [0, false, 4]);
    await until(() => events.length === 4, "the events of both rounds");
    assert.equal(events, ["needsDrain", "drain", "needsDrain", "drain"]);
  }));

test("without a queue a busy pool refuses, with piscina's words", () =>
  withPool({ maxQueue: 0 }, async (pool) => {
    const gate = newGate();
    const task = pool.run(gate.words, { name: "gate" }) as Promise<unknown>;
    const busy = await rejectsWith(pool.run(1, { name: "echo" }), "ERR_POOL_FULL");
    assert.is(busy.message, "No task queue available and all Workers are busy");
    gate.open();
    await task;
  }));

test("maxThreads tasks run at once, async ones concurrentTasksPerWorker a thread", async () => {
  await withPool({ maxThreads: 2, name: "gate" }, async (pool) => {
    const gate = newGate();
    const tasks = [pool.run(gate.words), pool.run(gate.words)] as Promise<number>[];
    await until(() => gate.waiting() === 2, "both run");
    gate.open();
    assert.is(new Set(await Promise.all(tasks)).size, 2);
    assert.equal([pool.maxThreads, pool.minThreads], [2, 0]);
  });
  await withPool({ concurrentTasksPerWorker: 3, name: "later" }, async (pool) => {
    assert.equal(await Promise.all([1, 2, 3, 4].map((n) => pool.run(n) as Promise<unknown>)), [1, 2, 3, 4]);
  });
});

test("an abort rejects a task that waits or runs with an AbortError", () =>
  withPool({}, async (pool) => {
    const gate = newGate();
    const running = new AbortController();
    const waiting = new AbortController();
    const first = outcomeOf(pool.run(gate.words, { name: "gate", signal: running.signal }));
    const second = outcomeOf(pool.run(gate.words, { name: "gate", signal: waiting.signal }));
    await until(() => gate.waiting() === 1, "the first runs");
    waiting.abort("later");
    running.abort("now");
    const abortError = { name: "AbortError", message: "The task has been aborted" };
    assert.equal(await second, { ...abortError, cause: "later" });
    assert.equal(await first, { ...abortError, cause: "now" });
    gate.open();
    assert.is(await pool.run(5, { name: "echo" }), 5);
    assert.is(gate.waiting(), 1, "the one that waited was never started");
  }));

test("a thread that dies rejects its task, and the pool goes on", () =>
  withPool({}, async (pool) => {
    await rejectsWith(pool.run(3, { name: "exit" }), "ERR_MACHINE_DIED");
    assert.is(await pool.run(1, { name: "echo" }), 1);
  }));

test("statistics: completed, duration, utilization, histogram", async () => {
  await withPool({ name: "echo" }, async (pool) => {
    const started = pool.duration;
    await Promise.all(Array.from({ length: 500 }, (_, n) => pool.run(n) as Promise<unknown>));
    assert.is(pool.completed, 500);
    assert.ok(pool.duration > started);
    assert.ok(pool.utilization >= 0 && pool.utilization <= 1);
    const { runTime, waitTime } = pool.histogram as NonNullable<typeof pool.histogram>;
    for (const { p50, p99, p99_9, max, mean, average } of [runTime, waitTime]) {
      assert.ok(p50 <= p99 && p99 <= p99_9 && p99_9 <= max && mean === average);
    }
    assert.ok(waitTime.max > 0);
  });
  await withPool({ name: "echo", recordTiming: false }, async (pool) => {
    await pool.run(1);
    assert.equal([pool.utilization, pool.histogram], [0, undefined]);
  });
});

test("close waits for everything and then refuses; the event comes last", async () => {
  const pool = new Pool({ filename, maxThreads: 1 });
  const gate = newGate();
  const tasks = [1, 2].map(() => pool.run(gate.words, { name: "gate" }) as Promise<unknown>);
  let isClosed = false;
  pool.on("close", () => (isClosed = true));
  const closing = pool.close();
  const refused = await outcomeOf(pool.run(1, { name: "echo" }));
  assert.equal(refused, {
    name: "AbortError",
    message: "The task has been aborted",
    cause: "queue is being terminated",
  });
  gate.open();
  await closing;
  assert.ok(isClosed);
  assert.is((await Promise.all(tasks)).length, 2);
});

test("closeTimeout ends what doesn't end by itself, and says so", async () => {
  const pool = new Pool({ filename, maxThreads: 1, name: "forever", closeTimeout: 20 });
  const errors: Error[] = [];
  pool.on("error", (error: Error) => errors.push(error));
  const task = outcomeOf(pool.run(1));
  await pool.close();
  assert.equal(
    errors.map(({ message }) => message),
    ["Close operation timed out"],
  );
  assert.is(((await task) as Error).message, "Terminating worker thread");
});

test("destroy rejects what is under way, also before the threads are there", async () => {
  const pool = new Pool({ filename, maxThreads: 1, name: "forever" });
  const task = outcomeOf(pool.run(1));
  await pool.destroy();
  assert.is(((await task) as Error).message, "Terminating worker thread");
});

test("what can't be had is refused when it is asked for, never ignored", async () => {
  const refused: Record<string, unknown> = {
    idleTimeout: 1000,
    atomics: "async",
    niceIncrement: 10,
    trackUnmanagedFds: false,
    stricterFIFO: true,
    workerHistogram: true,
    taskQueue: {},
    loadBalancer: () => null,
    argv: [],
    execArgv: [],
    env: {},
    workerData: 1,
    minThreads: 2,
    minThread: 1,
  };
  for (const [name, value] of Object.entries(refused)) {
    const error = throwsWith(() => new Pool({ filename, maxThreads: 1, [name]: value }), "ERR_INVALID_OPTION");
    assert.match(error.message, `"${name}"`);
  }
  await withPool(
    { idleTimeout: Infinity, atomics: "sync", niceIncrement: 0, trackUnmanagedFds: true },
    async (pool) => {
      for (const event of ["message", "workerCreate", "workerDestroy"]) {
        throwsWith(() => pool.on(event, () => {}), "ERR_POOL_UNSUPPORTED");
      }
      throwsWith(() => pool.threads, "ERR_POOL_UNSUPPORTED");
      throwsWith(() => pool.idleThreads, "ERR_POOL_UNSUPPORTED");
      await rejectsWith(pool.close({ force: true } as never), "ERR_POOL_UNSUPPORTED");
      await rejectsWith(pool.run(1, { nmae: "echo" } as never), "ERR_INVALID_OPTION");
      await rejectsWith(pool.run(1, { signal: {} } as never), "ERR_INVALID_OPTION");
      assert.is(await pool.run(1, { name: "echo" }), 1, "the pool is as it was");
    },
  );
});

test("an idle pool lets the process end", () => {
  const program = fileURLToPath(new URL("../fixtures/idle-pool.js", import.meta.url));
  const output = execFileSync(process.execPath, [program], { encoding: "utf8", timeout: 60_000 });
  assert.is(output, "21\n");
});

test.run();
