// health() and journal of a running intake; faults are those of a real disk where there is one.
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type HealthCode, memoryStorage, type Millrace, type MillraceHealth, open, type StoredRecord } from "millrace";
import { Faults } from "../fixtures/fault-storage.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

interface Handlers {
  quick(record: { readonly notes: string }): unknown;
  forever(record: { readonly notes: string }): unknown;
  echo(value: unknown): unknown;
}
type Mill = Millrace<Handlers>;
type JournalOptions = NonNullable<Parameters<typeof open>[0]["journal"]>;

const handlers = new URL("../../../test/fixtures/ending-handlers.mjs", import.meta.url);
const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;

async function withMill(journal: JournalOptions, body: (mill: Mill, notes: string) => Promise<void>): Promise<void> {
  const mill = await open<Handlers>({ handlers, processors: 1, onFailure: () => {}, journal });
  try {
    await body(mill, join(temporaryDirectory(), "notes"));
  } finally {
    await mill.terminate().catch(() => {});
  }
}

const codesOf = ({ reasons }: MillraceHealth): HealthCode[] => reasons.map(({ code }) => code);
/** But for what another process of the machine may cause. */
const ownCodesOf = (mill: Mill): HealthCode[] =>
  codesOf(mill.health()).filter((code) => !["EVENT_LOOP_DELAY", "DISK_SLOW", "DISK_ROOM_LOW"].includes(code));

test("a runtime that works is ok, with a journal and without", async () => {
  await withMill({ directory: temporaryDirectory() }, async (mill, notes) => {
    await (
      await mill.publish.quick({ notes })
    ).done;
    assert.equal(ownCodesOf(mill), []);
    await mill.close();
    assert.equal(mill.health().status, "down");
    assert.equal(codesOf(mill.health()), ["CLOSING"]);
  });
  const plain = await open<Handlers>({ handlers, processors: 1 });
  assert.equal(ownCodesOf(plain as Mill), []);
  assert.throws(() => plain.journal, /needs the option "journal"/);
  await plain.terminate();
  assert.equal(codesOf(plain.health()), ["CLOSING"]);
});

/** The journal may make a file in it meanwhile; rmSync then tries to remove the directory alone. */
function removeInUse(directory: string): void {
  while (existsSync(directory)) {
    try {
      rmSync(directory, { recursive: true });
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code !== "ENOTEMPTY") throw thrown;
    }
  }
}

for (const [what, act] of [
  ["removed", removeInUse],
  ["moved", (directory: string) => renameSync(directory, `${directory}.moved`)],
  [
    "replaced",
    (directory: string) => {
      renameSync(directory, `${directory}.moved`);
      mkdirSync(directory);
    },
  ],
  [
    "replaced by a file",
    (directory: string) => {
      renameSync(directory, `${directory}.moved`);
      writeFileSync(directory, "");
    },
  ],
  [
    "replaced by a link to itself",
    (directory: string) => {
      renameSync(directory, `${directory}.moved`);
      symlinkSync(directory, directory);
    },
  ],
  [
    "moved with the one above it",
    (directory: string) => renameSync(join(directory, ".."), `${join(directory, "..")}-b`),
  ],
] as const) {
  test(`a directory that was ${what} is told without any publish, and none is taken`, async () => {
    const directory = join(temporaryDirectory(), "data");
    await withMill({ directory }, async (mill, notes) => {
      await (
        await mill.publish.quick({ notes })
      ).done;
      act(directory);
      await until(() => mill.health().status === "down", "it is noticed");
      assert.ok(codesOf(mill.health()).includes("DIRECTORY_GONE"), JSON.stringify(mill.health().reasons));
      const error = await mill.publish.quick({ notes }).then(
        () => undefined,
        (thrown: unknown) => thrown as { readonly code: string },
      );
      assert.ok(error !== undefined && ["ERR_JOURNAL_POISONED", "ERR_INTAKE_CLOSED"].includes(error.code), error?.code);
    });
  });
}

test("a failed sync is told, with the system's error", async () => {
  const faults = new Faults();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  await withMill({ directory: temporaryDirectory(), storage }, async (mill, notes) => {
    faults.arm("logSync");
    await rejectsWith(mill.publish.quick({ notes }), "ERR_JOURNAL_UNCERTAIN");
    const { status, reasons } = mill.health();
    assert.is(status, "down");
    const reason = reasons.find(({ code }) => code === "JOURNAL_POISONED");
    assert.equal([reason?.status, reason?.details.errno], ["down", "EIO"]);
  });
});

test("a sync that hangs is told while it hangs, and is forgotten afterwards", async () => {
  const faults = new Faults();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  await withMill({ directory: temporaryDirectory(), storage }, async (mill, notes) => {
    faults.arm("logSyncHang");
    const publishing = mill.publish.quick({ notes });
    await until(() => codesOf(mill.health()).includes("DISK_SLOW"), "it is slow");
    await until(() => codesOf(mill.health()).includes("DISK_STUCK"), "it is stuck", 60_000);
    const stuck = mill.health();
    assert.is(stuck.status, "down");
    assert.ok((stuck.reasons.find(({ code }) => code === "DISK_STUCK")?.details.ms as number) >= 10_000);
    faults.disarm("logSyncHang");
    await (
      await publishing
    ).done;
    assert.not(codesOf(mill.health()).includes("DISK_STUCK"));
  });
});

test("terminate() ends beside a sync that hangs, and doesn't free the directory", async () => {
  const faults = new Faults();
  const directory = temporaryDirectory();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  const journal = { directory, storage };
  const mill = await open<Handlers>({ handlers, processors: 1, onFailure: () => {}, journal });
  faults.arm("logSyncHang");
  const publishing = rejectsWith(mill.publish.quick({ notes: "" }), "ERR_JOURNAL_UNCERTAIN");
  await until(() => faults.fired("logSyncHang") > 0, "it hangs");
  await rejectsWith(mill.terminate(), "ERR_JOURNAL_POISONED");
  await publishing;
  await rejectsWith(open({ handlers, journal }), "ERR_JOURNAL_LOCKED");
  faults.disarm("logSyncHang");
});

test("a full disk is told, and that there is room again", async () => {
  // Handlers that don't end hold what they have.
  const storage = memoryStorage(4 * 2 ** 20);
  const small = {
    segmentBytesFirst: 2 ** 18,
    segmentBytesMax: 2 ** 18,
    batchBytesMax: 2 ** 16,
    recordBytesMax: 2 ** 15,
  };
  await withMill({ storage, ...small, handlers: { forever: { concurrencyMax: 1 } } }, async (mill, notes) => {
    const big = { notes, text: "x".repeat(20_000) };
    let isFull = false;
    for (let n = 0; n < 1000 && !isFull; n += 1) {
      await mill.tryPublish.forever(big).catch(() => (isFull = true));
    }
    assert.ok(isFull);
    await until(() => mill.health().status === "down", "it is told");
    assert.ok(codesOf(mill.health()).some((code) => code === "DISK_FULL" || code === "LEVEL_REJECT"));
  });
});

test("dead letters, missing handlers and an old backlog are told", async () => {
  const directory = temporaryDirectory();
  const journal = { directory, handlers: { quick: { attemptsMax: 1 }, forever: { concurrencyMax: 1 } } };
  await withMill(journal, async (mill) => {
    // No file can be there.
    await rejectsWith((await mill.publish.quick({ notes: join(directory, "no/file") })).done, "ERR_RECORD_DEAD");
    await until(() => codesOf(mill.health()).includes("DEAD_LETTERS"), "it is told");
    assert.is(mill.health().status, "degraded");
    await mill.dead.drop({});
    await until(() => !codesOf(mill.health()).includes("DEAD_LETTERS"), "it is dropped");
    await mill.pause("quick");
    await mill.publish.quick({ notes: "" });
    assert.equal(await mill.drain(), { waitingRetry: 0, scheduled: 0, paused: 1, unroutable: 0 });
    await mill.close();
  });
  const other = new URL("data:text/javascript,export function echo() {}");
  const mill = await open({ handlers: other, journal });
  await until(() => codesOf(mill.health()).includes("HANDLER_MISSING"), "it is told");
  await mill.terminate();
});

test("a look costs little, whatever state the runtime is in", async () => {
  await withMill({ directory: temporaryDirectory() }, async (mill) => {
    const before = process.cpuUsage();
    for (let n = 0; n < 10_000; n += 1) mill.health();
    const { user, system } = process.cpuUsage(before);
    assert.ok(user + system < 2_000_000, `${user + system} µs for 10,000`);
  });
});

test("drain says what waits for what, and refuses wrong options", async () => {
  const journal = { directory: temporaryDirectory(), retryBaseMs: 60_000, retryMaxMs: 60_000 };
  await withMill(journal, async (mill, notes) => {
    await mill.publish.quick({ notes: "/nowhere/at/all" });
    await mill.publish.quick({ notes }, { delayMs: 60_000 });
    await mill.publish.quick({ notes }, { notBefore: Date.now() + 60_000 });
    assert.equal(await mill.drain(), { waitingRetry: 1, scheduled: 2, paused: 0, unroutable: 0 });
    const reason = new Error("enough");
    await mill.drain({ all: true, signal: AbortSignal.abort(reason) }).then(
      () => assert.unreachable(),
      (thrown: unknown) => assert.is(thrown, reason),
    );
    for (const options of [{ al: true }, { all: 1 }, { signal: 5 }, 5]) {
      await rejectsWith(mill.drain(options as never), "ERR_INVALID_OPTION");
    }
  });
});

test("the journal of a running intake is read, searched and copied", async () => {
  const directory = temporaryDirectory();
  await withMill({ directory, retain: "all" }, async (mill, notes) => {
    const first = await mill.publish.quick({ notes }, { key: "account-1", headers: { from: "test" } });
    const second = await mill.publish.quick({ notes }, { key: "account-1" });
    await Promise.all([first.done, second.done]);
    const { journal } = mill;
    assert.is(journal.directory, directory);
    assert.ok(journal.durableSequence >= second.sequence);
    assert.is((await journal.find("account-1"))?.sequence, second.sequence);
    const { publishedAtMs, ...stored } = (await journal.get(first.sequence)) as StoredRecord;
    const { sequence } = first;
    const headers = { from: "test" };
    assert.equal(stored, {
      sequence,
      place: sequence,
      handler: "quick",
      key: "account-1",
      payload: { notes },
      headers,
    });
    assert.ok(publishedAtMs <= Date.now());
    const sequences: number[] = [];
    for await (const each of journal.read()) sequences.push(each.sequence);
    assert.equal(sequences, [first.sequence, second.sequence]);
    assert.equal(Object.keys(journal).toSorted(), [
      "backup",
      "directory",
      "durableSequence",
      "find",
      "firstSequence",
      "get",
      "read",
      "show",
      "showByKey",
      "timeline",
    ]);
    const copy = join(temporaryDirectory(), "copy");
    await journal.backup(copy);
    await mill.close();
    await rejectsWith(journal.get(1), "ERR_JOURNAL_CLOSED");
    const restored = await open<Handlers>({ handlers, journal: { directory: copy } });
    assert.is((await restored.journal.find("account-1"))?.sequence, second.sequence);
    await restored.close();
  });
});

test.run();
