import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, Once } from "@millrace/atomics-sync";
import { COUNTER, VIOLATIONS } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

test("it is done once, by whoever asks first", async () => {
  const once = new Once();
  const other = Once.from(once.handle);
  let runs = 0;
  const run = (): void => {
    runs += 1;
  };
  assert.not(once.isDone);
  assert.ok(once.do(run));
  assert.ok(other.isDone);
  assert.not(once.do(run));
  assert.not(await other.doAsync(run));
  assert.is(runs, 1);
  once.close();
});

test("a function that throws counts as done, and its caller gets the error", async () => {
  const once = new Once();
  assert.throws(
    () =>
      once.do(() => {
        throw new Error("broken");
      }),
    /broken/,
  );
  assert.not(once.do(() => assert.unreachable()));
  once.close();
  const other = new Once();
  const results = await Promise.allSettled([
    other.doAsync(async () => {
      await Promise.resolve();
      throw new Error("broken");
    }),
    other.doAsync(() => assert.unreachable()),
  ]);
  assert.is(results[0].status, "rejected");
  assert.equal(results[1], { status: "fulfilled", value: false });
  other.close();
});

test("async flows wait until it is done, their time is up, or their signal aborts", async () => {
  const once = new Once();
  let finish = (): void => {};
  const first = once.doAsync(
    () =>
      new Promise<void>((resolve) => {
        finish = resolve;
      }),
  );
  await rejectsWith(
    once.doAsync(() => {}, { timeoutMs: 5 }),
    "ERR_SYNC_TIMEOUT",
  );
  const controller = new AbortController();
  const aborted = once.doAsync(() => {}, { signal: controller.signal });
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  assert.match(throwsWith(() => once.do(() => {}), "ERR_BLOCKING_MAIN").message, "doAsync");
  throwsWith(() => once.close(), "ERR_SYNC_IN_USE");
  const second = once.doAsync(() => assert.unreachable());
  finish();
  assert.ok(await first);
  assert.not(await second);
  once.close();
  once.close();
  throwsWith(() => once.do(() => {}), "ERR_SYNC_CLOSED");
  throwsWith(() => Once.from(once.handle), "ERR_SYNC_CLOSED");
  const mutex = new Mutex();
  throwsWith(() => Once.from(mutex.handle), "ERR_SYNC_HANDLE");
  mutex.close();
});

test("of many threads one does it, and none goes on before it is done", async () => {
  for (let round = 0; round < 3; round += 1) {
    const once = new Once();
    const words = sharedWords();
    const ran = await runEnds<number>("once", [once], 100, words, ["blocking", "mixed", "async", "blocking"]);
    assert.is(
      ran.reduce((sum, each) => sum + each, 0),
      1,
    );
    assert.is(words[COUNTER], 1);
    assert.is(words[VIOLATIONS], 0);
    once.close();
  }
});

test("when the thread that does it dies, the next one does it", async () => {
  const once = new Once();
  const worker = await startEnd("dies-doing-it", [once], sharedWords());
  let runs = 0;
  const run = (): void => {
    runs += 1;
  };
  const waiting = [once.doAsync(run), once.doAsync(run)];
  await worker.terminate();
  assert.equal(await Promise.all(waiting), [true, false]);
  assert.is(runs, 1);
  once.close();
});

test.run();
