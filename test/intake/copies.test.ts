import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RecordStates } from "@millrace/intake";
// Internal to the package; only its own tests reach for it.
import { Retention } from "@millrace/intake/internal/retention";
import { Journal, NodeStorage } from "@millrace/journal";
import { SegmentList } from "@millrace/journal/kernel";
import { segmentName } from "@millrace/journal/internal/files/format";
import { temporaryDirectory } from "../support.ts";

const RECORDS = 400;
const PAGE = 4096;
const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

test("a record is copied once, however long its copy takes to become durable", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let record = 0; record < RECORDS; record += 1) await journal.append(Buffer.alloc(1000));
  await journal.close();

  const states = new RecordStates();
  states.acknowledged(2, RECORDS);
  const retention = new Retention(new NodeStorage(directory), states);
  const next = RECORDS + 1;
  assert.is(retention.look(0, next), 0, "the first segment holds record 1");
  const copy = retention.nextCopy(RECORDS);
  assert.is(copy?.from, 1);
  retention.copied();
  assert.is(retention.nextCopy(RECORDS), undefined);

  for (const seconds of [2, 4, 6]) {
    retention.look(seconds * 1000, next);
    assert.is(retention.nextCopy(RECORDS), undefined, "its copy is under way");
  }

  const place = RECORDS + 1;
  states.moved(1, 1, place);
  retention.arrived();
  assert.ok(retention.look(8000, place + 1) > 1, "now the segment is given up");
  assert.is(retention.nextCopy(place), undefined, "the copy isn't in the first segment");
});

test("what is much of its segment is copied when the log has grown, each record again until it is taken", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  const live = 3;
  const append = async (upTo: number): Promise<void> => {
    while (journal.durableSequence < upTo) await journal.append(Buffer.alloc(1000));
  };
  const storage = new NodeStorage(directory);
  const states = new RecordStates();
  const retention = new Retention(storage, states);
  await append(40);
  states.acknowledged(live + 1, 40);
  assert.is(new SegmentList(storage).read().length, 3);
  retention.look(0, 41);
  assert.is(retention.nextCopy(40), undefined, "the log is still short");

  await append(RECORDS);
  states.acknowledged(41, RECORDS);
  retention.look(1000, RECORDS + 1);
  for (let place = 1; place <= live; place += 1) {
    const copy = retention.nextCopy(RECORDS);
    assert.is(copy?.from, place);
    assert.is(retention.nextCopy(RECORDS), copy, "it was not taken");
    if (place === 2) retention.skipped();
    else retention.copied();
  }
  assert.is(retention.nextCopy(RECORDS), undefined);
  for (let place = 1; place <= live; place += 1) {
    if (place === 2) states.acknowledged(2, 2);
    else {
      states.moved(place, place, RECORDS + place);
      retention.arrived();
    }
  }
  assert.ok(retention.look(2000, RECORDS + live + 1) > 1, "the first segments are given up");
  assert.is(retention.nextCopy(RECORDS), undefined);
  await journal.close();
});

test("damage in a record that nobody needs any more doesn't keep those behind it from being copied", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  for (let record = 0; record < RECORDS; record += 1) await journal.append(Buffer.alloc(1000));
  await journal.close();
  const storage = new NodeStorage(directory);
  const [first] = new SegmentList(storage).read();
  // A page for the header of the segment, and one for each record.
  const file = openSync(join(directory, segmentName(first?.segment ?? 0)), "r+");
  const flipped = Buffer.alloc(1);
  const at = 7 * PAGE + 500;
  readSync(file, flipped, 0, 1, at);
  flipped[0] = (flipped[0] as number) ^ 1;
  writeSync(file, flipped, 0, 1, at);
  closeSync(file);

  const states = new RecordStates();
  states.acknowledged(2, 12);
  states.acknowledged(14, RECORDS);
  const retention = new Retention(storage, states);
  retention.look(0, RECORDS + 1);
  for (const place of [1, 13]) {
    assert.is(retention.nextCopy(RECORDS)?.from, place);
    retention.copied();
  }
  assert.is(retention.nextCopy(RECORDS), undefined);
});

test.run();
