import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type IntakeOptions, type Millrace, open } from "millrace";
import type * as handlers from "../fixtures/result-handlers.ts";
import { rejectsWith } from "../support.ts";
import { millsIn, newPlace } from "../with-mill.ts";

type Mill = Millrace<typeof handlers>;

const handlersUrl = new URL("../fixtures/result-handlers.js", import.meta.url);
const KEEP: NonNullable<IntakeOptions["handlers"]> = {
  answer: { result: "keep" },
  sum: { result: "keep" },
  both: { result: "keep" },
};

const withMill = millsIn<typeof handlers>({
  handlers: handlersUrl,
  journal: { retryBaseMs: 1, handlers: KEEP },
  ends: "close",
});

test("what a handler returns is kept with the end of its record", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, {}, async (mill) => {
    const sum = await mill.publish.sum({ values: [1, 2, 3] });
    const total: number = await sum.result;
    assert.is(total, 6);
    assert.is(await sum.result, 6, "asked for twice");
    const rich = await mill.publish.answer({ file, what: "rich" });
    assert.equal(await rich.result, { what: "rich", at: new Date(5), big: 7n, map: new Map([["a", 1]]) });
    assert.is(await (await mill.publish.answer({ file, what: "nothing" })).result, undefined);
    assert.equal(await (await mill.publish.answer({ file, what: "port" })).result, new Uint8Array([1, 2, 3]));
    const [first, second] = await mill.publishMany([
      { handler: "sum", payload: { values: [4] } },
      { handler: "sum", payload: { values: [5] } },
    ]);
    assert.equal([await first?.result, await second?.result], [4, 5]);
    // Asked for before the handler has returned.
    assert.is((await (await mill.publish.answer({ file, what: "late", waitMs: 50 })).result) !== undefined, true);
  });
});

test("a duplicate and a later process get the result of the first", async () => {
  const place = newPlace();
  const { file } = place;
  let sequence = 0;
  const publish = (mill: Mill): ReturnType<Mill["publish"]["answer"]> =>
    mill.publish.answer({ file, what: "once" }, { idempotencyKey: "k" });
  await withMill(place, {}, async (mill) => {
    const first = await publish(mill);
    ({ sequence } = first);
    const again = await publish(mill);
    assert.is(again.duplicate, true);
    assert.equal(await again.result, await first.result);
  });
  await withMill(place, {}, async (mill) => {
    assert.is(((await mill.result(sequence)) as { what: string }).what, "once");
    const again = await publish(mill);
    assert.is(again.duplicate, true);
    assert.is(((await again.result) as { what: string }).what, "once");
  });
  assert.is(readFileSync(file, "utf8"), "answer once 1\n");
});

test("a result that can't be kept leaves its record done, and says why", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, { handlers: { answer: { result: "keep", resultBytesMax: 1000 } } }, async (mill) => {
    const large = await mill.publish.answer({ file, what: "bytes", bytes: 1001 });
    await large.done;
    const tooLarge = await rejectsWith(large.result, "ERR_RESULT_TOO_LARGE");
    assert.is(tooLarge.details["resultBytesMax"], 1000);
    const strange = await mill.publish.answer({ file, what: "function" });
    await strange.done;
    const unsupported = await rejectsWith(strange.result, "ERR_RESULT_UNSUPPORTED");
    assert.match(unsupported.message, "inner");
    assert.is(((await (await mill.publish.answer({ file, what: "bytes", bytes: 900 })).result) as string).length, 900);
    assert.is(mill.stats().intake?.retried, 0);
  });
});

test("after its time, or where none is kept, there is no result", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, { handlers: { answer: { result: "keep", resultKeepMs: 30 } } }, async (mill) => {
    const short = await mill.publish.answer({ file, what: "short" });
    await short.done;
    await new Promise((resolve) => setTimeout(resolve, 40));
    await rejectsWith(short.result, "ERR_RESULT_EXPIRED");
    const forgotten = await mill.publish.forgets({ file, what: "" });
    await forgotten.done;
    await rejectsWith(forgotten.result, "ERR_RESULT_EXPIRED");
    assert.is(mill.stats().intake?.retried, 0, "what nobody keeps isn't read");
    for (const wrong of [0, -1, 1.5, Number.NaN, 1e6, "1"]) {
      await rejectsWith(mill.result(wrong as number), "ERR_INVALID_OPTION");
    }
  });
});

test("a record that is dead or expired has no result, and says so as done does", async () => {
  const place = newPlace();
  const { file } = place;
  await withMill(place, { attemptsMax: 2 }, async (mill) => {
    const dead = await mill.publish.answer({ file, what: "fails" });
    await rejectsWith(dead.result, "ERR_RECORD_DEAD");
    await rejectsWith(mill.result(dead.sequence), "ERR_RECORD_DEAD");
    await mill.pause("sum");
    const late = await mill.publish.sum({ values: [] }, { ttlMs: 1 });
    await new Promise((resolve) => setTimeout(resolve, 10));
    await mill.resume("sum");
    await rejectsWith(late.result, "ERR_RECORD_EXPIRED");
  });
});

test("a result and what the handler publishes fit into one group", async () => {
  const place = newPlace();
  const { file } = place;
  const small = { recordBytesMax: 4096, batchBytesMax: 8192, segmentBytesMax: 2 ** 20, ringBytes: 2 ** 14 };
  for (const bytes of [1, 500]) {
    await withMill(place, small, async (mill) => {
      const both = await mill.publish.both({ file, what: "both", bytes });
      const [what, published] = (await both.result).split(" ");
      assert.is(what, "both");
      assert.ok(Number(published) > 1 && Number(published) < 1000, `${published} records`);
      await mill.drain();
    });
  }
});

test("who asks after the close isn't told that a done record wasn't done", async () => {
  const place = newPlace();
  let closed: Mill | undefined;
  let late: Promise<void> | undefined;
  await withMill(place, {}, async (mill) => {
    const ack = await mill.publish.answer({ file: place.file, what: "a" });
    await ack.done;
    closed = mill;
    late = (await mill.publish.answer({ file: place.file, what: "b" }, { delayMs: 60_000 })).done;
    late.catch(() => {});
  });
  const mill = closed as Mill;
  const asks = [() => mill.result(1), () => mill.recordState(1), () => mill.drain(), () => mill.dead.list({})];
  for (const ask of asks) {
    const { message } = await rejectsWith(ask() as Promise<unknown>, "ERR_INTAKE_CLOSED");
    assert.not.match(message, "before the record was done");
  }
  const { message } = await rejectsWith(late as Promise<void>, "ERR_INTAKE_CLOSED");
  assert.match(message, "before the record was done");
});

test("options of results are checked", async () => {
  const { directory } = newPlace();
  for (const answer of [{ result: "yes" }, { resultKeepMs: 0 }, { resultBytesMax: -1 }, { resultKeep: 5 }]) {
    await rejectsWith(
      open({ handlers: handlersUrl, journal: { directory, handlers: { answer: answer as never } } }),
      "ERR_INVALID_OPTION",
    );
  }
});

test.run();
