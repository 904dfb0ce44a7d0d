import { once } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Barrier } from "@millrace/atomics-sync";
import { COUNTER, VIOLATIONS } from "../fixtures/sync-words.ts";
import { rejectsWith, throwsWith } from "../support.ts";
import { runEnds, sharedWords, startEnd } from "./support.ts";

test("all go on when the last has arrived, round after round, and that one knows", async () => {
  const barrier = new Barrier(3);
  assert.is(barrier.parties, 3);
  for (let round = 0; round < 3; round += 1) {
    const early = [barrier.waitAsync(), barrier.waitAsync()];
    assert.ok(await barrier.waitAsync());
    assert.equal(await Promise.all(early), [false, false]);
  }
  assert.not(barrier.isBroken);
  barrier.close();
});

test("more arrivals than parties make up several rounds", async () => {
  const barrier = new Barrier(2);
  const arrivals = Array.from({ length: 6 }, () => barrier.waitAsync());
  assert.equal(await Promise.all(arrivals), [false, true, false, true, false, true]);
  barrier.close();
});

test("a party that gives up breaks the barrier for all, until it is reset", async () => {
  const barrier = new Barrier(3);
  const controller = new AbortController();
  const waiting = rejectsWith(barrier.waitAsync(), "ERR_BARRIER_BROKEN");
  const aborted = barrier.waitAsync({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await aborted.then(
    () => assert.unreachable(),
    (thrown: Error) => assert.is(thrown.message, "enough"),
  );
  await waiting;
  assert.ok(barrier.isBroken);
  await rejectsWith(barrier.waitAsync(), "ERR_BARRIER_BROKEN");
  barrier.reset();
  assert.not(barrier.isBroken);
  const other = rejectsWith(barrier.waitAsync(), "ERR_BARRIER_BROKEN");
  await rejectsWith(barrier.waitAsync({ timeoutMs: 5 }), "ERR_SYNC_TIMEOUT");
  await other;
  barrier.reset();
  await Promise.all([barrier.waitAsync(), barrier.waitAsync(), barrier.waitAsync()]);
  barrier.close();
});

test("a reset turns away who waits, and not who comes after it", async () => {
  const barrier = new Barrier(2);
  const before = rejectsWith(barrier.waitAsync(), "ERR_BARRIER_BROKEN");
  barrier.reset();
  const after = [barrier.waitAsync(), barrier.waitAsync()];
  await before;
  assert.equal(await Promise.all(after), [false, true]);
  barrier.close();
});

test("waiting on the main thread is refused, and so is use after close", async () => {
  const barrier = new Barrier(2);
  assert.match(throwsWith(() => barrier.wait(), "ERR_BLOCKING_MAIN").message, "waitAsync");
  const waiting = barrier.waitAsync();
  throwsWith(() => Barrier.from(barrier.handle).close(), "ERR_SYNC_IN_USE");
  await barrier.waitAsync();
  await waiting;
  barrier.close();
  barrier.close();
  await rejectsWith(barrier.waitAsync(), "ERR_SYNC_CLOSED");
  throwsWith(() => barrier.reset(), "ERR_SYNC_CLOSED");
  throwsWith(() => Barrier.from(barrier.handle), "ERR_SYNC_CLOSED");
  for (const wrong of [0, 1.5, 1025]) throwsWith(() => new Barrier(wrong), "ERR_INVALID_OPTION");
});

for (const forms of [
  ["blocking", "blocking", "blocking"],
  ["async", "mixed", "blocking", "mixed"],
] as const) {
  test(`no thread (${forms.join(", ")}) begins a round before all have ended the last one`, async () => {
    const barrier = new Barrier(forms.length);
    const words = sharedWords();
    const rounds = 300;
    const last = await runEnds<number>("party", [barrier], rounds, words, forms);
    assert.is(
      last.reduce((sum, each) => sum + each, 0),
      rounds,
    );
    assert.is(words[COUNTER], rounds * forms.length);
    assert.is(words[VIOLATIONS], 0);
    assert.not(barrier.isBroken, "a thread that has left may end");
    barrier.close();
  });
}

for (const [role, where] of [
  ["party-that-waits", "while it waits"],
  ["party-of-one-round", "on its way"],
] as const) {
  test(`a member that dies ${where} breaks the barrier`, async () => {
    const barrier = new Barrier(role === "party-that-waits" ? 3 : 2);
    const words = sharedWords();
    const starting = startEnd(role, [barrier], words);
    if (role === "party-of-one-round") assert.type(await barrier.waitAsync(), "boolean");
    const worker = await starting;
    const waiting = barrier.waitAsync();
    const exit = once(worker, "exit");
    // The first role says where it is before it has arrived; what arrives a little later breaks the
    // barrier all the same, when it has arrived.
    if (role === "party-that-waits") {
      const other = barrier.waitAsync().then(
        () => "passed",
        (thrown: { code: string }) => thrown.code,
      );
      assert.is(await other, "passed");
      assert.type(await waiting, "boolean");
      await worker.terminate();
    } else {
      await worker.terminate();
      await rejectsWith(waiting, "ERR_BARRIER_BROKEN");
    }
    await exit;
    barrier.close();
  });
}

test.run();
