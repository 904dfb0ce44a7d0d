// An uncaught error fails the record whose work has thrown it, and nothing beside it.
import { existsSync, readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { rejectsWith, until } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  job(record: object): unknown;
  late(record: object): unknown;
  outer(record: object): unknown;
  inner(record: object): unknown;
  plain(record: object): unknown;
  hears(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/blame-handlers.mjs", import.meta.url);
const WAYS = [
  "timer",
  "immediate",
  "tick",
  "rejection in a microtask",
  "rejection",
  "chain",
  "emitter",
  "stream",
  "diagnostics",
];
/** Earlier versions of Node report it when its context is over. */
if (Number(process.versions.node.split(".")[0]) >= 24) WAYS.push("microtask");

const withMill = millsOf<Handlers>({ handlers, journal: { retryBaseMs: 1, retryMaxMs: 5, failuresMax: 0 } });

const linesOf = (file: string): string[] => (existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : []);
const threadsOf = (file: string): Set<string | undefined> => new Set(linesOf(file).map((line) => line.split(" ")[2]));

for (const how of WAYS) {
  test(`only the culprit of an uncaught error pays: ${how}`, async () => {
    await withMill({ attemptsMax: 2 }, async (mill, file) => {
      const innocent = Array.from({ length: 10 }, (_, n) => mill.publish.job({ file, text: `good${n}`, ms: 300 }));
      const bad = await mill.publish.job({ file, how, text: "bad", ms: 300 });
      const error = await rejectsWith(bad.done, "ERR_RECORD_DEAD");
      assert.is((error.cause as Error).message, `bad ${how}`);
      await Promise.all((await Promise.all(innocent)).map(({ done }) => done));
      const [letter] = await mill.dead.list();
      assert.equal([letter?.attempts, letter?.failures.map(({ reason }) => reason)], [2, ["error", "error"]]);
      // Each innocent one ran once, all on the same thread.
      assert.is(linesOf(file).length, 12);
      assert.is(threadsOf(file).size, 1);
    });
  });
}

test("an error that comes after its handler has returned ends nothing, and is told", async () => {
  await withMill({}, async (mill, file) => {
    const warnings: Error[] = [];
    const listener = (warning: Error): void => void warnings.push(warning);
    process.on("warning", listener);
    try {
      for (const how of ["timer", "rejection"]) {
        await (
          await mill.publish.late({ file, how, text: how })
        ).done;
        const { done } = await mill.publish.job({ file, text: "beside", ms: 100 });
        await done;
      }
      assert.is(threadsOf(file).size, 1);
      assert.is(mill.stats().intake?.retried, 0);
    } finally {
      process.off("warning", listener);
    }
  });
});

test("an error of a handler that a handler has called fails the record", async () => {
  await withMill({ attemptsMax: 1 }, async (mill, file) => {
    const beside = await mill.publish.job({ file, text: "beside", ms: 200 });
    const { done } = await mill.publish.outer({ file, how: "timer", text: "outer", ms: 300 });
    const error = await rejectsWith(done, "ERR_RECORD_DEAD");
    assert.is((error.cause as Error).message, "bad timer");
    await beside.done;
    assert.is(threadsOf(file).size, 1);
  });
});

test("an error that is nobody's ends the thread, and its neighbours run again", async () => {
  await withMill({ attemptsMax: 3 }, async (mill, file) => {
    const beside = await mill.publish.job({ file, text: "beside", ms: 200 });
    await mill.publish.plain({ file, how: "timer", text: "plain" });
    await beside.done;
    await until(() => linesOf(file).filter((line) => line.startsWith("beside")).length === 2, "it ran again");
    assert.is(threadsOf(file).size, 2);
    assert.is(mill.stats().intake?.dead, 0);
  });
});

test("a handler whose attempt has failed so is told by its signal", async () => {
  await withMill({ attemptsMax: 1 }, async (mill, file) => {
    const { done } = await mill.publish.hears({ file, text: "hears" });
    await rejectsWith(done, "ERR_RECORD_DEAD");
    await until(() => linesOf(file).includes("hears aborted"), "its signal aborts");
  });
});

test("calls by run on the same thread are never blamed on a record", async () => {
  await withMill({ attemptsMax: 1 }, async (mill, file) => {
    const { done } = await mill.publish.job({ file, text: "beside", ms: 300 });
    assert.equal(
      await mill.run.inner({ how: "timer", ms: 1000 }).then(
        () => "returned",
        (error: { code: string }) => error.code,
      ),
      "ERR_MACHINE_DIED",
    );
    await done;
    assert.is(mill.stats().intake?.dead, 0);
  });
});

test.run();
