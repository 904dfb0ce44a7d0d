/** The packed packages in empty projects, as npm, pnpm and yarn install them. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { root, run, succeed, withWorkshop, type Workshop } from "./support.ts";

const handlers = `
export const add = ({ a, b }) => a + b;
export async function settle({ amount }, { record }) {
  if (record.attempt < 1) throw new Error("attempts count from 1");
  return amount;
}
`;

const service = `
import { open } from "millrace";
const mill = await open({ handlers: new URL("./handlers.mjs", import.meta.url), journal: { directory: "./data" } });
console.log(await mill.run.add({ a: 1, b: 2 }), await mill.blocking.add({ a: 2, b: 3 }));
const ack = await mill.publish.settle({ amount: 5 }, { key: "A-1", idempotencyKey: "p-1" });
await ack.done;
console.log("record", ack.sequence, "is done");
await mill.close();
`;
const SERVICE_PRINTS = "3 5\nrecord 1 is done\n";

const { version: VERSION } = JSON.parse(readFileSync(join(root, "packages/millrace/package.json"), "utf8")) as {
  version: string;
};

const files = { "handlers.mjs": handlers, "service.mjs": service };

/** Checks that millrace works once it is installed, by whatever package manager. */
async function works(project: string): Promise<void> {
  assert.is(await succeed(process.execPath, ["service.mjs"], { cwd: project }), SERVICE_PRINTS);
  const command = join(project, "node_modules/.bin/millrace");
  assert.is(await succeed(command, ["--version"], { cwd: project }), `${VERSION}\n`);
  const inspected = await succeed(command, ["journal", "inspect", "--dir", "data", "--json"], { cwd: project });
  assert.is((JSON.parse(inspected) as { damage: unknown }).damage ?? undefined, undefined);
}

/** The address that `millrace serve` prints behind `page`. Rejects with its output when it ends. */
function pageOf(child: ChildProcessWithoutNullStreams): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = "";
    const look = (chunk: Buffer): void => {
      output += String(chunk);
      const page = /^page (http:\S+)$/m.exec(output)?.[1];
      if (page !== undefined) resolve(page);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.once("exit", () => reject(new Error(output)));
  });
}

const alone: Readonly<Record<string, string>> = {
  "@millrace/atomics-sync": `
    import { Mutex } from "@millrace/atomics-sync";
    const mutex = new Mutex();
    const hold = await mutex.lockAsync();
    console.log(mutex.tryLock());
    hold.unlock();
    mutex.close();`,
  "@millrace/channels": `
    import { Chan } from "@millrace/channels";
    const chan = new Chan(1);
    await chan.sendAsync("sent");
    chan.close();
    for await (const value of chan) console.log(value);`,
  "@millrace/journal": `
    import { Journal } from "@millrace/journal";
    const journal = await Journal.open({ directory: "./log" });
    console.log(await journal.append({ amount: 10 }));
    await journal.close();`,
};
const ALONE_PRINTS: Readonly<Record<string, string>> = {
  "@millrace/atomics-sync": "undefined\n",
  "@millrace/channels": "sent\n",
  "@millrace/journal": "1\n",
};

/** Packages of ours that lie in a project. */
const ours = (project: string): string[] => readdirSync(join(project, "node_modules/@millrace")).toSorted();

const README: string = readFileSync(join(root, "README.md"), "utf8");
/** Native parts differ by system, and dependencies by a patch. */
const SIZE_TOLERANCE = 0.15;

/** `figure`: with a group for a number of MB on the front page. */
function assertSays(figure: RegExp, bytes: number): void {
  const said = Number(figure.exec(README)?.[1]);
  assert.ok(Math.abs(bytes / 1e6 - said) <= said * SIZE_TOLERANCE, `${bytes} bytes, README.md says ${said} MB`);
}

/** The front page says the bytes of our tarballs that were installed, and of all files there. */
function assertSaysSizes(modules: string, { packages }: Workshop): void {
  let packed = 0;
  for (const { name, size } of packages) if (existsSync(join(modules, name))) packed += size;
  let installed = 0;
  for (const entry of readdirSync(modules, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) installed += statSync(join(entry.parentPath, entry.name)).size;
  }
  assertSays(/([\d.]+) MB packed/, packed);
  assertSays(/([\d.]+) MB installed/, installed);
}

/** The installed command serves metrics, and the live page with its libraries. */
async function serves(project: string): Promise<void> {
  const args = ["serve", "--handlers", "./handlers.mjs", "--dir", "./served", "--port", "0", "--admin-port", "0"];
  const child = spawn(join(project, "node_modules/.bin/millrace"), args, { cwd: project });
  try {
    const page = await pageOf(child);
    for (const path of ["/", "/page/main.js", "/page/library/preact.js", "/page/library/uplot.css", "/metrics"])
      assert.is((await fetch(new URL(path, page))).status, 200, path);
  } finally {
    child.kill("SIGTERM");
  }
  const [code] = (await once(child, "exit")) as [number | null];
  assert.is(code, 0);
}

function tests(workshop: Workshop): void {
  const { url } = workshop.registry;

  test("npm install millrace brings the library, the command and the live page", async () => {
    const project = workshop.project("npm", files);
    await workshop.install(project, "millrace");
    await works(project);
    await serves(project);
  });

  test("npm installs as much as the front page says", async () => {
    const project = workshop.project("size");
    await workshop.install(project, "millrace");
    assertSaysSizes(join(project, "node_modules"), workshop);
  });

  test("pnpm installs millrace", async () => {
    const project = workshop.project("pnpm", { ...files, "pnpm-workspace.yaml": "packages: []\n" });
    await succeed("npx", ["--yes", "pnpm@10.34.8", "add", "millrace", "--registry", url], { cwd: project });
    await works(project);
  });

  test("yarn 1 installs millrace", async () => {
    const project = workshop.project("yarn1", files);
    // On Node 20: a dependency of fastify asks for Node 22, and yarn 1 refuses what others warn of.
    const flags = ["--registry", url, "--no-progress", "--non-interactive", "--ignore-engines"];
    await succeed("npx", ["--yes", "yarn@1.22.22", "add", "millrace", ...flags], { cwd: project });
    await works(project);
  });

  test("yarn 4 installs millrace, with and without node_modules", async () => {
    const yarn = (project: string, ...args: string[]): Promise<string> =>
      succeed("npx", ["--yes", "@yarnpkg/cli-dist@4.17.1", ...args], {
        cwd: project,
        env: { YARN_ENABLE_TELEMETRY: "0", YARN_ENABLE_IMMUTABLE_INSTALLS: "0" },
      });
    // A folder of its own: the global one knows tarballs by name and version alone.
    const settings = `globalFolder: "./.yarn-global"\nnpmRegistryServer: "${url}"\nunsafeHttpWhitelist: ["127.0.0.1"]\nnpmMinimalAgeGate: 0\n`;
    const project = workshop.project("yarn4", {
      ...files,
      ".yarnrc.yml": `${settings}nodeLinker: node-modules\n`,
      "yarn.lock": "",
    });
    await yarn(project, "add", "millrace");
    await works(project);
    const pnp = workshop.project("yarn4-pnp", {
      ...files,
      ".yarnrc.yml": `${settings}nodeLinker: pnp\n`,
      "yarn.lock": "",
    });
    await yarn(pnp, "add", "millrace");
    assert.is(await yarn(pnp, "node", "service.mjs"), SERVICE_PRINTS);
    assert.is(await yarn(pnp, "millrace", "--version"), `${VERSION}\n`);
  });

  for (const [name, program] of Object.entries(alone)) {
    test(`${name} is of use alone`, async () => {
      const project = workshop.project(name.slice(10), { "main.mjs": program });
      await workshop.install(project, name);
      assert.is(await succeed(process.execPath, ["main.mjs"], { cwd: project }), ALONE_PRINTS[name] as string);
      assert.not.ok(existsSync(join(project, "node_modules/millrace")), ours(project).join(" "));
      assert.not.ok(ours(project).includes("scheduler"), ours(project).join(" "));
    });
  }

  test("require and import give one copy of each package", async () => {
    const project = workshop.project("cjs", {
      ...files,
      "main.cjs": `
        const assert = require("node:assert");
        const names = ${JSON.stringify(workshop.packages.map(({ name }) => name))};
        const { pathToFileURL } = require("node:url");
        (async () => {
          for (const name of names) assert.strictEqual(require(name), require(name), name);
          for (const name of names) {
            const [required, imported] = [require(name), await import(name)];
            const isShared = (key) => key in imported && typeof required[key] === "function";
            const shared = Object.getOwnPropertyNames(required).filter(isShared);
            assert.notStrictEqual(shared.length, 0, name);
            for (const key of shared) assert.strictEqual(required[key], imported[key], name + " " + key);
          }
          const { open, Mutex } = require("millrace");
          assert.strictEqual(Mutex, (await import("millrace")).Mutex);
          const mill = await open({ handlers: pathToFileURL(__dirname + "/handlers.mjs") });
          console.log(await mill.run.add({ a: 1, b: 2 }));
          await mill.close();
        })();`,
    });
    await workshop.install(project, ...workshop.packages.map(({ name }) => name));
    const { code, stdout, stderr } = await run(process.execPath, ["main.cjs"], { cwd: project });
    assert.is(stdout, "3\n", stderr);
    assert.is(stderr, "");
    assert.is(code, 0);
  });
}

await withWorkshop("install", tests);
