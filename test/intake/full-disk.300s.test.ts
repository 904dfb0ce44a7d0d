import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { type Acknowledgement, type Millrace, type MillraceOptions, open } from "millrace";
import { Faults } from "../fixtures/fault-storage.ts";
import type * as recorder from "../fixtures/recorder.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);
const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;
const ENOSPC = 28;
/** Looks of the retention that a test waits for; a second lies between two. */
const LOOKS = 4;
/**
 * The pause between two batches of ACKs on a full disk, and how long the first of the slow handlers
 * takes.
 */
const FULL_DISK_PAUSE_MS = 250;
const SLOW_MS = 3000;
const SEGMENT_BYTES = 2 ** 20;
const RECORD_BYTES = 7000;

const ignore = (): void => {};

type Recorder = Millrace<typeof recorder>;

function intakeOf(mill: Recorder): NonNullable<ReturnType<Recorder["stats"]>["intake"]> {
  const { intake } = mill.stats();
  if (intake === undefined) throw new Error("there is an intake");
  return intake;
}

/** Options of a journal with small segments, and the storage whose faults are armed by `faults`. */
function faultyJournal() {
  const directory = temporaryDirectory();
  const journal = {
    directory: join(directory, "journal"),
    recordBytesMax: 8192,
    batchBytesMax: 16_384,
    segmentBytesMax: SEGMENT_BYTES,
    ringBytes: 2 ** 20,
  };
  mkdirSync(journal.directory);
  const faults = new Faults();
  const faulty = { url: faultStorage, data: { directory: journal.directory, faults: faults.buffer } };
  return { directory, file: join(directory, "notes"), journal, faults, faulty };
}

test("on a full disk copies leave half of the reserve to ACKs, each time", async () => {
  const { directory, file, journal, faults, faulty } = faultyJournal();
  const mill: Recorder = await open<typeof recorder>({
    handlers: recorderUrl,
    processors: 1,
    journal: {
      ...journal,
      storage: faulty,
      retryBaseMs: 1000,
      retryMaxMs: 1000,
      failuresMax: 0,
      attemptsMax: 1000,
    },
  });
  const [most, others, last] = ["most", "others", "last"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  for (const obstacle of [most, others, last]) writeFileSync(obstacle, "");
  const publishFailing = (count: number, bytes: number, failWhile: string): Promise<Acknowledgement[]> =>
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        mill.publish.note({ file, text: `failing${n}-${"x".repeat(bytes)}`, failWhile }),
      ),
    );
  const publish = (count: number): Promise<unknown> =>
    Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const acknowledgement = await mill.publish.note({ file, text: `n${n}-${"x".repeat(RECORD_BYTES)}` });
        await acknowledgement.done;
      }),
    );

  const publishUntilFull = async (): Promise<void> => {
    let refused: unknown;
    for (let round = 0; round < 100 && refused === undefined; round += 1) {
      await publish(20).catch((thrown: unknown) => (refused = thrown));
    }
    assert.ok(isMillraceError(refused, "ERR_JOURNAL_FULL"), String(refused));
  };
  const takesAgain = async (): Promise<void> => {
    let isTaken = false;
    const trying = setInterval(() => void publish(1).then(() => (isTaken = true), ignore), 100);
    await until(() => isTaken, "records are taken again").finally(() => clearInterval(trying));
  };

  // Too many of all records for copies that are worth their room, until most of them are done. The
  // records that stay are in the first segment, and take more than half of the reserve.
  const second = await publishFailing(100, RECORD_BYTES, others);
  const first = await publishFailing(900, 20, most);
  const segments = (): number => readdirSync(journal.directory).filter((name) => name.startsWith("log-")).length;
  for (let round = 0; round < 100 && segments() < 6; round += 1) await publish(20);
  faults.arm("spareWrite", ENOSPC);
  await publishUntilFull();
  assert.ok(faults.fired("spareWrite") > 0, "the fault fired");
  assert.is(intakeOf(mill).copiedForward, 0);

  rmSync(most);
  await Promise.all(first.map((acknowledgement) => acknowledgement.done));
  await until(() => intakeOf(mill).copiedForward > 0, "some are copied forward");
  await new Promise((resolve) => setTimeout(resolve, LOOKS * 1000));
  const { copiedForward } = intakeOf(mill);
  assert.ok(copiedForward * RECORD_BYTES <= SEGMENT_BYTES / 2, `${copiedForward} copies on a full disk`);

  rmSync(others);
  await Promise.all(second.map((acknowledgement) => acknowledgement.done));
  // The segments that are given up become a reserve and spares: there is room again, although the
  // disk is as full as before.
  await takesAgain();

  // These hold the log; the others are done one after the other: more ACKs than what is left of the
  // last segment takes.
  const holding = await publishFailing(100, RECORD_BYTES, last);
  const third = await Promise.all(
    Array.from({ length: 16 }, (_, n) =>
      mill.publish.slowly({ file, text: `slow${n}`, waitMs: SLOW_MS + n * (1.2 * FULL_DISK_PAUSE_MS) }),
    ),
  );
  await publishUntilFull();
  await Promise.all(third.map((acknowledgement) => acknowledgement.done));
  rmSync(last);
  await Promise.all(holding.map((acknowledgement) => acknowledgement.done));
  await takesAgain();
  await mill.close();
});

test("attempts on a full disk are counted across a restart", async () => {
  const { directory, file, journal, faults, faulty } = faultyJournal();
  const start = (storage?: NonNullable<MillraceOptions["journal"]>["storage"]): Promise<Recorder> =>
    open<typeof recorder>({
      handlers: recorderUrl,
      processors: 1,
      journal: {
        ...journal,
        backoff: [100],
        ...(storage === undefined ? undefined : { storage }),
        failuresMax: 0,
      },
    });
  const attempts = (): number[] =>
    (existsSync(file) ? readFileSync(file, "utf8").split("\n") : [])
      .filter((line) => line.startsWith("failing"))
      .map((line) => Number(line.split(" ")[2]));
  const obstacle = join(directory, "obstacle");
  writeFileSync(obstacle, "");
  const mill = await start(faulty);
  // Before that the disk has no room for what becomes of records.
  await until(() => readdirSync(journal.directory).some((name) => /^reserve-.*wal$/.test(name)), "there is a reserve");
  faults.arm("spareWrite", ENOSPC);
  let refused: unknown;
  for (let round = 0; round < 2000 && refused === undefined; round += 1) {
    await mill.publish
      .note({ file, text: `n${"x".repeat(RECORD_BYTES)}` })
      .catch((thrown: unknown) => (refused = thrown));
    if (round === 5) await mill.publish.note({ file, text: "failing", failWhile: obstacle });
  }
  assert.ok(isMillraceError(refused, "ERR_JOURNAL_FULL"), String(refused));
  const before = attempts().length;
  await until(() => attempts().length > before + 5, "it fails on the full disk");
  await mill.close();
  const failed = attempts().at(-1) as number;
  const again = await start();
  await until(() => attempts().at(-1) !== failed || attempts().length > failed, "it is tried again");
  // It is tried again while we look.
  const seen = attempts();
  assert.equal(
    seen,
    Array.from(seen, (_, index) => index + 1),
  );
  rmSync(obstacle);
  await again.drain({ all: true });
  await again.close();
});

test("close gives up what a disk has no room for, and says so", async () => {
  for (const [limit, code, hangs] of [
    [undefined, "ERR_JOURNAL_FULL", false],
    // Its record is given up first.
    [undefined, "ERR_CLOSE_ABORTED", true],
    // The time was over before anybody knew of the disk: the journal was given up at once.
    [{ timeoutMs: 100 }, "ERR_JOURNAL_POISONED", false],
  ] as const) {
    const { file, journal, faults, faulty } = faultyJournal();
    const start = (storage?: NonNullable<MillraceOptions["journal"]>["storage"]): Promise<Recorder> =>
      open<typeof recorder>({
        handlers: recorderUrl,
        processors: 1,
        journal: { ...journal, ...(storage === undefined ? undefined : { storage }) },
      });
    const mill = await start(faulty);
    const { done } = await mill.publish.slowly({ file, text: "handled", waitMs: 2000 });
    done.catch(ignore);
    if (hangs) await mill.publish.slowly({ file, text: "never", waitMs: 2 ** 30 });
    await until(() => intakeOf(mill).running === (hangs ? 2 : 1), "a handler has it");
    // As where a file system copies on write: not even a prepared segment has room.
    faults.arm("logWrite", ENOSPC);
    await until(() => existsSync(file), "it is handled");
    const refused = await rejectsWith(mill.close(limit), code);
    if (code === "ERR_JOURNAL_FULL") assert.match(refused.message, /no room for \d+ s .*delivered again/);
    assert.ok(faults.fired("logWrite") > 0, "the fault fired");
    await rejectsWith(done, "ERR_INTAKE_CLOSED");
    const again = await start();
    await until(() => readFileSync(file, "utf8").trimEnd().split("\n").length === 2, "it is delivered again");
    await again.terminate();
  }
});

test.run();
