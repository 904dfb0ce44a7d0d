// The events of an intake.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type BreakerEvent, type KeysEvictedEvent, type Millrace, type MillraceOptions, open } from "millrace";
import { temporaryDirectory, until } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  note(record: object): unknown;
  down(record: object): unknown;
  slow(record: object): unknown;
}

const fixtures = new URL("../../../test/fixtures/", import.meta.url);

function start(
  directory: string,
  options: Partial<MillraceOptions["journal"]>,
  module = "trial-handlers.mjs",
): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers: new URL(module, fixtures),
    processors: 1,
    journal: { directory: join(directory, "journal"), ...options },
  });
}

const withMill = millsOf<Handlers>({ handlers: new URL("trial-handlers.mjs", fixtures) });

async function warningOf(code: string, run: () => Promise<void>): Promise<Error> {
  const warnings: (Error & { code?: string })[] = [];
  const listener = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listener);
  try {
    await run();
    await until(() => warnings.some((warning) => warning.code === code), `the warning ${code}`);
  } finally {
    process.off("warning", listener);
  }
  const found = warnings.filter((warning) => warning.code === code);
  assert.is(found.length, 1, "one warning");
  return found[0] as Error;
}

test("records for a missing handler wait, are spoken of once, and go on later", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const before = await start(directory, {});
  await before.pause("note");
  for (let n = 0; n < 20; n += 1)
    await before.publish.note({ file, text: `${n}` }, { priority: n % 2 ? "high" : "low" });
  await before.terminate();

  const warning = await warningOf("MILLRACE_HANDLER_MISSING", async () => {
    const without = await start(directory, {}, "other-handlers.mjs");
    try {
      const missing: string[] = [];
      without.on("handlerMissing", ({ handler }) => missing.push(handler));
      const left = await without.drain();
      assert.is(left.unroutable, 20);
      await until(() => missing.length > 0, "the event");
      assert.equal(missing, ["note"]);
      assert.is(without.stats().intake?.unroutable, 20);
    } finally {
      await without.close();
    }
  });
  assert.match(warning.message, /"note"/);

  const again = await start(directory, {});
  try {
    assert.equal([(await again.drain()).paused, again.stats().intake?.done], [20, 0], "paused across both openings");
    await again.resume("note");
    assert.is((await again.drain()).unroutable, 0);
    assert.is(again.stats().intake?.done, 20);
  } finally {
    await again.close();
  }
});

test("a handler that keeps failing is given rests, which are spoken of and counted", async () => {
  await withMill({ failuresMax: 2, retryBaseMs: 1, retryMaxMs: 5 }, async (mill, file) => {
    const told: BreakerEvent[] = [];
    mill.on("breaker", (event) => told.push(event));
    const until1 = Date.now() + 300;
    await Promise.all([1, 2, 3].map((n) => mill.publish.down({ file, n, until: until1 })));
    await until(() => told.at(-1)?.state === "closed", "it works again");
    assert.equal(told.map(({ state }) => state).slice(0, 2), ["open", "halfOpen"]);
    assert.equal([told[0]?.handler, told[0]?.failures, told[0]?.restMs], ["down", 2, 1000]);
    assert.ok((mill.stats().intake?.breakersOpened ?? 0) >= 1);
  });
});

test("idempotency keys that are forgotten before their time are counted and spoken of", async () => {
  const warning = await warningOf("MILLRACE_KEYS_EVICTED", async () => {
    await withMill({ dedupe: { keysMax: 5 } }, async (mill, file) => {
      const told: KeysEvictedEvent[] = [];
      mill.on("keysEvicted", (event) => told.push(event));
      for (let n = 0; n < 20; n += 1) await mill.publish.note({ file, text: `${n}` }, { idempotencyKey: `${n}` });
      await until(() => told.length > 0, "the event");
      assert.is(told.length, 1);
      assert.is(told[0]?.keysMax, 5);
      assert.ok((told[0]?.count ?? 0) > 0);
      assert.is(mill.stats().intake?.dedupeEvicted, 15);
    });
  });
  assert.match(warning.message, /more than 5/);
});

test("a listener that throws ends as an uncaught exception, and not in the intake", async () => {
  await withMill({ levels: { unfinished: { high: 1 } } }, async (mill, file) => {
    mill.on("level", () => {
      throw new Error("from a listener");
    });
    const uncaught: unknown[] = [];
    const listener = (thrown: unknown): void => void uncaught.push(thrown);
    process.on("uncaughtException", listener);
    try {
      await mill.publish.note({ file, text: "a" });
      await (
        await mill.publish.note({ file, text: "b" })
      ).done;
      await until(() => uncaught.length > 0, "the uncaught exception");
      assert.is((uncaught[0] as Error).message, "from a listener");
    } finally {
      process.off("uncaughtException", listener);
    }
  });
});

test.run();
