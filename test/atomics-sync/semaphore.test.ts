import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Permit, RWMutex, Semaphore } from "@millrace/atomics-sync";
import { INSIDE, VIOLATIONS } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith, until } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

test("permits are taken and given back, by weight", () => {
  const semaphore = new Semaphore(5);
  assert.is(semaphore.permits, 5);
  const two = semaphore.acquire(2);
  assert.is(two.permits, 2);
  assert.is(semaphore.available, 3);
  assert.is(semaphore.tryAcquire(4), undefined);
  const three = semaphore.tryAcquire(3) as Permit;
  assert.is(semaphore.tryAcquire(), undefined);
  two.release();
  assert.is(semaphore.available, 2);
  three[Symbol.dispose]();
  three[Symbol.dispose]();
  assert.is(semaphore.available, 5);
  semaphore.close();
});

test("a permit given back twice, or more than there can ever be, is an error", async () => {
  const semaphore = new Semaphore(2);
  const permit = semaphore.acquire();
  permit.release();
  throwsWith(() => permit.release(), "ERR_LOCK_NOT_HELD");
  throwsWith(() => semaphore.acquire(3), "ERR_PERMITS_TOO_MANY");
  throwsWith(() => semaphore.tryAcquire(3), "ERR_PERMITS_TOO_MANY");
  await rejectsWith(semaphore.acquireAsync(3), "ERR_PERMITS_TOO_MANY");
  for (const wrong of [0, -1, 1.5, Number.NaN]) throwsWith(() => semaphore.acquire(wrong), "ERR_INVALID_OPTION");
  for (const wrong of [0, -1, 1.5, 2 ** 20 + 1]) throwsWith(() => new Semaphore(wrong), "ERR_INVALID_OPTION");
  assert.is(semaphore.available, 2, "a failure takes nothing");
  semaphore.close();
});

test("waiting on the main thread is refused, and the message names the form to use", () => {
  const semaphore = new Semaphore(1);
  const permit = semaphore.acquire();
  assert.match(throwsWith(() => semaphore.acquire(), "ERR_BLOCKING_MAIN").message, "acquireAsync");
  permit.release();
  assert.is(semaphore.available, 1);
  semaphore.close();
});

test("who asked first is served first: a large request is not overtaken by small ones", async () => {
  const semaphore = new Semaphore(3);
  const first = semaphore.acquire(2);
  const order: string[] = [];
  const take = async (name: string, weight: number): Promise<void> => {
    const permit = await semaphore.acquireAsync(weight);
    order.push(name);
    await Promise.resolve();
    permit.release();
  };
  const waiting = [take("large", 3), take("small", 1), take("other", 1)];
  assert.is(semaphore.tryAcquire(1), undefined, "nor by who only tries");
  first.release();
  await Promise.all(waiting);
  assert.is(order[0], "large");
  assert.equal(order.toSorted(), ["large", "other", "small"]);
  semaphore.close();
});

test("a time limit or an abort ends a wait, and those behind it are served", async () => {
  const semaphore = new Semaphore(2);
  const permit = semaphore.acquire(1);
  const controller = new AbortController();
  const large = semaphore.acquireAsync(2, { timeoutMs: 5 });
  const aborted = semaphore.acquireAsync(2, { signal: controller.signal });
  const small = semaphore.acquireAsync(1);
  await rejectsWith(large, "ERR_SYNC_TIMEOUT");
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  (await small).release();
  permit.release();
  const before = semaphore.acquireAsync(1, { signal: controller.signal });
  await before.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  assert.is(semaphore.available, 2);
  semaphore.close();
});

test("many waits that end early leave nothing behind", async () => {
  const semaphore = new Semaphore(1);
  const permit = semaphore.acquire();
  for (let round = 0; round < 20; round += 1) {
    const waits = Array.from({ length: 100 }, () => semaphore.acquireAsync(1, { timeoutMs: 0 }));
    for (const outcome of await Promise.allSettled(waits)) assert.is(outcome.status, "rejected");
  }
  permit.release();
  semaphore.close();
});

test("a semaphore in use can't be closed, and use after close is found out", async () => {
  const semaphore = new Semaphore(1);
  const other = Semaphore.from(semaphore.handle);
  const permit = semaphore.acquire();
  throwsWith(() => other.close(), "ERR_SYNC_IN_USE");
  const waiting = semaphore.acquireAsync();
  permit.release();
  throwsWith(() => other.close(), "ERR_SYNC_IN_USE");
  (await waiting).release();
  semaphore.close();
  semaphore.close();
  throwsWith(() => semaphore.acquire(), "ERR_SYNC_CLOSED");
  throwsWith(() => other.tryAcquire(), "ERR_SYNC_CLOSED");
  throwsWith(() => Semaphore.from(semaphore.handle), "ERR_SYNC_CLOSED");
  const lock = new RWMutex();
  throwsWith(() => Semaphore.from(lock.handle), "ERR_SYNC_HANDLE");
  lock.close();
});

for (const forms of [
  ["blocking", "blocking", "blocking"],
  ["async", "async", "async"],
  ["mixed", "blocking", "async", "mixed"],
] as const) {
  test(`threads that take different weights (${forms.join(", ")}) never hold too many, and all come through`, async () => {
    const semaphore = new Semaphore(3);
    const words = sharedWords();
    const results = await runEnds<number>("semaphore", [semaphore], 1000, words, forms);
    assert.equal(
      results,
      forms.map(() => 1000),
    );
    assert.is(words[VIOLATIONS], 0);
    assert.is(words[INSIDE], 0);
    await until(() => semaphore.available === 3, "all permits are back");
    semaphore.close();
  });
}

for (const role of ["keeps-permits", "dies-with-permits"] as const) {
  test(`the permits of a thread that ${role === "keeps-permits" ? "was terminated" : "has exited"} come back by themselves`, async () => {
    const semaphore = new Semaphore(3);
    const worker = await startEnd(role, [semaphore], sharedWords());
    const waiting = semaphore.acquireAsync(3);
    const behind = semaphore.acquireAsync(1);
    if (role === "keeps-permits") await worker.terminate();
    (await waiting).release();
    (await behind).release();
    assert.is(semaphore.available, 3);
    semaphore.close();
  });
}

test("a thread that dies while it waits takes nothing, and those behind it are served", async () => {
  const semaphore = new Semaphore(3);
  const permit = semaphore.acquire(1);
  const worker = await startEnd("waits-for-permits", [semaphore], sharedWords());
  // It waits as soon as nobody else is served any more.
  await until(() => {
    const small = semaphore.tryAcquire(1);
    small?.release();
    return small === undefined;
  }, "the thread waits");
  const behind = semaphore.acquireAsync(1);
  await worker.terminate();
  (await behind).release();
  permit.release();
  assert.is(semaphore.available, 3);
  semaphore.close();
});

test.run();
