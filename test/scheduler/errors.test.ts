// Errors on every way from a handler to its caller: the same, and whole.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Blocking } from "@millrace/pool";
import type * as handlers from "../fixtures/throwing-handlers.ts";
import { schedulersOf } from "./with-scheduler.ts";

const url = new URL("../fixtures/throwing-handlers.js", import.meta.url);

type Arrived = Error & Readonly<Record<string, unknown>>;

const expected: Readonly<Record<string, (error: Arrived) => void>> = {
  function(error) {
    assert.ok(error instanceof TypeError);
    assert.equal([error.message, error.code, error.status, error.config], ["x", "E42", 503, { retry: [undefined] }]);
    assert.equal(error.details, { omitted: ["config.retry[0]"] });
    assert.match(error.stack ?? "", "fixtures/throwing-handlers");
  },
  dom(error) {
    assert.ok(error instanceof DOMException);
    assert.equal([error.name, error.message, error.code], ["TimeoutError", "too late", 23]);
  },
  aggregate(error) {
    assert.ok(error instanceof AggregateError);
    assert.ok(error.errors[0] instanceof RangeError);
    assert.is(error.errors[1], "b");
    assert.is((error.cause as Error).message, "why");
    assert.equal(error.details, { omitted: ["errors[2]"] });
  },
  class(error) {
    assert.equal(
      [error.constructor.name, error.name, error.message, error.code],
      ["HttpError", "Error", "down", "HTTP_503"],
    );
  },
  request(error) {
    assert.equal(error.response, { status: 500, data: "d" });
    assert.equal((error.details as { omitted: string[] }).omitted.toSorted(), ["request", "response.request"]);
  },
  system(error) {
    assert.equal([error.code, error.syscall, error.path, error.errno], ["ENOENT", "open", "/not/there", -2]);
  },
  large(error) {
    assert.match(error.message, /^mé{100}/);
    assert.equal([error.code, error.n], ["E_LARGE", 1]);
  },
  cycle(error) {
    assert.is(error.cause, error);
  },
  undefined(error) {
    assert.is(error, undefined);
  },
  symbol(error) {
    assert.is(error.message, "Symbol(s)");
  },
  object(error) {
    assert.equal(error, { code: 5, details: { omitted: ["f"] } });
  },
  revoked(error) {
    assert.ok(error instanceof Error);
  },
};

async function rejection(promise: Promise<unknown>): Promise<Arrived> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error as Arrived;
  }
  throw new Error(`resolved with ${String(value)}`);
}

const kinds = Object.keys(expected);

/** The smallest arena: some errors don't fit. */
const withScheduler = schedulersOf<typeof handlers>(
  { handlers: url, processors: 1, arenaBytesMax: 2 ** 20 },
  (scheduler) => assert.is(scheduler.stats().restarts, 0),
);

for (const handler of ["raise", "raiseLater", "raiseNested", "raiseJoined"] as const) {
  test(`each kind of error arrives whole: ${handler}, by run and runMany`, () =>
    withScheduler({}, async ({ run, runMany }) => {
      for (const kind of kinds) {
        expected[kind]?.(await rejection(run[handler](kind)));
        expected[kind]?.(await rejection(runMany[handler]([kind])));
      }
    }));
}

test("each kind of error arrives whole by parallelMap", () =>
  withScheduler({}, async ({ parallelMap }) => {
    for (const kind of kinds) expected[kind]?.(await rejection(parallelMap.raise([kind])));
  }));

test("each kind of error arrives whole from a blocking call", async () => {
  const pool = new Blocking<typeof handlers>(url.href, ["raise", "raiseLater", "settled"]);
  try {
    for (const kind of kinds) {
      expected[kind]?.(await rejection(pool.run.raise(kind)));
      expected[kind]?.(await rejection(pool.run.raiseLater(kind)));
    }
    await assertWithin(pool.run.settled);
  } finally {
    await pool.terminate();
  }
});

test("an error within a result arrives whole too", () => withScheduler({}, ({ run }) => assertWithin(run.settled)));

test("a result that throws when it is looked at fails its own call only", () =>
  withScheduler({}, async ({ run, runMany }) => {
    for (const handler of ["hostile", "hostileLater"] as const) {
      const bystander = rejection(run.raiseLater("class"));
      assert.match((await rejection(run[handler]("revoked"))).message, "revoked");
      assert.match((await rejection(runMany[handler](["revoked"]))).message, "revoked");
      expected["class"]?.(await rejection(run[handler]("then")));
      expected["class"]?.(await bystander);
    }
  }));

async function assertWithin(settled: (kind: string) => Promise<object>): Promise<void> {
  for (const kind of ["function", "dom", "aggregate", "class", "request", "system", "cycle"]) {
    const { list } = (await settled(kind)) as { list: { reason: Arrived }[] };
    expected[kind]?.((list[0] as { reason: Arrived }).reason);
  }
}

test.run();
