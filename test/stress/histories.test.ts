// Some order, in which threads use locks, channels and semaphores one after the other, explains
// what the threads see.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Mutex, Semaphore, type SyncHandle } from "@millrace/atomics-sync";
import { Chan } from "@millrace/channels";
import type { HistoryEnd } from "../fixtures/history-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { checkLinearizable, type Model, type Operation } from "./linearizability.ts";
import { BUSY, permits, queue, registers } from "./models.ts";

const THREADS = 4;
const OPERATIONS = 400;

async function check<State, Input>(
  model: Model<State, Input, number>,
  object: HistoryEnd["object"],
  handles: readonly SyncHandle[],
): Promise<void> {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const words = new Int32Array(new SharedArrayBuffer(256));
  const ends = Array.from({ length: THREADS }, (_, thread): HistoryEnd => ({
    object,
    handles,
    thread,
    threads: THREADS,
    operations: OPERATIONS,
    seed,
    words,
  }));
  const histories = await runThreads<Operation<Input, number>[]>("history-ends", ends);
  const history = histories.flat();
  assert.ok(history.length >= THREADS * OPERATIONS);
  // For the log: without overlaps a history would show nothing. Their number depends on the
  // machine's load.
  const inOrder = history.toSorted((one, other) => one.calledAt - other.calledAt);
  const overlaps = inOrder.filter(({ returnedAt }, index) => returnedAt > (inOrder[index + 1]?.calledAt ?? Infinity));
  // An outcome that says that another thread was in the midst of something is believed if one was.
  for (const busy of history.filter(({ output }) => output === BUSY)) {
    assert.ok(
      history.some(
        ({ thread, calledAt, returnedAt }) =>
          thread !== busy.thread && calledAt < busy.returnedAt && returnedAt > busy.calledAt,
      ),
      `seed ${seed}: alone, and busy: ${JSON.stringify(busy)}`,
    );
  }
  const verdict = checkLinearizable(model, history);
  console.log(`# ${object}: ${history.length} operations, ${overlaps.length} overlaps, ${verdict.tried} orders tried`);
  assert.ok(verdict.isLinearizable, `seed ${seed}: ${JSON.stringify(verdict.unexplained?.slice(0, 20))}`);
}

test("registers under a mutex each", async () => {
  const mutexes = Array.from({ length: 4 }, () => new Mutex());
  await check(
    registers,
    "registers",
    mutexes.map(({ handle }) => handle),
  );
  for (const mutex of mutexes) mutex.close();
});

test("a channel is a queue", async () => {
  const channel = Chan.int32(3);
  await check(queue(3), "queue", [channel.handle]);
  channel.close();
  channel.free();
});

test("a semaphore never gives out more permits than it has", async () => {
  const semaphore = new Semaphore(3);
  await check(permits(3), "permits", [semaphore.handle]);
  semaphore.close();
});

test.run();
