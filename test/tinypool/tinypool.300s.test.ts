// The drop-in as a program that uses tinypool sees it, on threads and on processes.
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { MessageChannel } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as members from "@millrace/tinypool";
import { Tinypool } from "@millrace/tinypool";
import { Tinypool as Original } from "tinypool";
import { temporaryDirectory, until } from "../support.ts";
import { both, filename, moduleOf, outcomeOf, RUNTIMES, withPool } from "./support.ts";

for (const runtime of RUNTIMES) {
  test(`${runtime}: values, errors, names and files come out as from tinypool`, async () => {
    const identity = moduleOf("export default (value) => value");
    const answers = await both({ runtime }, (pool) =>
      Promise.all([
        pool.run({ a: [1, "b", null] }, { filename: identity }),
        pool.run(4, { name: "twice" }),
        pool.run("2", { filename: pathToFileURL(filename).href }),
        pool.run("2", { filename: pathToFileURL(filename) }),
        outcomeOf(pool.run("throw new RangeError('wrong')")),
        outcomeOf(pool.run("Promise.reject(new TypeError('later'))")),
        outcomeOf(pool.run(1, { name: "absent" })),
      ]),
    );
    assert.equal(answers.slice(0, 4), [{ a: [1, "b", null] }, 8, 2, 2]);
    assert.is(answers[4], "RangeError: wrong");
  });

  test(`${runtime}: env, argv, execArgv and the state of the worker`, async () => {
    const options = { runtime, env: { ONLY: "this" }, argv: ["a"], execArgv: ["--no-warnings"], workerData: "data" };
    const code = `({ only: process.env.ONLY, home: process.env.HOME, argv: process.argv.slice(2),
      execArgv: process.execArgv, state: process.__tinypool_state__ })`;
    const got = (await both(options, (pool) => pool.run(code))) as { state: { workerId: number } };
    assert.is(got.state.workerId, 1);
  });

  test(`${runtime}: a worker that dies rejects its task, and what waits goes on`, async () => {
    await withPool({ runtime }, async (pool) => {
      const tasks = ["process.exit(3)", "1", "process.exit(4)", "2"].map((code) => outcomeOf(pool.run(code)));
      const dead = "Error: Worker exited unexpectedly";
      assert.equal(await Promise.all(tasks), [dead, 1, dead, 2]);
    });
  });

  test(`${runtime}: an uncaught error after the task is an event`, async () => {
    await withPool({ runtime, useAtomics: false }, async (pool) => {
      const failed = once(pool, "error");
      await pool.run("void setTimeout(() => { throw new Error('late') }, 5)");
      pool.threads[0]?.ref?.();
      assert.instance((await failed)[0], Error);
      assert.is(await pool.run("1"), 1);
    });
  });

  test(`${runtime}: isolated workers serve one task each`, async () => {
    const counting = moduleOf("let count = 0; export default () => [process.__tinypool_state__.workerId, count++]");
    await withPool({ runtime, filename: counting, isolateWorkers: true, maxThreads: 2 }, async (pool) => {
      const answers = await Promise.all([1, 2, 3, 4, 5].map(() => pool.run(null) as Promise<[number, number]>));
      assert.ok(
        answers.every(([id, count]) => count === 0 && id >= 1 && id <= 2),
        JSON.stringify(answers),
      );
      assert.ok(pool.threads.length >= 1);
    });
  });

  test(`${runtime}: a worker over its memory limit is replaced between tasks`, async () => {
    await withPool({ runtime, maxMemoryLimitBeforeRecycle: 1 }, async (pool) => {
      const before = pool.threads[0]?.threadId;
      assert.is(await pool.run("1"), 1);
      assert.is.not(pool.threads[0]?.threadId, before);
    });
  });

  test(`${runtime}: recycleWorkers replaces idle ones now, busy ones later`, async () => {
    await withPool({ runtime, minThreads: 2, maxThreads: 2 }, async (pool) => {
      const ids = (): number[] => pool.threads.map(({ threadId }) => threadId);
      const before = ids();
      const file = join(temporaryDirectory(), "go");
      const busy = pool.run(`new Promise((resolve) => {
        const timer = setInterval(() => {
          if (!require("node:fs").existsSync(${JSON.stringify(file)})) return;
          clearInterval(timer);
          resolve("busy");
        }, 10);
      })`);
      await pool.run("1");
      await pool.recycleWorkers();
      assert.is(before.filter((id) => ids().includes(id)).length, 1);
      writeFileSync(file, "");
      assert.is(await busy, "busy");
      assert.is(before.filter((id) => ids().includes(id)).length, 0);
      assert.is(pool.threads.length, 2);
    });
  });

  test(`${runtime}: an abort ends a task that loops for ever, and one that waits`, async () => {
    await withPool({ runtime }, async (pool) => {
      const [running, waiting] = [new AbortController(), new AbortController()];
      const tasks = [
        outcomeOf(pool.run("while (true);", { signal: running.signal })),
        outcomeOf(pool.run("1", { signal: waiting.signal })),
        outcomeOf(pool.run("2", { signal: AbortSignal.abort() })),
        outcomeOf(pool.run("3")),
      ];
      waiting.abort();
      running.abort();
      const aborted = "AbortError: The task has been aborted";
      assert.equal(await Promise.all(tasks), [aborted, aborted, aborted, 3]);
    });
  });

  test(`${runtime}: destroy rejects what runs and what waits`, async () => {
    await withPool({ runtime }, async (pool) => {
      const tasks = ["while (true);", "1"].map((code) => outcomeOf(pool.run(code)));
      await pool.destroy();
      const ended = "Error: Terminating worker thread";
      assert.equal(await Promise.all(tasks), [ended, ended]);
      assert.is(pool.threads.length, 0);
    });
  });

  test(`${runtime}: a module that can't be loaded rejects what waits for it`, async () => {
    const broken = moduleOf("throw new Error('top')");
    const pool = new Tinypool({ runtime, filename: broken, minThreads: 0, maxThreads: 1 });
    const outcome = (await outcomeOf(pool.run(1))) as string;
    assert.match(outcome, runtime === "worker_threads" ? "top" : "Worker exited unexpectedly");
    await pool.destroy();
  });

  test(`${runtime}: spare workers end after idleTimeout`, async () => {
    await withPool({ runtime, maxThreads: 2, idleTimeout: 10 }, async (pool) => {
      await Promise.all([pool.run("1"), pool.run("2")]);
      await until(() => pool.threads.length === 1, "one worker is left");
    });
  });

  test(`${runtime}: a channel is closed with its worker, or by the next channel`, async () => {
    await withPool({ runtime }, async (pool) => {
      const closed: number[] = [];
      await pool.run("1", { channel: { onClose: () => closed.push(1) } });
      await pool.run("2", { channel: { onClose: () => closed.push(2) } });
      assert.equal(closed, [1]);
      await pool.destroy();
      assert.equal(closed, [1, 2]);
    });
  });

  test(`${runtime}: a program ends by itself when its tasks are over`, () => {
    const main = new URL("../../../packages/tinypool/dist/index.js", import.meta.url).href;
    const program = moduleOf(`import { Tinypool } from ${JSON.stringify(main)};
      const pool = new Tinypool({ filename: ${JSON.stringify(filename)}, runtime: "${runtime}", minThreads: 1 });
      pool.run("console.log('out'); 1").then((value) => console.log(value));`);
    const printed = execFileSync(process.execPath, [program], { encoding: "utf8", timeout: 60_000 });
    assert.equal(printed.trim().split("\n").toSorted(), ["1", "out"]);
  });
}

test("a module without a default export serves its named ones", async () => {
  const named = moduleOf("export const run = (value) => value + 1");
  for (const runtime of RUNTIMES) {
    const answers = await both({ runtime, filename: named }, async (pool) => [
      await pool.run(1, { name: "run" }),
      await outcomeOf(pool.run(1)),
      await pool.run(2, { name: "run" }),
    ]);
    assert.is(answers[0], 2);
  }
});

test("messages go both ways between a caller and its child process", async () => {
  const echo = moduleOf(`export default () => new Promise((resolve) => {
    process.on("message", (message) => {
      if (message?.__tinypool_worker_message__) return;
      process.send({ echo: message });
      resolve("done");
    });
    process.send("ready");
  });`);
  await withPool({ filename: echo, runtime: "child_process", serialization: "advanced" }, async (pool) => {
    const got: unknown[] = [];
    let send: (message: unknown) => void = () => {};
    const channel = {
      onMessage: (callback: (message: unknown) => void) => void (send = callback),
      postMessage: (message: unknown) => {
        if (message === "ready") send(new Map([["big", 10n]]));
        else got.push(message);
      },
    };
    assert.is(await pool.run(null, { channel }), "done");
    await until(() => got.length === 1, "an echo");
    assert.equal(got, [{ echo: new Map([["big", 10n]]) }]);
  });
});

test("teardown runs once before a worker ends, and its error rejects the task", async () => {
  const { port1, port2 } = new MessageChannel();
  const torn: unknown[] = [];
  port2.on("message", (message) => torn.push(message));
  const module = moduleOf(`let port; export default (given) => { port ??= given; };
    export const end = () => port.postMessage("torn down");
    export const fails = () => { throw new Error("teardown"); };`);
  await withPool({ filename: module, teardown: "end" }, async (pool) => {
    await pool.run(port1, { transferList: [port1] });
    await pool.run(null);
    await pool.destroy();
    await until(() => torn.length === 1, "the tear-down");
  });
  port2.close();
  assert.equal(torn, ["torn down"]);
  const pool = new Tinypool({
    filename: module,
    teardown: "fails",
    isolateWorkers: true,
    minThreads: 1,
    maxThreads: 1,
  });
  assert.is(await outcomeOf(pool.run(null)), "Error: teardown");
  await outcomeOf(pool.destroy());
});

test("terminateTimeout rejects the task of a worker that doesn't end", async () => {
  // Long enough for the worker's successor, which `destroy` ends under the same limit.
  const terminateTimeout = 5000;
  const pool = new Tinypool({ filename, isolateWorkers: true, terminateTimeout, minThreads: 1, maxThreads: 1 });
  const worker = pool.threads[0] as members.TinypoolWorker;
  const end = worker.terminate.bind(worker);
  worker.terminate = () => new Promise(() => {});
  assert.is(await outcomeOf(pool.run("1")), "Error: Failed to terminate worker");
  await end();
  await pool.destroy();
});

test("what waits is cancelled, what runs isn't", async () => {
  await withPool({}, async (pool) => {
    const tasks = ["new Promise((resolve) => setTimeout(resolve, 50, 1))", "2", "3"].map((code) =>
      outcomeOf(pool.run(code)),
    );
    assert.is(pool.queueSize, 2);
    pool.cancelPendingTasks();
    assert.is(pool.queueSize, 0);
    const cancelled = "CancelError: The task has been cancelled";
    assert.equal(await Promise.all(tasks), [1, cancelled, cancelled]);
  });
});

test("limits of the queue are tinypool's", async () => {
  for (const maxQueue of [0, 1]) {
    const answers = await both({ maxQueue }, (pool) =>
      Promise.all(
        ["new Promise((resolve) => setTimeout(resolve, 50, 0))", "1", "2"].map((code) => outcomeOf(pool.run(code))),
      ),
    );
    assert.match(answers[2] as string, /at limit|No task queue/);
  }
});

test("fractions of the parallelism, and limits in the wrong order", () => {
  const pool = new Tinypool({ minThreads: 0.0001, maxThreads: 0.0002 });
  assert.equal([pool.options.minThreads, pool.options.maxThreads], [1, 1]);
  void pool.destroy();
  assert.throws(() => new Tinypool({ minThreads: 2, maxThreads: 1 }), /must not conflict/);
});

test("recycling may change the runtime", async () => {
  await withPool({}, async (pool) => {
    const isChild = "process.__tinypool_state__.isChildProcess === true";
    assert.is(await pool.run(isChild), false);
    await pool.recycleWorkers({ runtime: "child_process" });
    assert.is(await pool.run(isChild), true);
  });
});

test("what can't be sent rejects its own call", async () => {
  for (const runtime of RUNTIMES) {
    await withPool({ runtime, serialization: "advanced" }, async (pool) => {
      const id = pool.threads[0]?.threadId;
      assert.match((await outcomeOf(pool.run("() => {}"))) as string, /could not be cloned/);
      assert.match((await outcomeOf(pool.run({ f() {} }))) as string, /could not be cloned/);
      assert.is(await pool.run("1"), 1);
      assert.is(pool.threads[0]?.threadId, id);
    });
  }
});

test("the exports are tinypool's", async () => {
  const original = (await import("tinypool")) as unknown as Record<string, unknown>;
  assert.equal(Object.keys(members).toSorted(), Object.keys(original).toSorted());
  const statics = (of: object): string[] => Object.getOwnPropertyNames(of).toSorted();
  assert.equal(statics(Tinypool), statics(Original));
  assert.is(Tinypool.version, "2.2.0");
  assert.ok(fileURLToPath(import.meta.url));
});

test.run();
