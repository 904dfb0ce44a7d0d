// Tasks, results and errors: what a program that uses piscina gets from the drop-in.
import { AsyncLocalStorage, createHook } from "node:async_hooks";
import { EventEmitter } from "node:events";
import { pathToFileURL } from "node:url";
import { MessageChannel } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Piscina, move, transferableSymbol, valueSymbol } from "@millrace/piscina";
import { until } from "../support.ts";
import { both, filename, moduleOf, newWord, outcomeOf, wake, withPool } from "./support.ts";

test("values go and come by structured clone, as with piscina", async () => {
  const values = [
    undefined,
    null,
    -0,
    10n,
    "text",
    [1, undefined, 3],
    { a: { b: 1 } },
    new Map([["a", new Set([1])]]),
    new Date(0),
    /x/g,
    Buffer.from("bytes"),
    new Error("inside", { cause: 1 }),
    new Float64Array(2),
  ];
  const identity = moduleOf("module.exports = (value) => value");
  const got = await both({ filename: identity }, (pool) => Promise.all(values.map((value) => pool.run(value))));
  assert.instance(got[10], Uint8Array);
  assert.not(Buffer.isBuffer(got[10]));
});

test("errors, thrown values and missing functions come out as from piscina", async () => {
  const codes = [
    'throw Object.assign(new TypeError("wrong", { cause: 7 }), { code: "E" })',
    'Promise.reject(new RangeError("later"))',
    "throw 5",
    "Promise.reject(undefined)",
  ];
  const outcomes = await both({}, (pool) =>
    Promise.all([
      ...codes.map((code) => outcomeOf(pool.run(code).catch((error: unknown) => Promise.reject(wrap(error))))),
      outcomeOf(pool.run(1, { name: "absent" })),
      outcomeOf(pool.run(1, { filename: "/absent.cjs" }).catch(() => Promise.reject(new Error("no file")))),
      outcomeOf(pool.run(() => {})),
    ]),
  );
  assert.is(outcomes[0]?.message, "wrong");
});

/** uvu compares members of errors; a thrown value is no error. */
const wrap = (error: unknown): unknown => (error instanceof Error ? error : new Error(`thrown: ${String(error)}`));

test("a task that throws null rejects with it", async () => {
  await withPool({}, async (pool) => {
    const thrown = await pool.run("throw null").then(
      () => "nothing",
      (error: unknown) => error,
    );
    assert.is(thrown, null);
  });
});

test("a function is found by name, in the pool and in the call, by path and by URL", async () => {
  const found = await both({ name: "twice" }, (pool) =>
    Promise.all([
      pool.run(4),
      pool.run("4 + 4", { name: "default" }),
      pool.run(4, { filename: pathToFileURL(filename).href }),
    ]),
  );
  assert.equal(found, [8, 8, 8]);
});

test("a task under way needs no turn of the event loop", async () => {
  await withPool({ concurrentTasksPerWorker: 2 }, async (pool) => {
    const word = newWord();
    const task = pool.run(
      { word },
      {
        filename: moduleOf(`module.exports = ({ word }) => {
      Atomics.store(word, 0, 1); Atomics.notify(word, 0); }`),
      },
    );
    // Blocks this thread: nothing of ours runs until the task has.
    assert.is.not(Atomics.wait(word, 0, 0, 60_000), "timed-out");
    await task;
  });
});

test("a buffer that is moved is gone here and there there, both ways", async () => {
  const module = moduleOf(`
    const { move } = require(${JSON.stringify(new URL("../../../packages/piscina/dist/main.js", import.meta.url).pathname)});
    let kept;
    exports.give = () => { kept = new ArrayBuffer(10); return move(kept); };
    exports.left = () => kept.byteLength;
    exports.size = (buffer) => buffer.byteLength;
  `);
  await withPool({ filename: module }, async (pool) => {
    const buffer = new ArrayBuffer(10);
    assert.is(await pool.run(move(buffer), { name: "size" }), 10);
    assert.is(buffer.byteLength, 0);
    const view = new Uint8Array(4);
    assert.is(await pool.run(move(view), { name: "size", transferList: [] }), 4);
    assert.is(view.byteLength, 0);
    assert.is(((await pool.run(null, { name: "give" })) as ArrayBuffer).byteLength, 10);
    assert.is(await pool.run(null, { name: "left" }), 0);
    const { port1, port2 } = new MessageChannel();
    assert.is(await pool.run(move(port2), { name: "size" }), undefined);
    port1.close();
  });
});

test("an object of the user's says what is handed over for it, a list too", async () => {
  const buffers = [new ArrayBuffer(1), new ArrayBuffer(2)];
  const parcel = {
    get [transferableSymbol](): object {
      return buffers;
    },
    get [valueSymbol](): object {
      return { buffers };
    },
  };
  const sizes = moduleOf("module.exports = ({ buffers }) => buffers.map((each) => each.byteLength)");
  await withPool({ filename: sizes }, async (pool) => {
    assert.equal(await pool.run(Piscina.move(parcel as never)), [1, 2]);
    assert.equal(
      buffers.map(({ byteLength }) => byteLength),
      [0, 0],
    );
  });
});

test("what can't be cloned rejects its own call, and the thread lives on", async () => {
  await withPool({}, async (pool) => {
    const id = await pool.run("require('node:worker_threads').threadId");
    for (const code of ["() => {}", "({ f() {} })", "Symbol()", "Promise.reject(() => {})"]) {
      const { name, message } = await outcomeOf(pool.run(code));
      assert.is(name, "DataCloneError");
      assert.match(message as string, "could not be cloned");
    }
    const { name, message } = await outcomeOf(pool.run("throw new TypeError('wrong', { cause: () => {} })"));
    assert.equal([name, message], ["TypeError", "wrong"]);
    assert.match((await outcomeOf(pool.run({ f() {} }))).message as string, /cloned/);
    assert.is(await pool.run("require('node:worker_threads').threadId"), id);
  });
});

test("an abort reaches a task that waits, one that runs, and one that loops for ever", async () => {
  const outcomes = await both({}, async (pool) => {
    const running = new AbortController();
    const waiting = new AbortController();
    const tasks = [
      pool.run("while (true);", { signal: running.signal }),
      pool.run("1", { signal: waiting.signal }),
      pool.run("2", { signal: AbortSignal.abort("before") }),
      pool.run("3"),
    ];
    waiting.abort("waiting");
    running.abort("running");
    return Promise.all(tasks.map(outcomeOf));
  });
  assert.equal(
    outcomes.map(({ value, cause }) => value ?? cause),
    ["running", "waiting", "before", 3],
  );
});

test("an EventEmitter aborts, and is left without listeners", async () => {
  await withPool({}, async (pool) => {
    const signal = new EventEmitter();
    assert.is(await pool.run("1", { signal }), 1);
    assert.is(signal.listenerCount("abort"), 0);
    const aborted = outcomeOf(pool.run("while (true);", { signal }));
    signal.emit("abort");
    const { name, message, cause } = await aborted;
    assert.equal([name, message, cause], ["AbortError", "The task has been aborted", undefined]);
    assert.is(signal.listenerCount("abort"), 0);
    const controller = new AbortController();
    await pool.run("1", { signal: controller.signal });
    controller.abort();
    assert.is(await pool.run("2"), 2);
  });
});

test("an abort ends nobody else's thread, and what waits gets the one that follows", async () => {
  await withPool({ concurrentTasksPerWorker: 4 }, async (pool) => {
    const controllers = Array.from({ length: 5 }, () => new AbortController());
    const aborted = controllers.map(({ signal }) => outcomeOf(pool.run("new Promise(() => {})", { signal })));
    const after = pool.run("'after'");
    for (const controller of controllers) controller.abort();
    for (const { message } of await Promise.all(aborted)) assert.is(message, "The task has been aborted");
    assert.is(await after, "after");
    assert.is(pool.threads.length, 1);
  });
});

test("async hooks and AsyncLocalStorage see a task as with piscina", async () => {
  const seen = await both({}, async (pool) => {
    const ids = new Set<number>();
    const counts = { init: 0, before: 0, after: 0, destroy: 0 };
    const hook = createHook({
      init(id, type) {
        if (type !== "Piscina.Task") return;
        ids.add(id);
        counts.init++;
      },
      before: (id) => void (ids.has(id) && counts.before++),
      after: (id) => void (ids.has(id) && counts.after++),
      destroy: (id) => void (ids.has(id) && counts.destroy++),
    }).enable();
    const storage = new AsyncLocalStorage<string>();
    const value = await storage.run("kept", async () => {
      await pool.run("1");
      return storage.getStore();
    });
    await new Promise((resolve) => setImmediate(resolve));
    hook.disable();
    return { ...counts, value };
  });
  assert.equal(seen, { init: 1, before: 1, after: 1, destroy: 1, value: "kept" });
});

test("ten thousand tasks on two threads neither nest nor get lost", async () => {
  await withPool({ minThreads: 2, maxThreads: 2 }, async (pool) => {
    const tasks = Array.from({ length: 10_000 }, (_, index) => pool.run(index, { name: "twice" }));
    const sum = (await Promise.all(tasks)).reduce((total: number, value: number) => total + value, 0);
    assert.is(sum, 9999 * 10_000);
    assert.is(pool.completed, 10_000);
    assert.is(pool.queueSize, 0);
  });
});

for (const atomics of ["sync", "async", "disabled"] as const) {
  test(`tasks run with atomics: "${atomics}", side by side too`, async () => {
    await withPool({ atomics, concurrentTasksPerWorker: 2 }, async (pool) => {
      const word = newWord();
      const first = pool.run("new Promise((resolve) => setTimeout(resolve, 20, 'slept'))");
      const second = pool.run(word, { name: "wait" });
      wake(word);
      assert.is(await first, "slept");
      await second;
      for (let index = 0; index < 50; index++) assert.is(await pool.run(index, { name: "twice" }), index * 2);
    });
  });
}

test("with atomics sync a thread without tasks stands still, with async it doesn't", async () => {
  const ticks = async (atomics: "sync" | "async" | "disabled"): Promise<number> => {
    let counted = 0;
    await withPool({ atomics }, async (pool) => {
      const word = newWord();
      const counter = moduleOf("module.exports = (word) => void setInterval(() => Atomics.add(word, 0, 1), 1)");
      await pool.run(word, { filename: counter });
      if (atomics === "sync") await new Promise((resolve) => setTimeout(resolve, 50));
      else await until(() => Atomics.load(word, 0) > 2, "ticks of an idle thread");
      counted = Atomics.load(word, 0);
    });
    return counted;
  };
  assert.ok((await ticks("async")) > 2);
  assert.ok((await ticks("disabled")) > 2);
  assert.is(await ticks("sync"), 0);
});

test.run();
