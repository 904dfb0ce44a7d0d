// The end of a pool: close, destroy, and what becomes of tasks meanwhile.
import { once } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Piscina } from "@millrace/piscina";
import { both, filename, newWord, outcomeOf, wake, withPool } from "./support.ts";

const TERMINATED = "Terminating worker thread";
const ABORTED = "The task has been aborted";

test("close waits for running and waiting tasks, then ends the threads", async () => {
  for (const minThreads of [0, 1]) {
    const pool = new Piscina({ filename, minThreads, maxThreads: 1 });
    const tasks = ["1", "2", "3"].map((code) =>
      pool.run(code, code === "2" ? { signal: new AbortController().signal } : {}),
    );
    const closed = once(pool, "close");
    await pool.close();
    await closed;
    assert.equal(await Promise.all(tasks), [1, 2, 3]);
    assert.is(pool.threads.length, 0);
  }
});

test("close with force rejects what hasn't begun, and lets the rest end", async () => {
  const outcomes = await both({ concurrentTasksPerWorker: 2 }, async (pool) => {
    const word = newWord();
    const tasks = [
      pool.run(word, { name: "wait" }),
      pool.run("2"),
      pool.run("3"),
      pool.run("4", { signal: new AbortController().signal }),
    ].map(outcomeOf);
    const closed = pool.close({ force: true });
    wake(word);
    await closed;
    return Promise.all(tasks);
  });
  assert.equal(
    outcomes.map(({ value, message, cause }) => (message === undefined ? (value ?? "done") : [message, cause])),
    ["done", 2, [ABORTED, "pool is closed"], [ABORTED, "pool is closed"]],
  );
});

test("a call while the pool closes is aborted; afterwards the pool works again", async () => {
  const pool = new Piscina({ filename, maxThreads: 1 });
  const running = pool.run("1");
  const closed = pool.close();
  const { message, cause } = await outcomeOf(pool.run("2"));
  assert.equal([message, cause], [ABORTED, "queue is being terminated"]);
  await Promise.all([running, closed, pool.close()]);
  assert.is(await pool.run("3"), 3);
  await pool.destroy();
});

test("close gives up after closeTimeout, with an error event and without the tasks", async () => {
  const pool = new Piscina({ filename, maxThreads: 1, closeTimeout: 5 });
  const tasks = ["while (true);", "1"].map((code) => outcomeOf(pool.run(code)));
  const failed = once(pool, "error");
  await pool.close();
  assert.is(((await failed)[0] as Error).message, "Close operation timed out");
  for (const { message } of await Promise.all(tasks)) assert.is(message, TERMINATED);
});

for (const closeTimeout of [Infinity, 2 ** 40]) {
  test(`a closeTimeout of ${closeTimeout} waits`, async () => {
    const pool = new Piscina({ filename, maxThreads: 1, closeTimeout });
    const task = pool.run("new Promise((resolve) => setTimeout(resolve, 50, 'slept'))");
    await pool.close();
    assert.is(await task, "slept");
  });
}

test("destroy rejects what runs and what waits, at once", async () => {
  const pool = new Piscina({ filename, maxThreads: 1 });
  const tasks = ["while (true);", "1", "2"].map((code) => outcomeOf(pool.run(code)));
  const destroyed = pool.destroy();
  assert.is(pool.threads.length, 0);
  await Promise.all([destroyed, pool.destroy()]);
  for (const { message } of await Promise.all(tasks)) assert.is(message, TERMINATED);
});

test("destroy ends a close that waits", async () => {
  const pool = new Piscina({ filename, maxThreads: 1 });
  const task = outcomeOf(pool.run("while (true);"));
  const closed = pool.close();
  await pool.destroy();
  await closed;
  assert.is((await task).message, TERMINATED);
});

test("a pool disposes of itself", async () => {
  const pool = new Piscina({ filename, maxThreads: 1 });
  const task = pool.run("1");
  await pool[Symbol.asyncDispose]();
  assert.is(await task, 1);
  const other = new Piscina({ filename, maxThreads: 1 });
  const closed = once(other, "close");
  other[Symbol.dispose]();
  await closed;
});

test("a thread that loops for ever is ended by destroy, and keeps nothing alive", async () => {
  await withPool({ minThreads: 2, maxThreads: 2 }, async (pool) => {
    const tasks = [outcomeOf(pool.run("while (true);")), outcomeOf(pool.run("while (true);"))];
    await pool.destroy();
    for (const { message } of await Promise.all(tasks)) assert.is(message, TERMINATED);
  });
});

test.run();
