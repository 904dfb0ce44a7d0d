// A thread's locks are given back, however and whenever it ends, without a call from anybody.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, ownThread, Reactor, Semaphore, ThreadTable } from "@millrace/atomics-sync";
import { Chan } from "@millrace/channels";
import type { BurialEnd } from "../fixtures/burial-ends.ts";
import { until } from "../support.ts";

function start(workerData: BurialEnd): Worker {
  const worker = new Worker(new URL("../fixtures/burial-ends.js", import.meta.url), { workerData });
  worker.on("error", () => {});
  return worker;
}

function threadsInUse(): number {
  const threads = ThreadTable.current();
  let inUse = 0;
  for (let id = 0; id < threads.used; id += 1) if (threads.isInUse(id)) inUse += 1;
  return inUse;
}

// The entries of this thread, and of its event loop, are there before the first count.
ownThread();
Reactor.current();

for (const ending of ["natural", "process.exit", "throws", "process.exit in a handler"] as const) {
  test(`a lock that an exit handler takes is given back (${ending})`, async () => {
    const mutex = new Mutex();
    const semaphore = new Semaphore(1);
    const before = threadsInUse();
    const worker = start({ role: "locks-at-exit", ending, mutex: mutex.handle, semaphore: semaphore.handle });
    await new Promise((resolve) => worker.once("exit", resolve));
    const hold = await mutex.lockAsync({ timeoutMs: 20_000 });
    assert.ok(hold.isRecovered, "it died with the lock");
    hold.unlock();
    (await semaphore.acquireAsync(1, { timeoutMs: 20_000 })).release();
    await until(() => threadsInUse() === before, "its entry is free");
    mutex.close();
    semaphore.close();
  });
}

for (const depth of [1, 2, 3]) {
  test(`what a thread held is given back when ${depth} threads above it end with it`, async () => {
    const mutex = new Mutex();
    const semaphore = new Semaphore(1);
    const before = threadsInUse();
    const worker = start({ role: "starts", depth, mutex: mutex.handle, semaphore: semaphore.handle });
    const [message] = await once(worker, "message");
    assert.is(message, "holds");
    assert.is(mutex.tryLock(), undefined);
    await worker.terminate();
    const hold = await mutex.lockAsync({ timeoutMs: 20_000 });
    assert.ok(hold.isRecovered);
    hold.unlock();
    (await semaphore.acquireAsync(1, { timeoutMs: 20_000 })).release();
    await until(() => threadsInUse() === before, "all entries are free");
    mutex.close();
    semaphore.close();
  });
}

test("a worker that its parent ends in the midst of a send leaves the channel in order", async () => {
  const mutex = new Mutex();
  for (let round = 0; round < 20; round += 1) {
    const chan = Chan.int32(4);
    const worker = start({ role: "sends-last", mutex: mutex.handle, chan: chan.handle });
    await once(worker, "message");
    await worker.terminate();
    while (chan.tryRecv()?.ok === true);
    await chan.sendAsync(7, { timeoutMs: 20_000 });
    const received: unknown[] = [];
    // Its last values may have been in the midst of a send.
    for (let value: unknown; value !== 7; received.push(value)) {
      value = (await chan.recvAsync({ timeoutMs: 20_000 })).value;
    }
    chan.close();
    chan.free();
  }
  mutex.close();
});

test.run();
