// The unit for systemd and the Dockerfile: what their own tools say, and whether Millrace does what
// they tell it.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { validate } from "dockerfile-utils";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { open } from "millrace";
import { createServer } from "@millrace/server";
import { documentOf, millrace } from "../cli/support.ts";
import { temporaryDirectory, testIf } from "../support.ts";

const ops = fileURLToPath(new URL("../../../ops/", import.meta.url));
const unit = readFileSync(join(ops, "millrace.service"), "utf8");
const dockerfile = readFileSync(join(ops, "Dockerfile"), "utf8");
const isSystemdThere = spawnSync("systemd-analyze", ["--version"]).status === 0;
if (!isSystemdThere) console.log("skipped: there is no systemd-analyze (Debian's package systemd)");
const withSystemd = testIf(isSystemdThere);

const setting = (name: string): string => new RegExp(`^${name}=(.*)$`, "m").exec(unit)?.[1] as string;
const environmentIn = (text: string): Record<string, string> =>
  Object.fromEntries(text.split(" ").map((each) => each.split("=") as [string, string]));

/** The complaints of systemd. */
function complaints(text: string): string {
  const file = join(temporaryDirectory(), "millrace.service");
  writeFileSync(file, text);
  const { status, stdout, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", file], { encoding: "utf8" });
  return status === 0 && stdout + stderr === "" ? "" : `${status}: ${stdout}${stderr}`;
}

/** The settings that Millrace takes from a command line and an environment. */
async function settingsOf(args: readonly string[], env: Record<string, string>): Promise<Map<string, unknown>> {
  const printed = await millrace(["config", "print", "--json", ...args], { env });
  assert.is(printed.code, 0, printed.stderr);
  const { settings } = documentOf<{ settings: { name: string; value: unknown }[] }>(printed);
  return new Map(settings.map(({ name, value }) => [name, value]));
}

withSystemd("systemd has no complaint about the unit, and has one about a wrong unit", () => {
  assert.is(complaints(unit), "");
  assert.match(complaints(unit.replace("Restart=", "Restrat=")), "Restrat");
});

test("the unit starts what Millrace understands, and waits for its end", async () => {
  const config = join(temporaryDirectory(), "serve.json");
  writeFileSync(config, JSON.stringify({ handlers: "/srv/millrace/handlers.mjs" }));
  const [, args = ""] = setting("ExecStart").split(" serve ");
  assert.is(args, "--config /etc/millrace/serve.json");
  const settings = await settingsOf(["--config", config], environmentIn(setting("Environment")));
  assert.is(settings.get("dir"), "/var/lib/millrace/journal");
  assert.is(settings.get("handlers"), "/srv/millrace/handlers.mjs");
  // Handlers get a quarter of `drainMs` more, however long requests took.
  const endMs = (settings.get("readinessDelayMs") as number) + (settings.get("drainMs") as number) * 1.25;
  assert.ok(Number(setting("TimeoutStopSec")) * 1000 >= endMs + 5000, `${endMs} ms`);
  assert.is(setting("KillMode"), "mixed", "handlers in processes of their own aren't told to end");
});

test("a parser of Dockerfiles has no complaint, and has one about a wrong Dockerfile", () => {
  assert.equal(validate(dockerfile), []);
  assert.ok(validate(dockerfile.replace("EXPOSE 8080", "EXPOSE eighty")).length > 0);
});

/** The list of an instruction. */
function listOf(instruction: string): string[] {
  const [, list] = new RegExp(`^${instruction} (?:.* CMD )?(\\[.*\\])$`, "m").exec(dockerfile) as unknown as string[];
  return JSON.parse(list as string) as string[];
}

test("the container starts what Millrace understands, as another user than root", async () => {
  const [program, , command] = listOf("ENTRYPOINT");
  assert.equal([program, command], ["node", "serve"]);
  const [, environment = ""] = /^ENV (MILLRACE_DIR.*)$/m.exec(dockerfile) ?? [];
  const settings = await settingsOf(listOf("CMD"), environmentIn(environment));
  assert.equal(
    ["dir", "host", "adminHost", "tokenFile", "handlers", "port", "adminPort"].map((name) => settings.get(name)),
    ["/data/journal", "0.0.0.0", "0.0.0.0", "/run/secrets/tokens", "./handlers.mjs", 8080, 9090],
  );
  assert.match(dockerfile, /^USER node$/m);
  assert.match(dockerfile, /^EXPOSE 8080 9090$/m);
});

test("the container's health check tells a service that lives from one that is gone", async () => {
  const [program = "", ...args] = listOf("HEALTHCHECK");
  assert.is(program, "node");
  const handlers = new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url);
  const mill = await open({ handlers, processors: 1, journal: { directory: join(temporaryDirectory(), "data") } });
  const server = await createServer(mill, { adminPort: 0 });
  const own = args.map((each) => each.replace("9090", String(server.adminPort)));
  const check = (): Promise<number | null> =>
    new Promise((resolve) => void spawn(process.execPath, own).once("close", resolve));
  assert.is(await check(), 0);
  await server.close();
  await mill.close();
  assert.is(await check(), 1);
});

test.run();
