import { readdirSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, type JournalOptions, NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { SegmentList } from "@millrace/journal/kernel";
import { type Fault, Faults } from "../fixtures/fault-storage.js";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;

const EIO = 5;
const ENOSPC = 28;
const EROFS = 30;
const EDQUOT = 122;

/** A journal with small segments, whose storage fails on demand. */
async function openFaulty(
  directory: string,
  options: Partial<JournalOptions> = {},
): Promise<{ journal: Journal; faults: Faults }> {
  const faults = new Faults();
  const journal = await openWith(directory, faults, options);
  return { journal, faults };
}

function openWith(directory: string, faults: Faults, options: Partial<JournalOptions> = {}): Promise<Journal> {
  return Journal.open({
    directory,
    recordBytesMax: 8192,
    batchBytesMax: 16_384,
    segmentBytesMax: 65_536,
    ringBytes: 32_768,
    storage: { url: faultStorage, data: { directory, faults: faults.buffer } },
    ...options,
  });
}

async function payloads(journal: Journal): Promise<string[]> {
  const found: string[] = [];
  for await (const record of journal.read()) found.push(record.payload.toString());
  return found;
}

/** Appends until an append fails; the error, and what had been acknowledged. */
async function appendUntilError(journal: Journal): Promise<{ code: string; acknowledged: string[] }> {
  const acknowledged: string[] = [];
  for (let n = 0; n < 500; n += 1) {
    const payload = `${n}`.padEnd(3000, ".");
    try {
      await journal.append(Buffer.from(payload));
      acknowledged.push(payload);
    } catch (thrown) {
      return { code: (thrown as { code: string }).code, acknowledged };
    }
  }
  throw new Error("no append failed");
}

for (const [what, fault, errno] of [
  ["a write fails with EIO", "logWrite", EIO],
  ["a write fails with EROFS", "logWrite", EROFS],
  ["a sync fails", "logSync", EIO],
  ["a segment can't be renamed", "segmentRename", EIO],
  ["the keeper can't prepare a segment", "spareWrite", EIO],
] as const satisfies readonly [string, Fault, number][]) {
  test(`when ${what}, the journal stops, tells everybody, and loses nothing that it acknowledged`, async () => {
    const directory = temporaryDirectory();
    const { journal, faults } = await openFaulty(directory);
    await journal.append(Buffer.from("safe"));
    if (fault === "spareWrite") await until(() => journal.stats().spareWaits === 0, "nothing waits");
    faults.arm(fault, errno);
    const { code, acknowledged } = await appendUntilError(journal);
    assert.is(code, "ERR_JOURNAL_UNCERTAIN");
    assert.ok(faults.fired(fault) >= 1, "the fault fired");
    if (fault === "logSync") assert.is(faults.fired(fault), 1, "a failed sync is never repeated");
    const later = await rejectsWith(journal.append(Buffer.from("later")), "ERR_JOURNAL_POISONED");
    assert.match(String(later.details.errno), /^E[A-Z]+$/);
    assert.is(journal.stats().state, "poisoned");
    assert.not.ok(journal.health().isReady);
    await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");

    const again = await openWith(directory, new Faults());
    const found = await payloads(again);
    assert.equal(found.slice(0, acknowledged.length + 1), ["safe", ...acknowledged]);
    // The uncertain record is there whole or not at all.
    assert.ok(found.length <= acknowledged.length + 2);
    if (found.length === acknowledged.length + 2) assert.is(found.at(-1), `${acknowledged.length}`.padEnd(3000, "."));
    await again.close();
  });
}

for (const [what, errno] of [
  ["the disk", ENOSPC],
  ["the user's quota", EDQUOT],
] as const) {
  // As where a file system copies on write: there even a prepared segment needs room.
  test(`a batch for which ${what} has no room is refused, and the journal goes on when there is room`, async () => {
    const directory = temporaryDirectory();
    const { journal, faults } = await openFaulty(directory);
    await journal.append(Buffer.from("safe"));
    faults.arm("logWrite", errno);
    const { code, acknowledged } = await appendUntilError(journal);
    assert.is(code, "ERR_JOURNAL_FULL");
    assert.equal(acknowledged, []);
    assert.is(journal.stats().state, "open");
    assert.ok(journal.stats().isDiskFull);
    assert.not.ok(journal.health().isReady);
    const state = journal.append(Buffer.from("state"), { type: RECORD_TYPE.ack });
    faults.disarm("logWrite");
    // Records that finish others wait for room; they aren't refused.
    assert.is(await state, 2);
    await until(() => !journal.stats().isDiskFull, "the journal takes data again");
    assert.is(await journal.append(Buffer.from("later")), 3);
    await journal.close();
    const again = await openWith(directory, new Faults());
    assert.equal(await payloads(again), ["safe", "state", "later"]);
    await again.close();
  });
}

test("a segment without room on the disk is refused, and begun when there is room", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  // The first calls fill the first segment.
  faults.arm("logWrite", ENOSPC, 12, 3);
  const { code, acknowledged } = await appendUntilError(journal);
  assert.is(code, "ERR_JOURNAL_FULL");
  await until(() => !journal.stats().isDiskFull, "the journal takes data again");
  await journal.append(Buffer.from("later"));
  await journal.close();
  const again = await openWith(directory, new Faults());
  assert.equal(await payloads(again), [...acknowledged, "later"]);
  await again.close();
});

test("short writes are continued", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  faults.arm("logShortWrite");
  const sent = Array.from({ length: 20 }, (_, n) => `${n}`.padEnd(2000, "s"));
  await Promise.all(sent.map((payload) => journal.append(Buffer.from(payload))));
  assert.ok(faults.fired("logShortWrite") > 0, "the fault fired");
  assert.equal(await payloads(journal), sent);
  await journal.close();
  const again = await Journal.open({ directory, recovery: "strict", verifyAll: true });
  assert.is(again.recovery.lastSequence, 20);
  await again.close();
});

test("a writer thread that dies in a sync leaves every waiter an uncertain outcome", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  await journal.append(Buffer.from("safe"));
  faults.arm("logSyncExit");
  const errors = await Promise.all(
    Array.from({ length: 8 }, (_, n) => rejectsWith(journal.append(Buffer.from(`${n}`)), "ERR_JOURNAL_UNCERTAIN")),
  );
  assert.is(errors.length, 8);
  assert.is(faults.fired("logSyncExit"), 1);
  assert.not.ok(journal.health().isReady);
  await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");
  const again = await openWith(directory, new Faults());
  assert.is((await payloads(again))[0], "safe");
  await again.close();
});

test("a stuck disk shows while the call hangs, and nothing is acknowledged meanwhile", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  faults.arm("logSyncHang");
  let isDurable = false;
  const pending = journal.append(Buffer.from("hangs")).then(() => (isDurable = true));
  await until(() => faults.fired("logSyncHang") === 1, "the sync hangs");
  await until(() => journal.stats().syncRunningMs > 1000, "the stats say how long");
  assert.match(journal.health().warnings.join("\n"), "a write to the disk has taken");
  assert.not.ok(isDurable);
  assert.is(journal.durableSequence, 0);
  faults.disarm("logSyncHang");
  await pending;
  assert.is(journal.stats().syncRunningMs, 0);
  await journal.close();
});

for (const [name, errno] of [
  ["ENOSPC", ENOSPC],
  ["EDQUOT", EDQUOT],
] as const) {
  test(`${name} while a segment is prepared refuses data and nothing else, until there is room again`, async () => {
    const directory = temporaryDirectory();
    const { journal, faults } = await openFaulty(directory);
    // The reserve and the first spare are there.
    await journal.checkpoint(Buffer.from("state 1"), 1);
    await until(() => hasReserve(directory), "the reserve is there");
    faults.arm("spareWrite", errno);
    const { code, acknowledged } = await appendUntilError(journal);
    assert.is(code, "ERR_JOURNAL_FULL");
    assert.ok(faults.fired("spareWrite") > 0, "the fault fired");
    assert.is(journal.stats().state, "open");
    assert.ok(journal.stats().isDiskFull);
    assert.match(journal.health().reasons.join("\n"), "no room");
    await rejectsWith(journal.append(Buffer.from("refused")), "ERR_JOURNAL_FULL");

    // Work that frees space goes on: state records, copying forward, checkpoints.
    for (let n = 0; n < 8; n += 1) await journal.append(Buffer.alloc(3000, n), { type: RECORD_TYPE.ack });
    const moved = await journal.copyForward(1);
    assert.is((await journal.get(moved))?.origin, 1);
    await journal.checkpoint(Buffer.from("state 2"), journal.durableSequence + 1);
    await journal.checkpoint(Buffer.from("state 3"), journal.durableSequence + 1);

    // Giving up a segment makes room without the disk having any.
    assert.ok((await journal.truncateBefore(journal.durableSequence)) > 1);
    await until(() => !journal.stats().isDiskFull, "a segment that was given up is used again");
    const sequence = await journal.append(Buffer.from("accepted again"));
    assert.ok(sequence > acknowledged.length);
    faults.disarm("spareWrite");
    await journal.close();

    const again = await Journal.open({ directory });
    assert.is((await again.get(sequence))?.payload.toString(), "accepted again");
    assert.is((await again.lastCheckpoint())?.bytes.toString(), "state 3");
    await again.close();
  });
}

test("data that is under way when the disk fills up is refused for certain", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory, { producers: 0 });
  await until(() => hasReserve(directory), "the reserve is there");
  faults.arm("spareWrite", ENOSPC);
  const outcomes = await Promise.allSettled(
    Array.from({ length: 200 }, (_, n) => journal.append(Buffer.from(`${n}`.padEnd(3000, ".")))),
  );
  const stored = outcomes.filter(({ status }) => status === "fulfilled").length;
  for (const outcome of outcomes) {
    if (outcome.status === "rejected") assert.is((outcome.reason as { code: string }).code, "ERR_JOURNAL_FULL");
  }
  assert.ok(stored > 0 && stored < 200, `${stored} stored`);
  assert.is((await payloads(journal)).length, stored);
  await journal.close();
  const again = await Journal.open({ directory });
  assert.is(again.recovery.lastSequence, stored);
  await again.close();
});

test("a journal opens on a full disk, in its reserve", async () => {
  const directory = temporaryDirectory();
  const first = await openFaulty(directory);
  await until(() => hasReserve(directory), "the reserve is there");
  first.faults.arm("spareWrite", ENOSPC);
  const { acknowledged } = await appendUntilError(first.journal);
  await first.journal.close();

  const faults = new Faults();
  faults.arm("spareWrite", ENOSPC);
  const journal = await openWith(directory, faults);
  assert.equal(await payloads(journal), acknowledged);
  await journal.append(Buffer.from("state"), { type: RECORD_TYPE.ack });
  // Without a reserve data would take the room that state records need.
  await until(() => journal.stats().isDiskFull, "the disk counts as full");
  await rejectsWith(journal.append(Buffer.from("data")), "ERR_JOURNAL_FULL");
  await journal.append(Buffer.from("state"), { type: RECORD_TYPE.ack });
  // Room for the reserve and nothing else: the current segment takes data.
  faults.arm("spareWrite", ENOSPC, 1);
  await until(() => !journal.stats().isDiskFull, "there is room again");
  assert.ok(hasReserve(directory));
  await journal.append(Buffer.from("data"));
  await journal.close();
});

test("what waits for the keeper is told when the journal has stopped", async () => {
  const directory = temporaryDirectory();
  const { journal } = await openFaulty(directory);
  for (let n = 0; n < 40; n += 1) await journal.append(Buffer.alloc(3000, n));
  const waiting = Promise.allSettled([journal.truncateBefore(30), journal.checkpoint(Buffer.from("a"), 2)]);
  journal.poison();
  await waiting;
  assert.ok((await payloads(journal)).length > 0, "reading goes on");
  await rejectsWith(journal.close(), "ERR_JOURNAL_POISONED");
});

test("segments given up on a full disk become a reserve before they become spares", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  // Three segments.
  for (let n = 0; n < 40; n += 1) await journal.append(Buffer.alloc(3000, n));
  assert.ok(hasReserve(directory));
  faults.arm("spareWrite", ENOSPC);
  await appendUntilError(journal);
  const stateUntil = async (condition: () => boolean): Promise<void> => {
    for (let n = 0; n < 40 && !condition(); n += 1) {
      await journal.append(Buffer.alloc(3000, n), { type: RECORD_TYPE.ack });
    }
    assert.ok(condition());
  };
  await stateUntil(() => !hasReserve(directory));
  const second = new SegmentList(new NodeStorage(directory)).read()[1]?.baseSequence as number;
  assert.is(await journal.truncateBefore(second), second, "one segment is given up");
  assert.ok(hasReserve(directory));
  await journal.truncateBefore(journal.durableSequence);
  await until(() => !journal.stats().isDiskFull, "the next ones are spares");
  await journal.append(Buffer.from("data"));
  assert.ok(hasReserve(directory));
  await journal.close();
});

test("a keeper that can't write marks is replaced, and the journal goes on", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  faults.arm("marksWrite", EIO, 0, 2);
  await journal.append(Buffer.from("a"));
  await until(() => faults.fired("marksWrite") > 0, "the fault fired");
  await until(() => journal.stats().keeperRestarts > 0, "another keeper runs");
  faults.disarm("marksWrite");
  assert.is(await journal.append(Buffer.from("b")), 2);
  await journal.checkpoint(Buffer.from("works"), 1);
  assert.is((await journal.lastCheckpoint())?.bytes.toString(), "works");
  await journal.close();
});

test("a checkpoint that can't be written is refused, and the one before stays", async () => {
  const directory = temporaryDirectory();
  const { journal, faults } = await openFaulty(directory);
  await journal.checkpoint(Buffer.from("one"), 1);
  faults.arm("checkpointWrite", EIO);
  let code: unknown;
  await journal
    .checkpoint(Buffer.from("two"), 1)
    .catch((thrown: unknown) => (code = (thrown as { code: string }).code));
  assert.is(code, "ERR_JOURNAL_STORAGE");
  assert.ok(faults.fired("checkpointWrite") > 0);
  assert.is((await journal.lastCheckpoint())?.bytes.toString(), "one");
  faults.disarm("checkpointWrite");
  await journal.close();
});

function hasReserve(directory: string): boolean {
  return readdirSync(directory).some((name) => /^reserve-\d+(-[0-9a-f]+)?\.wal$/.test(name));
}

test.run();
