/** Test runners, TypeScript loaders and other runtimes, as docs/test-runners.md tells of them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { testIf } from "../support.ts";
import { isLong, root, run, succeed, withWorkshop, type Workshop } from "./support.ts";

const page = readFileSync(join(root, "docs/test-runners.md"), "utf8");
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
/** Threads load TypeScript by themselves. */
const hasTypes = major > 22 || (major === 22 && minor >= 18);

const handlers = `
export const add = ({ a, b }) => a + b;
export const echo = (value) => value;
export const fail = () => { throw new TypeError("refused"); };
export async function settle({ amount }) { return amount; }
`;
const typedHandlers = `
export const add = ({ a, b }: { a: number; b: number }): number => a + b;
export async function settle({ amount }: { amount: number }): Promise<number> { return amount; }
`;

/** A test, less the import of \`open\`; the directory is the test's own. */
const body = (module: string): string => `
  const mill = await open({ handlers: ${module}, journal: { directory: "./data-" + process.pid + "-" + Math.random() } });
  const sums = [await mill.run.add({ a: 1, b: 2 }), await mill.blocking.add({ a: 2, b: 2 })];
  const ack = await mill.publish.settle({ amount: 5 });
  await ack.done;
  await mill.close();
`;

const files = {
  "handlers.mjs": handlers,
  "handlers.ts": typedHandlers,
  "service.ts": `
    import { open } from "millrace";
    try {
      ${body('new URL("./handlers.ts", import.meta.url)')}
      console.log(sums.join(" "));
    } catch (error: any) {
      console.log(error.code, error.message.includes("docs/test-runners.md"));
    }`,
  "service.mjs": `
    import { open } from "millrace";
    ${body('new URL("./handlers.mjs", import.meta.url)')}
    console.log(sums.join(" "));`,
  "tsx.setup.mjs": /^```js\n(\/\/ tsx\.setup\.mjs\n[\s\S]*?)^```/m.exec(page)?.[1] as string,
  "node.test.mjs": `
    import { test } from "node:test";
    import assert from "node:assert";
    import { open } from "millrace";
    test("records", async () => {
      ${body('new URL("./handlers.mjs", import.meta.url)')}
      assert.deepStrictEqual(sums, [3, 4]);
    });`,
  "vitest/records.test.ts": `
    import { expect, test, vi } from "vitest";
    import { open } from "millrace";
    test("records", async () => {
      vi.useFakeTimers();
      ${body('new URL("../handlers.ts", import.meta.url)')}
      vi.useRealTimers();
      expect(sums).toEqual([3, 4]);
    }, 100_000);`,
  "jest/records.test.cjs": `
    const { open, isMillraceError } = require("millrace");
    const { pathToFileURL } = require("node:url");
    const handlers = pathToFileURL(__dirname + "/../handlers.mjs");
    test("records", async () => {
      ${body("handlers")}
      expect(sums).toEqual([3, 4]);
    }, 100_000);
    test("values and errors of jest's sandbox cross both ways", async () => {
      const mill = await open({ handlers });
      const value = { at: new Date(0), set: new Set([1]), map: new Map([["k", [1n]]]), bytes: new Uint8Array([1, 2]) };
      expect(await mill.run.echo(value)).toEqual(value);
      await expect(mill.run.fail()).rejects.toThrow("refused");
      expect(isMillraceError(await mill.run.add(1, { timeoutMs: -1 }).catch((error) => error))).toBe(true);
      await mill.close();
    }, 100_000);`,
  "jest.config.cjs": `module.exports = { testMatch: ["**/jest/*.test.cjs"], transform: {} };`,
  "locks.mjs": `
    import { open, Chan, Mutex } from "millrace";
    const mutex = new Mutex();
    (await mutex.lockAsync()).unlock();
    const chan = new Chan(1);
    await chan.sendAsync("sent");
    console.log((await chan.recvAsync()).value);
    for (const journal of [undefined, { directory: "./data-deno" }]) {
      await open({ handlers: new URL("./handlers.mjs", import.meta.url), journal }).catch((error) => console.log(error.code));
    }`,
};

const POOLS = isLong ? ["forks", "threads", "vmForks", "vmThreads"] : ["forks", "vmThreads"];

function tests(workshop: Workshop): void {
  const project = workshop.project("runners", files);
  const bin = (name: string): string => join(project, "node_modules/.bin", name);
  const env = { NO_COLOR: "1" };

  test("the runners and millrace install", async () => {
    const runners = ["vite@8.3.8", "vitest@4.1.12", "jest@30.5.2", "tsx@4.23.15"];
    await workshop.install(project, "millrace", ...runners, "bun@1.4.5", "@deno/linux-x64-glibc@2.9.6");
  });

  test("node:test", async () => {
    await succeed(process.execPath, ["--test", "node.test.mjs"], { cwd: project });
  });

  test("jest", async () => {
    await succeed(bin("jest"), ["--ci"], { cwd: project, env });
  });

  for (const pool of POOLS) {
    test(`vitest, pool ${pool}, handlers in TypeScript`, async () => {
      const flags = hasTypes ? [] : ["--execArgv=--import=./tsx.setup.mjs"];
      await succeed(bin("vitest"), ["run", "--pool", pool, ...flags, "vitest"], { cwd: project, env });
    });
  }

  test("tsx, or a Node that loads TypeScript by itself", async () => {
    const flags = hasTypes ? [] : ["--import", "./tsx.setup.mjs"];
    assert.is(await succeed(process.execPath, [...flags, "service.ts"], { cwd: project }), "3 4\n");
  });

  testIf(!hasTypes)("a Node without TypeScript says where the page is", async () => {
    assert.is(await succeed(bin("tsx"), ["service.ts"], { cwd: project }), "ERR_HANDLER_MODULE true\n");
  });

  test("Bun runs calls, blocking calls and records", async () => {
    await succeed(process.execPath, ["node_modules/bun/install.js"], { cwd: project });
    for (const program of ["service.mjs", "service.ts"]) {
      assert.is(await succeed(bin("bun"), [program], { cwd: project }), "3 4\n", program);
    }
  });

  test("Deno has locks and channels, and is refused politely beyond", async () => {
    const deno = join(project, "node_modules/@deno/linux-x64-glibc/deno");
    const { code, stdout, stderr } = await run(deno, ["run", "-A", "locks.mjs"], { cwd: project, env });
    assert.is(stdout, "sent\nERR_RUNTIME_UNSUPPORTED\nERR_RUNTIME_UNSUPPORTED\n", stderr);
    assert.is(code, 0);
  });
}

await withWorkshop("runners", tests);
