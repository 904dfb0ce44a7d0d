// `millrace replay --shadow`: exit codes, wrong input, Ctrl-C, what is printed.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open, type ShadowReport } from "millrace";
import { temporaryDirectory, until } from "../support.ts";

const bin = fileURLToPath(new URL("../../../packages/cli/bin/millrace.mjs", import.meta.url));
const then = new URL("../../../test/fixtures/shadow-then.mjs", import.meta.url);
const now = fileURLToPath(new URL("../../../test/fixtures/shadow-now.mjs", import.meta.url));
const same = ["--ignore", "result.at", "result.list[*].id"];

interface Handlers {
  pay(payload: object): unknown;
}
type Mill = Millrace<Handlers>;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function millrace(...parameters: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...parameters], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code as never), stdout, stderr });
    });
  });
}

async function recorded(payloads: readonly object[]): Promise<readonly [directory: string, mill: Mill]> {
  const directory = join(temporaryDirectory(), "data");
  const mill = await open<Handlers>({
    handlers: then,
    processors: 1,
    journal: { directory, retain: "all", record: "outcomes", redact: ["card"] },
  });
  for (const payload of payloads) await mill.publish.pay(payload);
  await mill.drain();
  return [directory, mill];
}

test("the command compares, of a running and a stopped service, and exits with 0 or 4", async () => {
  const payloads = Array.from({ length: 9 }, (_, n) => ({ n }));
  const [directory, mill] = await recorded([...payloads, { what: "changed", n: 9, card: "4711" }]);
  const running = await millrace("replay", directory, "--shadow", now, ...same);
  assert.is(running.code, 4, running.stderr);
  assert.match(running.stdout, /records compared +10\n/);
  assert.match(running.stdout, /another result +1\n/);
  assert.match(running.stdout, /\d+ pay: another result \(result\.fee\)/);
  assert.not.match(running.stdout, /payload|4711/);
  await mill.close();

  const allowed = await millrace("replay", directory, "--shadow", now, ...same, "--allow", "10%", "--json");
  assert.is(allowed.code, 0, allowed.stderr);
  const document = JSON.parse(allowed.stdout) as ShadowReport & { readonly isOverLimit: boolean };
  assert.equal([document.records, document.same, document.different], [10, 9, 1]);
  assert.is(document.isOverLimit, false);
  assert.equal(Object.keys(document.differences[0] as object), ["sequence", "handler", "attempt", "kind", "paths"]);
  assert.is((await millrace("replay", directory, "--shadow", now, ...same, "--allow", "9.9%")).code, 4);
  assert.is((await millrace("replay", directory, "--shadow", now, ...same, "--allow", "1")).code, 0);

  const shown = await millrace("replay", directory, "--shadow", now, ...same, "--values");
  assert.match(shown.stdout, /payload \{.*"card":"\[redacted\]"/);
  assert.match(shown.stdout, /now +\{"result":\{"fee":10,/);
  const filtered = await millrace("replay", directory, "--shadow", now, ...same, "--to", "9", "--json");
  assert.is(filtered.code, 0, filtered.stdout);
});

test("what can't be compared is said with a code", async () => {
  const [directory, mill] = await recorded([{ n: 1 }]);
  await mill.close();
  const failed = async (...parameters: string[]): Promise<readonly [number, string]> => {
    const { code, stdout } = await millrace("replay", directory, "--json", ...parameters);
    return [code, (JSON.parse(stdout) as { error: { code: string } }).error.code];
  };
  const withShadow = (...parameters: string[]): ReturnType<typeof failed> => failed("--shadow", now, ...parameters);
  assert.equal(await failed("--shadow", `${now}.absent`), [1, "ERR_HANDLER_MODULE"]);
  assert.equal(await failed("--ignore", "result.at"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await withShadow("--name", "n"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await withShadow("--dry-run"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await withShadow("--allow", "-1"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await withShadow("--allow", "101%"), [2, "ERR_CLI_USAGE"]);
  assert.equal(await withShadow("--ignore", "at"), [2, "ERR_INVALID_OPTION"]);
  assert.equal(await withShadow("--from", "1000"), [1, "ERR_REPLAY_RANGE"]);
  const none = await millrace("replay", directory, "--shadow", now, "--handler", "nobody", "--json");
  assert.is(none.code, 5, "nothing was compared");
  const missing = await millrace("replay", join(directory, "nowhere"), "--shadow", now, "--json");
  assert.is(missing.code, 1);
});

test("Ctrl-C ends it, although a handler hangs", async () => {
  const file = join(temporaryDirectory(), "calls");
  const [directory, mill] = await recorded([{ what: "hangs", n: 1, file }]);
  await mill.close();
  const child = spawn(process.execPath, [bin, "replay", directory, "--shadow", now]);
  const ended = once(child, "exit") as Promise<[number]>;
  await until(() => existsSync(file), "the handler is called", 60_000);
  child.kill("SIGINT");
  assert.equal(await ended, [130, null]);
});

test.run();
