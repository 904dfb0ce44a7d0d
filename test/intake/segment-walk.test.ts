// A walk that rests while the segment in which it stands is given up.
import { truncateSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, NodeStorage, type StorageFile } from "@millrace/journal";
import { scanLog, SegmentList, type SegmentPlace } from "@millrace/journal/kernel";
import { writeMarks } from "@millrace/journal/internal/files/marks";
import { SegmentWalk } from "@millrace/intake/internal/states/segment-walk";
import { open } from "millrace";
import { temporaryDirectory, until } from "../support.ts";
import { TestLog } from "../journal/support.ts";

const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

async function append(journal: Journal, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n += 1) await journal.append(Buffer.from(`${n}/`.padEnd(3000, "x")));
}

async function giveUp(journal: Journal, before: number): Promise<void> {
  // Two, because the log can fall back to the one before the newest.
  for (let turn = 0; turn < 2; turn += 1) await journal.checkpoint(new Uint8Array(0), before);
  assert.ok((await journal.truncateBefore(before)) > 1);
}

test("a walk goes on behind segments that were given up and used again", async () => {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  try {
    await append(journal, 1, 60);
    const storage = new NodeStorage(directory);
    const walks = [1, 12, 30].map((place) => {
      const walk = new SegmentWalk(storage, () => journal.durableSequence);
      walk.seek(place);
      assert.is(walk.next()?.sequence, place);
      return walk;
    });
    await giveUp(journal, 50);
    await append(journal, 61, 160);
    await giveUp(journal, 120);
    await append(journal, 161, 200);
    for (const [index, walk] of walks.entries()) {
      const place = 150 + index;
      walk.skipTo(place);
      const record = walk.next();
      assert.is(record?.sequence, place);
      assert.is(record?.payload().toString().split("/")[0], `${place}`);
      assert.is(walk.next()?.sequence, place + 1);
      // Without a place that it is sent to, it goes on with the first that is there.
      walk.seek(1);
      assert.is(walk.next()?.sequence, journal.firstSequence);
      walk.close();
    }
  } finally {
    await journal.close();
  }
});

/** The files of a directory; a reader that opens them for ever is stopped. */
class PatientStorage extends NodeStorage {
  #opened = 0;

  override open(name: string, mode: "read"): StorageFile {
    this.#opened += 1;
    assert.ok(this.#opened < 1000, `${name} is opened again and again`);
    return super.open(name, mode);
  }
}

test("a walk isn't held by a segment that was cut, and has its name still", () => {
  const log = new TestLog(temporaryDirectory());
  log.append("1");
  let last = 1;
  const walk = new SegmentWalk(new PatientStorage(log.directory), () => last);
  walk.seek(1);
  assert.is(walk.next()?.sequence, 1);
  for (; log.segments().length < 3; last += 1) log.append("more".padEnd(8000));
  const [, second] = new SegmentList(log.storage).read();
  const { segment: firstSegment, baseSequence: firstSequence } = second as SegmentPlace;
  const [first] = scanLog(log.storage).segments;
  assert.ok(first !== undefined);
  const { logId } = first.header;
  // The power may go right here, or the keeper: then the file stays as it is.
  writeMarks(log.storage, { logId, generation: 5, durableSequence: 0, firstSegment, firstSequence });
  truncateSync(log.path(log.segments()[0] as string), 4096);
  assert.is(walk.next()?.sequence, firstSequence);
  walk.close();
});

test("records with a delay are handled, however much was given up between them", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await open<typeof import("../fixtures/recorder.ts")>({
    handlers: new URL("../fixtures/recorder.js", import.meta.url),
    processors: 1,
    journal: { directory: join(directory, "journal"), ...SMALL },
  });
  try {
    for (let round = 0; round < 4; round += 1) {
      await (
        await mill.publish.note({ file, text: `late ${round}` }, { delayMs: 50 })
      ).done;
      const first = mill.stats().intake?.firstSequence ?? 0;
      const isGivenUp = (): boolean => (mill.stats().intake?.firstSequence ?? 0) > first + 40;
      while (!isGivenUp()) {
        const text = "x".repeat(2000);
        const sent = Array.from({ length: 50 }, () => mill.publish.note({ file, text }));
        await Promise.all((await Promise.all(sent)).map(({ done }) => done));
      }
    }
    await until(() => mill.stats().intake?.unfinished === 0, "all are handled");
  } finally {
    await mill.close();
  }
});

test.run();
