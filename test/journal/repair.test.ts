import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RECORD_TYPE } from "@millrace/journal";
import { gapOutside, LogReader, RecordCursor, repairLog, surveyLog } from "@millrace/journal/kernel";
import { writeMarks } from "@millrace/journal/internal/files/marks";
import { recover as recoverWith } from "@millrace/journal/internal/writer/recovery";
import { temporaryDirectory, throwsWith } from "../support.ts";
import { recover, TestLog } from "./support.ts";

function longLog(): TestLog {
  const log = new TestLog(temporaryDirectory());
  for (let n = 1; n <= 60; n += 1) log.append(`${n}`.padEnd(1000, "."));
  return log;
}

function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] as number) ^ 0x40;
  writeFileSync(path, bytes);
}

function read(log: TestLog, last: number): { kept: number[]; lost: number[]; notes: string[] } {
  const reader = new LogReader(log.storage);
  const cursor = new RecordCursor();
  const found = { kept: [] as number[], lost: [] as number[], notes: [] as string[] };
  reader.seek(1);
  while (reader.next(last)) {
    cursor.reset(reader.body, reader.batch.firstSequence);
    while (cursor.next()) {
      const text = cursor.payload().toString().replaceAll("\0", "");
      if (cursor.type === RECORD_TYPE.lost) {
        found.lost.push(cursor.sequence);
        if (text !== "") found.notes.push(text);
      } else {
        assert.is(Number.parseInt(text, 10), cursor.sequence, "every kept record keeps its sequence");
        found.kept.push(cursor.sequence);
      }
    }
  }
  reader.close();
  return found;
}

const BASE = 4096;

const damages: readonly [string, (log: TestLog, names: string[]) => void, expectLost: number][] = [
  ["a flipped bit in a body", (log, names) => flip(log.path(names[1] as string), BASE + 2 * 4096 + 100), 1],
  ["a flipped bit in a batch's header", (log, names) => flip(log.path(names[1] as string), BASE + 2 * 4096 + 17), 1],
  [
    "two damaged places in one segment",
    (log, names) => {
      flip(log.path(names[1] as string), BASE + 100);
      flip(log.path(names[1] as string), BASE + 5 * 4096 + 100);
      flip(log.path(names[1] as string), BASE + 6 * 4096 + 100);
    },
    3,
  ],
  ["a flipped bit in a segment's header", (log, names) => flip(log.path(names[1] as string), 20), 0],
  ["a segment that is gone", (log, names) => rmSync(log.path(names[1] as string)), 14],
  ["a first segment that is gone", (log, names) => rmSync(log.path(names[0] as string)), 14],
  ["a segment that lost its end", (log, names) => truncateSync(log.path(names[1] as string), BASE + 3 * 4096), 11],
  [
    "two neighbouring segments that are gone",
    (log, names) => {
      rmSync(log.path(names[1] as string));
      rmSync(log.path(names[2] as string));
    },
    28,
  ],
  [
    "a header and the first batch behind it",
    (log, names) => {
      flip(log.path(names[1] as string), 20);
      flip(log.path(names[1] as string), BASE + 17);
    },
    1,
  ],
  [
    "a header and the first batch of the newest segment",
    (log, names) => {
      flip(log.path(names.at(-1) as string), 20);
      flip(log.path(names.at(-1) as string), BASE + 17);
    },
    1,
  ],
  [
    "a segment of which nothing is left",
    (log, names) => writeFileSync(log.path(names[1] as string), Buffer.alloc(65_536, 1)),
    14,
  ],
  [
    "the first two segments, gone",
    (log, names) => {
      rmSync(log.path(names[0] as string));
      rmSync(log.path(names[1] as string));
    },
    28,
  ],
  [
    "damage in the last segment, with batches behind it",
    (log, names) => flip(log.path(names.at(-1) as string), BASE + 100),
    1,
  ],
];

test("without marks a lost beginning is a gap; repair begins with what is there", () => {
  const log = longLog();
  rmSync(log.path(log.segments()[0] as string));
  throwsWith(() => recoverWith(log.storage, { everything: true }), "ERR_JOURNAL_DAMAGED");
  const survey = surveyLog(log.storage);
  assert.equal(
    survey.gaps.map(({ file, firstSequence, lastSequence }) => [file, firstSequence, lastSequence]),
    [["marks", 1, 14]],
  );
  assert.ok(gapOutside(survey, 2, 60) !== undefined, "a loss that nobody accepted is told");
  assert.is(repairLog(log.storage, 1000).lost, 14);
  const { summary, marks } = recoverWith(log.storage, { everything: true });
  assert.is(summary.firstSequence, 15);
  assert.is(summary.lastSequence, 60);
  assert.is(marks?.firstSequence, 15);
  assert.equal(surveyLog(log.storage).gaps, []);
  assert.is(repairLog(log.storage, 2000).lost, 0);
});

for (const [what, damage, expected] of damages) {
  test(`repair fills ${what} with records that say so, and keeps every other record`, () => {
    const log = longLog();
    const names = log.segments();
    const { logId } = recover(log.storage);
    writeMarks(log.storage, { logId, generation: 1, durableSequence: 60, firstSegment: 1, firstSequence: 1 });
    damage(log, names);
    throwsWith(() => recoverWith(log.storage, { everything: true }), "ERR_JOURNAL_DAMAGED");
    const survey = surveyLog(log.storage);
    const lost = survey.gaps.reduce((sum, gap) => sum + Math.max(0, gap.lastSequence - gap.firstSequence + 1), 0);
    assert.is(lost, expected);
    if (expected > 0) assert.ok(gapOutside(survey, 61, 70) !== undefined, "a loss that nobody accepted is told");
    assert.is(gapOutside(survey, 1, 60), undefined);

    const { quarantined } = repairLog(log.storage, 12345);
    const note = JSON.parse(readFileSync(log.path(quarantined.at(-1) as string), "utf8")) as { lost: number };
    assert.is(note.lost, expected);
    assert.is(surveyLog(log.storage).gaps.length, 0);
    assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 60);
    const found = read(log, 60);
    assert.is(found.kept.length, 60 - expected);
    assert.is(found.lost.length, expected);
    if (expected > 0) assert.match(found.notes[0] as string, '"lost":[');
    // The log goes on.
    log.open();
    log.append("61");
    assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 61);
  });
}

test("repair keeps the sequences of a last batch that is lost although it was durable", () => {
  const log = longLog();
  const { logId } = recover(log.storage);
  writeMarks(log.storage, { logId, generation: 1, durableSequence: 60, firstSegment: 1, firstSequence: 1 });
  const last = log.segments().at(-1) as string;
  const bytes = readFileSync(log.path(last));
  // The last batch begins on the last page that holds anything.
  let page = bytes.length - 4096;
  while (bytes.subarray(page, page + 4096).every((byte) => byte === 0)) page -= 4096;
  flip(log.path(last), page + 100);
  throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
  const survey = surveyLog(log.storage);
  assert.is(survey.gaps[0]?.firstSequence, 60);
  repairLog(log.storage, 1);
  assert.is(recover(log.storage).nextSequence, 61);
});

/** A log whose second opening repeated a batch of exactly the largest size, and went on. */
function repeatedBatch(): { log: TestLog; old: string; repeated: string } {
  const log = new TestLog(temporaryDirectory());
  log.append("1");
  log.append("2".padEnd(8192 - 24, "."), "3".padEnd(8192 - 24, "."));
  log.open();
  log.append("4");
  log.append("5");
  const { logId } = recover(log.storage);
  writeMarks(log.storage, { logId, generation: 1, durableSequence: 5, firstSegment: 1, firstSequence: 1 });
  const [old, repeated] = log.segments() as [string, string];
  return { log, old, repeated };
}

test("a repeated batch that is damaged is restored from its old place: nothing is lost", () => {
  const { log, repeated } = repeatedBatch();
  flip(log.path(repeated), BASE + 5000);
  throwsWith(() => recoverWith(log.storage, { everything: true }), "ERR_JOURNAL_DAMAGED");
  assert.is(repairLog(log.storage, 1).lost, 0);
  assert.equal(read(log, 5).kept, [1, 2, 3, 4, 5]);
  assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 5);
});

test("a repeated batch of the largest size, damaged in both places, is given up", () => {
  const { log, old, repeated } = repeatedBatch();
  flip(log.path(old), BASE + 4096 + 5000);
  flip(log.path(repeated), BASE + 5000);
  assert.is(repairLog(log.storage, 1).lost, 2);
  assert.equal(read(log, 5), { ...read(log, 5), kept: [1, 4, 5], lost: [2, 3] });
  assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 5);
});

test("a lone segment without a header is read by the id in the damaged header", () => {
  for (const hasMarks of [true, false]) {
    const log = new TestLog(temporaryDirectory());
    for (let n = 1; n <= 9; n += 1) log.append(`${n}`);
    const { logId } = recover(log.storage);
    if (hasMarks)
      writeMarks(log.storage, { logId, generation: 1, durableSequence: 9, firstSegment: 1, firstSequence: 1 });
    const [name] = log.segments();
    flip(log.path(name as string), 60);
    throwsWith(() => recover(log.storage), "ERR_JOURNAL_DAMAGED");
    assert.is(repairLog(log.storage, 1).lost, 0);
    assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 9);
    assert.is(read(log, 9).kept.length, 9);
  }
});

test("marks of another log are written again for this one", () => {
  const log = longLog();
  const foreign = {
    logId: Buffer.alloc(16, 7),
    generation: 9,
    durableSequence: 5000,
    firstSegment: 40,
    firstSequence: 900,
  };
  writeMarks(log.storage, foreign);
  assert.equal(
    surveyLog(log.storage).gaps.map(({ file, reason }) => [file, reason]),
    [["marks", "it belongs to another log"]],
  );
  assert.is(repairLog(log.storage, 1).lost, 0);
  assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, 60);
});

test("without any segment the durable records are given up, and the log continues", () => {
  const log = longLog();
  const { logId } = recover(log.storage);
  writeMarks(log.storage, { logId, generation: 1, durableSequence: 60, firstSegment: 1, firstSequence: 1 });
  for (const name of log.segments()) rmSync(log.path(name));
  assert.is(repairLog(log.storage, 1).lost, 60);
  assert.is(recover(log.storage).nextSequence, 61);
});

test("a sound log needs no repair, nor does a torn tail", () => {
  const log = longLog();
  assert.equal(surveyLog(log.storage).gaps, []);
  const last = log.segments().at(-1) as string;
  const size = readFileSync(log.path(last)).length;
  truncateSync(log.path(last), size - 8192);
  assert.equal(repairLog(log.storage, 1), { gaps: [], lost: 0, quarantined: [] });
});

test.run();
