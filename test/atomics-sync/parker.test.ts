import { test } from "uvu";
import * as assert from "uvu/assert";
import { Parker, parkWord, ThreadTable, unpark } from "@millrace/atomics-sync";
import type { ParkerEnd, ParkerResult } from "../fixtures/parker-ends.ts";
import { runThreads } from "../fixtures/threads.ts";

/** Far longer than anything takes: who isn't woken by then has been forgotten. */
const LONG_MS = 20_000;

function threadsAndParkers(count: number): { words: Int32Array; parkers: Parker[] } {
  const table = new ThreadTable(ThreadTable.allocate(count));
  return { words: table.words, parkers: Array.from({ length: count }, () => new Parker(table.words, table.reserve())) };
}

function oneParker(): { words: Int32Array; parker: Parker } {
  const { words, parkers } = threadsAndParkers(1);
  return { words, parker: parkers[0] as Parker };
}

/** Waits for the promise of `listen`, which doesn't keep the process alive by itself. */
async function rings(ring: Promise<unknown> | string): Promise<void> {
  assert.ok(ring instanceof Promise, "the bell hasn't rung before");
  let limit: NodeJS.Timeout | undefined;
  const never = new Promise((_, reject) => {
    limit = setTimeout(() => reject(new Error("the bell has never rung")), LONG_MS);
  });
  await Promise.race([ring, never]);
  clearTimeout(limit);
}

/** Calls `meanwhile` in the midst of `run`, just before it compares and exchanges a word. */
function interrupted<Result>(meanwhile: () => void, run: () => Result): Result {
  const original = Atomics.compareExchange;
  let isInterrupted = false;
  Atomics.compareExchange = ((...values: Parameters<typeof original>) => {
    Atomics.compareExchange = original;
    isInterrupted = true;
    meanwhile();
    return original.apply(Atomics, values);
  }) as typeof original;
  try {
    return run();
  } finally {
    Atomics.compareExchange = original;
    assert.ok(isInterrupted);
  }
}

test("a thread that is awake is not woken, and nothing is remembered for it", () => {
  const { words, parker } = oneParker();
  assert.not(unpark(words, parker.id));
  parker.prepare();
  assert.not(parker.wait(1), "the unpark before the announcement doesn't count");
});

test("a thread that is woken between its announcement and its wait doesn't wait", () => {
  const { words, parker } = oneParker();
  parker.prepare();
  assert.ok(unpark(words, parker.id));
  assert.ok(parker.wait(LONG_MS));
});

test("only one of several wakers wakes a thread", () => {
  const { words, parker } = oneParker();
  parker.prepare();
  assert.equal([unpark(words, parker.id), unpark(words, parker.id), unpark(words, parker.id)], [true, false, false]);
  assert.ok(parker.wait(LONG_MS));
  assert.not(unpark(words, parker.id), "it is awake now");
});

test("of two wakers at once one wakes the thread, and the other knows it", () => {
  const { words, parker } = oneParker();
  for (const announce of [() => parker.prepare(), () => parker.prepareAsync()]) {
    announce();
    let isWokenByOther = false;
    const isWoken = interrupted(
      () => (isWokenByOther = unpark(words, parker.id)),
      () => unpark(words, parker.id),
    );
    assert.ok(isWokenByOther);
    assert.not(isWoken);
  }
});

test("a waker that meets a thread which just takes its announcement back wakes nobody", () => {
  const { words, parker } = oneParker();
  parker.prepare();
  assert.not(
    interrupted(
      () => parker.cancel(),
      () => unpark(words, parker.id),
    ),
  );
  assert.is(Atomics.load(words, parkWord(parker.id)), 0, "the thread is awake");
});

test("a wait that nobody ends runs out, and the thread is awake afterwards", () => {
  const { words, parker } = oneParker();
  for (const timeoutMs of [0, 1, 2.5]) {
    parker.prepare();
    assert.not(parker.wait(timeoutMs));
    assert.not(unpark(words, parker.id));
  }
});

test("an announcement that is taken back wakes nobody", () => {
  const { words, parker } = oneParker();
  parker.prepare();
  parker.cancel();
  assert.not(unpark(words, parker.id));
  parker.prepareAsync();
  parker.cancel();
  assert.not(unpark(words, parker.id));
});

test("an announcement can be taken back after it was answered, and the next wait waits", () => {
  const { words, parker } = oneParker();
  parker.prepare();
  assert.ok(unpark(words, parker.id));
  parker.cancel();
  parker.prepare();
  assert.not(parker.wait(1));
});

test("threads are woken by their own number only", () => {
  const { words, parkers } = threadsAndParkers(3);
  const [left, middle, right] = parkers as [Parker, Parker, Parker];
  assert.is(new Set(parkers.map(({ id }) => id)).size, 3);
  left.prepare();
  middle.prepare();
  right.prepareAsync();
  assert.ok(unpark(words, middle.id));
  assert.ok(middle.wait(LONG_MS));
  assert.not(left.wait(1));
  assert.not.type(right.listen(), "string", "its bell hasn't rung");
  assert.ok(unpark(words, right.id));
});

test("a bell that rings between announcement and listening has rung", () => {
  const { words, parker } = oneParker();
  parker.prepareAsync();
  assert.ok(unpark(words, parker.id));
  assert.is(parker.listen(), "rung");
});

test("a bell that rings later resolves the promise", async () => {
  const { words, parker } = oneParker();
  parker.prepareAsync();
  const ring = parker.listen();
  assert.equal([unpark(words, parker.id), unpark(words, parker.id)], [true, false]);
  await rings(ring);
  parker.answered();
  assert.not(unpark(words, parker.id), "it is awake now");
});

test("a bell rings again for each announcement, and not for the one before", async () => {
  const { words, parker } = oneParker();
  for (let round = 0; round < 50; round += 1) {
    parker.prepareAsync();
    const ring = parker.listen();
    assert.ok(unpark(words, parker.id));
    await rings(ring);
    parker.answered();
  }
});

test("a promise that is still open answers for a later announcement too", async () => {
  const { words, parker } = oneParker();
  parker.prepareAsync();
  const ring = parker.listen();
  parker.cancel();
  parker.prepareAsync();
  assert.is(parker.listen(), "listening");
  assert.ok(unpark(words, parker.id));
  await rings(ring);
});

test("a thread that has answered a bell is awake, though it announced its next sleep", async () => {
  const { words, parker } = oneParker();
  parker.prepareAsync();
  const ring = parker.listen();
  assert.ok(unpark(words, parker.id));
  parker.prepareAsync();
  assert.is(parker.listen(), "listening");
  await rings(ring);
  parker.answered();
  assert.not(unpark(words, parker.id));
});

test("a thread that listens may also wait, and each is woken by what it announced last", () => {
  const { words, parker } = oneParker();
  parker.prepareAsync();
  assert.not.type(parker.listen(), "string");
  parker.cancel();
  parker.prepare();
  assert.ok(unpark(words, parker.id));
  assert.ok(parker.wait(LONG_MS));
  parker.prepareAsync();
  assert.is(parker.listen(), "listening", "the wait has left the promise open");
});

test("two threads that sleep in turns wake each other 2,000 times", async () => {
  const threads = new Int32Array(ThreadTable.allocate(2));
  const words = new Int32Array(new SharedArrayBuffer(8));
  const rounds = 2000;
  const players = [0, 1].map((own): ParkerEnd => ({ role: "player", threads, own, other: 1 - own, words, rounds }));
  const results = await runThreads<ParkerResult>("parker-ends", players);
  assert.is(results.length, 2);
  for (const result of results) {
    assert.is(result.timeOuts, 0, "no wake-up was lost");
    assert.is(result.rounds, rounds);
    assert.ok(result.waits > 0, "it did sleep");
  }
  assert.is(words[0], 2 * rounds);
});

test("a thread that three others wake at will sleeps through nothing", async () => {
  const threads = new Int32Array(ThreadTable.allocate(4));
  const words = new Int32Array(new SharedArrayBuffer(8));
  const rounds = 2000;
  const ends: ParkerEnd[] = [
    { role: "sleeper", threads, own: 0, other: 0, words, rounds: 3 * rounds },
    ...[1, 2, 3].map((own): ParkerEnd => ({ role: "waker", threads, own, other: 0, words, rounds })),
  ];
  const [sleeper, ...wakers] = (await runThreads<ParkerResult>("parker-ends", ends)) as [
    ParkerResult,
    ...ParkerResult[],
  ];
  assert.is(sleeper.timeOuts, 0, "no wake-up was lost");
  assert.is(sleeper.rounds, 3 * rounds);
  assert.ok(sleeper.waits > 0, "it did sleep");
  assert.equal(
    wakers.map((waker) => waker.rounds),
    [rounds, rounds, rounds],
  );
});

test.run();
