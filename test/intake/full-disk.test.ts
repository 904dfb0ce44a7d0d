import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { type Acknowledgement, type Millrace, open } from "millrace";
import { Faults } from "../fixtures/fault-storage.ts";
import type * as recorder from "../fixtures/recorder.ts";
import { temporaryDirectory, until } from "../support.ts";

const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);
const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;
const ENOSPC = 28;
/** So many looks of the retention, each a second apart. */
const LOOKS = 4;
/** A quarter of a batch takes fewer of the records below than this. */
const COPIES_MAX = 20;

const ignore = (): void => {};

type Recorder = Millrace<typeof recorder>;

function intakeOf(mill: Recorder): NonNullable<ReturnType<Recorder["stats"]>["intake"]> {
  const { intake } = mill.stats();
  if (intake === undefined) throw new Error("there is an intake");
  return intake;
}

test("on a full disk copies leave the reserve to what says that records are done, which ends the emergency", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const journalDirectory = join(directory, "journal");
  mkdirSync(journalDirectory);
  const faults = new Faults();
  const mill: Recorder = await open<typeof recorder>({
    handlers: recorderUrl,
    processors: 1,
    journal: {
      directory: journalDirectory,
      recordBytesMax: 8192,
      batchBytesMax: 16_384,
      segmentBytesMax: 2 ** 20,
      ringBytes: 2 ** 20,
      storage: { url: faultStorage, data: { directory: journalDirectory, faults: faults.buffer } },
      retryBaseMs: 1000,
      retryMaxMs: 1000,
      maxDeliveries: 1000,
    },
  });
  const [most, others] = [join(directory, "most"), join(directory, "others")];
  writeFileSync(most, "");
  writeFileSync(others, "");
  const publishFailing = (count: number, failWhile: string): Promise<Acknowledgement[]> =>
    Promise.all(
      Array.from({ length: count }, (_, n) =>
        mill.publish.note({ file, text: `failing${n}-${"x".repeat(200)}`, failWhile }),
      ),
    );
  const publish = (count: number): Promise<unknown> =>
    Promise.all(
      Array.from({ length: count }, async (_, n) => {
        const acknowledgement = await mill.publish.note({ file, text: `n${n}-${"x".repeat(7000)}` });
        await acknowledgement.done;
      }),
    );

  // Too many of all records for copies that are worth their room, until most of them are done.
  const first = await publishFailing(900, most);
  const second = await publishFailing(60, others);
  const segments = (): number => readdirSync(journalDirectory).filter((name) => name.startsWith("log-")).length;
  for (let round = 0; round < 100 && segments() < 6; round += 1) await publish(20);
  faults.arm("spareWrite", ENOSPC);
  let refused: unknown;
  for (let round = 0; round < 100 && refused === undefined; round += 1) {
    await publish(20).catch((thrown: unknown) => (refused = thrown));
  }
  assert.ok(isMillraceError(refused, "ERR_JOURNAL_FULL"), String(refused));
  assert.ok(faults.fired("spareWrite") > 0, "the fault fired");
  assert.is(intakeOf(mill).copiedForward, 0);

  rmSync(most);
  await Promise.all(first.map((acknowledgement) => acknowledgement.done));
  await until(() => intakeOf(mill).copiedForward > 0, "some are copied forward");
  await new Promise((resolve) => setTimeout(resolve, LOOKS * 1000));
  const { copiedForward } = intakeOf(mill);
  assert.ok(copiedForward < COPIES_MAX, `${copiedForward} copies on a full disk`);

  rmSync(others);
  await Promise.all(second.map((acknowledgement) => acknowledgement.done));
  // The segments that are given up become spares: there is room again, although the disk is as full as before.
  let isTaken = false;
  const takesAgain = setInterval(() => void publish(1).then(() => (isTaken = true), ignore), 100);
  await until(() => isTaken, "records are taken again").finally(() => clearInterval(takesAgain));
  await mill.close();
});

test.run();
