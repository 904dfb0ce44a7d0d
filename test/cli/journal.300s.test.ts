import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, type JournalOptions, NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { scanLog } from "@millrace/journal/kernel";
import { encodeHandler } from "@millrace/intake/internal/format/record-header";
import { temporaryDirectory, testIf, until } from "../support.ts";
import { documentOf, launcher, millrace } from "./support.ts";

async function journalWith(records: number): Promise<string> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  for (let n = 0; n < records; n += 1) await journal.append(Buffer.from(`record ${n}`));
  await journal.close();
  return directory;
}

test("inspect tells what is in a journal, also while it is open", async () => {
  const directory = await journalWith(5);
  const closed = await millrace(["journal", "inspect", "--dir", directory, "--json"]);
  assert.is(closed.code, 0, closed.stderr);
  const document = documentOf<{ records: number; lastSequence: number; end: string; types: object }>(closed);
  assert.is(document.records, 5);
  assert.is(document.lastSequence, 5);
  assert.is(document.end, "clean");
  assert.equal(document.types, { data: 5 });

  const journal = await Journal.open({ directory });
  await journal.append(Buffer.from("one more"));
  const open = documentOf<{ records: number; end: string }>(
    await millrace(["journal", "inspect", "--dir", directory, "--json"]),
  );
  assert.is(open.records, 6);
  assert.is(open.end, "open or crashed");
  await journal.close();
});

test("verify is 0 for a sound journal and 3 for a damaged one, with the place", async () => {
  const directory = await journalWith(5);
  assert.is((await millrace(["journal", "verify", "--dir", directory])).code, 0);
  const segment = readdirSync(directory).find((name) => name.startsWith("log-")) as string;
  const fd = openSync(join(directory, segment), "r+");
  writeSync(fd, Buffer.of(0xff), 0, 1, 8192 + 90);
  closeSync(fd);
  const outcome = await millrace(["journal", "verify", "--dir", directory, "--json"]);
  assert.is(outcome.code, 3);
  const document = documentOf<{ ok: boolean; file: string; offset: number; firstSequence: number }>(outcome);
  assert.is(document.ok, false);
  assert.is(document.file, segment);
  assert.is(document.offset, 8192);
  assert.is(document.firstSequence, 2);
  assert.is((await millrace(["journal", "inspect", "--dir", directory])).code, 3);
});

/** A journal of 5 records whose record 2 is damaged. */
async function damagedJournal(): Promise<string> {
  const directory = await journalWith(5);
  const segment = readdirSync(directory).find((name) => name.startsWith("log-")) as string;
  const fd = openSync(join(directory, segment), "r+");
  writeSync(fd, Buffer.of(0xff), 0, 1, 8192 + 90);
  closeSync(fd);
  return directory;
}

function linesOf(stdout: string): { sequence: number; payload?: string; value?: unknown; key?: string }[] {
  return stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as { sequence: number });
}

test("gaps names what is missing, and repair gives up only what was accepted", async () => {
  const directory = await damagedJournal();
  const missing = await millrace(["journal", "gaps", "--dir", directory, "--json"]);
  assert.is(missing.code, 3, missing.stderr);
  assert.equal(
    documentOf<{ gaps: { firstSequence: number; lastSequence: number }[] }>(missing).gaps.map((gap) => [
      gap.firstSequence,
      gap.lastSequence,
    ]),
    [[2, 2]],
  );
  const salvaged = await millrace(["journal", "export", "--dir", directory, "--salvage"]);
  assert.is(salvaged.code, 3);
  assert.equal(
    linesOf(salvaged.stdout).map(({ sequence }) => sequence),
    [1, 3, 4, 5],
  );
  assert.is(
    (await millrace(["journal", "export", "--dir", directory])).stdout,
    "",
    "an unsound journal isn't exported",
  );

  const refused = await millrace(["journal", "repair", "--dir", directory, "--accept-loss", "3-9", "--json"]);
  assert.is(refused.code, 3);
  assert.is(documentOf<{ repaired: boolean }>(refused).repaired, false);
  assert.is((await millrace(["journal", "verify", "--dir", directory])).code, 3, "nothing was changed");
  assert.is((await millrace(["journal", "repair", "--dir", directory, "--accept-loss", "two"])).code, 2);

  const repaired = await millrace(["journal", "repair", "--dir", directory, "--accept-loss", "2", "--json"]);
  assert.is(repaired.code, 0, repaired.stderr);
  const document = documentOf<{ lost: number; quarantined: string[] }>(repaired);
  assert.is(document.lost, 1);
  const note = document.quarantined.find((name) => name.endsWith(".json")) as string;
  assert.match(readFileSync(join(directory, note), "utf8"), '"firstSequence": 2');
  assert.is((await millrace(["journal", "verify", "--dir", directory])).code, 0);
  const after = documentOf<{ givenUp: number[][]; gaps: object[] }>(
    await millrace(["journal", "gaps", "--dir", directory, "--json"]),
  );
  assert.equal(after.givenUp, [[2, 2]]);
  assert.equal(after.gaps, []);
  assert.is((await millrace(["journal", "repair", "--dir", directory, "--accept-loss", "1"])).code, 0);
});

test("repair refuses a journal that is in use", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await journal.append("x");
  const outcome = await millrace(["journal", "repair", "--dir", directory, "--accept-loss", "1", "--json"]);
  assert.is(outcome.code, 1);
  assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_JOURNAL_LOCKED");
  await journal.close();
});

test("tail shows the last records, and follows a journal that another process writes", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await journal.append({ amount: 1 }, { key: "a" });
  await journal.append("second");
  const last = await millrace(["journal", "tail", "--dir", directory, "--lines", "1"]);
  assert.is(last.code, 0, last.stderr);
  assert.equal(
    linesOf(last.stdout).map(({ sequence, value }) => [sequence, value]),
    [[2, "second"]],
  );
  let seen = "";
  const following = await millrace(["journal", "tail", "--dir", directory, "--follow"], {
    onStart: (child) => {
      child.stdout?.on("data", (chunk) => {
        const before = seen;
        seen += String(chunk);
        if (!before.includes('"second"') && seen.includes('"second"')) void journal.append("third");
        if (seen.includes('"third"')) child.kill("SIGTERM");
      });
    },
  });
  assert.is(following.code, 0, following.stderr);
  assert.equal(
    linesOf(following.stdout).map(({ value }) => value),
    [{ amount: 1 }, "second", "third"],
  );
  assert.is(linesOf(following.stdout)[0]?.key, "a");
  await journal.close();
});

test("tail --follow continues while segments are given up, and names the gaps", async () => {
  const [directory, journal] = await intakeJournal(60);
  let stdout = "";
  const following = await millrace(["journal", "tail", "--dir", directory, "--follow", "--lines", "60"], {
    onStart: (child) => {
      child.stdout?.on("data", (chunk) => (stdout += String(chunk)));
      void (async () => {
        await until(() => stdout.includes('"sequence":60,'), "it follows", 60_000);
        for (let round = 0; round < 20; round += 1) {
          await Promise.all(Array.from({ length: 60 }, () => journal.append(Buffer.alloc(3000))));
          await journal.checkpoint(new Uint8Array(0), journal.durableSequence);
          await journal.truncateBefore(journal.durableSequence);
        }
        const last = await journal.append("the last");
        await until(() => stdout.includes(`"sequence":${last},`), "the last record is printed", 60_000);
        child.kill("SIGINT");
      })();
    },
  });
  await journal.close();
  assert.is(following.code, 0, following.stderr);
  const known = new Set(linesOf(following.stdout).map(({ sequence }) => sequence));
  for (const [, first, last] of following.stderr.matchAll(/records (\d+)-(\d+) were given up/g)) {
    for (let sequence = Number(first); sequence <= Number(last); sequence += 1) known.add(sequence);
  }
  assert.is(known.size, 60 + 20 * 60 + 1, "each record is printed or named");
});

test("export writes a range of records into a new file", async () => {
  const directory = await journalWith(9);
  const output = join(temporaryDirectory(), "records.ndjson");
  const args = ["journal", "export", "--dir", directory, "--from", "3", "--to", "5", "--output", output];
  const outcome = await millrace(args);
  assert.is(outcome.code, 0, outcome.stderr);
  assert.equal(
    linesOf(readFileSync(output, "utf8")).map(({ sequence, payload }) => [sequence, payload]),
    [
      [3, "record 2"],
      [4, "record 3"],
      [5, "record 4"],
    ],
  );
  assert.is((await millrace(args)).code, 1, "an existing file isn't overwritten");
});

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

function ackOf(...ranges: readonly (readonly [first: number, count: number])[]): Buffer {
  const ack = Buffer.alloc(ranges.length * 12);
  for (const [index, [first, count]] of ranges.entries()) {
    ack.writeUInt32LE(first, index * 12);
    ack.writeUInt32LE(count, index * 12 + 8);
  }
  return ack;
}

/** A journal as an intake writes it: `records` records of 3,000 bytes for one handler. */
async function intakeJournal(records: number, limits: Partial<JournalOptions> = SMALL): Promise<[string, Journal]> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...limits });
  const headers = encodeHandler("settle");
  await Promise.all(Array.from({ length: records }, (_, n) => journal.append(Buffer.alloc(3000, n), { headers })));
  return [directory, journal];
}

function filesIn(directory: string): [string, string][] {
  return readdirSync(directory)
    .filter((name) => name !== "LOCK" && name !== "quarantine")
    .toSorted()
    .map((name) => [name, readFileSync(join(directory, name)).toString("latin1")]);
}

test("compact deletes what is finished and keeps what is not", async () => {
  const [directory, journal] = await intakeJournal(60);
  // Everything but 7 and 33 is finished.
  await journal.append(ackOf([1, 6], [8, 25], [34, 27]), { type: RECORD_TYPE.ack });
  await journal.close();
  const outcome = await millrace(["journal", "compact", "--dir", directory, "--json"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<{ copied: number; bytesBefore: number; bytesAfter: number }>(outcome);
  assert.is(document.copied, 2);
  assert.ok(document.bytesAfter < document.bytesBefore);
  const again = await Journal.open({ directory, ...SMALL, verifyAll: true });
  const origins: number[] = [];
  for await (const record of again.read()) if (record.type === RECORD_TYPE.data) origins.push(record.origin);
  assert.equal(origins, [7, 33]);
  await again.close();
});

test("compact copies many records to a sync, and never makes a journal larger", async () => {
  const [directory, journal] = await intakeJournal(3000, {});
  await journal.append(ackOf([1, 1000]), { type: RECORD_TYPE.ack });
  await journal.close();
  let bytes = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 3; run += 1) {
    const outcome = await millrace(["journal", "compact", "--dir", directory, "--json"]);
    assert.is(outcome.code, 0, outcome.stderr);
    const { copied, bytesAfter } = documentOf<{ copied: number; bytesAfter: number }>(outcome);
    assert.is(copied, run === 0 ? 2000 : 0, "what is left is all needed");
    assert.ok(bytesAfter <= bytes, `${bytesAfter} after ${bytes}`);
    bytes = bytesAfter;
  }
  // 2,000 records of 3,000 bytes, the reserve of 8 MiB.
  assert.ok(bytes < 2000 * 3100 + 9 * 2 ** 20, String(bytes));
  const { segments } = scanLog(new NodeStorage(directory));
  const batches = segments.reduce((sum, segment) => sum + segment.batches, 0);
  assert.ok(batches < 100, `${batches} batches`);
  const again = await Journal.open({ directory, verifyAll: true });
  let records = 0;
  for await (const record of again.read()) if (record.type === RECORD_TYPE.data) records += 1;
  assert.is(records, 2000);
  await again.close();
});

test("compact changes nothing in a journal that isn't an intake's", async () => {
  const headers = encodeHandler("settle");
  const journals: [what: string, write: (journal: Journal) => Promise<unknown>][] = [
    ["plain records", (journal) => journal.append("x")],
    ["headers of its own", (journal) => journal.append("x", { headers: { mine: true } })],
    ["bytes of its own as headers", (journal) => journal.append("x", { headers: Buffer.from([9, 9]) })],
    ["a record of type 3", (journal) => journal.append("my own", { type: RECORD_TYPE.ack })],
    ["a type 3 that names later records", (journal) => journal.append(ackOf([1, 5000]), { type: RECORD_TYPE.ack })],
    ["a record of type 5", (journal) => journal.append("x", { type: RECORD_TYPE.dead })],
    ["a record of type 8", (journal) => journal.append("x", { type: RECORD_TYPE.control })],
    ["a type that Millrace doesn't know", (journal) => journal.append("x", { type: 77 })],
    ["a checkpoint of its own", (journal) => journal.checkpoint(Buffer.from("my snapshot of everything"), 2)],
  ];
  for (const [what, write] of journals) {
    const directory = temporaryDirectory();
    const journal = await Journal.open({ directory });
    await journal.append("fine", { headers });
    await write(journal);
    await journal.close();
    const before = filesIn(directory);
    const outcome = await millrace(["journal", "compact", "--dir", directory, "--json"]);
    assert.is(outcome.code, 1, what);
    assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_JOURNAL_FOREIGN", what);
    assert.equal(filesIn(directory), before, `${what}: nothing was changed`);
  }
});

test("compact takes records that are larger than the default limit", async () => {
  const limits = { recordBytesMax: 3 * 2 ** 20, batchBytesMax: 8 * 2 ** 20, ringBytes: 2 ** 24 };
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...limits });
  const headers = encodeHandler("settle");
  for (let n = 0; n < 6; n += 1) await journal.append(Buffer.alloc(2.5 * 2 ** 20, n), { headers });
  await journal.append(ackOf([1, 4]), { type: RECORD_TYPE.ack });
  await journal.close();
  const outcome = await millrace(["journal", "compact", "--dir", directory, "--json"]);
  assert.is(outcome.code, 0, outcome.stderr);
  assert.is(documentOf<{ copied: number }>(outcome).copied, 2);
});

test("backup copies a journal that is in use, and the copy opens", async () => {
  const [directory, journal] = await intakeJournal(60);
  const copy = join(temporaryDirectory(), "deep", "copy");
  const outcome = await millrace(["journal", "backup", "--dir", directory, "--to", copy, "--json"]);
  assert.is(outcome.code, 0, outcome.stderr);
  assert.is(documentOf<{ lastSequence: number }>(outcome).lastSequence, 60);
  await journal.close();
  const opened = await Journal.open({ directory: copy, verifyAll: true });
  assert.is(opened.recovery.lastSequence, 60);
  await opened.close();
  const again = await millrace(["journal", "backup", "--dir", directory, "--to", copy, "--json"]);
  assert.is(
    documentOf<{ error: { code: string } }>(again).error.code,
    "ERR_JOURNAL_STORAGE",
    "never into a full directory",
  );
});

const canTrace = spawnSync("strace", ["-f", "-o", "/dev/null", "true"]).status === 0;

testIf(canTrace)("a backup makes the name of its directory durable, new or empty", async () => {
  const [directory, journal] = await intakeJournal(3);
  await journal.close();
  for (const isThere of [false, true]) {
    const parent = temporaryDirectory();
    const copy = join(parent, "copy");
    if (isThere) mkdirSync(copy);
    const calls = join(parent, "calls");
    const command = [process.execPath, launcher, "journal", "backup", "--dir", directory, "--to", copy];
    const traced = spawnSync("strace", ["-f", "-y", "-e", "trace=fsync,fdatasync", "-o", calls, ...command]);
    assert.is(traced.status, 0, String(traced.stderr));
    const synced = readFileSync(calls, "utf8")
      .split("\n")
      .map((line) => /(?:fsync|fdatasync)\(\d+<([^>]*)>\) += 0/.exec(line)?.[1])
      .filter((path) => path !== undefined);
    const last = (path: string): number => synced.lastIndexOf(path);
    assert.ok(last(join(copy, "marks")) >= 0 || last(join(copy, "marks.tmp")) >= 0, synced.join("\n"));
    assert.ok(last(copy) >= 0, "the names of the files");
    assert.ok(last(parent) > last(copy), "then the name of the directory");
  }
});

test("a directory without a journal is an error of its own", async () => {
  for (const directory of [temporaryDirectory(), "/nowhere"]) {
    const outcome = await millrace(["journal", "verify", "--dir", directory, "--json"]);
    assert.is(outcome.code, 1);
    assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_JOURNAL_MISSING");
  }
});

test.run();
