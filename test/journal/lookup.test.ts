// What single reads keep in memory, and of files that are used again.
import { mkdirSync, readdirSync, readlinkSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, NodeStorage, type Storage } from "@millrace/journal";
// Internal to the package; only the journal's own tests reach for them.
import { readHeader, segmentIds } from "@millrace/journal/internal/files/segments";
import { segmentName, type SegmentHeader } from "@millrace/journal/internal/files/format";
import { BatchProver } from "@millrace/journal/internal/read/batch-pages";
import { KnownSegment } from "@millrace/journal/internal/read/known-segment";
import { Lookup } from "@millrace/journal/internal/read/lookup";
import { OpenFiles } from "@millrace/journal/internal/read/open-files";
import { PageCache } from "@millrace/journal/internal/read/page-cache";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };
const MIB: number = 2 ** 20;

test("a segment in a file that another segment had is never read as that one", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL, readCacheBytes: MIB });
  const textOf = (n: number): string => `${n}/`.padEnd(3000, `${n % 7}`);
  const inodes = new Set<number>();
  let reused = 0;
  let appended = 0;
  for (let round = 0; round < 6; round += 1) {
    for (let n = 0; n < 45; n += 1) {
      appended += 1;
      await journal.append(Buffer.from(textOf(appended)), { key: `${appended % 11}` });
    }
    for (let n = journal.firstSequence; n <= appended; n += 1)
      assert.is((await journal.get(n))?.payload.toString(), textOf(n));
    for (let key = 0; key < 11; key += 1) {
      const newest = appended - ((appended - key) % 11);
      assert.is((await journal.find(`${key}`))?.sequence, newest);
    }
    for (const name of readdirSync(directory).filter((each) => each.startsWith("log-"))) {
      const { ino } = statSync(join(directory, name));
      if (inodes.has(ino)) reused += 1;
      inodes.add(ino);
    }
    for (let turn = 0; turn < 2; turn += 1) await journal.checkpoint(new Uint8Array(0), appended);
    const first = await journal.truncateBefore(appended);
    assert.ok(first > 1);
    for (const n of [1, first - 1]) assert.is(await journal.get(n), undefined, `${n} was given up`);
  }
  await journal.close();
  assert.ok(reused > 0, "files were used again");
});

test("a journal that is read at random, cut and closed keeps no descriptor", async () => {
  const directory = temporaryDirectory();
  const open = (): string[] =>
    readdirSync("/proc/self/fd").flatMap((fd) => {
      try {
        const path = readlinkSync(`/proc/self/fd/${fd}`);
        return path.startsWith(directory) ? [path] : [];
      } catch {
        // The descriptor of the listing itself.
        return [];
      }
    });
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 800; n += 1) await journal.append(Buffer.alloc(3000), { key: `${n}` });
  const before = open().length;
  for (let n = 1; n <= 800; n += 1) {
    assert.is((await journal.get((n * 37) % 800 || 800))?.payload.length, 3000);
    assert.is((await journal.find(`${n}`))?.sequence, n);
  }
  // The reader's own limit is 32; the threads of the journal open a few for moments.
  assert.ok(open().length <= before + 40, `${open().length} files are open`);
  for (let turn = 0; turn < 2; turn += 1) await journal.checkpoint(new Uint8Array(0), 800);
  await journal.truncateBefore(800);
  assert.equal(
    open().filter((path) => path.endsWith("(deleted)")),
    [],
    "what was given up gives its space back",
  );
  await journal.close();
  assert.equal(open(), []);
});

for (const [what, bytesMax] of [
  ["16 MiB", 16 * MIB],
  ["1 MiB", MIB],
  ["nothing", 0],
] as const) {
  test(`with ${what} kept, records larger and smaller than that are read within the bound`, async () => {
    const directory = temporaryDirectory();
    const journal = await Journal.open({
      directory,
      recordBytesMax: 17 * MIB,
      batchBytesMax: 18 * MIB,
      ringBytes: 64 * MIB,
      segmentBytesMax: 64 * MIB,
    });
    const sizes = [100, 16 * MIB, 70_000, 5000, 2 * MIB, ...Array.from({ length: 3000 }, (_, n) => (n * 13) % 900)];
    for (const group of [sizes.slice(0, 2), sizes.slice(2, 5), sizes.slice(5)])
      await journal.appendMany(group.map((size) => ({ payload: Buffer.alloc(size, size % 251) })));
    await journal.close();
    const storage = new NodeStorage(directory);
    const files = new OpenFiles(storage);
    const cache = new PageCache(files, bytesMax);
    const tools = { storage, files, cache, prover: new BatchProver() };
    const segments = segmentIds(storage).map(
      (id) => new KnownSegment(readHeader(storage, segmentName(id)) as SegmentHeader, tools),
    );
    // What a look-up works in, when nothing is kept.
    const bound = Math.max(bytesMax, 16 * 4096);
    const step = bytesMax === 0 ? 150 : 7;
    for (let n = 0; n < sizes.length; n += n < 10 ? 1 : step) {
      const segment = segments.findLast(({ header }) => header.baseSequence <= n + 1) as KnownSegment;
      const { payload, sequence } = segment.record(n + 1, false);
      assert.is(sequence, n + 1);
      assert.ok(payload.equals(Buffer.alloc(sizes[n] as number, (sizes[n] as number) % 251)), `record ${n + 1}`);
      assert.ok(cache.bytes <= bound, `${cache.bytes} bytes are kept`);
    }
    for (const segment of segments) segment.close();
    assert.is(cache.bytes, 0);
    files.closeAll();
  });
}

test("files that are kept open give way where no descriptor is free", () => {
  const directory = temporaryDirectory();
  for (const name of ["a", "b", "c", "d"]) writeFileSync(join(directory, name), name);
  const storage = new NodeStorage(directory);
  let open = 0;
  let most = 3;
  const scarce: Storage = Object.assign(new NodeStorage(directory), {
    open(name: string, mode: "read") {
      if (open === most) throw Object.assign(new Error("EMFILE"), { code: "EMFILE", errno: -24, syscall: "open" });
      const file = storage.open(name, mode);
      const close = file.close.bind(file);
      open += 1;
      return Object.assign(file, {
        close() {
          open -= 1;
          close();
        },
      });
    },
  });
  const files = new OpenFiles(scarce);
  const byte = Buffer.alloc(1);
  for (const name of ["a", "b", "c", "d", "a", "d"]) {
    assert.is(files.get(name).read(byte, 1, 0), 1);
    assert.is(byte.toString(), name);
  }
  files.closeAll();
  assert.is(open, 0);
  most = 0;
  assert.throws(() => files.get("a"), "EMFILE");
});

/** A closed journal of 80 records in several segments, with an index to each that is full. */
async function indexedLog(): Promise<{ directory: string; indexes: string[] }> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let n = 1; n <= 80; n += 1) await journal.append(Buffer.alloc(3000, n), { key: `${n}` });
  const indexes = (): string[] => readdirSync(directory).filter((name) => name.endsWith(".idx"));
  await until(() => indexes().length >= 4, "the keeper writes indexes");
  await journal.close();
  return { directory, indexes: indexes() };
}

function lookupIn(storage: Storage): Lookup {
  const newest = segmentIds(storage).at(-1) as number;
  return new Lookup(storage, { first: () => 1, durable: () => 80, newestSegment: () => newest }, 0);
}

function checkAll(lookup: Lookup): void {
  for (let n = 1; n <= 80; n += 1) {
    assert.is(lookup.get(n)?.payload[0], n);
    assert.is(lookup.find(Buffer.from(`${n}`))?.sequence, n);
  }
  assert.is(lookup.find(Buffer.from("none")), undefined);
}

test("an index that can't be read is done without", async () => {
  const { directory, indexes } = await indexedLog();
  const storage = new NodeStorage(directory);
  let isFailing = true;
  const failing: Storage = Object.assign(new NodeStorage(directory), {
    open(name: string, mode: "read") {
      const file = storage.open(name, mode);
      const read = file.read.bind(file);
      const isIndex = indexes.includes(name);
      return Object.assign(file, {
        read(buffer: Uint8Array, length: number, position: number) {
          if (isIndex && isFailing) throw Object.assign(new Error("EIO"), { code: "EIO", errno: -5, syscall: "read" });
          return read(buffer, length, position);
        },
      });
    },
  });
  const lookup = lookupIn(failing);
  checkAll(lookup);
  lookup.close();
  // It fails when it is in use.
  const later = lookupIn(failing);
  isFailing = false;
  checkAll(later);
  isFailing = true;
  checkAll(later);
  later.close();
  for (const name of indexes) {
    rmSync(join(directory, name));
    mkdirSync(join(directory, name));
  }
  const last = lookupIn(storage);
  checkAll(last);
  last.close();
});

test("questions for a record that a segment doesn't have take no memory", async () => {
  const { directory } = await indexedLog();
  const storage = new NodeStorage(directory);
  let reads = 0;
  const counting: Storage = Object.assign(new NodeStorage(directory), {
    open(name: string, mode: "read") {
      const file = storage.open(name, mode);
      const read = file.read.bind(file);
      return Object.assign(file, {
        read(buffer: Uint8Array, length: number, position: number) {
          reads += 1;
          return read(buffer, length, position);
        },
      });
    },
  });
  const files = new OpenFiles(counting);
  const cache = new PageCache(files, 64 * 1024);
  const tools = { storage: counting, files, cache, prover: new BatchProver() };
  const headerOf = (id: number): SegmentHeader => readHeader(storage, segmentName(id)) as SegmentHeader;
  const segment = new KnownSegment(headerOf(1), tools);
  const beyond = headerOf(2).baseSequence;
  assert.is(segment.record(1, false).sequence, 1);
  assert.is(segment.record(beyond - 1, false).sequence, beyond - 1);
  const [bytesBefore, readsBefore] = [cache.bytes, reads];
  for (let n = 0; n < 30; n += 1) assert.throws(() => segment.record(beyond, false), "no batch with that sequence");
  assert.is(cache.bytes, bytesBefore);
  assert.is(reads, readsBefore);
  assert.is(segment.record(1, false).sequence, 1);
  assert.is(reads, readsBefore, "it is in memory still");
  segment.close();
  assert.is(cache.bytes, 0);
  files.closeAll();
});

test("readCacheBytes is checked, and a record is found without any", async () => {
  for (const readCacheBytes of [-1, 0.5, Number.NaN, 2 ** 35])
    await rejectsWith(Journal.open({ directory: temporaryDirectory(), readCacheBytes }), "ERR_INVALID_OPTION");
  const journal = await Journal.open({ directory: temporaryDirectory(), readCacheBytes: 0 });
  await journal.appendMany([{ payload: "one", key: "k" }, { payload: "two" }]);
  assert.is((await journal.get(2))?.value, "two");
  assert.is((await journal.find("k"))?.value, "one");
  for (const sequence of [0, -1, 3, 1.5, Number.NaN, Infinity]) assert.is(await journal.get(sequence), undefined);
  await journal.close();
});

test.run();
