import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { watchThread } from "@millrace/atomics-sync";
import { currentSpace, HEAD, type SyncHandle, SyncSpace } from "@millrace/atomics-sync/kernel";
import { Chan, recv, selectAsync } from "@millrace/channels";
import { ChannelCore } from "@millrace/channels/internal/channel-core";
import type { ChanEnd, ChanResult } from "../fixtures/chan-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { rejectsWith, throwsWith, until } from "../support.ts";

function numbers(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}

async function all<T>(chan: Chan<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of chan) values.push(value);
  return values;
}

test("values come out in the order they went in, up to the capacity without waiting", () => {
  const chan = new Chan<unknown>(3);
  const values = [{ deep: [1, "two", new Date(3)] }, undefined, new Map([[1, new Set([2n])]])];
  for (const value of values) assert.ok(chan.trySend(value));
  assert.not(chan.trySend("too many"));
  assert.is(chan.len, 3);
  assert.is(chan.cap, 3);
  for (const value of values) assert.equal(chan.tryRecv(), { ok: true, value });
  assert.is(chan.tryRecv(), undefined);
  chan.close();
  chan.free();
});

test("numbers are carried exactly, and what isn't one is refused", () => {
  const doubles = Chan.float64(8);
  const values = [0.1, -0, Number.NaN, Infinity, Number.MAX_SAFE_INTEGER, 5e-324];
  for (const value of values) doubles.send(value);
  for (const value of values) assert.ok(Object.is(doubles.recv().value, value));
  throwsWith(() => doubles.send("1" as never), "ERR_CHAN_VALUE");
  const integers = Chan.int32(2);
  integers.send(-(2 ** 31));
  integers.send(2 ** 31 - 1);
  assert.equal(integers.recvMany(), [-(2 ** 31), 2 ** 31 - 1]);
  for (const wrong of [2 ** 31, 1.5, Number.NaN, "1" as never]) {
    throwsWith(() => integers.send(wrong), "ERR_CHAN_VALUE");
  }
  for (const chan of [doubles, integers]) {
    chan.close();
    chan.free();
  }
});

test("the main thread may not wait, and the message names the form to use", () => {
  const chan = new Chan<number>(1);
  assert.match(throwsWith(() => chan.recv(), "ERR_BLOCKING_MAIN").message, "recvAsync");
  chan.send(1);
  assert.match(throwsWith(() => chan.send(2), "ERR_BLOCKING_MAIN").message, "sendAsync");
  throwsWith(() => chan.sendMany([2, 3]), "ERR_BLOCKING_MAIN");
  assert.equal(chan.recvMany(), [1]);
  chan.close();
  chan.free();
});

test("a closed channel gives out what is in it, then tells the end, takes no more", async () => {
  const chan = new Chan<number>(4);
  chan.sendMany([1, 2]);
  chan.close();
  throwsWith(() => chan.close(), "ERR_CHAN_CLOSED");
  throwsWith(() => chan.send(3), "ERR_CHAN_CLOSED");
  throwsWith(() => chan.trySend(3), "ERR_CHAN_CLOSED");
  assert.is(throwsWith(() => chan.sendMany([3]), "ERR_CHAN_CLOSED").details.sent, 0);
  await rejectsWith(chan.sendAsync(3), "ERR_CHAN_CLOSED");
  assert.equal(chan.recv(), { ok: true, value: 1 });
  assert.equal(await all(chan), [2]);
  for (let round = 0; round < 2; round += 1) {
    assert.equal(chan.recv(), { ok: false, value: undefined });
    assert.equal(chan.tryRecv(), { ok: false, value: undefined });
    assert.equal(await chan.recvAsync(), { ok: false, value: undefined });
    assert.equal(chan.recvMany(), []);
  }
  chan.free();
});

test("closing tells those who wait: receivers the end, senders that it is closed", async () => {
  const chan = new Chan<string>(0);
  const receivers = [chan.recvAsync(), chan.recvManyAsync()];
  chan.close();
  assert.equal(await Promise.all(receivers), [{ ok: false, value: undefined }, []]);
  const full = new Chan<string>(1);
  await full.sendAsync("in time");
  const senders = [full.sendAsync("late"), full.sendManyAsync(["late", "too"])];
  full.close();
  await rejectsWith(senders[0] as Promise<void>, "ERR_CHAN_CLOSED");
  assert.is((await rejectsWith(senders[1] as Promise<void>, "ERR_CHAN_CLOSED")).details.sent, 0);
  assert.equal(await all(full), ["in time"]);
  chan.free();
  full.free();
});

test("without a buffer a send ends when its value was received, in order", async () => {
  const chan = new Chan<number>(0);
  const sent: number[] = [];
  const senders = numbers(0, 5).map((number) => chan.sendAsync(number).then(() => sent.push(number)));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(sent, []);
  assert.equal(await chan.recvAsync(), { ok: true, value: 0 });
  for (const number of [1, 2, 3, 4]) assert.equal(chan.tryRecv(), { ok: true, value: number });
  await Promise.all(senders);
  assert.equal(
    sent.toSorted((one, two) => one - two),
    [0, 1, 2, 3, 4],
  );
  assert.not(chan.trySend(5), "nobody waits to receive");
  const receiver = chan.recvAsync();
  assert.ok(chan.trySend(6));
  assert.equal(await receiver, { ok: true, value: 6 });
  chan.close();
  chan.free();
});

test("the values of waiting senders follow those in the buffer, in line", async () => {
  const chan = new Chan<number>(2);
  const senders = numbers(0, 10).map((number) => chan.sendAsync(number));
  for (const number of numbers(0, 10)) assert.equal(await chan.recvAsync(), { ok: true, value: number });
  await Promise.all(senders);
  const receivers = numbers(0, 10).map(() => chan.recvAsync());
  await chan.sendManyAsync(numbers(10, 10));
  assert.equal(
    (await Promise.all(receivers)).map(({ value }) => value),
    numbers(10, 10),
  );
  chan.close();
  chan.free();
});

test("a time limit or an abort ends a wait; then nothing was sent or received", async () => {
  const used = currentSpace().heap.usedBytes();
  const chan = new Chan<string>(1);
  await rejectsWith(chan.recvAsync({ timeoutMs: 1 }), "ERR_SYNC_TIMEOUT");
  chan.send("first");
  await rejectsWith(chan.sendAsync("second", { timeoutMs: 1 }), "ERR_SYNC_TIMEOUT");
  assert.is((await rejectsWith(chan.sendManyAsync(["3", "4"], { timeoutMs: 1 }), "ERR_SYNC_TIMEOUT")).details.sent, 0);
  const controller = new AbortController();
  const aborted = chan.sendAsync("fifth", { signal: controller.signal });
  controller.abort(new Error("enough"));
  assert.is(await aborted.catch((thrown: Error) => thrown.message), "enough");
  assert.is(await chan.recvAsync({ signal: controller.signal }).catch((thrown: Error) => thrown.message), "enough");
  assert.equal(chan.tryRecv(), { ok: true, value: "first" });
  assert.is(chan.tryRecv(), undefined);
  chan.close();
  chan.free();
  assert.is(currentSpace().heap.usedBytes(), used, "the values that weren't sent are gone");
});

test("sendMany and recvMany carry more than fits at once", async () => {
  for (const chan of [new Chan<number>(7), Chan.int32(7), Chan.float64(7), new Chan<number>(0)]) {
    const sending = chan.sendManyAsync(numbers(0, 1000)).then(() => chan.close());
    const got: number[] = [];
    for (let some = await chan.recvManyAsync(100); some.length > 0; some = await chan.recvManyAsync(100)) {
      assert.ok(some.length <= 100);
      got.push(...some);
    }
    await sending;
    assert.equal(got, numbers(0, 1000));
    chan.free();
  }
});

test("a handle is a plain value, of this process, and of a channel that wasn't freed", () => {
  const chan = new Chan<number>(1);
  const other = Chan.from<number>(JSON.parse(JSON.stringify(chan.handle)) as typeof chan.handle);
  other.send(1);
  assert.is(chan.recv().value, 1);
  throwsWith(() => chan.free(), "ERR_CHAN_IN_USE");
  chan.send(2);
  chan.close();
  assert.ok(other.isClosed);
  chan.free();
  chan.free();
  throwsWith(() => other.tryRecv(), "ERR_SYNC_CLOSED");
  throwsWith(() => other.send(1), "ERR_SYNC_CLOSED");
  throwsWith(() => Chan.from(chan.handle), "ERR_SYNC_CLOSED");
  throwsWith(() => Chan.from({ ...chan.handle, type: "Mutex" }), "ERR_SYNC_HANDLE");
  throwsWith(() => new Chan(-1), "ERR_INVALID_OPTION");
});

const ends: readonly (readonly [ChanEnd["role"], ChanEnd["role"]])[] = [
  ["sends", "receives"],
  ["sends-async", "receives-async"],
  ["sends-many", "receives-many"],
  ["sends", "receives-async"],
];
for (const [sends, receives] of ends) {
  for (const capacity of [0, 1, 64]) {
    test(`threads: ${sends} → ${receives}, capacity ${capacity}: every value once, each sender's in order`, async () => {
      const chan = capacity === 1 ? Chan.int32(capacity) : new Chan<number>(capacity);
      const count = 1000;
      const receivers = runThreads<ChanResult>("chan-ends", [
        { handle: chan.handle, role: receives } satisfies ChanEnd,
        { handle: chan.handle, role: receives } satisfies ChanEnd,
      ]);
      await runThreads<ChanResult>(
        "chan-ends",
        [0, 1].map((thread) => ({ handle: chan.handle, role: sends, first: thread * count, count }) satisfies ChanEnd),
      );
      chan.close();
      const lists = (await receivers).map(({ received }) => received as number[]);
      assert.equal(
        lists.flat().toSorted((one, two) => one - two),
        numbers(0, 2 * count),
      );
      for (const list of lists) {
        for (const thread of [0, 1]) {
          const own = list.filter((value) => Math.floor(value / count) === thread);
          assert.equal(
            own,
            own.toSorted((one, two) => one - two),
          );
        }
      }
      chan.free();
    });
  }
}

test("a worker is told by name what it can't do: closed, timed out", async () => {
  const chan = new Chan<number>(0);
  const end = { handle: chan.handle, role: "fails" } satisfies ChanEnd;
  const [open] = await runThreads<ChanResult>("chan-ends", [end]);
  assert.equal(open?.errors, ["ERR_SYNC_TIMEOUT", '{"index":1,"ok":true}']);
  chan.close();
  const [closed] = await runThreads<ChanResult>("chan-ends", [end]);
  assert.equal(closed?.errors, ["ERR_CHAN_CLOSED", "ERR_CHAN_CLOSED"]);
  chan.free();
});

/** The latch of a channel, as another thread would take it. */
function latchOfAnotherThread({ cell }: SyncHandle): { seize(): boolean; cede(): void } {
  const { words, heap, threads } = currentSpace();
  const view = new SyncSpace(words.buffer as SharedArrayBuffer, threads, threads.reserve(), { heap });
  return new ChannelCore(view, cell) as unknown as { seize(): boolean; cede(): void };
}

test("a closed channel refuses a value at once, even in another thread's operation", () => {
  const chan = new Chan<number>(1);
  const latch = latchOfAnotherThread(chan.handle);
  assert.ok(latch.seize());
  assert.not(chan.trySend(1), "an open one can't be sent to");
  latch.cede();
  chan.close();
  assert.ok(latch.seize());
  throwsWith(() => chan.trySend(1), "ERR_CHAN_CLOSED");
  throwsWith(() => chan.send(1), "ERR_CHAN_CLOSED");
  latch.cede();
  chan.free();
});

for (const role of ["waits-to-send", "waits-to-receive", "waits-in-select"] as const) {
  test(`a thread that dies while it ${role.replaceAll("-", " ")} is skipped`, async () => {
    const used = currentSpace().heap.usedBytes();
    const chan = new Chan<number>(0);
    const other = new Chan<number>(0);
    const words = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(new URL("../fixtures/chan-ends.js", import.meta.url), {
      workerData: { handle: chan.handle, role, other: other.handle, words, first: 13 } satisfies ChanEnd,
    });
    watchThread(worker);
    await until(() => Atomics.load(currentSpace().words, chan.handle.cell + HEAD) !== 0, "the thread waits");
    const deaths = currentSpace().deaths();
    await worker.terminate();
    await until(() => currentSpace().deaths() > deaths, "it is buried");
    const sent = chan.sendAsync(1);
    assert.equal(await chan.recvAsync(), { ok: true, value: 1 });
    await sent;
    assert.is(chan.tryRecv(), undefined);
    assert.not(other.trySend(2));
    for (const each of [chan, other]) {
      each.close();
      each.free();
    }
    assert.is(currentSpace().heap.usedBytes(), used, "and its value's memory is free");
  });
}

test("a select in an event loop waits for several channels and leaves the others alone", async () => {
  const [left, right] = [new Chan<string>(0), Chan.int32(0)];
  const waiting = selectAsync([recv(left), recv(right)]);
  assert.ok(right.trySend(7));
  const chosen = await waiting;
  assert.equal(chosen, { index: 1, ok: true, value: 7 });
  assert.not(left.trySend("nobody waits any more"));
  for (const chan of [left, right]) {
    chan.close();
    chan.free();
  }
});

test("a worker that ends in an orderly way leaves its values to those who receive them", async () => {
  const chan = new Chan<number>(10);
  const worker = new Worker(new URL("../fixtures/chan-ends.js", import.meta.url), {
    workerData: { handle: chan.handle, role: "sends", first: 5, count: 3 } satisfies ChanEnd,
  });
  await once(worker, "exit");
  chan.close();
  assert.equal(await all(chan), [5, 6, 7]);
  chan.free();
});

test.run();
