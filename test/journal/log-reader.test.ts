// A reader of a log whose front was given up, and is still there.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LogReader } from "@millrace/journal/kernel";
// Internal to the package; only the journal's own tests reach for it.
import { writeMarks } from "@millrace/journal/internal/files/marks";
import { temporaryDirectory } from "../support.ts";
import { TestLog } from "./support.ts";

/** A log of three segments, and a reader that stands behind its first record. */
function logOfThree(): { readonly log: TestLog; readonly reader: LogReader; readonly second: LogReader["segment"] } {
  const log = new TestLog(temporaryDirectory());
  log.append("1");
  const reader = new LogReader(log.storage);
  reader.seek(1);
  assert.ok(reader.next(1));
  while (log.segments().length < 3) log.append("more".padEnd(8000));
  const ahead = new LogReader(log.storage);
  ahead.seek(1);
  while (ahead.segment.segment < 2) assert.ok(ahead.next(Infinity));
  const second = ahead.segment;
  ahead.close();
  return { log, reader, second };
}

/** From now on the log begins with its second segment. */
function giveFirstUp({ storage }: TestLog, { logId, baseSequence: firstSequence }: LogReader["segment"]): void {
  writeMarks(storage, { logId, generation: 5, durableSequence: 0, firstSegment: 2, firstSequence });
}

test("a reader that is sought anew begins with the first segment that marks name", () => {
  const { log, reader, second } = logOfThree();
  giveFirstUp(log, second);
  assert.is(reader.seek(2), false);
  assert.ok(reader.next(Infinity));
  assert.is(reader.batch.firstSequence, second.baseSequence);
  reader.close();
});

test.run();
