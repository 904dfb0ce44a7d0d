import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bellWord, Parker, parkWord, Reactor, ThreadTable, THREADS_MAX, unpark } from "@millrace/atomics-sync";
import { LINE_WORDS } from "@millrace/shared-memory";
import type { TableResult, TableUser } from "../fixtures/thread-table-user.ts";
import { runThreads } from "../fixtures/threads.ts";
import { throwsWith } from "../support.ts";

test("every reservation gives another entry, until all are taken", () => {
  const table = new ThreadTable(ThreadTable.allocate(5));
  const ids = Array.from({ length: 5 }, () => table.reserve());
  assert.equal(new Set(ids), new Set([0, 1, 2, 3, 4]));
  const error = throwsWith(() => table.reserve(), "ERR_THREADS_EXHAUSTED");
  assert.match(error.message, "all 5 entries");
});

test("an entry that was given back is reserved again", () => {
  const table = new ThreadTable(ThreadTable.allocate(3));
  for (let entry = 0; entry < 3; entry += 1) table.reserve();
  table.release(1);
  assert.is(table.reserve(), 1);
  throwsWith(() => table.reserve(), "ERR_THREADS_EXHAUSTED");
});

test("a table has room for many threads, and only those needed are looked at", () => {
  const table = new ThreadTable(ThreadTable.allocate());
  assert.is(table.used, 0);
  const ids = new Set(Array.from({ length: 3000 }, () => table.reserve()));
  assert.is(ids.size, 3000);
  assert.is(table.used, 3000);
  for (const id of ids) table.release(id);
  assert.is(table.reserve(), 0);
  assert.is(table.used, 3000);
  assert.ok(THREADS_MAX >= 32_768, "the default of Linux's pid_max");
});

test("two objects over the same memory share its entries", () => {
  const buffer = ThreadTable.allocate(4);
  const left = new ThreadTable(buffer);
  const right = new ThreadTable(buffer);
  assert.is(left.buffer, buffer);
  assert.is(new Set([left.reserve(), right.reserve(), left.reserve(), right.reserve()]).size, 4);
  left.release(2);
  assert.is(right.reserve(), 2);
});

test("what a thread leaves behind doesn't show in its entry's next life", () => {
  const table = new ThreadTable(ThreadTable.allocate(2));
  const id = table.reserve();
  const parker = new Parker(table.words, id);
  parker.prepareAsync();
  assert.ok(unpark(table.words, id));
  parker.prepare();
  table.release(id);
  assert.is(table.reserve(), id);
  assert.equal(
    [parkWord(id), bellWord(id)].map((word) => Atomics.load(table.words, word)),
    [0, 0],
  );
  assert.not(unpark(table.words, id), "nobody sleeps there");
  const next = new Parker(table.words, id);
  next.prepareAsync();
  assert.not.type(next.listen(), "string", "the bell hasn't rung");
});

test("the words of all threads lie on different lines", () => {
  const words = Array.from({ length: 100 }, (_, id) => [parkWord(id), bellWord(id)]).flat();
  const lines = new Set(words.map((word) => Math.floor(word / LINE_WORDS)));
  assert.is(lines.size, 200);
  assert.ok(bellWord(THREADS_MAX - 1) < ThreadTable.allocate().byteLength / 4);
});

test("memory that is no whole number of entries is refused", () => {
  const bytes = ThreadTable.allocate(1).byteLength;
  throwsWith(() => new ThreadTable(new SharedArrayBuffer(bytes + 4)), "ERR_INVARIANT");
  throwsWith(() => new ThreadTable(new SharedArrayBuffer(bytes - 128)), "ERR_INVARIANT");
});

test("a thread shares its table with those it starts; reservations all differ", async () => {
  const table = ThreadTable.current();
  assert.is(ThreadTable.current(), table);
  const own = Reactor.current().thread;
  assert.is(Reactor.current(), Reactor.current());

  const threads = 4;
  const entries = 60;
  const begun = new Int32Array(new SharedArrayBuffer(4));
  const users = Array.from({ length: threads }, (): TableUser => ({ entries, begun, threads }));
  const results = await runThreads<TableResult>("thread-table-user", users);
  for (const { reactor, sameReactor } of results) assert.is(sameReactor, reactor, "a thread has one reactor");
  const ids = [own, ...results.flatMap((result) => result.ids)];
  assert.is(ids.length, 1 + threads * entries);
  assert.is(new Set(ids).size, ids.length);
  assert.ok(ids.every((id) => id >= 0 && id < THREADS_MAX));
  // This thread sees that they are taken. The entries of the others and of their reactors came back
  // when their threads ended, or didn't when those were terminated before; this thread has one of
  // its own.
  const rest = Array.from({ length: 60 }, () => table.reserve());
  assert.is(new Set([...ids, ...rest]).size, ids.length + rest.length);
  for (const id of [...ids.slice(1), ...rest]) table.release(id);
});

test("a thread that ends gives its reactor's entry back", async () => {
  const table = ThreadTable.current();
  Reactor.current();
  const inUse = (): number => {
    let count = 0;
    for (let id = 0; id < table.used; id += 1) if (table.isInUse(id)) count += 1;
    return count;
  };
  const before = inUse();
  const begun = new Int32Array(new SharedArrayBuffer(4));
  const workerData: TableUser = { entries: 0, begun, threads: 1 };
  const worker = new Worker(new URL("../fixtures/thread-table-user.js", import.meta.url), { workerData });
  await new Promise((resolve) => worker.once("exit", resolve));
  assert.is(Atomics.load(begun, 0), 1);
  assert.is(inUse(), before);
});

test.run();
