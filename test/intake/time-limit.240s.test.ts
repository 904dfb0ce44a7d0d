// A time limit holds whatever a handler does with its thread.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { rejectsWith } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  spins(record: object): unknown;
  awaitsAndSpins(record: object): unknown;
  hangs(record: object): unknown;
  works(record: object): unknown;
  quick(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/time-limit-handlers.mjs", import.meta.url);

const withMill = millsOf<Handlers>({ handlers, journal: { retryBaseMs: 1, failuresMax: 0 } });

for (const name of ["spins", "awaitsAndSpins"] as const) {
  test(`a handler that blocks its thread beyond its time loses it: ${name}`, async () => {
    await withMill({ handlers: { [name]: { timeoutMs: 100, attemptsMax: 2 } } }, async (mill) => {
      const beside = await mill.publish.hangs({ ms: 50 });
      const { cause } = await rejectsWith((await mill.publish[name]({})).done, "ERR_RECORD_DEAD");
      assert.match((cause as Error).message, /time limit/);
      // The only thread is free again, and the innocent one has come back.
      await (
        await mill.publish.quick({})
      ).done;
      await beside.done;
      assert.is(mill.stats().intake?.dead, 1);
    });
  });
}

test("handlers that only hang keep their thread while they are few", async () => {
  await withMill({ handlers: { hangs: { timeoutMs: 50, attemptsMax: 1 } } }, async (mill) => {
    const sent = await Promise.all(Array.from({ length: 20 }, () => mill.publish.hangs({ ms: 3000 })));
    await Promise.all(sent.map(({ done }) => rejectsWith(done, "ERR_RECORD_DEAD")));
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.is(mill.stats().scheduler.restarts, 0);
    await (
      await mill.publish.quick({})
    ).done;
  });
});

test("an attempt that waits for its thread has all of its time", async () => {
  await withMill({ handlers: { quick: { timeoutMs: 300, attemptsMax: 1 } } }, async (mill) => {
    // It has the only thread for longer than the others may run.
    await mill.publish.works({ ms: 1500 });
    const sent = await Promise.all(Array.from({ length: 20 }, () => mill.publish.quick({})));
    await Promise.all(sent.map(({ done }) => done));
    assert.is(mill.stats().intake?.dead, 0);
  });
});

test("a thread that holds hundreds of handlers that were given up is replaced", async () => {
  await withMill({ handlers: { hangs: { timeoutMs: 50, attemptsMax: 1 } } }, async (mill) => {
    const sent = await Promise.all(Array.from({ length: 1500 }, () => mill.publish.hangs({ ms: 2 ** 30 })));
    await Promise.all(sent.map(({ done }) => rejectsWith(done, "ERR_RECORD_DEAD")));
    await (
      await mill.publish.quick({})
    ).done;
    assert.ok(mill.stats().scheduler.restarts >= 1);
  });
});

test.run();
