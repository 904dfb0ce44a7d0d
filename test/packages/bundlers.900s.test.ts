/** Bundles of a service, with the settings of docs/bundlers.md and without them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { root, run, succeed, withWorkshop, type Workshop, write } from "./support.ts";

/** Versions that run on the oldest Node that we support. */
const TOOLS = [
  "esbuild@0.28.2",
  "rollup@4.68.5",
  "@rollup/plugin-node-resolve@16",
  "@rollup/plugin-commonjs@29",
  "@rollup/plugin-json@6",
];
const SERVERS = ["vite@8.3.8", "webpack@5.112.2", "webpack-cli@7.3.1"];

const files = {
  "prices.mjs": "export const PRICE = 7;\n",
  // A bundler that only copies the file would lose the import.
  "handlers.mjs": `
    import { PRICE } from "./prices.mjs";
    export const cost = ({ count }) => count * PRICE;
    export async function settle({ amount }) { return amount; }`,
  "service.mjs": `
    import { open } from "millrace";
    try {
      const mill = await open({ handlers: new URL("./handlers.mjs", import.meta.url), journal: { directory: "./data" } });
      const ack = await mill.publish.settle({ amount: 5 });
      await ack.done;
      console.log(await mill.run.cost({ count: 3 }), ack.sequence > 0);
      await mill.close();
    } catch (error) {
      console.log(error.code, error.cure.includes("docs/bundlers.md"));
    }`,
};

const page = readFileSync(join(root, "docs/bundlers.md"), "utf8");

/** The settings that the page shows. */
function settings(name: string): string {
  const block = new RegExp(`^\`\`\`js\\n(// ${name}\\n[\\s\\S]*?)^\`\`\``, "m").exec(page)?.[1];
  assert.ok(block, name);
  return block as string;
}

/** The command that the page shows for esbuild. */
function esbuildArguments(): string[] {
  const command = /^ {4}esbuild ([\s\S]*?)\n\n/m.exec(page)?.[1] as string;
  return command.replaceAll("\\\n", " ").trim().split(/\s+/);
}

function tests(workshop: Workshop): void {
  const project = workshop.project("bundles", {
    ...files,
    "rollup.config.mjs": settings("rollup.config.mjs"),
    "vite.config.mjs": settings("vite.config.mjs"),
    "webpack.config.mjs": settings("webpack.config.mjs"),
    "all.rollup.config.mjs": `
      import resolve from "@rollup/plugin-node-resolve";
      import commonjs from "@rollup/plugin-commonjs";
      import json from "@rollup/plugin-json";
      export default {
        input: "service.mjs",
        output: { file: "all/service.mjs", format: "es", inlineDynamicImports: true },
        plugins: [resolve({ preferBuiltins: true, exportConditions: ["node"] }), commonjs(), json()],
        onwarn() {},
      };`,
    "all.vite.config.mjs": `
      export default { build: { ssr: "service.mjs", outDir: "all" }, ssr: { noExternal: true } };`,
    "all.webpack.config.mjs": `
      export default {
        mode: "production", target: "node20", entry: "./service.mjs", experiments: { outputModule: true },
        output: { path: import.meta.dirname + "/all", filename: "service.mjs", module: true, chunkFormat: "module" },
      };`,
  });
  const tool = (name: string, ...args: string[]): Promise<string> =>
    succeed(join(project, "node_modules/.bin", name), args, { cwd: project });

  const works = async (): Promise<void> => {
    assert.is(await succeed(process.execPath, ["out/service.mjs"], { cwd: project }), "21 true\n");
  };
  const refuses = async (file: string, codes: RegExp): Promise<void> => {
    const { code, stdout, stderr } = await run(process.execPath, [file], { cwd: project, limitMs: 60_000 });
    assert.match(stdout, codes);
    assert.is(stderr, "");
    assert.is(code, 0);
  };

  test("the bundlers and millrace install", async () => {
    await workshop.install(project, "millrace", ...TOOLS, ...SERVERS);
  });

  test("esbuild with the arguments of the page", async () => {
    await tool("esbuild", ...esbuildArguments());
    await works();
  });

  test("esbuild without them: one coded error, as ES module and as CommonJS", async () => {
    await tool("esbuild", "service.mjs", "--bundle", "--platform=node", "--format=esm", "--outfile=all/service.mjs");
    await refuses("all/service.mjs", /^ERR_THREAD_FILE true\n$/);
    write(project, {
      "old.mjs": `
        import { open } from "millrace";
        import { pathToFileURL } from "node:url";
        open({ handlers: pathToFileURL("./handlers.mjs"), journal: { directory: "./data" } }).catch((error) =>
          console.log(error.code, error.cure.includes("docs/bundlers.md")));`,
    });
    await tool("esbuild", "old.mjs", "--bundle", "--platform=node", "--format=cjs", "--outfile=all/old.cjs");
    await refuses("all/old.cjs", /^ERR_THREAD_FILE true\n$/);
  });

  test("esbuild without them and without a journal: the same error", async () => {
    write(project, {
      "calls.mjs": `
        import { open } from "millrace";
        await open({ handlers: new URL("./handlers.mjs", import.meta.url) }).catch((error) =>
          console.log(error.code, error.cure.includes("docs/bundlers.md")));`,
    });
    await tool("esbuild", "calls.mjs", "--bundle", "--platform=node", "--format=esm", "--outfile=all/calls.mjs");
    await refuses("all/calls.mjs", /^ERR_THREAD_FILE true\n$/);
  });

  test("rollup with the settings of the page, and without them", async () => {
    await tool("rollup", "-c", "rollup.config.mjs");
    await works();
    await tool("rollup", "-c", "all.rollup.config.mjs", "--silent");
    await refuses("all/service.mjs", /^ERR_THREAD_FILE true\n$/);
  });

  test("vite with the settings of the page, and without them", async () => {
    await tool("vite", "build", "-c", "vite.config.mjs");
    await works();
    await tool("vite", "build", "-c", "all.vite.config.mjs");
    await refuses("all/service.js", /^ERR_THREAD_FILE true\n$/);
  });

  test("webpack with the settings of the page, and without them", async () => {
    await tool("webpack", "-c", "webpack.config.mjs");
    await works();
    await run(join(project, "node_modules/.bin/webpack"), ["-c", "all.webpack.config.mjs"], { cwd: project });
    // webpack keeps the places of the sources, so that threads are found where it was built.
    await refuses("all/service.mjs", /^ERR_(THREAD_FILE|JOURNAL_NATIVE) true\n$/);
  });
}

await withWorkshop("bundlers", tests);
