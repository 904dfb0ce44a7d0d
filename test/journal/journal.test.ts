import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, type JournalRecord, RECORD_TYPE } from "@millrace/journal";
import { rejectsWith, temporaryDirectory } from "../support.ts";

async function all(journal: Journal, from?: number): Promise<JournalRecord[]> {
  const records: JournalRecord[] = [];
  for await (const record of journal.read(from === undefined ? {} : { from })) records.push(record);
  return records;
}

test("records come back as they were appended, in the order of their sequences", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  assert.is(await journal.append(Buffer.from("one")), 1);
  assert.is(
    await journal.append(Buffer.from("two"), {
      key: Buffer.from("key"),
      headers: Buffer.from("header"),
      type: RECORD_TYPE.control,
      priority: 2,
    }),
    2,
  );
  assert.is(await journal.append(new Uint8Array(0)), 3);
  const [one, two, three] = await all(journal);
  assert.is(one?.payload.toString(), "one");
  assert.is(one?.type, RECORD_TYPE.data);
  assert.ok(Math.abs((one?.timeMs ?? 0) - Date.now()) < 60_000);
  assert.is(two?.key.toString(), "key");
  assert.is(two?.header.toString(), "header");
  assert.is(two?.type, RECORD_TYPE.control);
  assert.is(two?.priority, 2);
  assert.is(three?.payload.length, 0);
  assert.is((await all(journal, 3)).length, 1);
  await journal.close();

  const again = await Journal.open({ directory });
  assert.is(again.recovery.lastSequence, 3);
  assert.ok(again.recovery.hasCleanEnd);
  assert.is(await again.append(Buffer.from("four")), 4);
  assert.equal(
    (await all(again)).map((record) => record.sequence),
    [1, 2, 3, 4],
  );
  await again.close();
});

test("many appends at once share their syncs", async () => {
  const journal = await Journal.open({ directory: temporaryDirectory() });
  const sequences = await Promise.all(Array.from({ length: 5000 }, (_, n) => journal.append(Buffer.from(`${n}`))));
  assert.equal(
    sequences,
    Array.from({ length: 5000 }, (_, n) => n + 1),
  );
  assert.ok(journal.stats().batches < 2500, `${journal.stats().batches} batches`);
  const records = await all(journal);
  records.forEach((record, n) => assert.is(record.payload.toString(), `${n}`));
  await journal.close();
});

test("appends beyond the ring wait for room, and beyond pendingBytesMax are refused", async () => {
  const journal = await Journal.open({
    directory: temporaryDirectory(),
    recordBytesMax: 4000,
    batchBytesMax: 8192,
    ringBytes: 8192,
    pendingBytesMax: 100_000,
  });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 200 }, (_, n) => journal.append(Buffer.alloc(3000, n))),
  );
  const stored = outcomes.filter((outcome) => outcome.status === "fulfilled").length;
  const refused = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.ok(stored >= 33 && refused.length > 0, `${stored} stored`);
  for (const outcome of refused) assert.is((outcome.reason as { code: string }).code, "ERR_JOURNAL_BUSY");
  assert.is((await all(journal)).length, stored);
  await journal.close();
});

test("a record over the limit is refused and nothing else", async () => {
  const journal = await Journal.open({ directory: temporaryDirectory(), recordBytesMax: 1024 });
  const error = await rejectsWith(journal.append(Buffer.alloc(1001)), "ERR_JOURNAL_RECORD_TOO_LARGE");
  assert.is(error.details.recordBytesMax, 1024);
  await rejectsWith(journal.append(Buffer.alloc(10), { key: Buffer.alloc(70_000) }), "ERR_JOURNAL_RECORD_TOO_LARGE");
  assert.is(await journal.append(Buffer.alloc(900)), 1);
  await journal.close();
});

test("a directory serves one opener at a time", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  const error = await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_LOCKED");
  assert.match(error.message, `by process ${process.pid}`);
  assert.is(await journal.append(Buffer.from("still works")), 1);
  await journal.close();
  await (await Journal.open({ directory })).close();
});

test("a directory that can't be used is refused with the reason", async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, "file"), "");
  await rejectsWith(Journal.open({ directory: join(directory, "file") }), "ERR_JOURNAL_STORAGE");
  await rejectsWith(Journal.open({ directory: "/proc/millrace" }), "ERR_JOURNAL_STORAGE");
  await rejectsWith(Journal.open({ directory: "" }), "ERR_INVALID_OPTION");
  await rejectsWith(Journal.open({ directory, ringBytes: 8192 }), "ERR_INVALID_OPTION");
});

test("damage is refused by open and the lock is given back", async () => {
  const directory = temporaryDirectory();
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "log-0000000000000001.wal"), Buffer.alloc(8192, 1));
  await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_DAMAGED");
  await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_DAMAGED");
});

test("after close nothing is appended, and close can be called again", async () => {
  const journal = await Journal.open({ directory: temporaryDirectory() });
  const pending = journal.append(Buffer.from("on its way"));
  const closing = journal.close();
  await rejectsWith(journal.append(Buffer.from("too late")), "ERR_JOURNAL_CLOSED");
  await closing;
  assert.is(await pending, 1);
  await journal.close();
});

test('a poisoned journal tells every waiter "uncertain", and takes no more', async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await journal.append(Buffer.from("safe"));
  const outcomes = Array.from({ length: 100 }, (_, n) => journal.append(Buffer.from(`${n}`)));
  journal.poison();
  const results = await Promise.allSettled(outcomes);
  for (const result of results) {
    if (result.status === "rejected") assert.is((result.reason as { code: string }).code, "ERR_JOURNAL_UNCERTAIN");
  }
  await rejectsWith(journal.append(Buffer.from("no")), "ERR_JOURNAL_POISONED");
  await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");

  const again = await Journal.open({ directory });
  const stored = (await all(again)).length;
  assert.ok(stored >= 1 + results.filter((result) => result.status === "fulfilled").length);
  await again.close();
});

test.run();
