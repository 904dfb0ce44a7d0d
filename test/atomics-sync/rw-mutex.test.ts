import { test } from "uvu";
import * as assert from "uvu/assert";
import { Barrier, locksHeld, Mutex, Once, RWMutex, Semaphore, WaitGroup } from "@millrace/atomics-sync";
import { COUNTER, INSIDE, VIOLATIONS } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

test("many read, or one writes", () => {
  const lock = new RWMutex();
  const one = lock.readLock();
  const two = lock.tryReadLock();
  assert.is(lock.tryLock(), undefined);
  one.unlock();
  assert.is(lock.tryLock(), undefined);
  two?.unlock();
  const write = lock.lock();
  assert.not(write.isRecovered);
  assert.is(lock.tryReadLock(), undefined);
  assert.is(lock.tryLock(), undefined);
  write[Symbol.dispose]();
  write[Symbol.dispose]();
  throwsWith(() => write.unlock(), "ERR_LOCK_NOT_HELD");
  lock.close();
});

test("who came first is served first: neither readers nor writers are kept off", async () => {
  const lock = new RWMutex();
  const read = lock.readLock();
  const order: string[] = [];
  const take = async (name: string, taken: ReturnType<RWMutex["lockAsync"]>): Promise<void> => {
    const hold = await taken;
    order.push(name);
    await new Promise((resolve) => setImmediate(resolve));
    hold.unlock();
  };
  const waiting = [
    take("writer", lock.lockAsync()),
    take("reader", lock.readLockAsync()),
    take("reader", lock.readLockAsync()),
    take("writer", lock.lockAsync()),
    take("reader", lock.readLockAsync()),
  ];
  assert.is(lock.tryReadLock(), undefined, "a reader doesn't overtake a writer");
  read.unlock();
  await Promise.all(waiting);
  assert.equal(order, ["writer", "reader", "reader", "writer", "reader"]);
  lock.close();
});

test("a thread knows how many locks it holds, in whatever form", async () => {
  const before = locksHeld();
  const mutex = new Mutex();
  const lock = new RWMutex();
  const hold = mutex.lock();
  const read = await lock.readLockAsync();
  const other = lock.readLock();
  assert.is(locksHeld(), before + 3);
  hold.unlock();
  throwsWith(() => hold.unlock(), "ERR_LOCK_NOT_HELD");
  read.unlock();
  assert.is(locksHeld(), before + 1);
  other.unlock();
  const again = mutex.tryLock();
  assert.is(locksHeld(), before + 1);
  assert.is(mutex.tryLock(), undefined);
  mutex.unlock();
  throwsWith(() => again?.unlock(), "ERR_LOCK_NOT_HELD");
  assert.is(locksHeld(), before);
  mutex.close();
  lock.close();
});

test("a time limit or an abort ends a wait, and those behind it are served", async () => {
  const lock = new RWMutex();
  const read = lock.readLock();
  const controller = new AbortController();
  const late = lock.lockAsync({ timeoutMs: 5 });
  const aborted = lock.lockAsync({ signal: controller.signal });
  const reader = lock.readLockAsync();
  await rejectsWith(late, "ERR_SYNC_TIMEOUT");
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  (await reader).unlock();
  read.unlock();
  lock.close();
});

test("on the main thread waiting is refused, and a lock in use can't be closed", async () => {
  const lock = new RWMutex();
  const write = lock.lock();
  assert.match(throwsWith(() => lock.lock(), "ERR_BLOCKING_MAIN").message, "lockAsync");
  assert.match(throwsWith(() => lock.readLock(), "ERR_BLOCKING_MAIN").message, "readLockAsync");
  throwsWith(() => lock.close(), "ERR_SYNC_IN_USE");
  write.unlock();
  lock.close();
  lock.close();
  throwsWith(() => lock.readLock(), "ERR_SYNC_CLOSED");
  throwsWith(() => lock.tryLock(), "ERR_SYNC_CLOSED");
  await rejectsWith(lock.lockAsync(), "ERR_SYNC_CLOSED");
  throwsWith(() => RWMutex.from(lock.handle), "ERR_SYNC_CLOSED");
});

test("what would certainly wait for itself is refused", async () => {
  const objects = [new Semaphore(3), new RWMutex(), new Once()];
  const [codes] = await runEnds<string[]>("waits-for-itself", objects, 0, sharedWords(), ["blocking"]);
  assert.equal(codes, ["ERR_LOCK_HELD", "ERR_LOCK_HELD", "ERR_LOCK_HELD", "ERR_LOCK_HELD", "ERR_LOCK_HELD"]);
  for (const object of objects) object.close();
});

test("waits that block a thread have a time limit", async () => {
  const semaphore = new Semaphore(3);
  const permit = semaphore.acquire();
  const lock = new RWMutex();
  const write = lock.lock();
  const group = new WaitGroup();
  group.add();
  const barrier = new Barrier(2);
  const objects = [semaphore, lock, group, barrier];
  const [codes] = await runEnds<string[]>("times-out", objects, 0, sharedWords(), ["blocking"]);
  assert.equal(codes, ["ERR_SYNC_TIMEOUT", "ERR_SYNC_TIMEOUT", "ERR_SYNC_TIMEOUT", "ERR_SYNC_TIMEOUT"]);
  permit.release();
  write.unlock();
  group.done();
  for (const object of objects) object.close();
});

for (const forms of [
  ["blocking", "blocking", "blocking"],
  ["async", "async", "async"],
  ["mixed", "blocking", "async", "mixed"],
] as const) {
  test(`readers and writers (${forms.join(", ")}) exclude each other and all come through`, async () => {
    const lock = new RWMutex();
    const words = sharedWords();
    const results = await runEnds<number>("rw-mutex", [lock], 1000, words, forms);
    assert.equal(
      results,
      forms.map(() => 0),
    );
    assert.is(words[VIOLATIONS], 0);
    assert.is(words[INSIDE], 0);
    assert.is(words[COUNTER], forms.length * 250);
    lock.close();
  });
}

test("when a writer has died, all who get the lock are told until a writer has had it", async () => {
  const lock = new RWMutex();
  const worker = await startEnd("keeps-writing", [lock], sharedWords());
  const reading = [lock.readLockAsync(), lock.readLockAsync()];
  const writing = lock.lockAsync();
  const after = lock.readLockAsync();
  await worker.terminate();
  for (const read of await Promise.all(reading)) {
    assert.ok(read.isRecovered);
    read.unlock();
  }
  const write = await writing;
  assert.ok(write.isRecovered);
  write.unlock();
  const last = await after;
  assert.not(last.isRecovered);
  last.unlock();
  lock.close();
});

test("a reader's death frees the lock and says nothing", async () => {
  const lock = new RWMutex();
  const worker = await startEnd("keeps-reading", [lock], sharedWords());
  const writing = lock.lockAsync();
  await worker.terminate();
  const write = await writing;
  assert.not(write.isRecovered);
  write.unlock();
  lock.close();
});

test.run();
