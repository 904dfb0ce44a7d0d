import { Cond, Mutex, Once, RWMutex, WaitGroup } from "@millrace/atomics-sync";
import { attempt, type Cases, type Differences, settle } from "./cases.ts";

export const locksCases: Cases = {
  "rwmutex: readers share, a writer is alone": () => {
    const mutex = new RWMutex();
    const first = mutex.tryReadLock();
    const second = mutex.tryReadLock();
    const writer = mutex.tryLock();
    first?.unlock();
    second?.unlock();
    const alone = mutex.tryLock();
    const outcome = [second, writer, alone, mutex.tryReadLock(), mutex.tryLock()].map((hold) => hold !== undefined);
    alone?.unlock();
    mutex.close();
    return outcome;
  },

  "rwmutex: a writer that waits holds up readers that come after it": async () => {
    const mutex = new RWMutex();
    const reader = mutex.tryReadLock();
    const written = mutex.lockAsync();
    await settle();
    const late = mutex.tryReadLock();
    reader?.unlock();
    (await written).unlock();
    mutex.close();
    return [late !== undefined];
  },

  "rwmutex: readers that waited for a writer come before the next writer": async () => {
    const mutex = new RWMutex();
    const order: string[] = [];
    const writer = mutex.tryLock();
    const waits = [
      mutex.readLockAsync().then((hold) => (order.push("reader"), hold.unlock())),
      mutex.lockAsync().then((hold) => (order.push("writer"), hold.unlock())),
    ];
    await settle();
    writer?.unlock();
    await Promise.all(waits);
    mutex.close();
    return order;
  },

  "rwmutex: release of a read lock that nobody holds": async () => {
    const mutex = new RWMutex();
    const hold = mutex.tryReadLock();
    hold?.unlock();
    const outcome = await attempt(() => hold?.unlock());
    mutex.close();
    return [outcome];
  },

  "rwmutex: release of a write lock that nobody holds": async () => {
    const mutex = new RWMutex();
    const hold = mutex.tryLock();
    hold?.unlock();
    const outcome = await attempt(() => hold?.unlock());
    mutex.close();
    return [outcome];
  },

  "waitgroup: below zero": async () => {
    const group = new WaitGroup();
    const outcome = await attempt(() => group.add(-1));
    group.close();
    return [outcome];
  },

  "waitgroup: done once too often": async () => {
    const group = new WaitGroup();
    group.add(1);
    group.done();
    const outcome = await attempt(() => group.done());
    group.close();
    return [outcome];
  },

  "waitgroup: nobody waits for none": () => {
    const group = new WaitGroup();
    // On the main thread: it would throw if it had to wait.
    group.wait();
    group.close();
    return ["returns"];
  },

  "waitgroup: used again after it was waited for": async () => {
    const group = new WaitGroup();
    const outcome: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      group.add(2);
      for (let each = 0; each < 2; each += 1) setImmediate(() => group.done());
      // eslint-disable-next-line no-await-in-loop
      await group.waitAsync();
      outcome.push(round);
    }
    group.close();
    return outcome;
  },

  "waitgroup: all that wait are woken": async () => {
    const group = new WaitGroup();
    group.add(1);
    const waits = Array.from({ length: 3 }, () => group.waitAsync().then(() => true));
    await settle();
    group.done();
    const outcome = await Promise.all(waits);
    group.close();
    return outcome;
  },

  "once: many callers, one run, and all wait for its end": async () => {
    const once = new Once();
    let runs = 0;
    let isFinished = false;
    const callers = Array.from({ length: 3 }, async () => {
      await once.doAsync(async () => {
        runs += 1;
        await settle();
        isFinished = true;
      });
      return isFinished;
    });
    const seen = await Promise.all(callers);
    once.close();
    return [...seen, runs];
  },

  "once: a run that fails counts as done": async () => {
    const once = new Once();
    let runs = 0;
    const outcome: string[] = [];
    try {
      once.do(() => {
        runs += 1;
        throw new RangeError("no");
      });
    } catch (thrown) {
      if (thrown instanceof RangeError) outcome.push("fails");
    }
    outcome.push(await attempt(() => once.do(() => (runs += 1))));
    once.close();
    return [...outcome, runs];
  },

  "cond: signal wakes the one that has waited longest": async () => {
    const { cond, close, wait } = condition();
    const order: string[] = [];
    const waits = ["a", "b", "c"].map((name) => wait(() => order.push(name)));
    await settle();
    for (let signals = 1; signals <= 3; signals += 1) {
      cond.signal();
      // eslint-disable-next-line no-await-in-loop
      while (order.length < signals) await settle();
    }
    await Promise.all(waits);
    close();
    return order;
  },

  "cond: a signal that nobody waits for is lost": async () => {
    const { cond, close, wait } = condition();
    cond.signal();
    let isAwake = false;
    const waiting = wait(() => (isAwake = true));
    await settle();
    const outcome = isAwake ? "wakes" : "sleeps";
    cond.broadcast();
    await waiting;
    close();
    return [outcome];
  },

  "cond: broadcast wakes all": async () => {
    const { cond, close, wait } = condition();
    const waits = Array.from({ length: 3 }, () => wait(() => true));
    await settle();
    cond.broadcast();
    const outcome = await Promise.all(waits);
    close();
    return outcome;
  },

  "cond: who wakes holds the lock": async () => {
    const { cond, mutex, close, wait } = condition();
    const waiting = wait(() => mutex.tryLock() === undefined);
    await settle();
    const hold = mutex.tryLock();
    cond.signal();
    hold?.unlock();
    const isHeld = await waiting;
    close();
    return [hold !== undefined, isHeld];
  },
};

export const locksDifferences: Differences = {};

interface Condition {
  readonly mutex: Mutex;
  readonly cond: Cond;
  readonly close: () => void;
  /** Waits once, and does `then` with the mutex. */
  readonly wait: <Result>(then: () => Result) => Promise<Result>;
}

function condition(): Condition {
  const mutex = new Mutex();
  const cond = new Cond(mutex);
  return {
    mutex,
    cond,
    close: () => {
      cond.close();
      mutex.close();
    },
    wait: async (then) => {
      const hold = await mutex.lockAsync();
      await cond.waitAsync(hold);
      const result = then();
      hold.unlock();
      return result;
    },
  };
}
