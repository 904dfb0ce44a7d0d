// Idempotency keys while somebody sets the clock.
import { join } from "node:path";
import { open } from "millrace";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for them.
import { encodeTerms, type Idempotency, termsOf } from "@millrace/intake/internal/format/record-header";
import { DedupeWindow } from "@millrace/intake/internal/states/dedupe-window";
import type * as recorder from "../fixtures/recorder.ts";
import { temporaryDirectory } from "../support.ts";

const DAY_MS = 86_400_000;
const START_MS = 1_700_000_000_000;
const dateNow = Date.now;

const keyed = (key: string, steadyMs?: number): Idempotency => {
  return { key: Buffer.from(key), payloadCrc: 1, payloadBytes: 1, steadyMs };
};

for (const [what, stepMs] of [
  ["ahead", DAY_MS + 3_600_000],
  ["back", -DAY_MS],
] as const) {
  test(`a clock that is set ${what} by a day makes the intake forget no key`, async () => {
    const directory = temporaryDirectory();
    const mill = await open<typeof recorder>({
      handlers: new URL("../fixtures/recorder.js", import.meta.url),
      processors: 1,
      journal: { directory: join(directory, "journal"), retryBaseMs: 1 },
    });
    const publish = async (key: string): Promise<boolean> => {
      const { duplicate } = await mill.publish.note(
        { file: join(directory, "notes"), text: "x" },
        {
          idempotencyKey: key,
        },
      );
      return duplicate;
    };
    try {
      assert.is(await publish("first"), false);
      Date.now = () => dateNow() + stepMs;
      assert.is(await publish("second"), false);
      assert.is(await publish("third"), false);
      assert.is(await publish("first"), true);
      Date.now = dateNow;
      assert.is(await publish("fourth"), false);
      for (const key of ["first", "second", "third", "fourth"]) assert.is(await publish(key), true, key);
    } finally {
      Date.now = dateNow;
      await mill.close();
    }
  });
}

test("a process that begins by a clock that was set back remembers its keys", () => {
  const window = new DedupeWindow({ keysMax: 100, forMs: 1000 });
  assert.is(window.judge("pay", keyed("before"), 1, START_MS + DAY_MS).kind, "first");
  for (let origin = 2; origin < 10; origin += 1) {
    assert.is(window.judge("pay", keyed(`key ${origin}`), origin, START_MS + origin).kind, "first");
  }
  assert.is(window.judge("pay", keyed("key 2"), 20, START_MS + 20).kind, "duplicate");
  assert.is(window.judge("pay", keyed("before"), 21, START_MS + 21).kind, "duplicate");
  // Time goes on from there.
  assert.is(window.judge("pay", keyed("later"), 22, START_MS + DAY_MS + 1001).kind, "first");
  assert.is(window.judge("pay", keyed("key 2"), 23, START_MS + DAY_MS + 1002).kind, "first");
});

test("a header says the time of the steady clock behind all other terms", () => {
  const idempotency = keyed("k", START_MS + 0.25);
  const producer = { id: "p", sequence: 7, payloadCrc: 9 };
  for (const terms of [{ idempotency }, { idempotency, producer, expiresAtMs: START_MS, isOrdered: true }]) {
    const header = Buffer.from(encodeTerms("pay", terms, { trace: 1 }));
    const read = termsOf(header);
    assert.is(read.idempotency?.steadyMs, START_MS + 0.25);
    assert.equal(read.producer, terms.producer);
    assert.ok(read.end < header.length);
    const plain = termsOf(Buffer.from(encodeTerms("pay", { ...terms, idempotency: keyed("k") })));
    assert.is(plain.end, read.end - 8);
  }
});

test.run();
