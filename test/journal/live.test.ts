// Tools that read a journal while it is written and its front is given up.
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, type JournalRecord, NodeStorage } from "@millrace/journal";
import { RecordCursor, scanLog, SegmentList } from "@millrace/journal/kernel";
// Internal to the package; only the journal's own tests reach for it.
import { segmentName } from "@millrace/journal/internal/files/format";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

/**
 * Scans or surveys the directory until it is told to stop; reports how often, and the first fault.
 */
const READER = `
import { parentPort, workerData } from "node:worker_threads";
const { NodeStorage } = await import(workerData.journal);
const { scanLog, surveyLog } = await import(workerData.kernel);
const storage = new NodeStorage(workerData.directory);
const stop = new Int32Array(workerData.stop);
let looks = 0;
let fault;
while (Atomics.load(stop, 0) === 0 && fault === undefined) {
  try {
    if (workerData.how === "survey") fault = surveyLog(storage).gaps[0]?.reason;
    else if (workerData.how === "visiting survey") {
      let next = 0;
      fault = surveyLog(storage, (_, { firstSequence, count }) => {
        if (firstSequence < next) throw new Error("visited twice");
        next = firstSequence + count;
      }).gaps[0]?.reason;
    }
    else scanLog(storage, { everything: workerData.how === "scan" });
  } catch (thrown) {
    fault = String(thrown);
  }
  looks += 1;
  Atomics.store(stop, 1, looks);
}
parentPort.postMessage({ looks, fault });
`;

interface Looks {
  readonly looks: number;
  readonly fault: string | undefined;
}

for (const how of ["scan", "scan of headers", "survey", "visiting survey"]) {
  test(`a ${how} of a healthy journal that is written and given up never finds damage`, async () => {
    const directory = temporaryDirectory();
    const journal = await Journal.open({ directory, ...SMALL });
    await journal.append(Buffer.alloc(3000));
    // [0] 1 to stop, [1] looks so far
    const stop = new Int32Array(new SharedArrayBuffer(8));
    const workerData = {
      journal: import.meta.resolve("@millrace/journal"),
      kernel: import.meta.resolve("@millrace/journal/kernel"),
      directory,
      stop: stop.buffer,
      how,
    };
    const reader = new Worker(new URL(`data:text/javascript,${encodeURIComponent(READER)}`), { workerData });
    const told = new Promise<Looks>((resolve, reject) => reader.once("message", resolve).once("error", reject));
    // On a busy machine the first look may take longer. The file's time limit ends a wait for it.
    const end = performance.now() + 3000;
    while (performance.now() < end || Atomics.load(stop, 1) === 0) {
      await Promise.all(Array.from({ length: 20 }, (_, n) => journal.append(Buffer.alloc(100 + 140 * n, n))));
      if (journal.durableSequence % 100 !== 1) continue;
      await journal.checkpoint(new Uint8Array(0), journal.durableSequence);
      await journal.truncateBefore(journal.durableSequence);
    }
    Atomics.store(stop, 0, 1);
    const { looks, fault } = await told;
    await journal.close();
    assert.is(fault, undefined);
    assert.ok(looks > 0);
    console.log(`# ${how}: ${looks} looks`);
  });
}

test("a look that has to be repeated begins its visits anew", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 60; n += 1) await journal.append(Buffer.alloc(3000, n));
  await journal.close();
  const [, second] = readdirSync(directory).filter((name) => name.startsWith("log-"));
  const path = join(directory, second as string);
  const whole = readFileSync(path);
  const cursor = new RecordCursor();
  let seen: number[] = [];
  let looks = 0;
  scanLog(new NodeStorage(directory), {
    restart: () => {
      seen = [];
      looks += 1;
      // The second segment can't be read during the first look.
      if (looks === 1) truncateSync(path, 8192);
      else writeFileSync(path, whole);
    },
    visit: (_, batch, body) => {
      cursor.reset(body, batch.firstSequence);
      while (cursor.next()) seen.push(cursor.sequence);
    },
  });
  assert.is(looks, 2);
  assert.equal(
    seen,
    Array.from({ length: 60 }, (_, n) => n + 1),
  );
});

/**
 * A journal of 60 records with keys in segments of about 20, open, with one page of the first
 * segment overwritten.
 */
async function damagedWhileOpen(page: number): Promise<Journal> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 60; n += 1)
    await journal.append(Buffer.alloc(3000, n), { key: n % 2 === 0 ? "even" : `odd ${n}` });
  const path = join(directory, readdirSync(directory).find((name) => name.startsWith("log-")) as string);
  const bytes = readFileSync(path);
  bytes.fill(0xff, page * 4096 + 80, page * 4096 + 100);
  writeFileSync(path, bytes);
  return journal;
}

test("get() of a damaged record throws; its neighbours can still be read", async () => {
  // One record to a page: record 5 lies on page 5.
  const journal = await damagedWhileOpen(5);
  const error = await rejectsWith(journal.get(5), "ERR_JOURNAL_DAMAGED");
  assert.is(error.details.firstSequence, 5);
  assert.match(error.message, /log-0+1\.wal at offset 20480/);
  assert.is((await journal.get(4))?.sequence, 4);
  assert.is((await journal.get(60))?.sequence, 60);
  assert.is(await journal.get(61), undefined);
  await rejectsWith(journal.copyForward(5), "ERR_JOURNAL_DAMAGED");
  await journal.close();
});

test("find() doesn't give an older record when a newer one may be lost", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 14; n += 1) await journal.append(Buffer.alloc(3000, n), { key: n % 2 === 0 ? "even" : "odd" });
  const path = join(directory, readdirSync(directory).find((name) => name.startsWith("log-")) as string);
  const bytes = readFileSync(path);
  bytes.fill(0xff, 12 * 4096 + 80, 12 * 4096 + 100);
  writeFileSync(path, bytes);
  await rejectsWith(journal.find("even"), "ERR_JOURNAL_DAMAGED");
  await rejectsWith(journal.find("neither"), "ERR_JOURNAL_DAMAGED");
  await journal.close();
});

for (const [what, lose] of [
  ["is missing", (path: string) => rmSync(path)],
  [
    "has no valid header",
    (path: string) => writeFileSync(path, Buffer.concat([Buffer.alloc(4096, 0xff), readFileSync(path).subarray(4096)])),
  ],
] as const) {
  test(`records of a segment that ${what} are damaged, no older ones found`, async () => {
    const directory = temporaryDirectory();
    const opened = await Journal.open({ directory, ...SMALL });
    for (let n = 1; n <= 90; n += 1) await opened.append(Buffer.alloc(3000, n), { key: `k${n % 10}` });
    await opened.close();
    const bases = new SegmentList(new NodeStorage(directory)).read().map(({ baseSequence }) => baseSequence);
    assert.ok(bases.length >= 5);
    for (const lost of [0, 2, bases.length - 1]) {
      const journal = await Journal.open({ directory, ...SMALL });
      await journal.append("newest", { key: "new" });
      const name = segmentName(lost + 1);
      const whole = readFileSync(join(directory, name));
      lose(join(directory, name));
      const base = bases[lost] as number;
      const end = bases[lost + 1] ?? 91;
      for (let turn = 0; turn < 2; turn += 1) {
        for (const n of [base, end - 1]) await rejectsWith(journal.get(n), "ERR_JOURNAL_DAMAGED");
        for (const n of [base - 1, end]) assert.is((await journal.get(n))?.sequence, n >= 1 ? n : undefined);
        const error = await rejectsWith(journal.find("none"), "ERR_JOURNAL_DAMAGED");
        assert.is(error.details.file, name);
        assert.is((await journal.find("new"))?.sequence, journal.durableSequence);
        for (let n = 81; n <= 90; n += 1) {
          const found = journal.find(`k${n % 10}`);
          // Of the segments before, nobody knows whether they have the newest.
          if (n >= end) assert.is((await found)?.sequence, n);
          else await rejectsWith(found, "ERR_JOURNAL_DAMAGED");
        }
      }
      writeFileSync(join(directory, name), whole);
      await journal.close();
    }
  });
}

test("get() and find() while segments are given up meet no damage", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 60; n += 1) await journal.append(Buffer.alloc(3000, n));
  assert.is((await journal.get(3))?.sequence, 3);
  await journal.checkpoint(new Uint8Array(0), 60);
  await journal.checkpoint(new Uint8Array(0), 60);
  const found: Promise<JournalRecord | undefined>[] = [];
  let isOver = false;
  const truncation = journal.truncateBefore(60).finally(() => (isOver = true));
  await until(() => {
    found.push(journal.get(3), journal.find("none"));
    return isOver;
  }, "the truncation is over");
  await truncation;
  for (const record of await Promise.all(found)) assert.ok(record === undefined || record.sequence === 3);
  assert.is(await journal.get(3), undefined);
  await journal.close();
});

test.run();
