import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type * as handlers from "../fixtures/publishing-handlers.ts";
import { rejectsWith, until } from "../support.ts";
import { millsOf } from "../with-mill.ts";

const handlersUrl = new URL("../fixtures/publishing-handlers.js", import.meta.url);

const withMill = millsOf<typeof handlers>({ handlers: handlersUrl, journal: { retryBaseMs: 1 }, ends: "close" });

/** The lines that begin with a word, split. */
function linesOf(file: string, word: string): string[][] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([first]) => first === word);
}

const numbersOf = (file: string): number[] => linesOf(file, "ledger").map(([, n]) => Number(n));

test("what a handler publishes is delivered once it is done, in order", async () => {
  await withMill({}, async (mill, file) => {
    const order = await mill.publish.order({ file, n: 1, count: 3 });
    await order.done;
    await mill.publish.later({ file, n: 10 });
    await mill.drain();
    assert.equal(numbersOf(file), [1, 1, 1, 10, 11]);
    const sequences = linesOf(file, "ledger").map(([, , sequence]) => Number(sequence));
    assert.ok(sequences.every((sequence, index) => index === 0 || sequence > (sequences[index - 1] as number)));
  });
});

test("what an attempt that fails has published is gone", async () => {
  await withMill({ attemptsMax: 3 }, async (mill, file) => {
    const [late, never] = await Promise.all([
      mill.publish.order({ file, n: 1, count: 2, failBelow: 3 }),
      mill.publish.order({ file, n: 2, failBelow: 1e9 }),
    ]);
    await late.done;
    await rejectsWith(never.done, "ERR_RECORD_DEAD");
    await mill.drain();
    assert.equal(numbersOf(file), [1, 1]);
    assert.is(linesOf(file, "order").length, 6);
  });
});

test("what an attempt publishes after its time was over is gone", async () => {
  await withMill({ handlers: { slow: { timeoutMs: 50 } } }, async (mill, file) => {
    await (
      await mill.publish.slow({ file, n: 0 })
    ).done;
    await new Promise((resolve) => setTimeout(resolve, 400));
    await mill.drain();
    // On a loaded machine more attempts than the first may be given up.
    const [attempt, ...others] = numbersOf(file) as [number, ...number[]];
    assert.ok(attempt >= 2);
    assert.equal(others, [], "only the attempt that counts has published");
    assert.ok(linesOf(file, "slow").length >= 2, "an attempt that was given up has gone on");
  });
});

test("a record that is published so has options as any other", async () => {
  await withMill({}, async (mill, file) => {
    const from = Date.now();
    await mill.publish.order({ file, n: 1, options: { key: "k", headers: { by: "order" }, priority: "high" } });
    await mill.publish.order({ file, n: 2, options: { delayMs: 150 } });
    await mill.drain({ all: true });
    const [keyed, delayed] = linesOf(file, "ledger");
    assert.is(keyed?.[3], "k");
    assert.is(keyed?.[4], '{"by":"order"}');
    assert.is(delayed?.[1], "2");
    assert.ok(Date.now() - from >= 150);
  });
});

test("one with a known key is dropped, and the record that published it is done", async () => {
  await withMill({}, async (mill, file) => {
    for (const n of [1, 1, 1]) {
      await (
        await mill.publish.order({ file, n, count: 2, options: { idempotencyKey: "one" } })
      ).done;
    }
    // The key belongs to another payload: that one is dropped as well.
    await (
      await mill.publish.order({ file, n: 2, options: { idempotencyKey: "one" } })
    ).done;
    await mill.drain();
    assert.equal(numbersOf(file), [1]);
    assert.is(mill.stats().intake?.duplicates, 6);
  });
});

test("a call that can't be taken throws, and the others stand", async () => {
  await withMill({ recordBytesMax: 8192 }, async (mill, file) => {
    await (
      await mill.publish.refused({ file, n: 7, bytes: 9000 })
    ).done;
    await mill.drain();
    const codes = ["record", "value", "option", "both", "name"].map((what) => linesOf(file, what)[0]?.[1]);
    assert.equal(codes, [
      "ERR_STAGE_TOO_LARGE",
      "ERR_VALUE_UNSUPPORTED",
      "ERR_INVALID_OPTION",
      "ERR_INVALID_OPTION",
      "ERR_HANDLER_UNKNOWN",
    ]);
    assert.equal(numbersOf(file), [7]);
  });
});

test("a group that takes all that a batch does is stored", async () => {
  const limits = { recordBytesMax: 8192, batchBytesMax: 65_536, segmentBytesMax: 2 ** 20, ringBytes: 2 ** 17 };
  for (const bytes of [0, 900, 7000]) {
    await withMill(limits, async (mill, file) => {
      await (
        await mill.publish.fills({ file, n: 1, bytes })
      ).done;
      await mill.drain();
      const [, published, code] = linesOf(file, "fills")[0] ?? [];
      assert.is(code, "ERR_STAGE_TOO_LARGE");
      assert.is(numbersOf(file).length, Number(published));
      assert.ok(Number(published) * (bytes + 300) > 40_000, `${published} records of ${bytes} bytes`);
    });
  }
});

test("large groups from many records hold up no other record", async () => {
  await withMill({}, async (mill, file) => {
    const orders = Array.from({ length: 40 }, (_, n) => mill.publish.order({ file, n, count: 12, bytes: 90_000 }));
    const acks = await Promise.all(orders);
    await Promise.all(acks.map(({ done }) => done));
    await mill.drain();
    assert.is(numbersOf(file).length, 480);
  });
});

test("a producer beyond producersMax that a handler brings fails its attempt", async () => {
  await withMill({ producersMax: 3, attemptsMax: 2 }, async (mill, file) => {
    const pass = async (n: number, ...ids: readonly string[]): Promise<void> => {
      const records = ids.map((id) => ({ handler: "ledger", n, options: { producer: { id, sequence: n } } }) as const);
      await (
        await mill.publish.passes({ file, records })
      ).done;
    };
    const isFull = async (n: number, ...ids: readonly string[]): Promise<void> => {
      const { cause } = await rejectsWith(pass(n, ...ids), "ERR_RECORD_DEAD");
      assert.is((cause as { code?: string }).code, "ERR_PRODUCERS_FULL");
    };
    await pass(1, "a", "b", "a");
    await isFull(2, "c", "d");
    await isFull(3, "a", "c", "b", "d");
    await pass(4, "b", "c");
    await isFull(5, "d");
    // Those that handlers have brought count for everybody.
    const producer = { id: "d", sequence: 6 };
    await rejectsWith(mill.publish.ledger({ file, n: 6 }, { producer }), "ERR_PRODUCERS_FULL");
    await mill.drain();
    // Nothing of an attempt that failed is stored, and a sequence is a duplicate the second time.
    assert.equal(numbersOf(file), [1, 1, 4, 4]);
    assert.equal(
      (await mill.producers.list()).map(({ id, records }) => [id, records]),
      [
        ["a", 1],
        ["b", 2],
        ["c", 1],
      ],
    );
    await mill.producers.drop("a");
    await pass(7, "d");
    await isFull(8, "a");
    await rejectsWith(
      mill.publish.ledger({ file, n: 9 }, { producer: { id: "e", sequence: 1 } }),
      "ERR_PRODUCERS_FULL",
    );
  });
});

test("a handler can't publish for one whose dead letters have no room", async () => {
  const options = { dead: { bytesMax: 1 }, attemptsMax: 2, failuresMax: 0 };
  await withMill(options, async (mill, file) => {
    const bad = { file, n: 1, failBelow: 1e9 };
    await rejectsWith((await mill.publish.order(bad)).done, "ERR_RECORD_DEAD");
    await mill.publish.order(bad);
    await until(() => (mill.stats().intake?.deadWaiting ?? 0) > 0, "a record waits for room");
    const passed = await mill.publish.passes({ file, records: [{ handler: "order", n: 2 }] });
    await until(() => (mill.stats().intake?.deadWaiting ?? 0) > 1, "the one that published waits as well");
    assert.not.ok(linesOf(file, "order").some(([, n]) => n === "2"));
    await mill.dead.drop({});
    // A drop before its DEAD record is durable would find no letter.
    await until(
      () => mill.stats().intake?.deadWaiting === 1 && mill.stats().intake?.deadKept === 1,
      "one of them is dead",
    );
    await mill.dead.drop({});
    const { cause } = await rejectsWith(passed.done, "ERR_RECORD_DEAD");
    assert.is((cause as { code?: string }).code, "ERR_DEAD_LETTERS_FULL");
    await mill.dead.drop({});
  });
});

test("only the handler of a record can publish with its end, and only until then", async () => {
  await withMill({}, async (mill, file) => {
    assert.is(await mill.run.call({ file, n: 1 }), "ERR_RECORD_ABSENT");
    assert.is(await mill.blocking.call({ file, n: 1 }), "ERR_RECORD_ABSENT");
    for (const n of [1, 2]) {
      await (
        await mill.publish.keeps({ file, n })
      ).done;
    }
    await (
      await mill.publish.nests({ file, n: 1 })
    ).done;
    assert.equal(linesOf(file, "nests"), [["nests", "ERR_RECORD_ABSENT"]]);
    assert.equal(linesOf(file, "kept"), [["kept", "ERR_TASK_OVER"]]);
    await mill.drain();
    assert.equal(numbersOf(file), []);
  });
});

test("what is published at once is stored whatever becomes of the attempt", async () => {
  await withMill({ attemptsMax: 2 }, async (mill, file) => {
    await (
      await mill.publish.atOnce({ file, n: 1 })
    ).done;
    await (
      await mill.publish.atOnce({ file, n: 2, options: { idempotencyKey: "2" } })
    ).done;
    await mill.drain();
    assert.equal(
      numbersOf(file).toSorted((left, right) => left - right),
      [1, 1, 2],
    );
    const [, , first, again] = linesOf(file, "atOnce");
    assert.equal([first?.[3], again?.[3]], ["false", "true"]);
    assert.is(first?.[2], again?.[2]);
    const refused = await rejectsWith(
      (await mill.publish.atOnce({ file, n: 3, options: { delayMs: -1 } })).done,
      "ERR_RECORD_DEAD",
    );
    assert.is((refused.cause as { code?: string }).code, "ERR_INVALID_OPTION");
  });
});

test("a result that nobody keeps isn't read", async () => {
  await withMill({}, async (mill, file) => {
    await (
      await mill.publish.result({ file, n: 1 })
    ).done;
    assert.is(mill.stats().intake?.retried, 0);
  });
});

test.run();
