import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, watchThread } from "@millrace/atomics-sync";
import { background, Context, type ContextHandle, withCancel, withTimeout, withValue } from "@millrace/context";
import type { ContextEnd, ContextResult } from "../fixtures/context-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { until } from "../support.ts";

function oneWord(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

const fixture = new URL("../fixtures/context-ends.js", import.meta.url);

for (const role of ["loops", "waits", "listens", "makes"] as const) {
  test(`cancelling reaches a thread that ${role}, with the reason`, async () => {
    const scope = withCancel(withValue(background(), "trace", { id: 7 }));
    const words = oneWord();
    const ends: ContextEnd[] = [
      { handle: scope.handle, role, words },
      { handle: scope.handle, role, words },
    ];
    const results = runThreads<ContextResult>("context-ends", ends);
    await until(() => words[0] === 2, "both threads have the context");
    scope.cancel(Object.assign(new TypeError("enough"), { code: "E_ENOUGH" }));
    // Nobody may need the place any more for what it was told.
    scope.close();
    for (const { code, message, cause, value } of await results) {
      assert.is(code, "ERR_CONTEXT_CANCELLED");
      assert.is(message, "the context was cancelled: enough");
      assert.equal(cause, { name: "TypeError", message: "enough", code: "E_ENOUGH" });
      assert.equal(value, { id: role === "makes" ? 8 : 7 });
    }
  });

  test(`a deadline holds in a thread that ${role} while the one that has made the context is blocked`, async () => {
    const scope = withTimeout(background(), 300);
    const words = oneWord();
    const results = runThreads<ContextResult>("context-ends", [{ handle: scope.handle, role, words }]);
    const [result] = await results;
    assert.is(result?.code, "ERR_CONTEXT_DEADLINE");
    assert.ok(scope.cancelled);
    scope.close();
  });

  test(`closing the scope reaches a thread that ${role}`, async () => {
    const scope = withCancel(background());
    const words = oneWord();
    const results = runThreads<ContextResult>("context-ends", [{ handle: scope.handle, role, words }]);
    await until(() => words[0] === 1, "the thread has the context");
    scope.close();
    const [result] = await results;
    assert.is(result?.code, "ERR_CONTEXT_CLOSED");
  });
}

test("the end of its context wakes a thread that waits for a lock", async () => {
  const scope = withCancel(background());
  const mutex = new Mutex();
  const hold = mutex.lock();
  const words = oneWord();
  const ends: ContextEnd[] = [
    { handle: scope.handle, role: "locks", mutex: mutex.handle, words },
    { handle: withTimeout(background(), 50).handle, role: "locks", mutex: mutex.handle, words },
  ];
  const results = runThreads<ContextResult>("context-ends", ends);
  await until(() => words[0] === 2, "both threads are about to lock");
  scope.cancel("enough");
  const [cancelled, overdue] = await results;
  assert.is(cancelled?.code, "ERR_CONTEXT_CANCELLED");
  assert.is(overdue?.code, "ERR_CONTEXT_DEADLINE");
  hold.unlock();
  mutex.close();
  scope.close();
});

test("any thread may cancel, and the one that made the context hears of it", async () => {
  const scope = withCancel(background());
  const child = withCancel(scope);
  const aborted = once(child.done, "abort");
  const results = runThreads<ContextResult>("context-ends", [
    { handle: scope.handle, role: "cancels", words: oneWord() },
  ]);
  const [result] = await results;
  assert.is(result?.code, "ERR_CONTEXT_CANCELLED");
  await aborted;
  for (const context of [scope, child]) {
    const cause = context.cause as Error & { code: string };
    assert.is(cause.name, "TypeError");
    assert.is(cause.message, "the client has gone");
    assert.is(cause.code, "E_GONE");
  }
  child.close();
  scope.close();
});

for (const how of ["terminate", "exit"] as const) {
  test(`the contexts of a thread that has ended (${how}) are over, and say why`, async () => {
    const parent = withCancel(background());
    const words = oneWord();
    const workerData: ContextEnd = { handle: parent.handle, role: how === "exit" ? "hands-over" : "dies", words };
    const worker = new Worker(fixture, { workerData });
    watchThread(worker);
    const [handle] = (await once(worker, "message")) as [ContextHandle];
    const orphan = Context.from(handle);
    const below = withCancel(orphan);
    const aborted = once(below.done, "abort");
    assert.not(below.cancelled);
    const exit = once(worker, "exit");
    if (how === "terminate") await worker.terminate();
    else parent.cancel("go");
    await exit;
    await aborted;
    const code = how === "terminate" ? "ERR_CONTEXT_MAKER_DIED" : "ERR_CONTEXT_CANCELLED";
    assert.is(orphan.err?.code, code);
    assert.is(below.err?.code, code);
    assert.is(withCancel(orphan).err?.code === undefined, false);
    below.close();
    parent.close();
  });
}

test("what threads left open when they ended is given back", async () => {
  for (let round = 0; round < 3; round += 1) {
    const words = oneWord();
    const worker = new Worker(fixture, {
      workerData: { handle: background().handle, role: "dies", words } satisfies ContextEnd,
    });
    watchThread(worker);
    const [handle] = (await once(worker, "message")) as [ContextHandle];
    await worker.terminate();
    await until(() => Context.from(handle).cancelled, "its contexts are over");
  }
  // All places can be had.
  const scopes = Array.from({ length: 8192 - 16 }, () => withCancel(background()));
  for (const scope of scopes) scope.close();
});

test.run();
