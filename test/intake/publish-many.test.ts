import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal, RECORD_TYPE } from "@millrace/journal";
import { type RecordToPublish } from "millrace";
import type * as recorder from "../fixtures/recorder.ts";
import { rejectsWith } from "../support.ts";
import { millsIn, newPlace, type Place } from "../with-mill.ts";

const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);

const withMill = millsIn<typeof recorder>({ handlers: recorderUrl, ends: "close" });

/** The texts that handlers have noted. */
function textsOf({ file }: Place): string[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ")[0] as string);
}

/** Number of published records that the journal holds. */
async function recordsOf({ directory }: Place): Promise<number> {
  const journal = await Journal.open({ directory });
  let records = 0;
  for await (const { type } of journal.read()) if (type === RECORD_TYPE.data) records += 1;
  await journal.close();
  return records;
}

test("no records at all are stored at once", async () => {
  await withMill(newPlace(), {}, async (mill) => {
    assert.equal(await mill.publishMany([]), []);
    assert.equal(await mill.publishMany(new Set<RecordToPublish<"note">>()), []);
  });
});

test("each record of a group has a handler, options and an outcome of its own", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, {}, async (mill) => {
    const acks = await mill.publishMany([
      { handler: "note", payload: { file, text: "a" }, priority: "high", key: "k" },
      { handler: "headers", payload: { file, text: "" }, headers: { from: "b" } },
      { handler: "note", payload: { file, text: "c" }, delayMs: 50, priority: "low" },
      { handler: "note", payload: { file, text: "d", failBelow: 2 }, ttlMs: 60_000 },
    ]);
    await Promise.all(acks.map(({ done }) => done));
    assert.equal(textsOf(place).toSorted(), ["a", "c", "d", "d", '{"from":"b"}']);
    const first = acks[0]?.sequence ?? 0;
    assert.equal(
      acks.map(({ sequence }) => sequence - first),
      [0, 1, 2, 3],
    );
  });
});

test("each member of a group with thousands reaches its handler with its own bytes", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, {}, async (mill) => {
    // Also beside others: what a lane has no room for is read back from the log.
    const groups = Array.from({ length: 4 }, (_, group) =>
      Array.from({ length: 2500 }, (_each, index) => {
        const text = `${group}-${index}${"x".repeat(index % 7)}`;
        return { handler: "note", payload: { file, text }, headers: { text } } satisfies RecordToPublish<"note">;
      }),
    );
    await Promise.all(groups.map((group) => mill.publishMany(group)));
    await mill.drain();
    const texts = groups.flat().map(({ payload }) => payload.text);
    assert.equal(textsOf(place).toSorted(), texts.toSorted());
  });
});

test("a bad member refuses the group before anything is staged", async () => {
  const place = newPlace();
  const { file } = place;
  const fine = { handler: "note", payload: { file, text: "x" } } as const;
  await withMill(place, {}, async (mill) => {
    const refused: [unknown, string][] = [
      [[fine, { ...fine, payload: { file, text: "x", call: () => {} } }], "ERR_VALUE_UNSUPPORTED"],
      [[fine, { ...fine, payload: Symbol("x") }], "ERR_VALUE_UNSUPPORTED"],
      [[fine, { ...fine, headers: { call: () => {} } }], "ERR_VALUE_UNSUPPORTED"],
      [[fine, { ...fine, handler: "nota" }], "ERR_HANDLER_UNKNOWN"],
      [[fine, { ...fine, delayMs: -1 }], "ERR_INVALID_OPTION"],
      [[fine, { ...fine, key: "" }], "ERR_INVALID_OPTION"],
      [[fine, { ...fine, prioritee: "high" }], "ERR_INVALID_OPTION"],
      [[fine, null], "ERR_INVALID_OPTION"],
      [[fine, "note"], "ERR_INVALID_OPTION"],
      [undefined, "ERR_INVALID_OPTION"],
      [{ 0: fine }, "ERR_INVALID_OPTION"],
    ];
    for (const [records, code] of refused) await rejectsWith(mill.publishMany(records as never), code);
    await (
      await mill.publish.note({ file, text: "last" })
    ).done;
    assert.equal(textsOf(place), ["last"]);
  });
  assert.is(await recordsOf(place), 1);
});

test("a group over a limit is refused with the limit, also if it never ends", async () => {
  const place = newPlace();
  const limits = { recordBytesMax: 8192, batchBytesMax: 65_536, segmentBytesMax: 2 ** 20, ringBytes: 2 ** 20 };
  await withMill(place, limits, async (mill) => {
    const { file } = place;
    const record = (text: string): RecordToPublish<"note"> => ({ handler: "note", payload: { file, text } });
    const wide = await rejectsWith(
      mill.publishMany(Array.from({ length: 10 }, () => record("x".repeat(7000)))),
      "ERR_JOURNAL_RECORD_TOO_LARGE",
    );
    assert.is(wide.details["bytesMax"], 65_536);
    assert.match(wide.message, "65536 bytes");
    let taken = 0;
    function* endless(): Generator<RecordToPublish<"note">, void> {
      for (; ; taken += 1) yield record("x");
    }
    await rejectsWith(mill.publishMany(endless()), "ERR_JOURNAL_RECORD_TOO_LARGE");
    assert.ok(taken < 2000, `${taken} records were taken`);
    await rejectsWith(mill.publishMany([record("x"), record("y".repeat(9000))]), "ERR_JOURNAL_RECORD_TOO_LARGE");
    // The largest that fits is taken.
    const acks = await mill.publishMany(Array.from({ length: 9 }, (_, n) => record(String(n).repeat(6800))));
    await Promise.all(acks.map(({ done }) => done));
    assert.is(textsOf(place).length, 9);
  });
});

test("more records than a batch takes are refused with the number", async () => {
  const place = newPlace();
  await withMill(place, { batchBytesMax: 2 ** 25, ringBytes: 2 ** 26, segmentBytesMax: 2 ** 27 }, async (mill) => {
    const many = Array.from({ length: 65_537 }, () => ({ handler: "note" }) as never);
    const refused = await rejectsWith(mill.publishMany(many), "ERR_JOURNAL_RECORD_TOO_LARGE");
    assert.is(refused.details["recordsMax"], 65_536);
  });
  assert.is(await recordsOf(place), 0);
});

test("members are deduplicated one by one, against the log and against each other", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, {}, async (mill) => {
    const note = (text: string, idempotencyKey: string): RecordToPublish<"note"> => {
      return { handler: "note", payload: { file, text }, idempotencyKey };
    };
    const known = await mill.publish.note({ file, text: "a" }, { idempotencyKey: "A" });
    const acks = await mill.publishMany([note("a", "A"), note("b", "B"), note("b", "B"), note("c", "C")]);
    assert.equal(
      acks.map(({ duplicate }) => duplicate),
      [true, false, true, false],
    );
    assert.is(acks[0]?.sequence, known.sequence);
    assert.is(acks[2]?.sequence, acks[1]?.sequence);
    await Promise.all(acks.map(({ done }) => done));
    assert.equal(textsOf(place).toSorted(), ["a", "b", "c"]);
  });
});

test("a mismatch refuses the whole group, and says the same after a restart", async () => {
  const place = newPlace();
  const { file } = place;
  const group = (): RecordToPublish<"note">[] => [
    { handler: "note", payload: { file, text: "before" } },
    { handler: "note", payload: { file, text: "keyed" }, idempotencyKey: "K" },
    { handler: "note", payload: { file, text: "other" }, idempotencyKey: "A" },
    { handler: "note", payload: { file, text: "after" }, producer: { id: "p", sequence: 1 } },
  ];
  await withMill(place, {}, async (mill) => {
    const first = await mill.publish.note({ file, text: "a" }, { idempotencyKey: "A" });
    await first.done;
    const refused = await rejectsWith(mill.publishMany(group()), "ERR_IDEMPOTENCY_MISMATCH");
    assert.is(refused.details["sequence"], first.sequence);
    assert.is(refused.details["member"], 2);
    // The key of a member that was refused is free.
    const keyed = await mill.publish.note({ file, text: "keyed again" }, { idempotencyKey: "K" });
    assert.is(keyed.duplicate, false);
    await keyed.done;
    const produced = await mill.publish.note({ file, text: "p1" }, { producer: { id: "p", sequence: 1 } });
    assert.is(produced.duplicate, false);
    await produced.done;
    const own = await rejectsWith(
      mill.publishMany([
        { handler: "note", payload: { file, text: "1" }, idempotencyKey: "new" },
        { handler: "note", payload: { file, text: "2" }, idempotencyKey: "new" },
      ]),
      "ERR_IDEMPOTENCY_MISMATCH",
    );
    assert.equal(own.details, { member: 1, first: 0 });
    // For another handler the key is another one.
    const others = await mill.publishMany([
      { handler: "note", payload: { file, text: "1" }, idempotencyKey: "both" },
      { handler: "headers", payload: { file, text: "" }, headers: {}, idempotencyKey: "both" },
    ]);
    await Promise.all(others.map(({ done }) => done));
  });
  await withMill(place, {}, async (mill) => {
    await rejectsWith(mill.publishMany(group()), "ERR_IDEMPOTENCY_MISMATCH");
    await mill.drain();
    assert.equal(textsOf(place).toSorted(), ["1", "a", "keyed", "p1", "{}"]);
  });
});

test.run();
