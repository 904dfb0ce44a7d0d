// Options of calls that are wrong: each call rejects, none throws, none takes a second argument for
// options.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Blocking } from "@millrace/pool";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const withScheduler = schedulersOf<typeof handlers>({ handlers: handlersUrl, processors: 1 });

const NO_OPTIONS: unknown[] = [2, 0, "high", "", true, false, null, [], [2], new Date(), new Map(), 2n, Symbol("s")];
NO_OPTIONS.push(AbortSignal.abort(), () => {}, Promise.resolve({}), new Uint8Array(2), new Error("no"));

const WRONG: [options: unknown, name: string][] = [
  [{ timeout: 5 }, "timeout"],
  [{ timeoutMs: 0 }, "timeoutMs"],
  [{ timeoutMs: "5" }, "timeoutMs"],
  [{ timeoutMs: NaN }, "timeoutMs"],
  [{ timeoutMs: 2 ** 31 }, "timeoutMs"],
  [{ signal: {} }, "signal"],
  [{ signal: null }, "signal"],
  [{ transferList: new Set() }, "transferList"],
];

const RUN_ONLY: [options: unknown, name: string][] = [
  [{ priority: "urgent" }, "priority"],
  [{ retry: true }, "retry"],
  [{ attemptsMax: 1 }, "attemptsMax"],
  [{ runTimeoutMs: -1 }, "runTimeoutMs"],
];

type Call = (options: unknown) => Promise<unknown>;

async function refusesAll(calls: Readonly<Record<string, Call>>, wrong: readonly [unknown, string][]): Promise<void> {
  for (const [owner, call] of Object.entries(calls)) {
    for (const given of NO_OPTIONS) {
      const error = await rejectsWith(call(given), "ERR_INVALID_OPTION");
      assert.ok(error.message.startsWith(`${owner}: the options must be an object with options, not `), error.message);
      assert.is(error.details.name, "options");
      assert.is(error.details.value, given);
    }
    for (const [options, name] of wrong) {
      const error = await rejectsWith(call(options), "ERR_INVALID_OPTION");
      assert.ok(error.message.startsWith(`${owner}: `), error.message);
      assert.is(error.details.name, name);
    }
    const failing = {
      get priority(): never {
        throw new RangeError("getter");
      },
      get timeoutMs(): never {
        throw new RangeError("getter");
      },
    };
    assert.is((await call(failing).catch((thrown: unknown) => thrown)) instanceof Error, true);
  }
}

test("run: a second argument that is no object with options rejects", () =>
  withScheduler({}, async ({ run }) => {
    await refusesAll({ "run.echo": (options) => run.echo(1, options as never) }, [...WRONG, ...RUN_ONLY]);
    assert.is(await run.echo(1, undefined), 1);
    assert.is(await run.echo(1, {}), 1);
    assert.is(await run.echo(1, Object.create(null) as object), 1);
    const refused = await rejectsWith(run.echo(1, { timeout: 5 } as never), "ERR_INVALID_OPTION");
    assert.match(refused.message, 'did you mean "timeoutMs"?');
    // As a callback of map, which hands the index over as well.
    const mapped = await Promise.allSettled([1, 2].map(run.echo as (value: number) => Promise<unknown>));
    assert.equal(
      mapped.map(({ status }) => status),
      ["rejected", "rejected"],
    );
  }));

test("runMany, parallelMap and parallelReduce: the same, before the list is read", () =>
  withScheduler({}, async ({ runMany, parallelMap, parallelReduce }) => {
    const list = {
      [Symbol.iterator]: (): never => {
        throw new Error("the list was read");
      },
    };
    await refusesAll(
      {
        "runMany.echo": (options) => runMany.echo(list, options as never),
        "parallelMap.echo": (options) => parallelMap.echo(list, options as never),
        "parallelReduce.sumOfPair": (options) => parallelReduce.sumOfPair(list, options as never),
      },
      [
        [{ signal: AbortSignal.abort() }, "signal"],
        [{ retry: "always" }, "retry"],
      ],
    );
    await rejectsWith(parallelReduce.sumOfPair([1, 2] as never, { map: "nowhere" as never }), "ERR_HANDLER_UNKNOWN");
  }));

test("blocking: the same", async () => {
  const pool = new Blocking<typeof handlers>(handlersUrl.href, ["echo"], { threadsMax: 1 });
  await refusesAll({ "blocking.echo": (options) => pool.run.echo(1, options as never) }, WRONG);
  assert.is(await pool.run.echo(1, {}), 1);
  await pool.close();
});

test.run();
