import { test } from "uvu";
import * as assert from "uvu/assert";
import { RecordStates } from "@millrace/intake";
// Internal to the package; only its own tests reach for it.
import { Retention } from "@millrace/intake/internal/retention";
import { Journal, NodeStorage } from "@millrace/journal";
import { temporaryDirectory } from "../support.ts";

const RECORDS = 400;
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

test.run();
