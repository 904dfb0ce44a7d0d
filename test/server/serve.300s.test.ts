// The command that serves: its settings, and its end, with real clients in the midst of requests.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readdirSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { documentOf, launcher, millrace } from "../cli/support.ts";
import { temporaryDirectory, testIf, until } from "../support.ts";
import { startService } from "./service.ts";
import { get, post } from "./support.ts";

/** One request over a connection that is kept; its status, or undefined without an answer. */
function ask(agent: Agent, url: string, text: string, pauseMs: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const sent = request(url, { method: "POST", agent, headers }, (response) => {
      response.resume();
      response.once("end", () => resolve(response.statusCode));
      response.once("error", () => resolve(undefined));
    });
    sent.once("error", () => resolve(undefined));
    // In two parts, so that signals come between them as well.
    sent.write(text.slice(0, 5));
    setTimeout(() => sent.end(text.slice(5)), pauseMs);
  });
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === "::1"));
}

async function storedIn(directory: string): Promise<Set<string>> {
  const journal = await Journal.open({ directory });
  const stored = new Set<string>();
  for await (const record of journal.read()) {
    const text = Buffer.from(record.payload).toString("latin1");
    const name = /r-\d+-\d+/.exec(text)?.[0];
    if (name !== undefined) stored.add(name);
  }
  await journal.close();
  return stored;
}

test("at SIGTERM each request under way has its answer, or was never stored", async () => {
  const place = temporaryDirectory();
  const directory = join(place, "journal");
  writeFileSync(join(place, "config.json"), JSON.stringify({ journal: { retain: "all" } }));
  const service = await startService(directory, join(place, "ledger"), ["--config", join(place, "config.json")]);
  const answered = new Map<string, number | undefined>();
  const agents: Agent[] = [];
  let isOver = false;
  const clients = Array.from({ length: 20 }, async (_, client) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    agents.push(agent);
    for (let n = 0; !isOver; n += 1) {
      const name = `r-${client}-${n}`;
      const status = await ask(
        agent,
        `${service.url}/v1/records/settle`,
        JSON.stringify({ client, n, name }),
        client % 7,
      );
      answered.set(name, status);
      // Without a server there is nothing more to learn.
      if (status === undefined) return;
    }
  });
  const enough = async (): Promise<void> => {
    while ([...answered.values()].filter((status) => status === 202).length < 200) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await enough();
  service.child.kill("SIGTERM");
  assert.equal(await service.ended, { code: 0, signal: null });
  isOver = true;
  await Promise.all(clients);
  for (const agent of agents) agent.destroy();
  const stored = await storedIn(directory);
  const counts = { stored: stored.size, refused: 0, cut: 0 };
  for (const [name, status] of answered) {
    if (status === 202) assert.ok(stored.has(name), `${name} was acknowledged`);
    else {
      assert.not.ok(stored.has(name), `${name} was answered with ${status}`);
      if (status === undefined) counts.cut += 1;
      else {
        assert.is(status, 503);
        counts.refused += 1;
      }
    }
  }
  for (const name of stored) assert.is(answered.get(name), 202, name);
  assert.ok(counts.stored >= 200, JSON.stringify(counts));
});

test("readiness tells of the end at once, and a second signal doesn't wait", async () => {
  const place = temporaryDirectory();
  const service = await startService(join(place, "journal"), join(place, "ledger"), ["--readiness-delay-ms", "60000"]);
  assert.is((await get(`${service.adminUrl}/health/ready`)).status, 200);
  assert.is((await post(`${service.url}/v1/records/linger`, 1)).status, 202);
  service.child.kill("SIGTERM");
  let ready = 200;
  while (ready === 200) ready = (await get(`${service.adminUrl}/health/ready`)).status;
  assert.is(ready, 503);
  service.child.kill("SIGTERM");
  assert.equal(await service.ended, { code: 143, signal: null });
});

test("the command line goes before the environment, and that before the file", async () => {
  const place = temporaryDirectory();
  const config = join(place, "config.json");
  writeFileSync(
    config,
    JSON.stringify({
      port: 1001,
      adminPort: 1002,
      drainMs: 5,
      host: "::1",
      insecureNoAuth: true,
      page: false,
      processors: 2,
      journal: { retain: "all" },
    }),
  );
  const env = { MILLRACE_PORT: "2001", MILLRACE_ADMIN_PORT: "2002" };
  const printed = await millrace(["config", "print", "--config", config, "--port", "3001", "--origin", "--json"], {
    env,
  });
  assert.is(printed.code, 0, printed.stderr);
  const { settings } = documentOf<{ settings: { name: string; value: unknown; origin: string }[] }>(printed);
  const of = (name: string): unknown[] =>
    settings.filter((each) => each.name === name).map(({ value, origin }) => [value, origin])[0]!;
  assert.equal(of("port"), [3001, "command line"]);
  assert.equal(of("adminPort"), [2002, "environment"]);
  assert.equal(of("drainMs"), [5, "file"]);
  assert.equal(of("insecureNoAuth"), [true, "file"]);
  assert.equal(of("page"), [false, "file"]);
  assert.equal(of("adminHost"), ["127.0.0.1", "default"]);
  assert.equal(of("processors"), [2, "file"]);
  assert.equal(of("journal"), [{ retain: "all" }, "file"]);
  const { stdout } = await millrace(["config", "print", "--config", config]);
  assert.match(stdout, /\bport +1001$/m);
  const module = join(place, "config.mjs");
  writeFileSync(module, "const journal = { retain: 5n }; journal.journal = journal; export default { journal };");
  const odd = await millrace(["config", "print", "--config", module]);
  assert.match(odd.stdout, /journal +<ref \*1> \{ retain: 5n, journal: \[Circular \*1\] \}/);
});

test("the demo serves real traffic from a directory of its own, and leaves nothing", async () => {
  const place = temporaryDirectory();
  const args = ["serve", "--demo", "--port", "0", "--admin-port", "0", "--json"];
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { ...process.env, TMPDIR: place },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  let stdout = "";
  for await (const chunk of child.stdout) {
    stdout += String(chunk);
    if (stdout.endsWith("}\n")) break;
  }
  const { adminUrl, pageUrl } = JSON.parse(stdout) as { adminUrl: string; pageUrl: string };
  const [, token] = pageUrl.split("#token=");
  const metric = async (pattern: RegExp): Promise<number> => {
    const text = await (await fetch(`${adminUrl}/metrics`)).text();
    return Number(pattern.exec(text)?.[1] ?? 0);
  };
  while ((await metric(/^millrace_delivery_records_total\{result="done"\} (\d+)/m)) < 50);
  while ((await metric(/^millrace_delivery_records_total\{result="retried"\} (\d+)/m)) === 0);
  const { status } = await get(`${adminUrl}/api/dead/count`, { authorization: `Bearer ${token}` });
  assert.is(status, 200);
  assert.is(readdirSync(place).length, 1);
  child.kill("SIGTERM");
  assert.equal(await ended, { code: 0, signal: null });
  assert.equal(readdirSync(place), []);
});

test("the address of the page is told without its token where nobody looks", async () => {
  const place = temporaryDirectory();
  const service = await startService(join(place, "journal"), join(place, "ledger"));
  assert.is(service.pageUrl, `${service.adminUrl}/`);
  service.child.kill("SIGTERM");
  await service.ended;
});

test("frames from standard input are answered, and its end isn't the service's", async () => {
  const place = temporaryDirectory();
  const handlers = fileURLToPath(new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url));
  const where = ["--handlers", handlers, "--dir", join(place, "journal"), "--port", "0", "--admin-port", "0"];
  const child = spawn(process.execPath, [launcher, "serve", "--stdin", ...where], { stdio: "pipe" });
  const ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  const frames = Array.from({ length: 500 }, (_, n) => JSON.stringify({ handler: "settle", payload: { n } }));
  child.stdin.write(`${frames.join("\n")}\nno JSON\n`);
  await until(() => stdout.split("\n").length > 501, "answers");
  const answers = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { sequence?: number; error?: object });
  assert.is(answers.filter(({ sequence }) => sequence !== undefined).length, 500);
  assert.ok(answers.at(-1)!.error !== undefined);
  child.stdin.end();
  await until(() => stderr.includes("the input has ended"), "a word about the end");
  const [health] = /http:\S+ready/.exec(stderr) as unknown as [string];
  assert.is((await get(health)).status, 200);
  child.kill("SIGTERM");
  assert.equal(await ended, { code: 0, signal: null });
});

testIf(hasIpv6())("addresses of IPv6 are in brackets, where they are printed", async () => {
  const place = temporaryDirectory();
  const options = ["--host", "::1", "--admin-host", "::1"];
  const service = await startService(join(place, "journal"), join(place, "ledger"), options);
  assert.match(service.url, /^http:\/\/\[::1\]:\d+$/);
  assert.is((await get(`${service.adminUrl}/health/ready`)).status, 200);
  service.child.kill("SIGTERM");
  await service.ended;
});

test("an output that is full is told, and not as the input's end", async () => {
  const place = temporaryDirectory();
  const full = join(place, "full");
  // A node with the numbers of the device that is always full; not everybody may make one.
  if (spawnSync("mknod", [full, "c", "1", "7"]).status !== 0) return;
  const handlers = fileURLToPath(new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url));
  const where = ["--handlers", handlers, "--dir", join(place, "journal"), "--port", "0", "--admin-port", "0"];
  const output = openSync(full, "w");
  const child = spawn(process.execPath, [launcher, "serve", "--stdin", ...where], { stdio: ["pipe", output, "pipe"] });
  closeSync(output);
  const ended = once(child, "close");
  let stderr = "";
  child.stderr?.on("data", (chunk) => (stderr += String(chunk)));
  child.stdin?.write(`${JSON.stringify({ handler: "settle", payload: 1 })}\n`);
  await until(() => stderr.includes("the service goes on"), "a word about the output", 60_000);
  assert.match(stderr, "nobody takes answers any more");
  child.kill("SIGTERM");
  await ended;
});

test("a signal ends a service whose input is open", async () => {
  const place = temporaryDirectory();
  const handlers = fileURLToPath(new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url));
  const where = ["--handlers", handlers, "--dir", join(place, "journal"), "--port", "0", "--admin-port", "0"];
  const child = spawn(process.execPath, [launcher, "serve", "--stdin", ...where], { stdio: "pipe" });
  let stdout = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  const ended = new Promise((resolve) => child.once("close", (code, signal) => resolve({ code, signal })));
  child.stdin.write('{"handler":"settle","payload":1}\n{"handler":"set');
  await until(() => stdout.includes("sequence"), "an answer");
  child.kill("SIGTERM");
  assert.equal(await ended, { code: 0, signal: null });
  assert.is(stdout.trim().split("\n").length, 1);
});

test("wrong settings end the command with code 2 before anything is opened", async () => {
  const place = temporaryDirectory();
  let files = 0;
  const handlers = join(place, "handlers.mjs");
  writeFileSync(handlers, "export function settle() {}\n");
  const fileWith = (content: unknown): string[] => {
    files += 1;
    const config = join(place, `config-${files}.json`);
    writeFileSync(config, typeof content === "string" ? content : JSON.stringify(content));
    return ["--handlers", handlers, "--dir", join(place, "journal"), "--config", config];
  };
  const endless = join(place, "config.mjs");
  writeFileSync(endless, "await new Promise(() => {});\n");
  const wrong: [args: string[], text: string | RegExp][] = [
    [["--config", endless], "it awaits what never comes"],
    [[], "--handlers is required"],
    [["--handlers", "nowhere.mjs", "--dir", "d"], "there is no file"],
    [["--demo", "--dir", "d"], "of its own"],
    [["--stdin", "--json", "--handlers", handlers, "--dir", "d"], "both write to stdout"],
    [["--port", "70000"], "whole number from 0 to 65535"],
    [fileWith("{"), "can't be read"],
    [fileWith({ prot: 1 }), 'did you mean "port"'],
    [fileWith({ port: "x" }), /--config \S+: port must be a whole number from 0 to 65535, not "x"/],
    [fileWith({ port: [5] }), "port must be a number"],
    [fileWith({ handlers: 5 }), "handlers must be a text"],
    [fileWith({ host: 5 }), "host must be a text"],
    [fileWith({ page: "no" }), "page must be true or false"],
    [fileWith({ journal: [] }), "journal must be an object"],
    [fileWith({ insecureNoAuth: "no" }), "true or false"],
    [fileWith({ journal: { directory: "d" } }), "dir"],
    [fileWith({ journal: 5 }), "journal must be an object"],
    [fileWith({ journal: null }), "journal must be an object"],
    [fileWith({ tokenFile: "" }), "tokenFile must not be empty"],
    [["--handlers", handlers, "--dir", "d", "--tls-key", "k"], "belong together"],
  ];
  for (const [args, text] of wrong) {
    const { code, stderr } = await millrace(["serve", ...args]);
    assert.is(code, 2, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, text);
  }
  const ofEnvironment = await millrace(["config", "print"], { env: { MILLRACE_ADMIN_PORT: "x" } });
  assert.is(ofEnvironment.code, 2);
  assert.match(ofEnvironment.stderr, /^millrace: MILLRACE_ADMIN_PORT must be a whole number/);
});

test("a service that can't begin leaves no journal", async () => {
  const place = temporaryDirectory();
  const [handlers, file, pipe] = ["handlers.mjs", "file", "pipe"].map((name) => join(place, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(handlers, "export function settle() {}\n");
  writeFileSync(file, "");
  execFileSync("mkfifo", [pipe]);
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  const directory = join(place, "journal");
  for (const [args, text] of [
    [["--host", "0.0.0.0"], "ERR_SERVER_EXPOSED"],
    [["--port", String(port)], "EADDRINUSE"],
    [["--frame-path", file], "something else than a socket is there (ERR_SERVER_LISTEN)"],
    [["--frame-path", place], "something else than a socket is there (ERR_SERVER_LISTEN)"],
    [["--token-file", pipe], "it is no regular file (ERR_TOKEN_FILE)"],
    [["--tls-cert", file, "--tls-key", file], "ERR_SERVER_LISTEN"],
  ] as const) {
    const where = ["--handlers", handlers, "--dir", directory, "--port", "0", "--admin-port", "0"];
    const { code, stderr } = await millrace(["serve", ...where, ...args]);
    assert.is(code, 1, stderr);
    assert.match(stderr, text);
    assert.not(existsSync(directory), args.join(" "));
  }
  taken.close();
});

test.run();
