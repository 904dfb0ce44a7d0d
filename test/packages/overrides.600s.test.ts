/** Overrides that swap piscina and tinypool for the drop-ins, as a user's package.json has them. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { root, run, succeed, withWorkshop } from "./support.ts";

const { version } = JSON.parse(readFileSync(join(root, "packages/millrace/package.json"), "utf8")) as {
  version: string;
};

const OPENINGS_MAX = 5;

const manifest = {
  name: "overridden",
  private: true,
  type: "module",
  overrides: { piscina: `npm:@millrace/piscina@${version}`, tinypool: `npm:@millrace/tinypool@${version}` },
};

const handlers = `
import { appendFileSync } from "node:fs";
export const add = ({ a, b }) => a + b;
export function fatal() {
  // A child process of the quarantine has a way to its parent.
  if (process.send === undefined) {
    process.kill(process.pid, "SIGHUP");
    for (;;);
  }
  appendFileSync("quarantined", "once\\n");
}
`;

const dying = `
import { open } from "millrace";
const mill = await open({ handlers: new URL("./handlers.mjs", import.meta.url), journal: { directory: "./data" } });
console.log(await mill.blocking.add({ a: 2, b: 3 }));
await mill.publish.fatal({});
setInterval(() => {}, 1000);
`;

const reopened = `
import { existsSync } from "node:fs";
import { open } from "millrace";
const mill = await open({ handlers: new URL("./handlers.mjs", import.meta.url), journal: { directory: "./data" } });
while (!existsSync("quarantined")) await new Promise((resolve) => setTimeout(resolve, 10));
await mill.close();
console.log("closed");
`;

const tasks = "module.exports = ({ a, b }) => a + b;";

const others = `
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import { Tinypool } from "tinypool";
const filename = fileURLToPath(new URL("./tasks.cjs", import.meta.url));
const required = createRequire(import.meta.url)("piscina");
const pool = new required({ filename, idleTimeout: 10, env: {} });
console.log(required === Piscina, await pool.run({ a: 1, b: 2 }));
await pool.close();
for (const runtime of ["worker_threads", "child_process"]) {
  const tiny = new Tinypool({ filename, runtime, minThreads: 1, maxThreads: 1 });
  console.log(await tiny.run({ a: 3, b: 4 }));
  await tiny.destroy();
}
`;

await withWorkshop("overrides", (workshop) => {
  let directory: string;

  test("an override puts the drop-ins in the place of piscina and tinypool", async () => {
    directory = workshop.project("overridden", {
      "package.json": manifest,
      "handlers.mjs": handlers,
      "dying.mjs": dying,
      "reopened.mjs": reopened,
      "tasks.cjs": tasks,
      "others.mjs": others,
    });
    const { overrides } = manifest;
    await workshop.install(directory, "millrace", `piscina@${overrides.piscina}`, `tinypool@${overrides.tinypool}`);
    for (const name of ["piscina", "tinypool"] as const) {
      const installed = readFileSync(join(directory, "node_modules", name, "package.json"), "utf8");
      assert.is((JSON.parse(installed) as { name: string }).name, `@millrace/${name}`);
    }
    assert.is(await succeed(process.execPath, ["others.mjs"], { cwd: directory }), "true 3\n7\n7\n");
  });

  test("blocking calls and the quarantine don't notice the override", async () => {
    const first = await run(process.execPath, ["dying.mjs"], { cwd: directory });
    assert.is(first.stdout, "5\n", first.stderr);
    assert.not.ok(existsSync(join(directory, "quarantined")));
    // The record may end a few processes before it gets one of its own.
    let last = first;
    for (let opening = 0; opening < OPENINGS_MAX && last.code !== 0; opening++) {
      last = await run(process.execPath, ["reopened.mjs"], { cwd: directory });
    }
    assert.is(last.stdout, "closed\n", last.stderr);
    assert.is(readFileSync(join(directory, "quarantined"), "utf8"), "once\n");
    for (const name of ["piscina", "tinypool"]) {
      const original = readFileSync(join(directory, "node_modules", `original-${name}`, "package.json"), "utf8");
      assert.is((JSON.parse(original) as { name: string }).name, name);
    }
  });
});
