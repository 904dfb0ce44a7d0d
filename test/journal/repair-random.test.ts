// Random logs with random damage: whatever is broken, the survey names it, repair fills it, and all
// else stays.
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Random, seededRandom } from "@millrace/base";
import { NodeStorage, RECORD_TYPE, type StorageFile } from "@millrace/journal";
import { LogReader, RecordCursor, repairLog, scanLog, surveyLog } from "@millrace/journal/kernel";
import type { OpenMode } from "@millrace/journal/internal/storage/storage";
import { writeMarks } from "@millrace/journal/internal/files/marks";
import { recover as recoverWith } from "@millrace/journal/internal/writer/recovery";
import { temporaryDirectory } from "../support.ts";
import { limits, recover, TestLog } from "./support.ts";

const SEED = 20261130;
const ROUNDS = 60;
const PAGE = 4096;
/** Bytes of a record before its payload. */
const FIXED = 24;

/**
 * A log of some openings, with batches of one page, of many small records, and of exactly the
 * largest size.
 */
function randomLog(random: Random): { log: TestLog; last: number } {
  const log = new TestLog(temporaryDirectory());
  let last = 0;
  const text = (bytes: number): string => `${(last += 1)}`.padEnd(bytes, ".");
  for (let opening = 0; opening < 1 + random.below(3); opening += 1) {
    if (opening > 0) log.open();
    for (let batch = 0; batch < 1 + random.below(30); batch += 1) {
      const kind = random.below(4);
      if (kind === 0) log.append(text(limits.batchBytesMax / 2 - FIXED), text(limits.batchBytesMax / 2 - FIXED));
      else if (kind === 1) log.append(...Array.from({ length: 1 + random.below(500) }, () => text(8)));
      else log.append(text(random.below(3000) + 8));
    }
  }
  return { log, last };
}

function overwrite(path: string, offset: number, bytes: number): void {
  const content = readFileSync(path);
  for (let at = offset; at < Math.min(offset + bytes, content.length); at += 1)
    content[at] = (content[at] as number) ^ 0x55;
  writeFileSync(path, content);
}

/** One damage to one segment, or to a neighbour of the segment that was damaged before. */
function damageOne(random: Random, log: TestLog, names: string[]): string {
  const name = names[random.below(names.length)] as string;
  const path = log.path(name);
  const size = statSync(path).size;
  const pages = size / PAGE;
  switch (random.below(7)) {
    case 0:
      overwrite(path, 0, PAGE);
      return `${name}: no header`;
    case 1:
      overwrite(path, 0, 2 * PAGE);
      return `${name}: no header, no first batch`;
    case 2: {
      const page = 1 + random.below(pages - 1);
      overwrite(path, page * PAGE + random.below(PAGE), 1);
      return `${name}: a byte on page ${page}`;
    }
    case 3: {
      const page = random.below(pages);
      const count = 1 + random.below(8);
      overwrite(path, page * PAGE, count * PAGE);
      return `${name}: ${count} pages from ${page}`;
    }
    case 4: {
      const bytes = random.below(size);
      truncateSync(path, bytes);
      return `${name}: cut to ${bytes}`;
    }
    case 5:
      overwrite(path, 0, size);
      return `${name}: all`;
    default:
      names.splice(names.indexOf(name), 1);
      rmSync(path);
      return `${name}: gone`;
  }
}

function sequencesIn(first: number, body: Buffer, add: (sequence: number, isLost: boolean) => void): void {
  const cursor = new RecordCursor();
  cursor.reset(body, first);
  while (cursor.next()) {
    const isLost = cursor.type === RECORD_TYPE.lost;
    if (!isLost)
      assert.is(Number.parseInt(cursor.payload().toString(), 10), cursor.sequence, "a record keeps its sequence");
    add(cursor.sequence, isLost);
  }
}

test(`random damage: repair keeps all that can be salvaged (seed ${SEED})`, () => {
  let repaired = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const random = seededRandom(SEED + round);
    const { log, last } = randomLog(random);
    const names = log.segments();
    const { logId } = recover(log.storage);
    writeMarks(log.storage, { logId, generation: 1, durableSequence: last, firstSegment: 1, firstSequence: 1 });
    const damages = Array.from({ length: 1 + random.below(4) }, () =>
      names.length > 1 ? damageOne(random, log, names) : "",
    );
    const what = `seed ${SEED + round}: ${damages.join("; ")}`;
    const salvaged = new Set<number>();
    const survey = surveyLog(log.storage, (_, batch, body) =>
      sequencesIn(batch.firstSequence, body, (sequence) => salvaged.add(sequence)),
    );
    const missing = new Set<number>();
    for (const { firstSequence, lastSequence } of survey.gaps)
      for (let sequence = firstSequence; sequence <= lastSequence; sequence += 1) missing.add(sequence);
    for (let sequence = 1; sequence <= last; sequence += 1)
      assert.ok(salvaged.has(sequence) !== missing.has(sequence), `${what}: record ${sequence} is salvaged or missing`);
    let isSound = true;
    try {
      scanLog(log.storage);
    } catch {
      isSound = false;
    }
    assert.is(survey.gaps.length === 0, isSound, `${what}: the survey agrees with the scan`);
    if (isSound) continue;
    repaired += 1;
    try {
      repairLog(log.storage, 1);
      const left = surveyLog(log.storage).gaps;
      assert.is(
        left.length,
        0,
        `after the repair: ${JSON.stringify(left.map(({ file, offset, reason }) => [file, offset, reason]))}`,
      );
      assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, last);
    } catch (thrown) {
      throw new Error(`${what}: ${(thrown as Error).message}`, { cause: thrown });
    }
    const kept = new Set<number>();
    const reader = new LogReader(log.storage);
    reader.seek(1);
    let next = 1;
    while (reader.next(last))
      sequencesIn(reader.batch.firstSequence, reader.body, (sequence, isLost) => {
        assert.is(sequence, next, what);
        next += 1;
        if (!isLost) kept.add(sequence);
      });
    reader.close();
    assert.is(next, last + 1, what);
    const differing = [...salvaged].filter((sequence) => !kept.has(sequence));
    assert.equal(differing, [], `${what}: repair keeps what can be salvaged`);
    log.open();
    log.append(`${last + 1}`);
    assert.is(recoverWith(log.storage, { everything: true }).summary.lastSequence, last + 1, what);
  }
  console.log(`# ${repaired} of ${ROUNDS} damaged logs repaired`);
  assert.ok(repaired > ROUNDS / 2);
});

/** A directory whose process dies at the change of number `last`: it and all later ones throw. */
class DyingStorage extends NodeStorage {
  #changesLeft: number;

  constructor(directory: string, last: number) {
    super(directory);
    this.#changesLeft = last;
  }

  #change(): void {
    this.#changesLeft -= 1;
    if (this.#changesLeft < 0) throw new Error("the process died");
  }

  override open(name: string, mode: OpenMode): StorageFile {
    if (mode !== "read") this.#change();
    return super.open(name, mode);
  }

  override rename(from: string, to: string): void {
    this.#change();
    super.rename(from, to);
  }

  override remove(name: string): void {
    this.#change();
    super.remove(name);
  }
}

test(`a repair that dies at any step can be run again, and keeps as much (seed ${SEED})`, () => {
  let deaths = 0;
  for (let round = 0; round < 8; round += 1) {
    const random = seededRandom(SEED + 5000 + round);
    const { log, last } = randomLog(random);
    const names = log.segments();
    const { logId } = recover(log.storage);
    writeMarks(log.storage, { logId, generation: 1, durableSequence: last, firstSegment: 1, firstSequence: 1 });
    for (let damage = 0; damage < 3; damage += 1) if (names.length > 1) damageOne(random, log, names);
    const salvaged = new Set<number>();
    surveyLog(log.storage, (_, batch, body) =>
      sequencesIn(batch.firstSequence, body, (sequence) => salvaged.add(sequence)),
    );
    // Ends: a repair has a limited number of changes.
    for (let step = 0; ; step += 1) {
      const copy = log.copyTo(join(temporaryDirectory(), "copy"));
      let hasDied = false;
      try {
        repairLog(new DyingStorage(copy.directory, step), 1);
      } catch {
        hasDied = true;
      }
      const what = `seed ${SEED + 5000 + round}, change ${step}`;
      repairLog(copy.storage, 2);
      assert.is(recoverWith(copy.storage, { everything: true }).summary.lastSequence, last, what);
      const kept = new Set<number>();
      surveyLog(copy.storage, (_, batch, body) =>
        sequencesIn(batch.firstSequence, body, (sequence, isLost) => isLost || kept.add(sequence)),
      );
      assert.equal(kept, salvaged, what);
      if (!hasDied) break;
      deaths += 1;
    }
  }
  assert.ok(deaths > 0);
  console.log(`# ${deaths} deaths during a repair`);
});

test.run();
