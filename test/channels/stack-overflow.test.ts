// A stack overflow that the user catches, in the midst of any operation, breaks no shared object.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, RWMutex, Semaphore, WaitGroup } from "@millrace/atomics-sync";
import { Chan, otherwise, recv, select, selectAsync, send } from "@millrace/channels";

/** Calls of `run` that come through, after all those that have overflowed. */
const WHOLES = 20;

/**
 * Calls `run` with more and more left of the stack, so that it runs out at every point of `run`.
 */
function overflowEverywhere(run: () => void): void {
  let [overflows, wholes] = [0, 0];
  const dive = (): void => {
    try {
      dive();
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
    }
    // On the way up.
    if (wholes >= WHOLES) return;
    try {
      run();
      wholes += 1;
    } catch (thrown) {
      if (!(thrown instanceof RangeError)) throw thrown;
      overflows += 1;
    }
  };
  // The first rounds make the code warm: compiled code takes another room on the stack.
  for (let round = 0; round < 3; round += 1) {
    [overflows, wholes] = [0, 0];
    dive();
    assert.ok(wholes > 0 && overflows > 0, `${wholes} calls and ${overflows} overflows`);
  }
}

const LIMIT = { timeoutMs: 20_000 };

for (const capacity of [0, 1, 1000]) {
  for (const [kind, chan] of [
    ["numbers", Chan.int32(capacity)],
    ["values", new Chan<number>(capacity)],
  ] as const) {
    test(`a channel of ${kind} with capacity ${capacity} outlives overflows in the try forms`, async () => {
      overflowEverywhere(() => void chan.trySend(1));
      overflowEverywhere(() => void chan.tryRecv());
      overflowEverywhere(() => void select([recv(chan), otherwise()]));
      overflowEverywhere(() => void select([send(chan, 1), otherwise()]));
      while (chan.tryRecv()?.ok === true);
      const sending = chan.sendAsync(7, LIMIT);
      assert.equal(await chan.recvAsync(LIMIT), { ok: true, value: 7 });
      await sending;
      if (capacity > 0) {
        for (let value = 0; value < capacity; value += 1) assert.ok(chan.trySend(value), `room for ${value}`);
        assert.not(chan.trySend(0));
      }
    });
  }
}

test("waits in the event loop that overflow leave no party behind", async () => {
  const chan = new Chan<string>(0);
  const settled: Promise<unknown>[] = [];
  overflowEverywhere(() => settled.push(chan.sendAsync("lost", { timeoutMs: 1 }).catch(() => {})));
  overflowEverywhere(() => settled.push(chan.recvAsync({ timeoutMs: 1 }).catch(() => {})));
  overflowEverywhere(() => settled.push(selectAsync([recv(chan)], { timeoutMs: 1 }).catch(() => {})));
  await Promise.all(settled);
  const sending = chan.sendAsync("found", LIMIT);
  assert.equal(await chan.recvAsync(LIMIT), { ok: true, value: "found" });
  await sending;
  chan.close();
  chan.free();
});

test("a mutex is free after overflows in its try form, and in its async form", async () => {
  const mutex = new Mutex();
  overflowEverywhere(() => {
    const hold = mutex.tryLock();
    try {
      hold?.unlock();
    } catch (thrown) {
      // As a finally block of the user would, where there is room again.
      queue.push(() => hold?.[Symbol.dispose]());
      throw thrown;
    }
  });
  for (const later of queue.splice(0)) later();
  const settled: Promise<unknown>[] = [];
  overflowEverywhere(() => settled.push(mutex.lockAsync(LIMIT).then((hold) => hold.unlock())));
  await Promise.allSettled(settled);
  (await mutex.lockAsync(LIMIT)).unlock();
  mutex.close();
});

const queue: (() => void)[] = [];

test("permits come back after overflows", async () => {
  const semaphore = new Semaphore(2);
  const lock = new RWMutex();
  overflowEverywhere(() => {
    const permit = semaphore.tryAcquire(2);
    if (permit !== undefined) queue.push(() => permit[Symbol.dispose]());
  });
  for (const later of queue.splice(0)) later();
  overflowEverywhere(() => {
    const hold = lock.tryLock();
    if (hold !== undefined) queue.push(() => hold[Symbol.dispose]());
  });
  for (const later of queue.splice(0)) later();
  (await semaphore.acquireAsync(2, LIMIT)).release();
  (await lock.lockAsync(LIMIT)).unlock();
  semaphore.close();
  lock.close();
});

test("a wait group counts right after overflows, and tells those that wait", async () => {
  const group = new WaitGroup();
  overflowEverywhere(() => {
    group.add();
    queue.push(() => group.done());
  });
  for (const later of queue.splice(0)) later();
  while (group.count > 0) group.done();
  group.add();
  const waiting = group.waitAsync(LIMIT);
  let left = true;
  overflowEverywhere(() => {
    if (!left) return;
    group.done();
    left = false;
  });
  assert.equal(await waiting, { abandoned: 0 });
  group.close();
});

test.run();
