// Faults around a wait: a hook that refuses, a busy event loop, a close that fails.
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Cond, Mutex, Once, Semaphore, setBlockingHook, WaitGroup } from "@millrace/atomics-sync";
import { currentSpace, SyncSpace } from "@millrace/atomics-sync/kernel";
import { Chan } from "@millrace/channels";
import { throwsWith } from "../support.ts";

/** Runs a function, given as text, in a worker, and resolves with what it returns. */
function inWorker<Result>(body: string, workerData: object): Promise<Result> {
  const sync = JSON.stringify(import.meta.resolve("@millrace/atomics-sync"));
  const channels = JSON.stringify(import.meta.resolve("@millrace/channels"));
  const source = `
    const { parentPort, workerData } = require("node:worker_threads");
    (async () => {
      const sync = await import(${sync});
      const { Chan } = await import(${channels});
      parentPort.postMessage(await (async () => { ${body} })());
    })();`;
  return new Promise((resolve, reject) => {
    const worker = new Worker(source, { eval: true, workerData });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

test("a wait for a condition has its mutex again, though its hook refuses to block", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const words = new Int32Array(new SharedArrayBuffer(8));
  const waiting = inWorker<string[]>(
    `
    const mutex = sync.Mutex.from(workerData.mutex), cond = sync.Cond.from(workerData.cond);
    let entered = 0;
    sync.setBlockingHook({ enter() { entered += 1; if (entered === 2) throw new Error("refused"); }, leave() {} });
    const log = [];
    const hold = mutex.lock();
    Atomics.store(workerData.words, 0, 1);
    cond.wait(hold);
    log.push(mutex.isLocked ? "locked" : "free");
    hold.unlock();
    return log;`,
    { mutex: mutex.handle, cond: cond.handle, words },
  );
  while (Atomics.load(words, 0) === 0 || mutex.isLocked) await new Promise((resolve) => setTimeout(resolve, 1));
  const hold = await mutex.lockAsync();
  cond.signal();
  // It waits for the mutex now, and its hook refuses that.
  await new Promise((resolve) => setTimeout(resolve, 50));
  hold.unlock();
  assert.equal(await waiting, ["locked"]);
  cond.close();
  mutex.close();
});

test("a wait behind flows of its own event loop is refused, with the mutex kept", async () => {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  const codes = await inWorker<string[]>(
    `
    const mutex = sync.Mutex.from(workerData.mutex), cond = sync.Cond.from(workerData.cond);
    const hold = mutex.lock();
    const flow = mutex.lockAsync();
    const codes = [];
    try { cond.wait(hold); } catch (thrown) { codes.push(thrown.code); }
    hold.unlock();
    (await flow).unlock();
    return codes;`,
    { mutex: mutex.handle, cond: cond.handle },
  );
  assert.equal(codes, ["ERR_LOCK_HELD"]);
  cond.close();
  mutex.close();
});

for (const type of ["Mutex", "Once"] as const) {
  test(`a blocked thread gets a ${type} behind a flow of a busy event loop`, async () => {
    const object = type === "Mutex" ? new Mutex() : new Once();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const hold = type === "Mutex" ? (object as Mutex).tryLock() : undefined;
    let release = (): void => hold?.unlock();
    const doing =
      type === "Once"
        ? (object as Once).doAsync(() => new Promise<void>((resolve) => (release = resolve)))
        : Promise.resolve(true);
    // Its event loop is busy until the blocked one behind it is through.
    const busy = inWorker<boolean>(
      `
      const object = sync.${type}.from(workerData.object);
      const waiting = ${type === "Mutex" ? "object.lockAsync()" : "object.doAsync(() => {})"};
      await new Promise((resolve) => setTimeout(resolve, 20));
      Atomics.store(workerData.words, 0, 1);
      const isThrough = Atomics.wait(workerData.words, 1, 0, 20000) !== "timed-out";
      const got = await waiting;
      if (got.unlock) got.unlock();
      return isThrough;`,
      { object: object.handle, words },
    );
    while (Atomics.load(words, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    const behind = inWorker<string>(
      `
      const object = sync.${type}.from(workerData.object);
      Atomics.store(workerData.words, 0, 2);
      const got = ${type === "Mutex" ? "object.lock()" : "object.do(() => {})"};
      if (got.unlock) got.unlock();
      Atomics.store(workerData.words, 1, 1);
      Atomics.notify(workerData.words, 1);
      return "through";`,
      { object: object.handle, words },
    );
    while (Atomics.load(words, 0) === 1) await new Promise((resolve) => setTimeout(resolve, 1));
    await new Promise((resolve) => setTimeout(resolve, 30));
    release();
    assert.is(await behind, "through");
    assert.is(await busy, true, "it wasn't in the other's way");
    await doing;
    object.close();
  });
}

test("closing an object that is in use disturbs none of its users", async () => {
  const mutex = new Mutex();
  const semaphore = new Semaphore(2);
  const group = new WaitGroup();
  group.add();
  const words = new Int32Array(new SharedArrayBuffer(8));
  const users = [0, 1].map(() =>
    inWorker<string[]>(
      `
      const mutex = sync.Mutex.from(workerData.mutex), semaphore = sync.Semaphore.from(workerData.semaphore);
      const group = sync.WaitGroup.from(workerData.group);
      const codes = [];
      while (Atomics.load(workerData.words, 0) === 0) {
        try {
          mutex.lock().unlock();
          mutex.tryLock()?.unlock();
          semaphore.acquire(1).release();
          group.add();
          group.done();
        } catch (thrown) { codes.push(thrown.code ?? String(thrown)); }
      }
      return codes;`,
      { mutex: mutex.handle, semaphore: semaphore.handle, group: group.handle, words },
    ),
  );
  // Held throughout, so that a close can only fail.
  const permit = await semaphore.acquireAsync(1);
  const end = performance.now() + 1000;
  let hold = await mutex.lockAsync();
  while (performance.now() < end) {
    for (let attempt = 0; attempt < 50; attempt += 1) {
      throwsWith(() => mutex.close(), "ERR_SYNC_IN_USE");
      throwsWith(() => semaphore.close(), "ERR_SYNC_IN_USE");
      throwsWith(() => group.close(), "ERR_SYNC_IN_USE");
    }
    hold.unlock();
    hold = await mutex.lockAsync();
  }
  Atomics.store(words, 0, 1);
  hold.unlock();
  permit.release();
  for (const codes of await Promise.all(users)) assert.equal(codes, []);
});

test("a try to send fails only where the channel is full", async () => {
  const words = new Int32Array(new SharedArrayBuffer(8));
  const chan = Chan.int32(1000);
  const results = await Promise.all(
    [0, 1, 2, 3].map(() =>
      inWorker<number>(
        `
        const chan = Chan.from(workerData.chan);
        Atomics.add(workerData.words, 0, 1);
        Atomics.notify(workerData.words, 0);
        for (let here = Atomics.load(workerData.words, 0); here < 4; here = Atomics.load(workerData.words, 0)) Atomics.wait(workerData.words, 0, here, 100);
        let failed = 0;
        for (let value = 0; value < 250; value += 1) if (!chan.trySend(value)) failed += 1;
        return failed;`,
        { chan: chan.handle, words },
      ),
    ),
  );
  assert.equal(results, [0, 0, 0, 0]);
  assert.is(chan.len, 1000);
  assert.not(chan.trySend(0));
  chan.close();
  while (chan.tryRecv()?.ok === true);
  chan.free();
});

test("a thread serves others for some rounds, and the rest in a later turn", async () => {
  const { words, heap, threads } = currentSpace();
  const mutex = new Mutex();
  const view = new SyncSpace(words.buffer as SharedArrayBuffer, threads, threads.reserve(), { heap, roundsMax: 1 });
  const other = Mutex.from(mutex.handle, view);
  const hold = mutex.tryLock();
  const waiting = other.lockAsync({ timeoutMs: 20_000 });
  hold?.unlock();
  (await waiting).unlock();
  mutex.close();
});

test("a chunk of many values is bounded, and all of them arrive", async () => {
  const chan = Chan.int32(10_000);
  const values = Int32Array.from({ length: 10_000 }, (_, index) => index);
  chan.sendMany(values);
  const into = new Int32Array(10_000);
  assert.is(chan.recvInto(into), 10_000);
  assert.equal(into, values);
  chan.sendMany(values.subarray(0, 300));
  assert.equal(chan.recvMany(300), [...values.subarray(0, 300)]);
  chan.close();
  chan.free();
});

setBlockingHook(undefined);

test.run();
