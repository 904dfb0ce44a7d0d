import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  Journal,
  type JournalOptions,
  type JournalRecord,
  memoryStorage,
  type ReadOptions,
  RECORD_TYPE,
} from "@millrace/journal";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

async function withJournal(
  use: (journal: Journal, directory: string) => Promise<void>,
  options: Partial<JournalOptions> = {},
): Promise<void> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...options });
  try {
    await use(journal, directory);
  } finally {
    await journal.close();
  }
}

async function all(journal: Journal, options: ReadOptions = {}): Promise<JournalRecord[]> {
  const records: JournalRecord[] = [];
  for await (const record of journal.read(options)) records.push(record);
  return records;
}

function neverResolves(): void {
  assert.unreachable("it must fail");
}

const sequencesOf = (records: readonly JournalRecord[]): number[] => records.map(({ sequence }) => sequence);

/** Fills several small segments; the record `n` has sequence `n`. */
async function fill(journal: Journal, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n += 1) {
    assert.is(await journal.append(Buffer.from(`${n}`.padEnd(3000, "."))), n);
  }
}

test("values, keys and headers come back as they were given", async () => {
  await withJournal(async (journal) => {
    await journal.append(
      { amount: 10, when: new Date(5), tags: new Set(["a"]) },
      { key: "kunde-ä", headers: { line: 7 } },
    );
    await journal.append(undefined, { headers: Buffer.from("raw") });
    await journal.append(Buffer.from("bytes"));
    const [value, nothing, bytes] = await all(journal);
    assert.equal(value?.value, { amount: 10, when: new Date(5), tags: new Set(["a"]) });
    assert.equal(value?.headers, { line: 7 });
    assert.is(value?.key.toString(), "kunde-ä");
    assert.is(nothing?.value, undefined);
    assert.is(String(nothing?.headers), "raw");
    assert.is(String(bytes?.value), "bytes");
    assert.is(bytes?.headers, undefined);
    await rejectsWith(journal.append("x", { kee: "y" } as never), "ERR_INVALID_OPTION");
    await rejectsWith(
      journal.append(() => 1),
      "ERR_VALUE_UNSUPPORTED",
    );
    await rejectsWith(journal.append("x", { key: "k".repeat(70_000) }), "ERR_JOURNAL_RECORD_TOO_LARGE");
  });
});

test("appendMany is one group in one batch, or nothing", async () => {
  await withJournal(async (journal) => {
    assert.equal(await journal.appendMany([]), []);
    const before = journal.stats().batches;
    const sequences = await journal.appendMany(Array.from({ length: 50 }, (_, n) => ({ payload: n, key: `k${n}` })));
    assert.equal(
      sequences,
      Array.from({ length: 50 }, (_, n) => n + 1),
    );
    assert.is(journal.stats().batches, before + 1);
    const records = await all(journal);
    assert.equal(
      records.map(({ continues }) => continues),
      Array.from({ length: 50 }, (_, n) => n < 49),
    );
    await rejectsWith(
      journal.appendMany(Array.from({ length: 10 }, () => ({ payload: Buffer.alloc(3000) }))),
      "ERR_JOURNAL_RECORD_TOO_LARGE",
    );
    await rejectsWith(
      journal.appendMany([{ payload: "fine" }, { payload: Buffer.alloc(9000) }]),
      "ERR_JOURNAL_RECORD_TOO_LARGE",
    );
    assert.is(journal.durableSequence, 50, "nothing of a refused group is stored");
  }, SMALL);
});

test("groups and single records that find the ring full keep their order", async () => {
  await withJournal(async (journal) => {
    const promises: Promise<number[]>[] = [];
    for (let n = 0; n < 60; n += 1) {
      promises.push(journal.append(Buffer.alloc(2000, n)).then((sequence) => [sequence]));
      promises.push(journal.appendMany([{ payload: Buffer.alloc(2000, n) }, { payload: Buffer.alloc(3000, n) }]));
    }
    const sequences = (await Promise.all(promises)).flat();
    assert.equal(
      sequences,
      Array.from({ length: 180 }, (_, n) => n + 1),
    );
  }, SMALL);
});

test("get and find work with index files, without them, and with damaged ones", async () => {
  const directory = temporaryDirectory();
  let journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 80; n += 1) await journal.append(Buffer.alloc(3000, n), { key: `key-${n % 40}` });
  const check = async (): Promise<void> => {
    for (const sequence of [1, 2, 39, 40, 41, 79, 80]) {
      assert.is((await journal.get(sequence))?.payload[0], sequence);
    }
    assert.is(await journal.get(0), undefined);
    assert.is(await journal.get(journal.durableSequence + 1), undefined);
    assert.is((await journal.find("key-7"))?.sequence, 47, "the newest with this key");
    assert.is((await journal.find("key-0"))?.sequence, 80);
    assert.is(await journal.find("key-99"), undefined);
  };
  await check();
  await journal.close();
  journal = await Journal.open({ directory, ...SMALL });
  const indexes = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".idx"));
  await until(() => indexes().length >= 4, "the keeper writes indexes");
  await check();
  await journal.append("newer", { key: "key-7" });
  assert.is((await journal.find("key-7"))?.value, "newer");
  await journal.close();
  // An index is never trusted over the log.
  for (const [at, name] of indexes().entries()) {
    if (at % 2 === 0) rmSync(join(directory, name));
    else writeFileSync(join(directory, name), Buffer.alloc(500, 1));
  }
  journal = await Journal.open({ directory, ...SMALL });
  assert.is((await journal.find("key-8"))?.sequence, 48);
  assert.is((await journal.get(12))?.payload[0], 12);
  await journal.close();
});

test("an index that goes while it is in use is done without", async () => {
  await withJournal(async (journal, directory) => {
    for (let n = 1; n <= 80; n += 1) await journal.append(Buffer.alloc(3000, n), { key: `key-${n}` });
    const indexes = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".idx"));
    await until(() => indexes().length >= 3, "the keeper writes indexes");
    assert.is((await journal.find("key-1"))?.sequence, 1);
    for (const name of indexes()) rmSync(join(directory, name));
    assert.is((await journal.find("key-1"))?.sequence, 1);
    assert.is(await journal.find("key-99"), undefined);
    assert.is((await journal.get(2))?.payload[0], 2);
  }, SMALL);
});

test("what a truncation has left behind when it broke off goes with the next one", async () => {
  await withJournal(async (journal, directory) => {
    await fill(journal, 1, 80);
    const segments = (): string[] => readdirSync(directory).filter((name) => name.startsWith("log-"));
    const [oldest] = segments().toSorted();
    const kept = join(directory, oldest as string);
    const copy = join(temporaryDirectory(), "copy");
    copyFileSync(kept, copy);
    const first = await journal.truncateBefore(60);
    assert.not(existsSync(kept));
    copyFileSync(copy, kept);
    assert.is(await journal.truncateBefore(60), first, "nothing more is given up");
    assert.not(existsSync(kept));
    assert.is(await journal.get(1), undefined);
  }, SMALL);
});

test("reading begins at a sequence, time, key or checkpoint, and ends where asked", async () => {
  await withJournal(async (journal) => {
    for (let n = 1; n <= 5; n += 1) await journal.append(n, { key: `k${n}` });
    const times = (await all(journal)).map(({ timeMs }) => timeMs);
    const wait = Date.now();
    await until(() => Date.now() > wait + 2, "the clock moves on");
    const middle = Date.now();
    await until(() => Date.now() > middle + 2, "the clock moves on");
    for (let n = 6; n <= 9; n += 1) await journal.append(n, { key: `k${n}` });
    assert.ok(times.every((time) => time < middle));
    assert.equal(sequencesOf(await all(journal, { from: 3, to: 5 })), [3, 4, 5]);
    assert.equal(sequencesOf(await all(journal, { from: new Date(middle) })), [6, 7, 8, 9]);
    assert.equal(sequencesOf(await all(journal, { to: new Date(middle) })), [1, 2, 3, 4, 5]);
    assert.equal(sequencesOf(await all(journal, { from: "k4", to: 6 })), [4, 5, 6]);
    assert.equal(sequencesOf(await all(journal, { from: 10 })), []);
    assert.is((await all(journal, { from: "checkpoint" })).length, 9, "everything without a checkpoint");
    await journal.checkpoint(Buffer.from("state"), 8);
    assert.equal(sequencesOf(await all(journal, { from: "checkpoint" })), [8, 9]);
    await rejectsWith(all(journal, { from: "nobody" }), "ERR_JOURNAL_NO_KEY");
  });
});

test("a following reader gets later records, and ends with its signal or the journal", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  await fill(journal, 1, 3);
  const seen: number[] = [];
  const following = (async () => {
    for await (const { sequence } of journal.read({ follow: true })) seen.push(sequence);
  })();
  const controller = new AbortController();
  const aborted = rejectsWithMessage(all(journal, { from: 1, follow: true, signal: controller.signal }), "enough");
  await until(() => seen.length === 3, "it reads what is there");
  await fill(journal, 4, 60);
  await until(() => seen.length === 60, "it reads what comes");
  controller.abort(new Error("enough"));
  await aborted;
  await journal.close();
  await following;
  assert.equal(
    seen,
    Array.from({ length: 60 }, (_, n) => n + 1),
  );
});

async function rejectsWithMessage(promise: Promise<unknown>, message: string): Promise<void> {
  let found = "nothing was thrown";
  await promise.catch((thrown: unknown) => (found = (thrown as Error).message));
  assert.is(found, message);
}

test("checkpoints alternate, survive reopening, and a damaged one leaves the other", async () => {
  const directory = temporaryDirectory();
  let journal = await Journal.open({ directory });
  assert.is(await journal.lastCheckpoint(), undefined);
  await journal.append("a");
  for (let n = 1; n <= 3; n += 1) await journal.checkpoint(Buffer.alloc(n * 10_000, n), 1);
  await journal.close();
  journal = await Journal.open({ directory });
  assert.is((await journal.lastCheckpoint())?.bytes.length, 30_000);
  await journal.close();
  writeFileSync(join(directory, "checkpoint-b"), Buffer.alloc(100));
  journal = await Journal.open({ directory });
  assert.is((await journal.lastCheckpoint())?.bytes.length, 20_000);
  await journal.checkpoint(Buffer.from("new"), 2);
  assert.is((await journal.lastCheckpoint())?.bytes.toString(), "new");
  let message = "";
  await journal.checkpoint(Buffer.from("ahead"), 3).catch((thrown: unknown) => (message = (thrown as Error).message));
  assert.match(message, "between 1 and 2");
  await journal.close();
});

test("what is given up is gone, its files are used again, the rest stays", async () => {
  const directory = temporaryDirectory();
  let journal = await Journal.open({ directory, ...SMALL });
  await fill(journal, 1, 80);
  const segments = (): string[] => readdirSync(directory).filter((name) => name.startsWith("log-"));
  const before = segments().length;
  assert.is(await journal.truncateBefore(1), 1);
  const first = await journal.truncateBefore(60);
  assert.ok(first > 20 && first <= 60, `first is ${first}`);
  assert.ok(segments().length < before);
  assert.ok(
    readdirSync(directory).some((name) => /^spare-\d+-[0-9a-f]+\.wal$/.test(name)),
    "a used segment is a spare",
  );
  assert.is((await all(journal))[0]?.sequence, first);
  await rejectsWith(all(journal, { from: 1 }), "ERR_JOURNAL_TRUNCATED");
  assert.is(await journal.get(1), undefined);
  await rejectsWith(journal.copyForward(1), "ERR_JOURNAL_TRUNCATED");
  await fill(journal, 81, 160);
  assert.equal(
    sequencesOf(await all(journal)),
    Array.from({ length: 161 - first }, (_, n) => first + n),
  );
  await journal.close();
  journal = await Journal.open({ directory, ...SMALL, verifyAll: true });
  assert.is(journal.recovery.firstSequence, first);
  assert.is(journal.recovery.lastSequence, 160);
  assert.is((await all(journal)).length, 161 - first);
  await journal.close();
});

test("nothing is given up that a reader or the checkpoint before the last still needs", async () => {
  await withJournal(async (journal) => {
    await fill(journal, 1, 80);
    const reader = journal.read({ from: 10 });
    await reader.next();
    assert.ok((await journal.truncateBefore(70)) <= 11);
    assert.is(journal.stats().pinnedSequence, 11);
    await reader.return(undefined);
    assert.is(journal.stats().pinnedSequence, undefined);
    await journal.checkpoint(Buffer.from("1"), 30);
    await journal.checkpoint(Buffer.from("2"), 75);
    const first = await journal.truncateBefore(70);
    assert.ok(first > 1 && first <= 30, `${first}`);
  }, SMALL);
});

test("a reading that begins while the log is given up begins behind what goes", async () => {
  await withJournal(async (journal) => {
    await fill(journal, 1, 80);
    const truncation = journal.truncateBefore(60);
    const records = await all(journal);
    assert.is(records[0]?.sequence, await truncation);
    assert.is(records.at(-1)?.sequence, 80);
    assert.is((await all(journal, { from: 0 }))[0]?.sequence, journal.firstSequence, "0 is the beginning");
  }, SMALL);
});

test("a reader from which segments were taken away is told", async () => {
  await withJournal(async (journal, directory) => {
    await fill(journal, 1, 80);
    const [oldest] = readdirSync(directory)
      .filter((name) => name.startsWith("log-"))
      .toSorted();
    rmSync(join(directory, oldest as string));
    await rejectsWith(all(journal), "ERR_JOURNAL_TRUNCATED");
    await rejectsWith(all(journal, { follow: true }), "ERR_JOURNAL_TRUNCATED");
  }, SMALL);
});

test("a reading that is asked several times at once answers in order, and then ends", async () => {
  await withJournal(async (journal) => {
    await fill(journal, 1, 12);
    const reader = journal.read();
    const answers = await Promise.all(Array.from({ length: 14 }, () => reader.next()));
    assert.equal(
      answers.map(({ value }) => (value as JournalRecord | undefined)?.sequence),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, undefined, undefined],
    );
    assert.equal(
      answers.map(({ done }) => done === true),
      Array.from({ length: 14 }, (_, index) => index >= 12),
    );
    assert.is(journal.stats().pinnedSequence, undefined);
  }, SMALL);
});

test("a reading left, aborted or failed within a batch holds nothing afterwards", async () => {
  await withJournal(async (journal) => {
    await journal.appendMany(Array.from({ length: 10 }, (_, n) => ({ payload: Buffer.from(`${n}`) })));
    const left = journal.read();
    assert.is((await left.next()).value?.sequence, 1);
    await left.return();
    assert.equal(await left.next(), { value: undefined, done: true });

    const abort = new AbortController();
    const aborted = journal.read({ signal: abort.signal });
    assert.is((await aborted.next()).value?.sequence, 1);
    abort.abort(new Error("enough"));
    await aborted.next().then(neverResolves, ({ message }: Error) => assert.is(message, "enough"));
    assert.equal(await aborted.next(), { value: undefined, done: true });

    const failed = journal.read();
    assert.is((await failed.next()).value?.sequence, 1);
    await failed.throw(new Error("mine")).then(neverResolves, ({ message }: Error) => assert.is(message, "mine"));
    assert.equal(await failed.next(), { value: undefined, done: true });

    const unused = journal.read({ from: 99_999 });
    await unused.return();
    assert.is(journal.stats().pinnedSequence, undefined);
  });
});

test("single records are found in large batches, in any order, beyond the cache too", async () => {
  await withJournal(async (journal) => {
    const payload = (n: number): Buffer => Buffer.alloc(100_000, n);
    for (let group = 0; group < 20; group += 1) {
      const records = Array.from({ length: 10 }, (_, n) => ({
        payload: payload(group * 10 + n),
        key: `${group}/${n}`,
      }));
      await journal.appendMany(records);
    }
    for (const order of [1, 7, 199]) {
      for (let n = 0; n < 200; n += 1) {
        const index = (n * order) % 200;
        const record = await journal.get(index + 1);
        assert.is(record?.sequence, index + 1);
        assert.ok(record?.payload.equals(payload(index)));
        assert.is(record?.key.toString(), `${Math.floor(index / 10)}/${index % 10}`);
      }
    }
    assert.is(await journal.get(201), undefined);
  });
});

test("a record that is copied forward keeps its first sequence, however often", async () => {
  await withJournal(async (journal) => {
    await journal.append({ poison: true }, { key: "p", headers: { a: 1 }, priority: 3 });
    await fill(journal, 2, 20);
    const once = await journal.copyForward(1);
    const twice = await journal.copyForward(once);
    assert.is(twice, 22);
    const record = await journal.get(twice);
    assert.is(record?.origin, 1);
    assert.equal(record?.value, { poison: true });
    assert.equal(record?.headers, { a: 1 });
    assert.is(record?.priority, 3);
    assert.is((await journal.find("p"))?.sequence, twice);
  }, SMALL);
});

test("reading from a segment whose header was damaged is damage, never an empty log", async () => {
  await withJournal(async (journal, directory) => {
    await fill(journal, 1, 80);
    const name = readdirSync(directory)
      .filter((each) => each.startsWith("log-"))
      .toSorted()[0] as string;
    const bytes = readFileSync(join(directory, name));
    bytes[20] = (bytes[20] as number) ^ 1;
    writeFileSync(join(directory, name), bytes);
    await rejectsWith(all(journal), "ERR_JOURNAL_DAMAGED");
    await rejectsWith(all(journal, { from: 5 }), "ERR_JOURNAL_DAMAGED");
    await rejectsWith(all(journal, { from: new Date(1) }), "ERR_JOURNAL_DAMAGED");
  }, SMALL);
});

test("a backup of a journal in use opens as what was durable when it began", async () => {
  const target = join(temporaryDirectory(), "copy");
  await withJournal(async (journal) => {
    await fill(journal, 1, 80);
    await journal.checkpoint(Buffer.from("state"), 70);
    await journal.checkpoint(Buffer.from("state"), 70);
    await journal.truncateBefore(50);
    const running = journal.backup(target);
    const appending = Promise.all(Array.from({ length: 200 }, (_, n) => journal.append(Buffer.alloc(500, n))));
    const summary = await running;
    await appending;
    assert.ok(summary.lastSequence >= 80 && summary.firstSequence > 1);
    await rejectsWith(journal.backup(target), "ERR_JOURNAL_STORAGE");

    const copy = await Journal.open({ directory: target, ...SMALL, verifyAll: true });
    assert.is(copy.recovery.firstSequence, summary.firstSequence);
    assert.is(copy.recovery.lastSequence, summary.lastSequence);
    assert.is((await copy.lastCheckpoint())?.bytes.toString(), "state");
    assert.is((await all(copy)).length, summary.lastSequence - summary.firstSequence + 1);
    assert.is(await copy.append("goes on"), summary.lastSequence + 1);
    await copy.close();
  }, SMALL);
});

test("other threads append through handles of their own", async () => {
  const script = new URL("../fixtures/journal-producer.js", import.meta.url);
  await withJournal(
    async (journal) => {
      const replies = await Promise.all(
        ["left", "right"].map((name) => {
          const worker = new Worker(script, { workerData: { handle: journal.producerHandle(), name, count: 500 } });
          return new Promise<{ sequences: number[]; group: number[] }>((resolve, reject) => {
            worker.once("message", resolve);
            worker.once("error", reject);
          });
        }),
      );
      assert.throws(
        () => journal.producerHandle(),
        (error: { code: string }) => error.code === "ERR_JOURNAL_PRODUCERS",
      );
      const records = await all(journal);
      assert.is(records.length, 1004);
      for (const [index, name] of ["left", "right"].entries()) {
        const { sequences, group } = replies[index] as { sequences: number[]; group: number[] };
        sequences.forEach((sequence, n) => assert.equal(records[sequence - 1]?.value, { name, n }));
        assert.is(group[1], (group[0] as number) + 1);
      }
    },
    { producers: 2 },
  );
});

test("the background finds damage in a segment that the opening judged by its header", async () => {
  const directory = temporaryDirectory();
  const first = await Journal.open({ directory, ...SMALL });
  await fill(first, 1, 80);
  await first.close();
  const name = readdirSync(directory).find((each) => each.startsWith("log-")) as string;
  const { openSync, writeSync, closeSync } = await import("node:fs");
  const fd = openSync(join(directory, name), "r+");
  writeSync(fd, Buffer.of(0xff), 0, 1, 8192 + 100);
  closeSync(fd);
  const damage: { file: string; firstSequence: number }[] = [];
  const journal = await Journal.open({ directory, ...SMALL, onDamage: (found) => damage.push(found) });
  assert.ok(journal.recovery.segmentsRead < journal.recovery.segments);
  await until(() => journal.stats().unverifiedSegments === 0, "the background has read everything");
  assert.is(damage.length, 1);
  assert.is(damage[0]?.file, name);
  assert.is(damage[0]?.firstSequence, 2);
  assert.match(journal.health().warnings.join("\n"), name);
  await rejectsWith(all(journal), "ERR_JOURNAL_DAMAGED");
  await journal.close();
  await rejectsWith(Journal.open({ directory, ...SMALL, verifyAll: true }), "ERR_JOURNAL_DAMAGED");
});

test("a journal in memory does everything but survive, and says so", async () => {
  const storage = memoryStorage(4 * 2 ** 20);
  let journal = await Journal.open({ storage, ...SMALL });
  await rejectsWith(Journal.open({ storage, ...SMALL }), "ERR_JOURNAL_LOCKED");
  await fill(journal, 1, 80);
  await journal.checkpoint(Buffer.from("1"), 70);
  await journal.checkpoint(Buffer.from("2"), 70);
  const first = await journal.truncateBefore(70);
  assert.ok(first > 30);
  assert.match(journal.health().warnings.join("\n"), "memory");
  await journal.close();
  journal = await Journal.open({ storage, ...SMALL, verifyAll: true });
  assert.is(journal.recovery.lastSequence, 80);
  assert.is((await all(journal))[0]?.sequence, first);
  assert.is((await journal.lastCheckpoint())?.bytes.toString(), "2");
  // It is full at some time, as a disk is.
  let code = "";
  for (let n = 0; n < 5000 && code === ""; n += 1) {
    await journal.append(Buffer.alloc(3000)).catch((thrown: unknown) => (code = (thrown as { code: string }).code));
  }
  assert.is(code, "ERR_JOURNAL_FULL");
  await journal.close();
  await rejectsWith(Journal.open({} as never), "ERR_INVALID_OPTION");
});

test("without syncs everything says so", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, sync: "none" });
  await journal.append("x", { type: RECORD_TYPE.control });
  assert.is(journal.stats().isSynced, false);
  assert.match(journal.health().warnings.join("\n"), "sync is none");
  await journal.close();
});

test.run();
