// Lists of runMany, parallelMap and parallelReduce: taken at the call, from any iterable.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Scheduler } from "@millrace/scheduler";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const withScheduler = schedulersOf<typeof handlers>({ handlers: handlersUrl, processors: 1, onHint: () => {} });

/** The error that `promise` rejects with. */
async function thrownBy(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (thrown) {
    return thrown as Error;
  }
  throw new Error("nothing was thrown");
}

const METHODS = ["runMany", "parallelMap"] as const;

for (const method of METHODS) {
  for (const tasksMax of [4, 4096]) {
    test(`${method}: the list is what it was at the call, with ${tasksMax} slots`, () =>
      withScheduler({ tasksMax }, async (scheduler) => {
        for (const spoil of [
          (list: { n: number }[]) => (list.length = 0),
          (list: { n: number }[]) => list.copyWithin(0, 5),
          (list: { n: number }[]) => list.splice(0, 3, { n: -1 }),
          (list: { n: number }[]) => list.push({ n: -2 }),
          (list: { n: number }[]) => list.forEach((member) => (member.n = -3)),
        ]) {
          const list = Array.from({ length: 40 }, (_, n) => ({ n }));
          const promise = scheduler[method].echo(list);
          spoil(list);
          assert.equal(
            await promise,
            Array.from({ length: 40 }, (_, n) => ({ n })),
          );
        }
      }));
  }

  test(`${method}: every iterable is a list`, () =>
    withScheduler({ tasksMax: 4 }, async (scheduler) => {
      const numbers = [3, 1, 2, 5, 4, 9, 8];
      function* generated(): Generator<number> {
        yield* numbers;
      }
      class Numbers extends Array<number> {}
      const holes: number[] = [];
      holes[2] = 7;
      for (const list of [
        numbers,
        new Set(numbers),
        generated(),
        Float64Array.from(numbers),
        Int8Array.from(numbers),
        new Map(numbers.map((n) => [`${n}`, n])).values(),
        numbers[Symbol.iterator](),
        Numbers.from(numbers),
        Object.freeze([...numbers]),
        new Proxy(numbers, {}),
        { [Symbol.iterator]: generated },
      ]) {
        assert.equal(await scheduler[method].echo(list), numbers);
      }
      assert.equal(await scheduler[method].echo(new Map([["a", 1]])), [["a", 1]]);
      assert.equal(await scheduler[method].echo("añ"), ["a", "ñ"]);
      assert.equal(await scheduler[method].echo(holes), [undefined, undefined, 7]);
      assert.equal(await scheduler[method].echo(new Set()), []);
    }));

  test(`${method}: what isn't iterable is refused with a code, and nothing else is touched`, () =>
    withScheduler({}, async (scheduler) => {
      async function* later(): AsyncGenerator<number> {
        yield 1;
      }
      for (const list of [undefined, null, 5, true, {}, { length: 2 }, () => 1, later(), Promise.resolve([1])]) {
        const error = await rejectsWith(scheduler[method].echo(list as never), "ERR_LIST_UNSUPPORTED");
        assert.match(error.message, `${method}.echo: the list must be iterable, not `);
        assert.is(scheduler.stats().outstanding, 0);
      }
      assert.match(
        (await rejectsWith(scheduler[method].echo(later() as never), "ERR_LIST_UNSUPPORTED")).message,
        "an async iterable",
      );
      assert.is(await scheduler.run.echo(1), 1);
    }));

  test(`${method}: an iterator that throws midway rejects the call, and no task runs`, () =>
    withScheduler({}, async (scheduler) => {
      let isClosed = false;
      function* broken(): Generator<number> {
        try {
          yield 1;
          throw new RangeError("midway");
        } finally {
          isClosed = true;
        }
      }
      const before = scheduler.stats().machines[0]?.ok as number;
      assert.is((await thrownBy(scheduler[method].echo(broken()))).message, "midway");
      assert.ok(isClosed);
      const proxied = new Proxy([1, 2], {
        get: (target, name, receiver): unknown => {
          if (name === "1") throw new RangeError("trap");
          return Reflect.get(target, name, receiver);
        },
      });
      assert.is((await thrownBy(scheduler[method].echo(proxied))).message, "trap");
      assert.is(scheduler.stats().outstanding, 0);
      assert.is(scheduler.stats().machines[0]?.ok, before);
    }));

  test(`${method}: lists and values whose reading makes further calls`, () =>
    withScheduler({ tasksMax: 4 }, async (scheduler) => {
      const inner: Promise<unknown>[] = [];
      function* calling(): Generator {
        for (let n = 0; n < 20; n += 1) {
          inner.push(scheduler.run.echo({ n }), scheduler.runMany.echo([n, { n }]));
          yield {
            n,
            get made(): number {
              inner.push(scheduler.run.echo({ made: n }));
              return n;
            },
          };
        }
      }
      const results = (await scheduler[method].echo(calling())) as unknown[];
      assert.equal(
        results,
        Array.from({ length: 20 }, (_, n) => ({ n, made: n })),
      );
      const all = (await Promise.all(inner)) as unknown[];
      assert.ok(all.length >= 60);
      assert.equal(all.slice(0, 2), [{ n: 0 }, [0, { n: 0 }]]);
    }));
}

test("runMany: a value that throws when read fails its list once others are over", () =>
  withScheduler({ tasksMax: 4 }, async (scheduler) => {
    const bad = {
      get value(): never {
        throw new RangeError("getter");
      },
    };
    const list = [...Array.from({ length: 10 }, (_, n) => ({ n })), bad, { n: 11 }];
    assert.match((await thrownBy(scheduler.runMany.echo(list))).message, "getter");
    assert.is(scheduler.stats().outstanding, 0);
    assert.is(scheduler.stats().machines[0]?.ok, 11);
  }));

test("runMany: values that bytes can't carry go by message, like those of single calls", () =>
  withScheduler({ tasksMax: 4 }, async (scheduler) => {
    const lists = Array.from({ length: 10 }, (_, n) => new Int32Array(new SharedArrayBuffer(4 * (n + 1))));
    const results = (await scheduler.runMany.echo(lists)) as Int32Array[];
    results.forEach((result, n) => {
      result[0] = n + 5;
      assert.is(lists[n]?.[0], n + 5);
    });
    await rejectsWith(scheduler.runMany.echo([1, () => 1]), "ERR_VALUE_UNSUPPORTED");
  }));

test("parallelReduce takes any iterable, and says when there is nothing to reduce", () =>
  withScheduler({}, async (scheduler) => {
    const { sumOfPair: sum } = scheduler.parallelReduce;
    assert.is(await sum(new Set([1, 2, 3])), 6);
    assert.is(await sum(Float64Array.of(1, 2, 3)), 6);
    const list = [1, 2, 3];
    const promise = sum(list);
    list.length = 0;
    assert.is(await promise, 6);
    await rejectsWith(sum(new Set<number>()), "ERR_LIST_EMPTY");
    await rejectsWith(sum([]), "ERR_LIST_EMPTY");
    await rejectsWith(sum(5 as never), "ERR_LIST_UNSUPPORTED");
  }));

test("a call whose argument closes the runtime while it is read is still made", async () => {
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: handlersUrl, processors: 1 });
  let closing: Promise<void> | undefined;
  const value = {
    get n(): number {
      closing ??= scheduler.close();
      return 7;
    },
  };
  assert.equal(await scheduler.run.echo(value), { n: 7 });
  await closing;
  await rejectsWith(scheduler.run.echo(1), "ERR_SCHEDULER_CLOSED");
});

test.run();
