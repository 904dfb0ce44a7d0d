import { test } from "uvu";
import * as assert from "uvu/assert";
import { WaitGroup } from "@millrace/atomics-sync";
import { COUNTER } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith, until } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

test("a wait is over when all units are done, and the group may be used again", async () => {
  const group = new WaitGroup();
  assert.equal(group.wait(), { abandoned: 0 });
  for (let round = 0; round < 3; round += 1) {
    group.add(2);
    let isOver = false;
    const waiting = group.waitAsync().then((result) => {
      isOver = true;
      return result;
    });
    group.done();
    assert.is(group.count, 1);
    await new Promise((resolve) => setImmediate(resolve));
    assert.not(isOver);
    group.done();
    assert.equal(await waiting, { abandoned: 0 });
    assert.is(group.count, 0);
  }
  group.close();
});

test("all who wait go on, in whatever order they came", async () => {
  const group = new WaitGroup();
  group.add();
  const waiting = Array.from({ length: 50 }, () => group.waitAsync());
  group.done();
  group.add();
  for (const result of await Promise.all(waiting)) assert.equal(result, { abandoned: 0 });
  group.done();
  group.close();
});

test("a count below 0, or beyond the limit, is refused and changes nothing", () => {
  const group = new WaitGroup();
  throwsWith(() => group.done(), "ERR_WAIT_GROUP_NEGATIVE");
  group.add(2);
  throwsWith(() => group.add(-3), "ERR_WAIT_GROUP_NEGATIVE");
  throwsWith(() => group.add(2 ** 28), "ERR_WAIT_GROUP_NEGATIVE");
  throwsWith(() => group.add(2 ** 33), "ERR_WAIT_GROUP_NEGATIVE");
  throwsWith(() => group.add(0.5), "ERR_WAIT_GROUP_NEGATIVE");
  assert.is(group.count, 2);
  group.add(-2);
  assert.is(group.count, 0);
  group.add(2 ** 28);
  group.add(-(2 ** 28));
  group.close();
});

test("a claimed unit is finished through its claim, once, and by nothing else", async () => {
  const group = new WaitGroup();
  throwsWith(() => group.claim(), "ERR_WAIT_GROUP_NEGATIVE");
  group.add(2);
  const claim = group.claim();
  const other = await group.claimAsync();
  assert.is(group.count, 2);
  throwsWith(() => group.done(), "ERR_WAIT_GROUP_NEGATIVE");
  await rejectsWith(group.claimAsync(), "ERR_WAIT_GROUP_NEGATIVE");
  const waiting = group.waitAsync();
  claim.done();
  throwsWith(() => claim.done(), "ERR_LOCK_NOT_HELD");
  assert.is(group.count, 1);
  other[Symbol.dispose]();
  other[Symbol.dispose]();
  assert.equal(await waiting, { abandoned: 0 });
  group.close();
});

test("a claim is made past those who wait", async () => {
  const group = new WaitGroup();
  group.add(2);
  const waiting = [group.waitAsync(), group.waitAsync()];
  const claim = group.claim();
  group.done();
  claim.done();
  await Promise.all(waiting);
  group.close();
});

test("a wait ends when its time is up or its signal aborts", async () => {
  const group = new WaitGroup();
  group.add();
  assert.match(throwsWith(() => group.wait(), "ERR_BLOCKING_MAIN").message, "waitAsync");
  const error = await rejectsWith(group.waitAsync({ timeoutMs: 5 }), "ERR_SYNC_TIMEOUT");
  assert.match(error.message, "1 units");
  const controller = new AbortController();
  const aborted = group.waitAsync({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  group.done();
  group.close();
});

test("a group in use can't be closed, and use after close is found out", async () => {
  const group = new WaitGroup();
  const other = WaitGroup.from(group.handle);
  group.add();
  throwsWith(() => other.close(), "ERR_SYNC_IN_USE");
  const claim = group.claim();
  throwsWith(() => other.close(), "ERR_SYNC_IN_USE");
  claim.done();
  group.close();
  group.close();
  throwsWith(() => group.add(), "ERR_SYNC_CLOSED");
  throwsWith(() => other.wait(), "ERR_SYNC_CLOSED");
  throwsWith(() => other.claim(), "ERR_SYNC_CLOSED");
  await rejectsWith(other.waitAsync(), "ERR_SYNC_CLOSED");
  throwsWith(() => WaitGroup.from(group.handle), "ERR_SYNC_CLOSED");
});

test("threads finish units, some of them claimed, and all who wait see the work", async () => {
  const group = new WaitGroup();
  const words = sharedWords();
  const rounds = 2000;
  group.add(3 * rounds);
  const waiting = [
    runEnds<{ abandoned: number; done: number }>("waiter", [group], 0, words, ["blocking", "async"]),
    group.waitAsync().then(({ abandoned }) => [{ abandoned, done: Atomics.load(words, COUNTER) }]),
  ];
  await runEnds("worker", [group], rounds, words, ["blocking", "blocking", "blocking"]);
  for (const result of (await Promise.all(waiting)).flat()) assert.equal(result, { abandoned: 0, done: 3 * rounds });
  group.close();
});

test("a thread's death ends its claims, and each wait learns how many there were", async () => {
  const group = new WaitGroup();
  const words = sharedWords();
  group.add(4);
  const waiting = [group.waitAsync(), group.waitAsync()];
  const worker = await startEnd("keeps-claims", [group], words, 3);
  await worker.terminate();
  group.done();
  assert.equal(await Promise.all(waiting), [{ abandoned: 3 }, { abandoned: 3 }]);
  assert.equal(group.wait(), { abandoned: 0 }, "it was told once");
  group.close();
});

test("a wait that comes after the death is told as well, also on the main thread", async () => {
  const group = new WaitGroup();
  group.add();
  await startEnd("exits-with-claim", [group], sharedWords());
  await until(() => group.count === 0 || claimable(group), "the thread was buried");
  assert.equal(group.wait(), { abandoned: 1 });
  group.close();
});

/** Brings the count in line: whoever takes the latch after a death counts the claims anew. */
function claimable(group: WaitGroup): boolean {
  try {
    group.claim().done();
    return true;
  } catch {
    return group.count === 0;
  }
}

test.run();
