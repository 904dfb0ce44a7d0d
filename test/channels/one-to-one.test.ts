import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { watchThread } from "@millrace/atomics-sync";
import { currentSpace } from "@millrace/atomics-sync/kernel";
import { Chan, recv, selectAsync } from "@millrace/channels";
import type { ChanEnd, ChanResult } from "../fixtures/chan-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { rejectsWith, throwsWith, until } from "../support.ts";

function numbers(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

const makers: readonly (readonly [string, (capacity: number) => Chan<number>])[] = [
  ["values", (capacity) => Chan.oneToOne<number>(capacity)],
  ["int32", (capacity) => Chan.oneToOneInt32(capacity)],
  ["float64", (capacity) => Chan.oneToOneFloat64(capacity)],
];

for (const [name, make] of makers) {
  test(`${name}: in order, up to the capacity, then the end`, () => {
    for (const capacity of [1, 3, 8]) {
      const chan = make(capacity);
      for (let lap = 0; lap < 5; lap += 1) {
        for (const number of numbers(0, capacity)) assert.ok(chan.trySend(number));
        assert.not(chan.trySend(99));
        assert.is(chan.len, capacity);
        for (const number of numbers(0, capacity)) assert.equal(chan.tryRecv(), { ok: true, value: number });
        assert.is(chan.tryRecv(), undefined);
        chan.sendMany(numbers(0, capacity));
        assert.equal(chan.recvMany(), numbers(0, capacity));
      }
      chan.send(1);
      chan.close();
      throwsWith(() => chan.close(), "ERR_CHAN_CLOSED");
      throwsWith(() => chan.send(2), "ERR_CHAN_CLOSED");
      throwsWith(() => chan.sendMany([2]), "ERR_CHAN_CLOSED");
      assert.equal(chan.recv(), { ok: true, value: 1 });
      assert.equal(chan.recv(), { ok: false, value: undefined });
      assert.equal(chan.recvMany(), []);
      chan.free();
      throwsWith(() => chan.send(3), "ERR_SYNC_CLOSED");
    }
  });

  test(`${name}: async flows of one thread are served in line at either end`, async () => {
    const chan = make(2);
    const sends = numbers(0, 50).map((number) => chan.sendAsync(number));
    assert.not(chan.trySend(99), "nobody overtakes those that wait");
    for (const number of numbers(0, 50)) assert.equal(await chan.recvAsync(), { ok: true, value: number });
    await Promise.all(sends);
    const receives = numbers(0, 50).map(() => chan.recvAsync());
    assert.is(chan.tryRecv(), undefined);
    await chan.sendManyAsync(numbers(50, 50));
    assert.equal(
      (await Promise.all(receives)).map(({ value }) => value),
      numbers(50, 50),
    );
    chan.close();
    chan.free();
  });

  for (const [sends, receives] of [
    ["sends", "receives"],
    ["sends-async", "receives-async"],
    ["sends-many", "receives-many"],
    ["sends-async", "receives"],
  ] as const) {
    test(`${name}: between threads, ${sends} → ${receives}: all values in order`, async () => {
      const chan = make(16);
      const count = 4000;
      const [, result] = await runThreads<ChanResult>("chan-ends", [
        { handle: chan.handle, role: sends, first: 0, count, closes: true } satisfies ChanEnd,
        { handle: chan.handle, role: receives } satisfies ChanEnd,
      ]);
      assert.equal(result?.received, numbers(0, count));
      chan.free();
    });
  }
}

test("a time limit or an abort ends a wait, and the next is served", async () => {
  const used = currentSpace().heap.usedBytes();
  const chan = Chan.oneToOne<string>(1);
  await rejectsWith(chan.recvAsync({ timeoutMs: 1 }), "ERR_SYNC_TIMEOUT");
  chan.send("first");
  const controller = new AbortController();
  const aborted = chan.sendAsync("aborted", { signal: controller.signal });
  const late = chan.sendAsync("late", { timeoutMs: 1 });
  const patient = chan.sendAsync("patient");
  controller.abort(new Error("enough"));
  assert.is(await aborted.catch((thrown: Error) => thrown.message), "enough");
  await rejectsWith(late, "ERR_SYNC_TIMEOUT");
  assert.is(chan.recv().value, "first");
  await patient;
  assert.is(chan.recv().value, "patient");
  chan.close();
  chan.free();
  assert.is(currentSpace().heap.usedBytes(), used);
});

test("batches of whole numbers go into an array of one's own", async () => {
  for (const chan of [Chan.oneToOneInt32(100), Chan.int32(100)]) {
    const into = new Int32Array(64);
    chan.sendMany(Int32Array.from(numbers(0, 100)));
    assert.is(chan.recvInto(into), 64);
    assert.equal([...into], numbers(0, 64));
    assert.is(await chan.recvIntoAsync(into), 36);
    const waiting = chan.recvIntoAsync(into);
    chan.send(7);
    assert.is(await waiting, 1);
    assert.is(into[0], 7);
    chan.close();
    assert.is(chan.recvInto(into), 0);
    chan.free();
  }
  const doubles = Chan.float64(1);
  throwsWith(() => doubles.recvInto(new Int32Array(1)), "ERR_CHAN_VALUE");
  doubles.close();
  doubles.free();
});

test("a second sender or receiver is refused, and leaves the channel as it was", async () => {
  const chan = Chan.oneToOne<number>(4);
  chan.send(1);
  const end = { handle: chan.handle, role: "fails" } satisfies ChanEnd;
  const [result] = await runThreads<ChanResult>("chan-ends", [end]);
  assert.equal(result?.errors, ["ERR_CHAN_ENDS", "ERR_SELECT_CASES"]);
  assert.is(chan.recv().value, 1);
  await rejectsWith(selectAsync([recv(chan)]), "ERR_SELECT_CASES");
  throwsWith(() => Chan.oneToOne(0), "ERR_INVALID_OPTION");
  chan.close();
  chan.free();
});

test("when the sender dies the receiver gets what was sent, then an error", async () => {
  const chan = Chan.oneToOne<number>(100);
  const words = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("../fixtures/chan-ends.js", import.meta.url), {
    workerData: { handle: chan.handle, role: "sends-and-stays", first: 0, count: 3, words } satisfies ChanEnd,
  });
  watchThread(worker);
  for (const number of numbers(0, 3)) assert.equal(await chan.recvAsync(), { ok: true, value: number });
  const waiting = chan.recvAsync();
  await worker.terminate();
  await rejectsWith(waiting, "ERR_CHAN_ORPHANED");
  throwsWith(() => chan.tryRecv(), "ERR_CHAN_ORPHANED");
  chan.free();
});

test("when the receiver dies a full sender learns it, and memory can be given back", async () => {
  const used = currentSpace().heap.usedBytes();
  const chan = Chan.oneToOne<number>(2);
  const words = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL("../fixtures/chan-ends.js", import.meta.url), {
    workerData: { handle: chan.handle, role: "receives", words } satisfies ChanEnd,
  });
  watchThread(worker);
  await chan.sendAsync(1);
  await until(() => chan.len === 0, "it was received");
  await worker.terminate();
  await rejectsWith(chan.sendManyAsync(numbers(0, 5)), "ERR_CHAN_ORPHANED");
  chan.free();
  assert.ok(currentSpace().heap.usedBytes() <= used + 64, "but for the value that it was just taking out");
});

test.run();
