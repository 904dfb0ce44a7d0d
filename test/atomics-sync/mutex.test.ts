import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, watchThread } from "@millrace/atomics-sync";
import type { MutexEnd, MutexResult } from "../fixtures/mutex-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { rejectsWith, throwsWith, until } from "../support.ts";

function end(mutex: Mutex, role: MutexEnd["role"], rounds: number, words: Int32Array): MutexEnd {
  return { handle: mutex.handle, role, rounds, words };
}

function fourWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(16));
}

test("a lock is held by one, and free again when it was released", () => {
  const mutex = new Mutex();
  const hold = mutex.lock();
  assert.not(hold.isRecovered);
  assert.ok(mutex.isLocked);
  assert.is(mutex.tryLock(), undefined);
  hold.unlock();
  assert.not(mutex.isLocked);
  mutex.tryLock()?.unlock();
  mutex.close();
});

test("a lock that is released twice, or by nobody, says so", async () => {
  const mutex = new Mutex();
  throwsWith(() => mutex.unlock(), "ERR_LOCK_NOT_HELD");
  const hold = await mutex.lockAsync();
  hold.unlock();
  throwsWith(() => hold.unlock(), "ERR_LOCK_NOT_HELD");
  const other = mutex.lock();
  throwsWith(() => hold.unlock(), "ERR_LOCK_NOT_HELD");
  other[Symbol.dispose]();
  other[Symbol.dispose]();
  mutex.close();
});

test("waiting on the main thread is refused, and the message names the form to use", () => {
  const mutex = new Mutex();
  const hold = mutex.lock();
  const error = throwsWith(() => mutex.lock(), "ERR_BLOCKING_MAIN");
  assert.match(error.message, "lockAsync");
  hold.unlock();
  mutex.close();
});

test("async flows of one thread get the lock in the order in which they asked", async () => {
  const mutex = new Mutex();
  const order: number[] = [];
  const flows = Array.from({ length: 100 }, async (_, flow) => {
    const hold = await mutex.lockAsync();
    order.push(flow);
    await Promise.resolve();
    hold.unlock();
  });
  await Promise.all(flows);
  assert.equal(
    order,
    Array.from({ length: 100 }, (_, flow) => flow),
  );
  mutex.close();
});

test("a time limit or an abort ends a wait, and those behind it get the lock", async () => {
  const mutex = new Mutex();
  const hold = mutex.lock();
  const impatient = mutex.lockAsync({ timeoutMs: 5 });
  const controller = new AbortController();
  const aborted = mutex.lockAsync({ signal: controller.signal });
  const patient = mutex.lockAsync();
  await rejectsWith(impatient, "ERR_SYNC_TIMEOUT");
  controller.abort(new Error("enough"));
  try {
    await aborted;
    assert.unreachable();
  } catch (thrown) {
    assert.is((thrown as Error).message, "enough");
  }
  hold.unlock();
  (await patient).unlock();
  assert.not(mutex.isLocked);
  mutex.close();
});

test("many waits that end early leave nothing behind", async () => {
  const mutex = new Mutex();
  const hold = mutex.lock();
  for (let round = 0; round < 20; round += 1) {
    const waits = Array.from({ length: 100 }, () => mutex.lockAsync({ timeoutMs: 0 }));
    for (const outcome of await Promise.allSettled(waits)) assert.is(outcome.status, "rejected");
  }
  hold.unlock();
  mutex.close();
});

test("use after close is found out, and a lock in use can't be closed", () => {
  const mutex = new Mutex();
  const other = Mutex.from(mutex.handle);
  const hold = mutex.lock();
  throwsWith(() => other.close(), "ERR_SYNC_IN_USE");
  hold.unlock();
  mutex.close();
  mutex.close();
  throwsWith(() => mutex.lock(), "ERR_SYNC_CLOSED");
  throwsWith(() => other.tryLock(), "ERR_SYNC_CLOSED");
  throwsWith(() => Mutex.from(mutex.handle), "ERR_SYNC_CLOSED");
  throwsWith(() => Mutex.from({ ...mutex.handle, type: "Chan" }), "ERR_SYNC_HANDLE");
  throwsWith(() => new Mutex({ onOwnerDeath: "explode" as never }), "ERR_INVALID_OPTION");
});

for (const roles of [
  ["blocking", "blocking", "blocking"],
  ["async", "async", "async"],
  ["blocking", "async", "mixed", "mixed"],
] as const) {
  test(`threads that lock (${roles.join(", ")}) exclude each other and all come through`, async () => {
    const mutex = new Mutex();
    const words = fourWords();
    const rounds = 2000;
    const results = await runThreads<MutexResult>(
      "mutex-ends",
      roles.map((role) => end(mutex, role, rounds, words)),
    );
    assert.is(words[0], roles.length * rounds);
    assert.is(words[2], 0, "two were never inside at once");
    for (const result of results) assert.equal(result, { rounds, recovered: 0 });
    mutex.close();
  });
}

for (const role of ["dies-holding", "holds"] as const) {
  test(`the next one gets the lock of a thread that ${role === "holds" ? "was terminated" : "has exited"}, and is told`, async () => {
    const mutex = new Mutex();
    const words = fourWords();
    const worker = new Worker(new URL("../fixtures/mutex-ends.js", import.meta.url), {
      workerData: end(mutex, role, 0, words),
    });
    watchThread(worker);
    await until(() => Atomics.load(words, 3) === 1, "the thread has the lock");
    const waiting = mutex.lockAsync();
    if (role === "holds") await worker.terminate();
    else await once(worker, "exit");
    const hold = await waiting;
    assert.ok(hold.isRecovered);
    hold.unlock();
    const next = await mutex.lockAsync();
    assert.not(next.isRecovered, "it was told once");
    next.unlock();
    mutex.close();
  });
}

test("a thread doesn't block behind its own event loop, only after it", async () => {
  const mutex = new Mutex();
  const words = fourWords();
  const hold = mutex.lock();
  const thread = runThreads<MutexResult>("mutex-ends", [end(mutex, "blocks-behind-itself", 0, words)]);
  await until(() => Atomics.load(words, 3) === 1, "the thread has tried");
  hold.unlock();
  await thread;
  assert.is(words[0], 1, "it was refused");
  mutex.close();
});

test("a lock that shall fail after its holder's death fails for all until it is reset", async () => {
  const mutex = new Mutex({ onOwnerDeath: "fail" });
  const words = fourWords();
  const worker = new Worker(new URL("../fixtures/mutex-ends.js", import.meta.url), {
    workerData: end(mutex, "holds", 0, words),
  });
  watchThread(worker);
  await until(() => Atomics.load(words, 3) === 1, "the thread has the lock");
  const waiting = [mutex.lockAsync(), mutex.lockAsync()];
  await worker.terminate();
  for (const wait of waiting) await rejectsWith(wait, "ERR_LOCK_ABANDONED");
  throwsWith(() => mutex.tryLock(), "ERR_LOCK_ABANDONED");
  mutex.reset();
  mutex.lock().unlock();
  mutex.close();
});

test.run();
