// Time limits, signals and their kin are checked the same way in every form.
import { test } from "uvu";
import { Barrier, Cond, Mutex, Once, RWMutex, Semaphore, WaitGroup } from "@millrace/atomics-sync";
import { after, Chan, recv, select, selectAsync } from "@millrace/channels";
import { background, withDeadline, withTimeout } from "@millrace/context";
import { rejectsWith, throwsWith } from "../support.ts";

const BAD: readonly unknown[] = [
  NaN,
  Infinity,
  -Infinity,
  -1,
  -0.001,
  "5",
  "",
  5n,
  null,
  {},
  [5],
  true,
  2 ** 31,
  1e300,
];

const mutex = new Mutex();
const hold = mutex.tryLock();
const semaphore = new Semaphore(2);
const lock = new RWMutex();
const group = new WaitGroup();
const barrier = new Barrier(1);
const once = new Once();
const cond = new Cond(mutex);
const chan = Chan.int32(4);
const pipe = Chan.oneToOneInt32(4);
const into = new Int32Array(2);
const context = withTimeout(background(), 60_000);

const blocking: Record<string, (options: never) => unknown> = {
  "Mutex.lock": (options) => mutex.lock(options),
  "Semaphore.acquire": (options) => semaphore.acquire(1, options),
  "RWMutex.lock": (options) => lock.lock(options),
  "RWMutex.readLock": (options) => lock.readLock(options),
  "WaitGroup.wait": (options) => group.wait(options),
  "Barrier.wait": (options) => barrier.wait(options),
  "Once.do": (options) => once.do(() => {}, options),
  "Cond.wait": (options) => cond.wait(hold as never, options),
  "Chan.send": (options) => chan.send(1, options),
  "Chan.sendMany": (options) => chan.sendMany([1, 2], options),
  "Chan.recv": (options) => chan.recv(options),
  "Chan.recvMany": (options) => chan.recvMany(1, options),
  "Chan.recvInto": (options) => chan.recvInto(into, options),
  "one-to-one Chan.recv": (options) => pipe.recv(options),
  "one-to-one Chan.send": (options) => pipe.send(1, options),
  "Context.wait": (options) => context.wait(options),
};

const later: Record<string, (options: never) => Promise<unknown>> = {
  "Mutex.lockAsync": (options) => mutex.lockAsync(options),
  "Semaphore.acquireAsync": (options) => semaphore.acquireAsync(1, options),
  "RWMutex.lockAsync": (options) => lock.lockAsync(options),
  "RWMutex.readLockAsync": (options) => lock.readLockAsync(options),
  "WaitGroup.waitAsync": (options) => group.waitAsync(options),
  "Barrier.waitAsync": (options) => barrier.waitAsync(options),
  "Once.doAsync": (options) => once.doAsync(() => {}, options),
  "Cond.waitAsync": (options) => cond.waitAsync(hold as never, options),
  "Chan.sendAsync": (options) => chan.sendAsync(1, options),
  "Chan.sendManyAsync": (options) => chan.sendManyAsync([1, 2], options),
  "Chan.recvAsync": (options) => chan.recvAsync(options),
  "Chan.recvManyAsync": (options) => chan.recvManyAsync(1, options),
  "Chan.recvIntoAsync": (options) => chan.recvIntoAsync(into, options),
  "one-to-one Chan.recvAsync": (options) => pipe.recvAsync(options),
  selectAsync: (options) => selectAsync([recv(chan)], options),
};

for (const [name, run] of Object.entries(blocking)) {
  test(`${name} refuses time limits that are none, and unknown options`, () => {
    for (const timeoutMs of BAD) throwsWith(() => run({ timeoutMs } as never), "ERR_INVALID_OPTION");
    for (const options of [5, "5", null, 5n, { timeout: 5 }]) {
      throwsWith(() => run(options as never), "ERR_INVALID_OPTION");
    }
  });
}

for (const [name, run] of Object.entries(later)) {
  test(`${name} refuses time limits and signals that are none, and unknown options`, async () => {
    for (const timeoutMs of BAD) await rejectsWith(run({ timeoutMs } as never), "ERR_INVALID_OPTION");
    for (const signal of [null, {}, new AbortController(), "abort"]) {
      await rejectsWith(run({ signal } as never), "ERR_INVALID_OPTION");
    }
    for (const options of [{ timeout: 5 }, { timeoutms: 5 }])
      await rejectsWith(run(options as never), "ERR_INVALID_OPTION");
  });
}

test("deadlines and the time of a select are checked as well", async () => {
  for (const ms of BAD) {
    throwsWith(() => withTimeout(background(), ms as number), "ERR_INVALID_OPTION");
    throwsWith(() => select([recv(chan), after(ms as number)]), "ERR_INVALID_OPTION");
  }
  for (const deadline of [new Date(NaN), 5, "2030-01-01", null, undefined]) {
    throwsWith(() => withDeadline(background(), deadline as Date), "ERR_INVALID_OPTION");
  }
  withDeadline(background(), new Date(8.64e15)).close();
});

test("how many values to receive, and into what, is checked", () => {
  for (const most of [NaN, Infinity, -1, 0, 1.5, "2", 2n, null]) {
    throwsWith(() => chan.recvMany(most as number), "ERR_INVALID_OPTION");
  }
  for (const array of [[1, 2], new Float64Array(2), "into", null]) {
    throwsWith(() => chan.recvInto(array as never), "ERR_INVALID_OPTION");
  }
});

test.after(() => {
  hold?.unlock();
  context.close();
  chan.close();
  chan.free();
});

test.run();
