/** Each project of `examples/`, in a directory of its own, with our tarballs installed. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { root, succeed, withWorkshop, type Workshop } from "./support.ts";

const examples = join(root, "examples");

/** Starts a server, and resolves with its address once it prints that it listens. */
async function serve(project: string, ...args: string[]): Promise<{ url: string; server: ChildProcess }> {
  const server = spawn(process.execPath, args, {
    cwd: project,
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: server.stdout })) {
    const url = /^listening on (\S+)/.exec(line)?.[1];
    if (url !== undefined) return { url, server };
  }
  throw new Error(`${args.join(" ")} ended without listening`);
}

/** Ends a server as a supervisor does, and resolves with its exit code. */
async function end(server: ChildProcess): Promise<number | null> {
  const exit = once(server, "exit");
  server.kill("SIGTERM");
  const [code, signal] = (await exit) as [number | null, string | null];
  // Nest repeats the signal when its hooks are done.
  return signal === "SIGTERM" ? 0 : code;
}

async function pay(url: string, body: object): Promise<[number, Record<string, unknown>]> {
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${url}/payments`, { method: "POST", headers, body: JSON.stringify(body) });
  return [response.status, (await response.json()) as Record<string, unknown>];
}

const payment = { id: "p-1", account: "A-1", amount: 10 };

/** The checks of each project once it is installed. */
const walks: Readonly<Record<string, (project: string) => Promise<void>>> = {
  async "parallel-map"(project) {
    assert.is(
      await succeed(process.execPath, ["main.mjs", "3000"], { cwd: project }),
      "3000 sequences of 215063 steps; the longest begins at 2919: 216\n",
    );
  },
  async pipeline(project) {
    assert.is(
      await succeed(process.execPath, ["pipeline.mjs", "3000", "2"], { cwd: project }),
      "3000 numbers; the longest sequence begins at 2919: 216 steps\n",
    );
  },
  async payments(project) {
    assert.is(
      await succeed(process.execPath, ["main.mjs"], { cwd: project }),
      `killed in the middle
A-1: 19 payments, in order, each once
A-2: 19 payments, in order, each once
A-3: 19 payments, in order, each once
refused: A-1/7 A-2/7 A-3/7
`,
    );
  },
  async outbox(project) {
    assert.is(
      await succeed(process.execPath, ["main.mjs"], { cwd: project }),
      `the relay ended with SIGKILL
row 3 was stored before
the relay ended with 0
0 rows left in the outbox
5 orders shipped
5 shipments
`,
    );
  },
  async benchmark(project) {
    const flags = ["main.mjs", "--rate", "200", "--seconds", "1", "--processors", "1"];
    const report = JSON.parse(await succeed(process.execPath, flags, { cwd: project })) as Record<string, unknown>;
    assert.is(report["sent"], 200);
    assert.is(report["completed"], 200);
    assert.is(report["lost"], 0);
    const { p50, max } = report["completedMs"] as { p50: number; max: number };
    assert.ok(p50 > 0 && p50 <= max);
  },
  async fastify(project) {
    const { url, server } = await serve(project, "main.mjs");
    const [status, { sequence, duplicate }] = await pay(url, payment);
    assert.equal([status, duplicate], [202, false]);
    assert.equal(await pay(url, payment), [202, { sequence, duplicate: true }]);
    assert.equal(await pay(url, { ...payment, amount: 11 }), [422, { error: "ERR_IDEMPOTENCY_MISMATCH" }]);
    assert.is((await pay(url, { account: "A-1" }))[0], 400);
    assert.is((await fetch(`${url}/health/ready`)).status, 200);
    assert.match(await (await fetch(`${url}/metrics`)).text(), /^millrace_intake_records_total/m);
    let state: { state?: string; result?: unknown } = {};
    while (state.state !== "done")
      state = (await (await fetch(`${url}/payments/${String(sequence)}`)).json()) as typeof state;
    assert.equal(state.result, { account: "A-1", fee: 0.1 });
    assert.is((await fetch(`${url}/payments/4711`)).status, 404);
    assert.is(await end(server), 0);
  },
  async nest(project) {
    await succeed("npx", ["tsc"], { cwd: project });
    const { url, server } = await serve(project, "dist/main.js");
    const [status, { sequence, duplicate }] = await pay(url, payment);
    assert.equal([status, duplicate], [202, false]);
    assert.equal(await pay(url, payment), [202, { sequence, duplicate: true }]);
    assert.is(await end(server), 0);
  },
};

test("the page on frameworks shows what examples/nest has", () => {
  const page = readFileSync(join(root, "docs/guides/embed.md"), "utf8");
  assert.ok(page.includes(readFileSync(join(examples, "nest/mill.module.ts"), "utf8")));
});

test("every example is a project with a page, and is walked here", () => {
  // flights/ is the input of the demo.
  const names = readdirSync(examples).filter((name) => name !== "flights");
  assert.equal(names.toSorted(), Object.keys(walks).toSorted());
  for (const name of names) {
    const files = readdirSync(join(examples, name));
    for (const file of ["README.md", "package.json"]) assert.ok(files.includes(file), `${name}: ${file}`);
  }
});

function tests(workshop: Workshop): void {
  for (const [name, walk] of Object.entries(walks)) {
    test(`examples/${name} installs from the tarballs and does what it says`, async () => {
      const project = workshop.project(`example-${name}`);
      cpSync(join(examples, name), project, { recursive: true });
      await workshop.install(project);
      await walk(project);
    });
  }
}

await withWorkshop("examples", tests);
