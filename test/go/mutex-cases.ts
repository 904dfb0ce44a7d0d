import { Mutex } from "@millrace/atomics-sync";
import { runThreads } from "../fixtures/threads.ts";
import { until } from "../support.ts";
import type { HogEnd } from "../fixtures/mutex-hog.ts";
import { attempt, type Cases, type Differences } from "./cases.ts";

export const mutexCases: Cases = {
  "mutex: tryLock on a free lock, on a held one, on a released one": () => {
    const mutex = new Mutex();
    const first = mutex.tryLock();
    const second = mutex.tryLock();
    first?.unlock();
    const third = mutex.tryLock();
    third?.unlock();
    mutex.close();
    return [first, second, third].map((hold) => hold !== undefined);
  },

  "mutex: unlock of what nobody holds": async () => {
    const mutex = new Mutex();
    const outcome = await attempt(() => mutex.unlock());
    mutex.close();
    return [outcome];
  },

  "mutex: those that wait get the lock in the order in which they came": async () => {
    const mutex = new Mutex();
    const order: string[] = [];
    const hold = mutex.tryLock();
    const waits = ["a", "b", "c", "d"].map(async (name) => {
      const own = await mutex.lockAsync();
      order.push(name);
      own.unlock();
    });
    hold?.unlock();
    await Promise.all(waits);
    mutex.close();
    return order;
  },

  "mutex: one that takes it again and again doesn't starve one that waits": async () => {
    const mutex = new Mutex();
    const words = new Int32Array(new SharedArrayBuffer(8));
    const hog = runThreads<number>("mutex-hog", [{ handle: mutex.handle, words } satisfies HogEnd]);
    await until(() => Atomics.load(words, 1) > 0, "the other thread takes the lock again and again");
    for (let round = 0; round < 5; round += 1) (await mutex.lockAsync()).unlock();
    Atomics.store(words, 0, 1);
    await hog;
    mutex.close();
    return ["comes through"];
  },
};

export const mutexDifferences: Differences = {};
