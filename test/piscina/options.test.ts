// Options: what is checked, with whose texts, and what is nobody's option.
import { once } from "node:events";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Piscina as Original } from "piscina";
import { Piscina } from "@millrace/piscina";
import { filename, moduleOf, outcomeOf, type PoolOptions, withPool } from "./support.ts";

const WRONG: Record<string, unknown[]> = {
  filename: [12, {}, new URL("file:///a")],
  name: [12],
  minThreads: [-1, "1"],
  maxThreads: [-1, 0, "1"],
  idleTimeout: [-1, "1"],
  maxQueue: [-1, "1"],
  concurrentTasksPerWorker: [-1, 0, "1"],
  atomics: [-1, "string"],
  resourceLimits: [0, null],
  taskQueue: [0, "test", null, new Date(), {}],
  niceIncrement: [-1, "1"],
  trackUnmanagedFds: [-1, "1"],
  closeTimeout: [-1, "1"],
  loadBalancer: [1, () => null],
  workerHistogram: [1],
  stricterFIFO: [1],
};

function messageOf(make: () => unknown): string {
  try {
    make();
  } catch (error) {
    return `${(error as Error).name}: ${(error as Error).message}`;
  }
  return "nothing thrown";
}

test("a wrong option throws what piscina throws", () => {
  const cases = Object.entries(WRONG).flatMap(([name, values]) => values.map((value) => ({ [name]: value })));
  for (const options of [...cases, { minThreads: 3, maxThreads: 2 }] as PoolOptions[]) {
    const expected = messageOf(() => new Original(options as never));
    assert.not(expected === "nothing thrown");
    assert.is(
      messageOf(() => new Piscina(options)),
      expected,
    );
  }
});

test("wrong options of a call reject with what piscina says", async () => {
  const cases = [{ transferList: 42 }, { filename: 42 }, { name: 42 }, { signal: 42 }, null, 1];
  const original = new Original({ filename, minThreads: 0 });
  await withPool({ minThreads: 0 }, async (pool) => {
    for (const options of cases) {
      const expected = await outcomeOf(original.run("1", options as never));
      assert.equal(await outcomeOf(pool.run("1", options as never)), expected);
    }
    for (const options of [null, { force: 1 }]) {
      assert.equal(await outcomeOf(pool.close(options as never)), await outcomeOf(original.close(options as never)));
    }
  });
  const nameless = new Piscina({ minThreads: 0 });
  assert.equal(await outcomeOf(nameless.run("1")), await outcomeOf(new Original({ minThreads: 0 }).run("1")));
  await original.destroy();
});

test("defaults are piscina's, and one limit of the threads moves the other", async () => {
  const shown = (Pool: typeof Piscina, options: PoolOptions): unknown => {
    const pool = new Pool({ filename: null, ...options });
    void pool.destroy();
    return [{ ...pool.options, taskQueue: null }, pool.minThreads, pool.maxThreads];
  };
  const cases: PoolOptions[] = [{}, { maxThreads: 1 }, { minThreads: 9 }, { maxQueue: "auto", maxThreads: 2 }];
  for (const options of cases) {
    assert.equal(shown(Piscina, options), shown(Original as unknown as typeof Piscina, options));
  }
});

test("what lies in a prototype is nobody's option", async () => {
  const named = moduleOf("module.exports = () => 'default'; module.exports.other = () => 'other'");
  const prototype = Object.prototype as unknown as Record<string, unknown>;
  const planted: Record<string, unknown> = {
    name: "other",
    loadBalancer: () => null,
    execArgv: ["--not-a-real-flag"],
    env: { NODE_OPTIONS: "--not-a-real-flag" },
    argv: ["planted"],
  };
  for (const [name, value] of Object.entries(planted)) {
    prototype[name] = value;
    try {
      await withPool({ filename: named }, async (pool) => {
        assert.is(await pool.run(null), "default", name);
        assert.is(await pool.run(null, {}), "default", name);
      });
    } finally {
      delete prototype[name];
    }
  }
  const options = Object.setPrototypeOf({ filename: named }, { name: "other" }) as PoolOptions;
  await withPool(options, async (pool) => assert.is(await pool.run(null), "default"));
});

test("an unknown option is ignored, with one warning a process", async () => {
  const warnings: NodeJS.ErrnoException[] = [];
  const listener = (warning: Error): number => warnings.push(warning);
  process.on("warning", listener);
  const warned = once(process, "warning");
  for (let pools = 0; pools < 3; pools++) {
    await withPool({ threadCount: 3 } as PoolOptions, async (pool) => assert.is(await pool.run("1"), 1));
  }
  await warned;
  await new Promise((resolve) => setImmediate(resolve));
  process.off("warning", listener);
  assert.equal(
    warnings.map(({ code, message }) => [code, message]),
    [["MILLRACE_PISCINA_OPTION", '@millrace/piscina ignores the option "threadCount", which it doesn\'t know']],
  );
});

test("runTask, runTime and waitTime of piscina 4 are there", async () => {
  await withPool({ filename: null }, async (pool) => {
    const buffer = new ArrayBuffer(3);
    const size = moduleOf("module.exports = (buffer) => buffer.byteLength");
    assert.is(await pool.runTask(buffer, [buffer], size), 3);
    assert.is(buffer.byteLength, 0);
    assert.is(await pool.runTask("2", filename, new AbortController().signal), 2);
    const aborted = await outcomeOf(pool.runTask("2", undefined, filename, AbortSignal.abort("why")));
    assert.is(aborted.cause, "why");
    assert.equal([typeof pool.runTime.mean, typeof pool.waitTime.mean], ["number", "number"]);
  });
});

test("useAtomics of piscina 4 still says how threads wait", async () => {
  await withPool({ useAtomics: false }, async (pool) => {
    assert.is(pool.options.atomics, "disabled");
    assert.is(await pool.run("1"), 1);
  });
});

test.run();
