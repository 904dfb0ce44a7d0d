// A runtime in a program that is no file: every thread of it starts, whatever flags the process was
// given.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { handlersUrl, temporaryDirectory } from "../support.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const millrace = import.meta.resolve("millrace");
const directory = temporaryDirectory();
let programs = 0;

/**
 * Machines, the blocking pool, and with them the writer, the keeper and the delivery of a journal.
 */
function program(handlers: string): string {
  programs += 1;
  const journal = JSON.stringify(join(directory, `${programs}`));
  return `
    const mill = await open({ handlers: ${JSON.stringify(handlers)}, processors: 1, journal: { directory: ${journal} } });
    const results = [await mill.run.echo(1), await mill.blocking.echo(2)];
    await (await mill.publish.echo(3)).done;
    await mill.close();
    console.log(results.join());`;
}

function asModule(handlers: string = handlersUrl.href): string {
  return `import { open } from ${JSON.stringify(millrace)}; ${program(handlers)}`;
}

function asScript(): string {
  return `import(${JSON.stringify(millrace)}).then(async ({ open }) => { ${program(handlersUrl.href)} }); undefined`;
}

function run(flags: readonly string[], environment: Record<string, string> = {}, input = ""): string {
  const { stdout, stderr } = spawnSync(process.execPath, flags, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...environment },
    input,
    timeout: 60_000,
  });
  assert.not.match(stderr, /Error/);
  return stdout;
}

const TYPE = "--input-type=module";
const cases: [name: string, output: () => string][] = [
  [`${TYPE} -e`, () => run([TYPE, "-e", asModule()])],
  ["--input-type module --eval=", () => run(["--input-type", "module", `--eval=${asModule()}`])],
  ["--input-type=commonjs -e", () => run(["--input-type=commonjs", "-e", asScript()])],
  ["-e without a type", () => run(["-e", asScript()])],
  ["-p", () => run(["--input-type=commonjs", "-p", asScript()]).replace("undefined\n", "")],
  ["from the standard input", () => run([TYPE, "-"], {}, asModule())],
  ["the type in NODE_OPTIONS", () => run(["-e", asModule()], { NODE_OPTIONS: TYPE })],
  ["with --import", () => run([TYPE, "--import", "data:text/javascript,globalThis.given=1", "-e", asModule()])],
  [
    "with --import in NODE_OPTIONS",
    () => run([TYPE, "-e", asModule()], { NODE_OPTIONS: "--import data:text/javascript,globalThis.given=1" }),
  ],
  [
    "with flags that concern the whole process",
    () => run([TYPE, "--title=mine", "--max-old-space-size=400", "--expose-gc", "-e", asModule()]),
  ],
];

for (const [name, output] of cases) {
  test(`all threads start: ${name}`, () => assert.is(output(), "1,2\n"));
}

test("handlers may lie in a data: URL", () => {
  const handlers = `data:text/javascript,${encodeURIComponent("export const echo = (value) => value;")}`;
  assert.is(run([TYPE, "-e", asModule(handlers)]), "1,2\n");
});

test("what --import does is there in the handlers", () => {
  const handlers = `data:text/javascript,${encodeURIComponent("export const echo = (value) => value + given;")}`;
  const importing = ["--import", "data:text/javascript,globalThis.given=5"];
  assert.is(run([TYPE, ...importing, "-e", asModule(handlers)]), "6,7\n");
});

test.run();
