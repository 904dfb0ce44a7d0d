/** Services under a process manager and in node:cluster, as docs/guides/shutdown.md has them. */
import { readFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { root, succeed, withWorkshop, type Workshop } from "./support.ts";

const page = readFileSync(join(root, "docs/guides/shutdown.md"), "utf8");
const ecosystem = /^```js\n\/\/ ecosystem\.config\.cjs\n([\s\S]*?)^```/m.exec(page)?.[1] as string;

const handlers = `
import { appendFileSync } from "node:fs";
export function note({ by }, { record }) { appendFileSync("handled.log", record.sequence + " " + by + "\\n"); }
`;

/** Tells in a file what it does, since a process manager has its output. */
const service = `
import { appendFileSync } from "node:fs";
import { open } from "millrace";
const tell = (word) => appendFileSync("life.log", word + "\\n");
tell("begins");
const mill = await open({
  handlers: new URL("./handlers.mjs", import.meta.url),
  processors: 1,
  journal: { directory: "./data", lockWaitMs: 60_000 },
});
tell("open");
await (await mill.publish.note({ by: process.pid })).done;
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await mill.close({ timeoutMs: 8000 });
    tell("closed");
    process.exit(0);
  });
}
setInterval(() => {}, 60_000);
process.send("ready");
`;

const cluster = `
import cluster from "node:cluster";
import { open } from "millrace";
if (cluster.isPrimary) {
  let handled = 0;
  for (const id of [1, 2]) {
    const worker = cluster.fork({ WORKER: id });
    worker.on("message", (count) => (handled += count));
  }
  cluster.on("exit", (worker, code) => {
    if (code !== 0) process.exitCode = 1;
    if (Object.keys(cluster.workers).length === 0) console.log(handled);
  });
} else {
  const mill = await open({
    handlers: new URL("./handlers.mjs", import.meta.url),
    processors: 1,
    journal: { directory: "./cluster-" + process.env.WORKER },
  });
  for (let count = 0; count < 5; count += 1) await (await mill.publish.note({ by: process.env.WORKER })).done;
  process.send(mill.stats().intake.done);
  await mill.close();
  process.exit(0);
}
`;

/** Looks until it is so; the time limit of the file is the limit. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(100);
}

function tests(workshop: Workshop): void {
  const project = workshop.project("supervisors", {
    "handlers.mjs": handlers,
    "service.mjs": service,
    "cluster.mjs": cluster,
    "ecosystem.config.cjs": ecosystem,
  });
  const env = { PM2_HOME: join(project, ".pm2"), NO_COLOR: "1" };
  const pm2 = (...args: string[]): Promise<string> =>
    succeed(join(project, "node_modules/.bin/pm2"), args, { cwd: project, env });
  const linesOf = (name: string): string[] => {
    const path = join(project, name);
    return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
  };
  const life = (): string[] => linesOf("life.log");
  const handled = (): string[] => linesOf("handled.log");

  test("PM2 and millrace install", async () => {
    await workshop.install(project, "millrace", "pm2@7.0.4");
  });

  test("pm2 reload: the next process waits for the directory, and goes on there", async () => {
    try {
      // PM2 waits for "ready" for `listen_timeout` only, and a loaded machine may take longer.
      await pm2("start", "ecosystem.config.cjs");
      await until(() => handled().length === 1);
      await pm2("reload", "mill");
      await until(() => handled().length === 2);
      assert.equal(life().slice(0, 3), ["begins", "open", "begins"]);
      assert.equal(life().slice(3).toSorted(), ["closed", "open"]);
      await pm2("stop", "mill");
      assert.equal(life().filter((word) => word === "closed").length, 2);
    } finally {
      await pm2("kill");
    }
    // One log, and a process each: sequence and pid differ.
    const [first, second] = handled().map((line) => line.split(" "));
    assert.ok(Number(first?.[0]) < Number(second?.[0]));
    assert.is.not(first?.[1], second?.[1]);
  });

  test("node:cluster: workers with a directory each", async () => {
    assert.is(await succeed(process.execPath, ["cluster.mjs"], { cwd: project }), "10\n");
  });
}

await withWorkshop("supervisors", tests);
