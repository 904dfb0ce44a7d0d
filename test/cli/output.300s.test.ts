// What becomes of a command whose output can't be written, and what it leaves behind then.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { open } from "millrace";
import { temporaryDirectory, testIf, until } from "../support.ts";
import { documentOf, launcher, millrace, type Outcome } from "./support.ts";

const handlers = new URL("../fixtures/handlers.js", import.meta.url);
const served = fileURLToPath(new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url));
const RECORD_BYTES = 4000;

async function journalWith(records: number): Promise<string> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory });
  await Promise.all(Array.from({ length: records }, () => journal.append("x".repeat(RECORD_BYTES))));
  await journal.close();
  return directory;
}

/** Runs a line of bash in which `$millrace` is the command. */
function shell(line: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn("bash", ["-c", `millrace="${process.execPath} ${launcher}"; ${line}`]);
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

testIf(existsSync("/dev/full"))("a full disk under stdout is told once, without a stack", async () => {
  const directory = await journalWith(30);
  for (const args of [
    "--help",
    "--version",
    "completion bash",
    `dlq list ${directory} --json`,
    `journal inspect --dir ${directory}`,
    `journal tail --dir ${directory}`,
    `journal tail --dir ${directory} --follow`,
    `journal export --dir ${directory}`,
    `journal export --dir ${directory} --json`,
    `journal export --dir ${directory} --salvage`,
    "config print --handlers x",
    "config print --handlers x --json",
  ]) {
    const { code, stderr } = await shell(`$millrace ${args} >/dev/full`);
    assert.is(code, 1, args);
    const [told, ...more] = stderr.split("\n").filter((line) => line.includes("ENOSPC"));
    assert.match(told ?? "", /^millrace: stdout can't be written: ENOSPC.* \(ERR_CLI_OUTPUT\)$/, `${args}: ${stderr}`);
    assert.equal(more, [], args);
    assert.not.match(stderr, "    at ", args);
  }
});

testIf(existsSync("/dev/full"))("a full disk under stderr changes no exit code", async () => {
  const directory = await journalWith(3);
  const { code, stdout } = await shell(`$millrace journal export --dir ${directory} 2>/dev/full`);
  assert.is(code, 0);
  assert.is(stdout.trim().split("\n").length, 3);
  assert.is((await shell(`$millrace journal verify --dir ${directory}/none 2>/dev/full`)).code, 1);
});

testIf(existsSync("/dev/full"))("a service goes on although its log is on a full disk", async () => {
  const directory = join(temporaryDirectory(), "data");
  const socket = join(temporaryDirectory(), "frames");
  const options = `--handlers ${served} --dir ${directory} --port 0 --admin-port 0 --frame-path ${socket}`;
  const child = spawn("bash", ["-c", `exec ${process.execPath} ${launcher} serve ${options} >/dev/full 2>/dev/full`]);
  const exit = once(child, "exit") as Promise<[number | null]>;
  await until(() => existsSync(socket), "it listens", 60_000);
  const status = await millrace(["intake", "status", directory, "--json"]);
  assert.is(documentOf<{ isRunning: boolean }>(status).isRunning, true);
  child.kill("SIGTERM");
  assert.is((await exit)[0], 0);
});

test("a long export tells nothing but its count", async () => {
  const directory = await journalWith(1000);
  const output = join(temporaryDirectory(), "records");
  const { code, stderr } = await millrace(["journal", "export", "--dir", directory, "--output", output]);
  assert.equal([code, stderr], [0, "1,000 records\n"]);
  assert.is(readFileSync(output, "utf8").trim().split("\n").length, 1000);
  // A reader that is slower than the command.
  const piped = await shell(`$millrace journal export --dir ${directory} | { sleep 1; wc -l; }`);
  assert.equal([piped.stdout.trim(), piped.stderr], ["1000", "1,000 records\n"]);
});

// Beyond this limit a write fails as on a full disk; Node ignores the signal that comes with it.
const little = "ulimit -f 1000; ";

testIf(process.platform === "linux")("an export that doesn't fit is an error, and leaves no file", async () => {
  const directory = await journalWith(1000);
  for (const flag of ["", "--json", "--salvage"]) {
    const output = join(temporaryDirectory(), "records");
    const line = `${little}$millrace journal export --dir ${directory} --output ${output} ${flag}`;
    const { code, stdout, stderr } = await shell(line);
    assert.is(code, 1, `${flag} ${stderr}`);
    assert.match(stderr, /^millrace: .*records can't be written: EFBIG.* \(ERR_CLI_OUTPUT\)\n/);
    assert.not.match(stderr, "Listener");
    if (flag === "--json") assert.is((JSON.parse(stdout) as { error: { code: string } }).error.code, "ERR_CLI_OUTPUT");
    assert.not(existsSync(output), flag);
  }
});

test("an export that is interrupted leaves no file that looks complete", async () => {
  const directory = await journalWith(20_000);
  for (const flags of [[], ["--salvage"]]) {
    const place = temporaryDirectory();
    const output = join(place, "records");
    const { code, stderr } = await millrace(["journal", "export", "--dir", directory, "--output", output, ...flags], {
      onStart: (child) =>
        void until(() => readdirSync(place).length > 0, "it writes", 60_000).then(() => child.kill("SIGINT")),
    });
    assert.is(code, 130, stderr);
    assert.match(stderr, "isn't complete, and is removed");
    assert.equal(readdirSync(place), []);
  }
});

test("a signal ends an export that waits for its reader", async () => {
  const directory = await journalWith(1000);
  for (const flags of [[], ["--salvage"]]) {
    const child = spawn(process.execPath, [launcher, "journal", "export", "--dir", directory, ...flags]);
    const exit = once(child, "exit") as Promise<[number | null]>;
    await once(child.stdout, "readable");
    child.kill("SIGINT");
    assert.is((await exit)[0], 130);
    child.stdout.destroy();
  }
});

test("an export whose journal is removed while it waits ends with its code", async () => {
  for (const flags of [[], ["--salvage"]]) {
    const directory = await journalWith(4000);
    const outcome = await millrace(["journal", "export", "--dir", directory, ...flags], {
      onStart: (child) =>
        child.stdout?.once("data", () => {
          child.stdout?.pause();
          rmSync(directory, { recursive: true });
          writeFileSync(directory, "");
          child.stdout?.resume();
        }),
    });
    assert.is(outcome.code, 1);
    assert.match(outcome.stderr, /holds no journal: it was removed.* \(ERR_JOURNAL_MISSING\)/);
  }
});

testIf(process.platform === "linux")("a backup that doesn't fit is an error, and its directory is empty", async () => {
  const directory = await journalWith(1000);
  const copy = join(temporaryDirectory(), "copy");
  const line = `$millrace journal backup --dir ${directory} --to ${copy}`;
  const { code, stderr } = await shell(`${little}${line}`);
  assert.is(code, 1, stderr);
  assert.match(stderr, /^millrace: .*copy can't be used: EFBIG.* \(ERR_JOURNAL_STORAGE\)\n/);
  assert.equal(readdirSync(copy), []);
  assert.is((await shell(line)).code, 0, "the same again, with room");
  const file = join(temporaryDirectory(), "file");
  writeFileSync(file, "");
  const onto = await millrace(["journal", "backup", "--dir", directory, "--to", file]);
  assert.match(onto.stderr, "ERR_JOURNAL_STORAGE");
});

test("where a trace can't go is told before the program runs", async () => {
  const place = temporaryDirectory();
  const ran = join(place, "ran");
  const program = ["--", process.execPath, "-e", `require("node:fs").writeFileSync(${JSON.stringify(ran)}, "")`];
  writeFileSync(join(place, "file"), "");
  execFileSync("mkfifo", [join(place, "pipe")]);
  symlinkSync(join(place, "nowhere"), join(place, "link"));
  const below = [join("absent", "trace.json"), join("file", "trace.json"), "pipe", "link"];
  for (const out of [place, ...below.map((name) => join(place, name))]) {
    const outcome = await millrace(["trace", "record", "--out", out, "--json", ...program]);
    assert.is(outcome.code, 1);
    assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_CLI_OUTPUT", outcome.stdout);
    assert.not(existsSync(ran), out);
  }
});

/** A node with the numbers of the device that is always full; false where nobody may make one. */
function madeDevice(path: string): boolean {
  return spawnSync("mknod", [path, "c", "1", "7"]).status === 0;
}

test("a device to which a trace can't go stays", async () => {
  const out = join(temporaryDirectory(), "device");
  if (!madeDevice(out)) return;
  const { code, stderr } = await millrace(["trace", "record", "--out", out, "--", process.execPath, "-e", ""]);
  assert.is(code, 1);
  assert.match(stderr, "device can't be written: it is no regular file (ERR_CLI_OUTPUT)");
  assert.ok(lstatSync(out).isCharacterDevice());
});

const traced = `
  import { open } from "millrace";
  const mill = await open({ handlers: new URL(${JSON.stringify(handlers.href)}), processors: 1 });
  if (process.argv[1] === "close") await mill.close();
  else { console.log("open"); setInterval(() => {}, 1000); }`;

testIf(process.platform === "linux")("a trace that doesn't fit stays where it was written", async () => {
  const place = temporaryDirectory();
  const out = join(place, "full", "trace.json");
  mkdirSync(join(place, "full"));
  mkdirSync(join(place, "tmp"));
  // It goes while the program runs.
  const program = `${traced}\nimport { rmdirSync } from "node:fs"; rmdirSync(${JSON.stringify(join(place, "full"))});`;
  const args = ["trace", "record", "--out", out, "--", process.execPath, "--input-type=module", "-e", program, "close"];
  const env = { TMPDIR: join(place, "tmp") };
  const { code, stderr } = await millrace(args, { env, cwd: import.meta.dirname });
  assert.is(code, 1, stderr);
  const kept = /the trace stays in (\S+) \(ERR_CLI_OUTPUT\)/.exec(stderr)?.[1] ?? "";
  assert.is(readdirSync(kept).filter((name) => name.endsWith(".json")).length, 1, stderr);
  // It isn't what a process has left that was killed.
  await millrace(["trace", "record", "--", process.execPath, "-e", ""], { env });
  assert.ok(existsSync(kept));
});

testIf(process.platform === "linux")("an older trace stays until the new one is whole", async () => {
  const place = temporaryDirectory();
  const [out, link] = [join(place, "trace.json"), join(place, "link")];
  writeFileSync(out, "older");
  symlinkSync(out, link);
  // The trace is written, and then the disk is full.
  const program = `
    const { writeFileSync } = require("node:fs");
    const trace = { traceEvents: [], otherData: { producer: "millrace" }, rest: "x".repeat(2 ** 21) };
    writeFileSync(process.env.MILLRACE_TRACE_DIRECTORY + "/trace-1-1.json", JSON.stringify(trace));`;
  const script = join(place, "program.cjs");
  writeFileSync(script, program);
  const line = `$millrace trace record --out ${link} -- bash -c "ulimit -f unlimited; exec ${process.execPath} ${script}"`;
  const { code, stderr } = await shell(`ulimit -S -f 1000; ${line}`);
  assert.is(code, 1, stderr);
  assert.match(stderr, "EFBIG");
  assert.is(readFileSync(out, "utf8"), "older");
  assert.equal(readdirSync(place).toSorted(), ["link", "program.cjs", "trace.json"]);

  const args = ["trace", "record", "--out", link, "--", process.execPath, "--input-type=module", "-e", traced, "close"];
  assert.is((await millrace(args, { cwd: import.meta.dirname })).code, 0);
  assert.match(readFileSync(out, "utf8"), "traceEvents");
  assert.ok(lstatSync(link).isSymbolicLink());
});

test("a trace that can't be written takes nothing from the program", async () => {
  const env = { ...process.env, MILLRACE_TRACE_DIRECTORY: join(temporaryDirectory(), "absent") };
  const args = ["--input-type=module", "-e", `${traced}\nconsole.log("closed");`, "close"];
  const child = spawn(process.execPath, args, { env, cwd: import.meta.dirname });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  const [code] = (await once(child, "close")) as [number | null];
  assert.equal([code, stdout], [0, "closed\n"], stderr);
  assert.match(stderr, "MILLRACE_TRACE_FILE");
});

test("a trace goes where it is asked for, wherever the program goes", async () => {
  const place = temporaryDirectory();
  mkdirSync(join(place, "tmp"));
  const program = `
    import { open } from ${JSON.stringify(import.meta.resolve("millrace"))};
    const mill = await open({ handlers: new URL(${JSON.stringify(handlers.href)}), processors: 1 });
    process.chdir("/");
    await mill.close();`;
  const run = ["--input-type=module", "-e", program];
  const args = ["trace", "record", "--out", "trace.json", "--", process.execPath, ...run];
  const { code, stderr } = await millrace(args, { cwd: place, env: { TMPDIR: "tmp" } });
  assert.is(code, 0, stderr);
  const env = { ...process.env, MILLRACE_TRACE_DIRECTORY: "tmp" };
  spawnSync(process.execPath, run, { cwd: place, env });
  assert.is(readdirSync(join(place, "tmp")).filter((name) => name.endsWith(".json")).length, 1);
});

test("a trace that can't be written at an exit is told", () => {
  const place = temporaryDirectory();
  const program = `
    import { rmSync } from "node:fs";
    import { open } from "millrace";
    await open({ handlers: new URL(${JSON.stringify(handlers.href)}), processors: 1 });
    rmSync(${JSON.stringify(place)}, { recursive: true });
    process.exit(0);`;
  const env = { ...process.env, MILLRACE_TRACE_DIRECTORY: place };
  const args = ["--input-type=module", "-e", program];
  const { status, stderr } = spawnSync(process.execPath, args, { env, cwd: import.meta.dirname, encoding: "utf8" });
  assert.is(status, 0);
  assert.match(stderr, /MILLRACE_TRACE_FILE.*no trace could be written: ENOENT/);
});

/** Starts the command with a directory of its own for temporary files; resolves once `isSo`. */
async function startIn(temporary: string, args: readonly string[], isSo: () => boolean): Promise<ChildProcess> {
  const child = spawn(process.execPath, [launcher, ...args], {
    env: { ...process.env, TMPDIR: temporary },
    cwd: import.meta.dirname,
    stdio: "ignore",
  });
  await until(isSo, args.join(" "), 60_000);
  return child;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

testIf(process.platform === "linux")("what a killed command has left goes with the next one", async () => {
  const temporary = temporaryDirectory();
  const left = (): string[] => readdirSync(temporary);
  const demo = ["serve", "--demo", "--port", "0", "--admin-port", "0"];
  await end(await startIn(temporary, demo, () => left().length === 1), "SIGKILL");
  const [killed] = left();
  const next = await startIn(temporary, demo, () => left().length === 1 && left()[0] !== killed);
  await end(next, "SIGTERM");
  assert.equal(left(), []);

  const program = ["trace", "record", "--", process.execPath, "-e", "setTimeout(() => {}, 2000)"];
  await end(await startIn(temporary, program, () => left().length === 1), "SIGKILL");
  await millrace(["trace", "record", "--", process.execPath, "-e", ""], { env: { TMPDIR: temporary } });
  assert.equal(left(), []);
});

testIf(process.platform === "linux")("doctor that a signal ends leaves nothing in the directory", async () => {
  const place = temporaryDirectory();
  const child = await startIn(temporaryDirectory(), ["doctor", place], () => readdirSync(place).length === 1);
  await end(child, "SIGTERM");
  assert.equal(readdirSync(place), []);
});

test("without a directory for temporary files a command says so", async () => {
  const absent = join(temporaryDirectory(), "absent");
  const long = join(temporaryDirectory(), "d".repeat(120));
  mkdirSync(long);
  for (const [args, path] of [
    [["load", "run", "--seconds", "1"], absent],
    [["load", "crash", "--seconds", "1"], absent],
    [["load", "run", "--seconds", "1"], long],
    [["trace", "record", "--", process.execPath, "-e", ""], absent],
    [["serve", "--demo", "--port", "0", "--admin-port", "0"], absent],
  ] as const) {
    const { code, stderr } = await millrace(args, { env: { TMPDIR: path } });
    assert.is(code, 1, args.join(" "));
    assert.match(stderr, /^millrace: .+ \(ERR_CLI_TEMPORARY\)\n {2}Set TMPDIR /, args.join(" "));
  }
  assert.equal(readdirSync(long), []);
});

testIf(process.platform === "linux")("a following ends when a Node parent reads no more", async () => {
  const directory = await journalWith(1);
  const args = ["journal", "tail", "--dir", directory, "--lines", "1", "--follow"];
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit") as Promise<[number | null]>;
  await once(child.stdout, "data");
  child.stdout.destroy();
  assert.is((await exit)[0], 0);
});

test("a following of a journal that is removed or replaced ends with its code", async () => {
  const other = await journalWith(3);
  for (const [replace, why] of [
    [() => {}, "it was removed"],
    [(directory: string) => mkdirSync(directory), "it was removed, and another stands there"],
    [(directory: string) => cpSync(other, directory, { recursive: true }), "it was removed, and another stands there"],
  ] as const) {
    const directory = await journalWith(1);
    const outcome = await millrace(["journal", "tail", "--dir", directory, "--follow"], {
      onStart: (child) =>
        child.stdout?.once("data", () => {
          rmSync(directory, { recursive: true });
          replace(directory);
        }),
    });
    assert.is(outcome.code, 1);
    assert.match(outcome.stderr, `holds no journal: ${why} (ERR_JOURNAL_MISSING)`);
  }
});

testIf(process.platform === "linux")("top ends when nobody reads any more, however long its interval", async () => {
  const directory = join(temporaryDirectory(), "data");
  const mill = await open({ handlers, processors: 1, journal: { directory, allowUnsafeStorage: true } });
  try {
    const args = ["top", directory, "--interval", "1000m"];
    const child = spawn(process.execPath, [launcher, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const exit = once(child, "exit") as Promise<[number | null]>;
    child.stdout.destroy();
    assert.is((await exit)[0], 0);
  } finally {
    await mill.close();
  }
});

test.run();
