import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  KeptSegments,
  NOTHING_KEPT,
  type RetainTerms,
  type SegmentFacts,
} from "@millrace/intake/internal/delivery/kept-segments";
import { type Millrace, type MillraceOptions, open } from "millrace";
import type * as recorder from "../fixtures/recorder.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const DAY_MS = 86_400_000;
const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);
const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };
type Recorder = Millrace<typeof recorder>;

function openIn(directory: string, journal: Partial<MillraceOptions["journal"]> = {}): Promise<Recorder> {
  return open<typeof recorder>({
    handlers: recorderUrl,
    processors: 1,
    journal: { directory, retryBaseMs: 1, failuresMax: 0, ...SMALL, ...journal },
  });
}

async function publishMany(mill: Recorder, file: string, count: number): Promise<void> {
  for (let from = 0; from < count; from += 50) {
    const texts = Array.from({ length: Math.min(50, count - from) }, (_, n) => `${from + n}-${"x".repeat(1000)}`);
    await Promise.all(texts.map(async (text) => (await mill.publish.note({ file, text })).done));
  }
}

function intakeOf(mill: Recorder): NonNullable<ReturnType<Recorder["stats"]>["intake"]> {
  const { intake } = mill.stats();
  if (intake === undefined) throw new Error("there is an intake");
  return intake;
}

// ── which segments ──────────────────────────────────────────────────────────────────────────────

/** Segments of 100 bytes that were begun at these times. */
function segmentsAt(...createdMs: number[]): SegmentFacts[] {
  return createdMs.map((ms, index) => ({ baseSequence: index * 10 + 1, segmentBytes: 100, createdMs: ms }));
}

class FakeClock {
  nowMs = 5000;
  wallMs = 10 * DAY_MS;
  now(): number {
    return this.nowMs;
  }
  wall(): number {
    return this.wallMs;
  }
  pass(ms: number): void {
    this.nowMs += ms;
    this.wallMs += ms;
  }
}

function keptOf(terms: RetainTerms, segments: SegmentFacts[]): { kept: KeptSegments; clock: FakeClock } {
  const clock = new FakeClock();
  return { kept: new KeptSegments(terms, clock, segments), clock };
}

test("a segment is kept until its time is over since the next one was begun", () => {
  const now = 10 * DAY_MS;
  const segments = segmentsAt(now - 5 * DAY_MS, now - 3 * DAY_MS, now - DAY_MS, now);
  const { kept, clock } = keptOf({ forMs: 2 * DAY_MS, bytesMax: Infinity }, segments);
  assert.is(kept.first(segments), 1, "the first one was full three days ago");
  clock.pass(DAY_MS + 1);
  assert.is(kept.first(segments), 2);
  clock.pass(10 * DAY_MS);
  assert.is(kept.first(segments), 3, "the last one always stays");
});

test("a clock that is set while the process runs ages no segment", () => {
  for (const setMs of [DAY_MS, -DAY_MS, 1000 * DAY_MS]) {
    const { kept, clock } = keptOf({ forMs: DAY_MS, bytesMax: Infinity }, segmentsAt(10 * DAY_MS));
    clock.wallMs += setMs;
    const segments = segmentsAt(10 * DAY_MS, clock.wallMs, clock.wallMs);
    assert.is(kept.first(segments), 0, `set by ${setMs}`);
    clock.pass(DAY_MS - 1);
    assert.is(kept.first(segments), 0);
    clock.pass(2);
    assert.is(kept.first(segments), 2, "and its time passes all the same");
  }
});

test("a segment of the future, or without a time, counts from the opening", () => {
  const now = 10 * DAY_MS;
  for (const second of [now + 6 * DAY_MS, 0]) {
    const segments = segmentsAt(now + 5 * DAY_MS, second, now);
    const { kept, clock } = keptOf({ forMs: DAY_MS, bytesMax: Infinity }, segments);
    assert.is(kept.first(segments), 0);
    clock.pass(DAY_MS + 1);
    assert.is(kept.first(segments), 2);
  }
});

test("the oldest segments go beyond the bytes, and either limit is enough", () => {
  const now = 10 * DAY_MS;
  const segments = segmentsAt(now, now, now, now);
  const first = (terms: RetainTerms): number => keptOf(terms, segments).kept.first(segments);
  assert.is(first({ forMs: Infinity, bytesMax: 400 }), 0);
  assert.is(first({ forMs: Infinity, bytesMax: 399 }), 1);
  assert.is(first({ forMs: Infinity, bytesMax: 0 }), 3);
  assert.is(first({ forMs: DAY_MS, bytesMax: 200 }), 2);
  assert.is(first({ forMs: 0, bytesMax: 1e9 }), 3);
  assert.is(first(NOTHING_KEPT), 3);
});

// ── on a disk ───────────────────────────────────────────────────────────────────────────────────

test("finished records stay for their time, also after a crash", async () => {
  const directory = temporaryDirectory();
  const [data, crashed] = [join(directory, "data"), join(directory, "crashed")];
  const file = join(directory, "notes");
  const retain = { forMs: DAY_MS };
  let mill = await openIn(data, { retain });
  const before = Date.now();
  await publishMany(mill, file, 400);
  const { fromSequence, fromMs = 0, toSequence } = await mill.retained();
  assert.is(fromSequence, 1);
  assert.ok(fromMs > before - DAY_MS && fromMs <= Date.now() && toSequence >= 400);
  const hasCheckpoint = (): boolean => readdirSync(data).some((name) => name.startsWith("checkpoint"));
  await until(hasCheckpoint, "a checkpoint is written although nothing is given up");
  await mill.backup(crashed);
  await mill.close();

  mill = await openIn(crashed, { retain });
  await publishMany(mill, file, 200);
  assert.is((await mill.retained()).fromSequence, 1);
  assert.is((await mill.journal.get(1))?.handler, "note");
  await mill.close();
});

test("records beyond the bytes go, and what is unfinished stays", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const options = { retain: { bytesMax: 4 * 65_536 }, attemptsMax: 20, retryBaseMs: 3_600_000, retryMaxMs: DAY_MS };
  let mill = await openIn(join(directory, "data"), options);
  const waiting = await mill.publish.note({ file, text: "waiting", failBelow: 100 });
  const pending = rejectsWith(waiting.done, "ERR_INTAKE_CLOSED");
  await until(() => intakeOf(mill).waitingRetries === 1, "it waits");
  for (let round = 0; round < 50 && intakeOf(mill).firstSequence === 1; round += 1) await publishMany(mill, file, 100);
  await until(() => intakeOf(mill).firstSequence > 1, "the oldest are given up");
  const { fromSequence, toSequence } = await mill.retained();
  assert.ok(toSequence - fromSequence > 80, `${fromSequence} to ${toSequence} are there`);
  assert.is(await mill.journal.get(1), undefined);
  await mill.close();
  await pending;
  mill = await openIn(join(directory, "data"), options);
  assert.is((await mill.drain()).waitingRetry, 1);
  await mill.close();
});

test("as few bytes as there can be keep no more than what is unfinished", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(join(directory, "data"), { retain: { forMs: DAY_MS, bytesMax: 1 } });
  for (let round = 0; round < 50 && intakeOf(mill).firstSequence < 100; round += 1) await publishMany(mill, file, 100);
  await until(() => intakeOf(mill).firstSequence > 100, "finished records are given up");
  assert.is(intakeOf(mill).checkpointError, undefined);
  await mill.close();
  assert.ok(existsSync(file));
});

test("limits that say nothing, or that don't exist, are refused", async () => {
  const directory = temporaryDirectory();
  const bad = [{}, { forMs: -1 }, { bytesMax: 1.5 }, { forMs: Number.NaN }, { forMS: 1 }, "everything", 7, null];
  for (const retain of bad) await rejectsWith(openIn(directory, { retain: retain as never }), "ERR_INVALID_OPTION");
});

test.run();
