// How every command behaves towards a terminal, a pipe, a script and a signal.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { temporaryDirectory, testIf, until } from "../support.ts";
import { documentOf, launcher, millrace, type Outcome } from "./support.ts";

const handlers = fileURLToPath(new URL("../../../test/fixtures/ingest-handlers.mjs", import.meta.url));

async function journalWith(records: number): Promise<string> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await Promise.all(Array.from({ length: records }, (_, n) => journal.append(`record ${n}`)));
  await journal.close();
  return directory;
}

/** Runs the command with its stdout read by another program. */
function piped(args: readonly string[], reader: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const quoted = args.map((arg) => `'${arg}'`).join(" ");
    const line = `set -o pipefail; '${process.execPath}' '${launcher}' ${quoted} | ${reader}`;
    const shell = spawn("bash", ["-c", line], { env: { ...process.env, NOTES: join(temporaryDirectory(), "notes") } });
    let stdout = "";
    let stderr = "";
    shell.stdout.on("data", (chunk) => (stdout += String(chunk)));
    shell.stderr.on("data", (chunk) => (stderr += String(chunk)));
    shell.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

testIf(existsSync("/bin/bash"))("a reader that leaves early ends every command quietly", async () => {
  const directory = await journalWith(30_000);
  const input = join(temporaryDirectory(), "in.ndjson");
  writeFileSync(input, '{"n":1}\n');
  const commands: [args: string[], reader: string][] = [
    [["--help"], "head -1"],
    [["load", "run", "--help"], "true"],
    [["journal", "export", "--dir", directory], "head -1"],
    [["journal", "export", "--dir", directory, "--salvage"], "head -1"],
    [["journal", "export", "--dir", directory, "--json"], "head -1"],
    [["journal", "tail", "--dir", directory, "--lines", "30000"], "head -1"],
    [["journal", "tail", "--dir", directory, "--lines", "30000", "--follow"], "head -1"],
    [["journal", "inspect", "--dir", directory, "--json"], "true"],
    // A few lines fit into the pipe: no later write would find that it is closed.
    [["journal", "tail", "--dir", directory, "--lines", "3", "--follow"], "head -1"],
    [["journal", "tail", "--dir", directory, "--lines", "3", "--follow"], "{ read a; read b; read c; sleep 1; }"],
    // Another process reads on for a while.
    [["journal", "tail", "--dir", directory, "--lines", "3", "--follow"], "{ sleep 2 <&0 & exec head -3; }"],
    [["journal", "tail", "--dir", directory, "--lines", "3", "--follow", "--json"], "true"],
    [["ingest", input, "--handler", `${handlers}#note`, "--dir", join(input, "../data"), "--processors", "1"], "true"],
  ];
  for (const [args, reader] of commands) {
    const { code, stderr } = await piped(args, reader);
    assert.is(code, 0, `${args.join(" ")}: ${stderr}`);
    assert.not.match(stderr, "EPIPE");
    assert.not.match(stderr, "    at ");
  }
});

testIf(existsSync("/bin/bash"))("a following into a named pipe ends when nobody reads it any more", async () => {
  const pipe = join(temporaryDirectory(), "pipe");
  const tail = `'${process.execPath}' '${launcher}' journal tail --dir '${await journalWith(3)}' --follow`;
  const script = `mkfifo '${pipe}'; { head -3 <'${pipe}' >/dev/null & }; ${tail} >'${pipe}'`;
  const shell = spawn("bash", ["-c", script], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  shell.stderr.on("data", (chunk) => (stderr += String(chunk)));
  const code = await new Promise((resolve) => shell.once("close", resolve));
  assert.equal([code, stderr], [0, ""]);
});

test("with --json stdout is one document, also for wrong options and errors", async () => {
  const directory = await journalWith(3);
  const dir = ["--dir", directory];
  const cases: [args: string[], exitCode: number, code: string | undefined][] = [
    [["journal", "tail", ...dir, "--json"], 0, undefined],
    [["journal", "export", ...dir, "--json"], 0, undefined],
    [["journal", "export", ...dir, "--json", "--salvage"], 0, undefined],
    [["journal", "export", ...dir, "--json", "--output", join(temporaryDirectory(), "out")], 0, undefined],
    [["journal", "export", ...dir, "--json", "--output", join(directory, "LOCK")], 1, "ERR_CLI_OUTPUT"],
    [["journal", "verify", ...dir, "--json", "--misspelt"], 2, "ERR_CLI_USAGE"],
    [["journal", "verify", "--json"], 2, "ERR_CLI_USAGE"],
    [["journal", "verfy", "--json"], 2, "ERR_CLI_USAGE"],
    [["load", "run", "--rate", "none", "--json"], 2, "ERR_CLI_USAGE"],
    [["ingest", "--json"], 2, "ERR_CLI_USAGE"],
    [["trace", "stats", "/nowhere", "--json"], 1, "ERR_TRACE_FILE"],
  ];
  for (const [args, exitCode, code] of cases) {
    const outcome = await millrace(args);
    assert.is(outcome.code, exitCode, `${args.join(" ")}: ${outcome.stderr}`);
    const document = documentOf<{ error?: { code: string; message: string; cure: string } }>(outcome);
    assert.is(document.error?.code, code, args.join(" "));
    if (code === undefined) continue;
    // One style: what is wrong, its code, and what to do.
    assert.match(outcome.stderr, new RegExp(`^millrace: .+ \\(${code}\\)\\n {2}.+\\n`));
  }
  const lines = documentOf<{ records: { sequence: number }[] }>(await millrace(["journal", "tail", ...dir, "--json"]));
  assert.equal(
    lines.records.map(({ sequence }) => sequence),
    [1, 2, 3],
  );
});

test("help for a command that isn't there is wrong usage, and says what is near", async () => {
  for (const [args, asked, near] of [
    [["help", "nonsuch"], "nonsuch", undefined],
    [["help", "jornal"], "jornal", "journal"],
    [["dlq", "help", "lst"], "lst", "list"],
    [["journal", "help", "nonsuch"], "nonsuch", undefined],
  ] as const) {
    const { code, stderr } = await millrace(args);
    assert.is(code, 2, args.join(" "));
    assert.match(stderr, `unknown command "${asked}"`);
    if (near !== undefined) assert.match(stderr, `did you mean ${near}?`);
  }
  for (const args of [
    ["help"],
    ["help", "journal"],
    ["journal", "help"],
    ["journal", "help", "tail"],
    ["help", "help"],
  ]) {
    const { code, stdout, stderr } = await millrace(args);
    assert.match(stdout + stderr, "Usage: millrace", args.join(" "));
    assert.ok(code === 0 || code === 2);
  }
});

test("--version tells the version; --help marks what is required and never varies", async () => {
  const manifest = fileURLToPath(new URL("../../../packages/cli/package.json", import.meta.url));
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
  assert.is((await millrace(["--version"])).stdout, `${version}\n`);
  for (const args of [["ingest"], ["load", "run"], ["load", "crash"], ["journal", "repair"], ["journal", "backup"]]) {
    const [first, second] = [await millrace([...args, "--help"]), await millrace([...args, "--help"])];
    assert.is(first.stdout, second.stdout);
    assert.not.match(first.stdout, "\u001B");
    if (args[0] === "load") continue;
    assert.match(first.stdout.replaceAll(/\s+/g, " "), /--dir <dir> [^-]*\(required\)/);
  }
});

/** A child of a process, by Linux's list. */
function childOf(pid: number): number | undefined {
  const [first] = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ");
  return first === undefined || first === "" ? undefined : Number(first);
}

for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
  ["SIGKILL", null],
] as const) {
  testIf(process.platform === "linux")(`load run ended by ${signal} leaves neither process nor file`, async () => {
    const temporary = temporaryDirectory();
    let victim = 0;
    const args = ["load", "run", "--seconds", "600", "--rate", "200", "--processors", "1", "--json", "--quiet"];
    const outcome = await millrace(args, {
      env: { TMPDIR: temporary },
      onStart: (child) => void endOnceLoaded(child, temporary, signal).then((pid) => (victim = pid)),
    });
    await until(() => !existsSync(`/proc/${victim}`), "the victim has ended");
    await until(() => readdirSync(temporary).length === 0, "the files are gone");
    assert.is(outcome.code, exitCode, outcome.stderr);
    if (exitCode === null) return;
    const document = documentOf<{ interrupted: boolean; published: number; acknowledged: number }>(outcome);
    assert.ok(document.interrupted);
    assert.ok(document.published > 0);
    assert.is(document.acknowledged, document.published);
  });
}

/** Sends the signal when the first records are handled; resolves with the victim's process id. */
async function endOnceLoaded(child: ChildProcess, temporary: string, signal: NodeJS.Signals): Promise<number> {
  const handledBytes = (): number =>
    readdirSync(temporary, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ledger"))
      .reduce((sum, name) => sum + statSync(join(temporary, name)).size, 0);
  await until(() => handledBytes() > 0, "records are handled", 60_000);
  const victim = childOf(child.pid as number) as number;
  child.kill(signal);
  return victim;
}

testIf(process.platform === "linux")("load ended while it starts tells so, and leaves nothing", async () => {
  for (const command of ["run", "crash"]) {
    const temporary = temporaryDirectory();
    const outcome = await millrace(["load", command, "--seconds", "600", "--processors", "1", "--json"], {
      env: { TMPDIR: temporary },
      onStart: (child) =>
        void until(() => readdirSync(temporary).length > 0, "it starts", 60_000).then(() => child.kill("SIGINT")),
    });
    assert.is(outcome.code, 130, outcome.stderr);
    assert.is(documentOf<{ interrupted: boolean }>(outcome).interrupted, true);
    await until(() => readdirSync(temporary).length === 0, "the files are gone");
  }
});

for (const [signal, exitCode] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const) {
  test(`ingest of an idle stdin ends with ${signal}, before and after its first line`, async () => {
    for (const first of ["", '{"n":1}\n{"n":2}\n']) {
      const place = temporaryDirectory();
      const notes = join(place, "notes");
      const args = ["ingest", "-", "--handler", `${handlers}#note`, "--dir", join(place, "data"), "--processors", "1"];
      const child = spawn(process.execPath, [launcher, ...args, "--format", "ndjson", "--json"], {
        env: { ...process.env, NOTES: notes },
      });
      let stdout = "";
      child.stdout.on("data", (chunk) => (stdout += String(chunk)));
      child.stderr.resume();
      const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
      child.stdin.write(first);
      // Before the first line nothing shows that it listens, but for the time that loading takes at
      // most.
      if (first === "") await listensForSignals(child.pid as number);
      else await until(() => existsSync(notes), "the first lines are handled", 60_000);
      child.kill(signal);
      assert.is(await ended, exitCode);
      assert.is((JSON.parse(stdout) as { interrupted: boolean }).interrupted, true);
    }
  });
}

test("a signal that cuts off an array or a table is no mistake in the input", async () => {
  for (const [format, first] of [
    ["json", '[{"n":1},{"n":'],
    ["csv", 'a,b\n1,"open'],
  ] as const) {
    const place = temporaryDirectory();
    const data = join(place, "data");
    const args = ["ingest", "-", "--handler", `${handlers}#note`, "--dir", data, "--processors", "1"];
    const child = spawn(process.execPath, [launcher, ...args, "--format", format, "--json"], {
      env: { ...process.env, NOTES: join(place, "notes") },
    });
    let stdout = "";
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.resume();
    const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
    child.stdin.write(first);
    await until(() => existsSync(join(data, "marks")), "the journal is open", 60_000);
    child.kill("SIGTERM");
    assert.is(await ended, 143);
    const document = JSON.parse(stdout) as { interrupted: boolean; error?: object };
    assert.is(document.interrupted, true);
    assert.is(document.error, undefined, stdout);
  }
});

/** Waits until a process catches SIGHUP, which Node itself doesn't. */
async function listensForSignals(pid: number): Promise<void> {
  if (process.platform !== "linux") return;
  await until(
    () => {
      const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
      return (BigInt(`0x${mask}`) & 1n) === 1n;
    },
    "the command listens",
    60_000,
  );
}

test("ingest tells why records died, and that no line could be read", async () => {
  const place = temporaryDirectory();
  const input = join(place, "in.ndjson");
  writeFileSync(input, '{"n":1}\n{"n":2}\n{"n":3}\n');
  const common = ["--dir", join(place, "data"), "--processors", "1"];
  const failed = await millrace(["ingest", input, "--handler", `${handlers}#fail`, ...common, "--json"]);
  assert.is(failed.code, 1);
  const { deadReasons } = documentOf<{ deadReasons: { error: string; count: number; lines: number[] }[] }>(failed);
  assert.is(deadReasons.length, 1, failed.stdout);
  assert.is(deadReasons[0]?.count, 3);
  assert.equal(deadReasons[0]?.lines.toSorted(), [1, 2, 3]);
  assert.match(failed.stderr, /3 × .+ \(lines /);

  writeFileSync(input, "{oops\n{oops\n{oops\n");
  const note = ["--handler", `${handlers}#note`, "--dir", join(place, "other"), "--processors", "1"];
  const unread = await millrace(["ingest", input, ...note, "--on-error", "skip"]);
  assert.is(unread.code, 1, unread.stdout);
  assert.match(unread.stderr, "no record could be read");
  assert.match(unread.stdout, /acknowledged +0\n/);
  writeFileSync(input, '{"n":1}\n{oops\n{oops\n{"n":4}\n');
  const env = { NOTES: join(place, "notes") };
  const over = await millrace(["ingest", input, ...note, "--on-error", "skip", "--max-malformed", "1", "--json"], {
    env,
  });
  assert.is(over.code, 1);
  assert.is(documentOf<{ error: { code: string } }>(over).error.code, "ERR_INGEST_MALFORMED");
  const within = await millrace(["ingest", input, ...note, "--on-error", "skip", "--max-malformed", "2", "--json"], {
    env,
  });
  assert.is(within.code, 0, within.stderr);
});

test.run();
