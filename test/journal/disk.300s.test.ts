// The journal in a real directory: who may open it, what it takes, what others do to it meanwhile.
import { spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, type JournalOptions, NodeStorage } from "@millrace/journal";
import { lockDirectory, readMarks } from "@millrace/journal/kernel";
import { openLog } from "@millrace/journal/internal/writer/opening";
import { rejectsWith, temporaryDirectory, testIf, throwsWith, until } from "../support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };
const MIB: number = 2 ** 20;

async function writeTo(directory: string, count: number, options: Partial<JournalOptions> = {}): Promise<void> {
  const journal = await Journal.open({ directory, ...options });
  for (let n = 1; n <= count; n += 1) await journal.append(Buffer.from(`record ${n}`));
  await journal.close();
}

async function recordsIn(directory: string, options: Partial<JournalOptions> = {}): Promise<number> {
  const journal = await Journal.open({ directory, ...options });
  let count = 0;
  for await (const record of journal.read()) if (record.sequence > 0) count += 1;
  await journal.close();
  return count;
}

function segmentsIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.startsWith("log-"))
    .toSorted();
}

function hasSpare(directory: string): boolean {
  return readdirSync(directory).some((name) => /^spare-\d+(-[0-9a-f]+)?\.wal$/.test(name));
}

function bytesIn(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

function copyOf(directory: string): string {
  const copy = temporaryDirectory();
  for (const name of readdirSync(directory)) copyFileSync(join(directory, name), join(copy, name));
  return copy;
}

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

// ── witnesses ───────────────────────────────────────────────────────────────────────────────────

test("log and marks put back from a copy are refused while a newer checkpoint is there", async () => {
  const directory = temporaryDirectory();
  await writeTo(directory, 20);
  const copy = copyOf(directory);
  const journal = await Journal.open({ directory });
  for (let n = 0; n < 50; n += 1) await journal.append("later");
  await journal.checkpoint(Buffer.from("all of it"), 71);
  await journal.close();
  for (const name of readdirSync(directory)) if (name.startsWith("log-")) rmSync(join(directory, name));
  for (const name of readdirSync(copy)) copyFileSync(join(copy, name), join(directory, name));
  const error = await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_DAMAGED");
  assert.is(error.details.firstSequence, 21);
  assert.is(error.details.lastSequence, 70);
  for (const name of ["checkpoint-a", "checkpoint-b"]) rmSync(join(directory, name));
  assert.is(await recordsIn(directory), 20, "the whole of an earlier copy is an earlier log");
});

test("after a clean close the loss of the newest segment is refused, and any cut in it", async () => {
  const directory = temporaryDirectory();
  await writeTo(directory, 5);
  const name = segmentsIn(directory).at(-1) as string;
  const size = statSync(join(directory, name)).size;
  assert.is(readMarks(new NodeStorage(directory))?.durableSequence, 5);
  for (let end = 4096; end < size - 4096; end += 4096) {
    const copy = copyOf(directory);
    truncateSync(join(copy, name), end);
    await rejectsWith(Journal.open({ directory: copy }), "ERR_JOURNAL_DAMAGED");
  }
  const copy = copyOf(directory);
  rmSync(join(copy, name));
  await rejectsWith(Journal.open({ directory: copy }), "ERR_JOURNAL_DAMAGED");
  assert.is(await recordsIn(directory), 5);
});

test("marks of another log beside an empty directory are refused", async () => {
  const other = temporaryDirectory();
  await writeTo(other, 3);
  const directory = temporaryDirectory();
  copyFileSync(join(other, "marks"), join(directory, "marks"));
  await rejectsWith(Journal.open({ directory }), "ERR_JOURNAL_DAMAGED");
  assert.equal(readdirSync(directory).toSorted(), ["LOCK", "marks"]);
});

// ── who may open it ─────────────────────────────────────────────────────────────────────────────

test("a second opener is refused although LOCK was removed, and nothing is lost", async () => {
  const directory = temporaryDirectory();
  const first = await Journal.open({ directory, ...SMALL });
  for (let n = 0; n < 10; n += 1) await first.append(`before ${n}`);
  rmSync(join(directory, "LOCK"));
  await rejectsWith(Journal.open({ directory, ...SMALL }), "ERR_JOURNAL_LOCKED");
  throwsWith(() => lockDirectory(directory), "ERR_JOURNAL_LOCKED");
  const program = `
    import { Journal } from ${JSON.stringify(import.meta.resolve("@millrace/journal"))};
    await Journal.open({ directory: ${JSON.stringify(directory)} }).catch(({ code }) => console.log(code));
  `;
  const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  assert.is(stdout.trim(), "ERR_JOURNAL_LOCKED");
  // Also after it has gone on to other segments.
  const segment = first.stats().segment;
  while (first.stats().segment < segment + 3) await first.append(Buffer.alloc(8000));
  rmSync(join(directory, "LOCK"));
  await rejectsWith(Journal.open({ directory, ...SMALL }), "ERR_JOURNAL_LOCKED");
  const count = first.durableSequence;
  await first.close();
  assert.is(await recordsIn(directory, SMALL), count);
});

test("a segment that somebody else has begun isn't replaced: the journal stops", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  await journal.append("a");
  writeFileSync(join(directory, "log-0000000000000002.wal"), "theirs");
  let code: unknown;
  for (let n = 0; n < 50 && code === undefined; n += 1)
    await journal.append(Buffer.alloc(8000)).catch((thrown: unknown) => (code = (thrown as { code: string }).code));
  assert.is(code, "ERR_JOURNAL_UNCERTAIN");
  assert.is(readFileSync(join(directory, "log-0000000000000002.wal"), "utf8"), "theirs");
  await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");
});

test("no opening that fails keeps a descriptor or the lock", async () => {
  const directory = temporaryDirectory();
  await writeTo(directory, 3, SMALL);
  rmSync(join(directory, segmentsIn(directory)[0] as string));
  await rejectsWith(Journal.open({ directory, ...SMALL }), "ERR_JOURNAL_DAMAGED");
  const before = process.platform === "linux" ? descriptors() : 0;
  for (let n = 0; n < 10; n += 1) await rejectsWith(Journal.open({ directory, ...SMALL }), "ERR_JOURNAL_DAMAGED");
  if (process.platform === "linux") assert.ok(descriptors() <= before, `${before} descriptors, then ${descriptors()}`);
  lockDirectory(directory)();
});

testIf(process.platform === "linux")("opening, appending, closing keeps no descriptor", async () => {
  const directory = temporaryDirectory();
  await writeTo(directory, 1, SMALL);
  const before = descriptors();
  for (let n = 0; n < 25; n += 1) await writeTo(directory, 1, SMALL);
  assert.ok(descriptors() <= before, `${before} descriptors, then ${descriptors()}`);
});

/** A file system of a few pages; undefined where this user may not mount one. */
function tinyDisk(bytes: number): { readonly path: string; readonly end: () => void } | undefined {
  const path = temporaryDirectory();
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "none", path]);
  return status === 0 ? { path, end: () => void spawnSync("umount", ["-l", path]) } : undefined;
}

const probe = process.platform === "linux" ? tinyDisk(MIB) : undefined;
probe?.end();
const withMounts = testIf(probe !== undefined);

withMounts("without room for its process id a directory is refused with a code, and unlocked", async () => {
  const disk = tinyDisk(4 * MIB) as NonNullable<ReturnType<typeof tinyDisk>>;
  try {
    const directory = join(disk.path, "data");
    mkdirSync(directory);
    const neighbour = openSync(join(disk.path, "neighbour"), "w");
    const filled = spawnSync("dd", ["if=/dev/zero", `of=${join(disk.path, "neighbour")}`, "bs=4096"]);
    assert.not.equal(filled.status, 0, "the disk is full");
    closeSync(neighbour);
    const before = descriptors();
    for (let n = 0; n < 3; n += 1)
      await rejectsWith(Journal.open({ directory, ...SMALL, allowUnsafeStorage: true }), "ERR_JOURNAL_FULL");
    assert.ok(descriptors() <= before + 1, `${before} descriptors, then ${descriptors()}`);
    rmSync(join(disk.path, "neighbour"));
    await writeTo(directory, 3, { ...SMALL, allowUnsafeStorage: true });
  } finally {
    disk.end();
  }
});

withMounts(
  "a disk that is filled by somebody else opens again and again, and takes records when there is room",
  async () => {
    const disk = tinyDisk(2 * MIB) as NonNullable<ReturnType<typeof tinyDisk>>;
    const options = { ...SMALL, allowUnsafeStorage: true };
    const directory = join(disk.path, "data");
    const fill = (): void =>
      void spawnSync("dd", [
        "if=/dev/zero",
        `of=${join(disk.path, "neighbour")}`,
        "bs=4096",
        "oflag=append",
        "conv=notrunc",
      ]);
    try {
      await writeTo(directory, 10, options);
      assert.is(openAndDie(directory), "11");
      for (let life = 0; life < 6; life += 1) {
        fill();
        assert.is(openAndDie(directory), "11", `life ${life}`);
      }
      fill();
      const journal = await Journal.open({ directory, ...options });
      const refused = await Promise.allSettled(Array.from({ length: 20 }, () => journal.append(Buffer.alloc(8000))));
      const codes = refused.flatMap((each) =>
        each.status === "rejected" ? [(each.reason as { code: string }).code] : [],
      );
      assert.ok(codes.length > 0, "the disk is full");
      assert.equal([...new Set(codes)], ["ERR_JOURNAL_FULL"]);
      rmSync(join(disk.path, "neighbour"));
      await until(() => !journal.stats().isDiskFull, "there is room again");
      await journal.append("later");
      await journal.close();
    } finally {
      disk.end();
    }
  },
);

/**
 * A process that opens the journal and ends without closing it. Returns the next sequence, or the
 * error.
 */
function openAndDie(directory: string): string {
  const program = `
    import { NodeStorage } from ${JSON.stringify(import.meta.resolve("@millrace/journal"))};
    import { openLog } from ${JSON.stringify(import.meta.resolve("@millrace/journal/internal/writer/opening"))};
    const { log } = openLog(new NodeStorage(${JSON.stringify(directory)}), ${JSON.stringify(SMALL)}, () => 1);
    console.log(log.nextSequence);
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  return stdout.trim() || stderr;
}

// ── what others do to it meanwhile ──────────────────────────────────────────────────────────────

for (const [what, act] of [
  ["is removed", (directory: string) => rmSync(directory, { recursive: true })],
  ["is moved away", (directory: string) => renameSync(directory, `${directory}.moved`)],
  [
    "is replaced by an empty one",
    (directory: string) => {
      renameSync(directory, `${directory}.moved`);
      mkdirSync(directory);
    },
  ],
  [
    "loses the segment that is being written",
    (directory: string) => rmSync(join(directory, segmentsIn(directory).at(-1) as string)),
  ],
] as const) {
  test(`a directory that ${what} while it is open is noticed, and nothing more is acknowledged`, async () => {
    const directory = join(temporaryDirectory(), "data");
    const journal = await Journal.open({ directory, ...SMALL });
    await journal.append("before");
    act(directory);
    const gone = performance.now();
    let code: string | undefined;
    while (code === undefined) {
      assert.ok(performance.now() - gone < 30_000, "never noticed");
      await journal.append("after").catch((thrown: unknown) => (code = (thrown as { code: string }).code));
    }
    assert.is(code, "ERR_JOURNAL_UNCERTAIN");
    const error = await rejectsWith(journal.append("later"), "ERR_JOURNAL_POISONED");
    assert.is(error.details.errno, "ENOENT");
    assert.not.ok(journal.health().isReady);
    await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");
  });
}

test("a directory that is removed is noticed without any append", async () => {
  const directory = join(temporaryDirectory(), "data");
  const journal = await Journal.open({ directory, ...SMALL });
  rmSync(directory, { recursive: true });
  await until(() => !journal.health().isReady, "it is noticed");
  await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");
});

// ── what it takes ───────────────────────────────────────────────────────────────────────────────

test("files are for one user, unless the option says otherwise", async () => {
  const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  const before = process.umask(0o022);
  try {
    for (const [fileMode, files, directories] of [
      [undefined, "600", "700"],
      [0o640, "640", "750"],
      [0o664, "644", "755"],
    ] as const) {
      const parent = temporaryDirectory();
      const directory = join(parent, "data");
      const journal = await Journal.open({ directory, ...SMALL, ...(fileMode === undefined ? {} : { fileMode }) });
      await journal.append("a");
      await journal.checkpoint(Buffer.from("b"), 1);
      await until(() => hasSpare(directory), "a spare is made");
      assert.is(mode(directory), directories);
      for (const name of readdirSync(directory)) assert.is(mode(join(directory, name)), files, name);
      await journal.close();
    }
  } finally {
    process.umask(before);
  }
});

test("a journal takes what the options say, and no more with each opening", async () => {
  const directory = temporaryDirectory();
  const sizes: number[] = [];
  for (let opening = 0; opening < 3; opening += 1) {
    const journal = await Journal.open({ directory, segmentBytesFirst: 5 * MIB });
    await journal.append("a");
    await until(() => hasSpare(directory), "the next one is prepared");
    sizes.push(bytesIn(directory));
    await journal.close();
  }
  for (const size of sizes) assert.ok(size >= 20 * MIB && size < 20.2 * MIB, `${sizes.join()} bytes`);
});

test("openings that nobody closes leak no segment", () => {
  const directory = temporaryDirectory();
  const limits = { recordBytesMax: MIB, batchBytesMax: 4 * MIB, segmentBytesMax: 64 * MIB };
  for (let life = 0; life < 6; life += 1) {
    const { log } = openLog(new NodeStorage(directory), limits, () => 1);
    const frame = Buffer.alloc(32);
    frame.writeUInt32LE(28, 0);
    frame[4] = 1;
    log.append([frame], frame.length, 1);
  }
  assert.ok(bytesIn(directory) < 9 * MIB, `${bytesIn(directory)} bytes`);
});

test("files of others are left alone, whatever they are called", async () => {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, "x.tmp"));
  writeFileSync(join(directory, "x.tmp", "theirs"), "a");
  writeFileSync(join(directory, "report.tmp"), "b");
  await writeTo(directory, 2, SMALL);
  assert.is(await recordsIn(directory, SMALL), 2);
  assert.ok(existsSync(join(directory, "x.tmp", "theirs")) && existsSync(join(directory, "report.tmp")));
  mkdirSync(join(directory, "marks.tmp"));
  rmSync(join(directory, "marks"));
  await rejectsWith(Journal.open({ directory, ...SMALL }), "ERR_JOURNAL_STORAGE");
  assert.ok(existsSync(join(directory, "marks.tmp")));
});

test.run();
