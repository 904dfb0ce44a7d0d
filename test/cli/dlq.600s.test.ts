// Dead letters from outside: of a service that runs, and of a directory that nobody has open.
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ControlClient } from "@millrace/intake";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";
import { launcher, millrace as run, type Outcome } from "./support.ts";

const handlers = new URL("../../../test/fixtures/dead-letter-handlers.mjs", import.meta.url);
interface Handlers {
  settle(record: object): unknown;
  audit(record: object): unknown;
}

const SECRET = "4111111111111111";

const millrace = (...parameters: string[]): Promise<Outcome> => run(parameters);

type Journal = NonNullable<MillraceOptions["journal"]>;

function openMill(directory: string, options: Partial<Journal> = {}): Promise<Millrace<Handlers>> {
  const redact = { settle: { redact: ["card.number", "lines[*].secret"] }, audit: { redact: () => "hidden" } };
  return open<Handlers>({ handlers, processors: 1, journal: { directory, handlers: redact, ...options } });
}

/** Two letters of `settle`, one of `audit`. */
async function withLetters(directory: string): Promise<Millrace<Handlers>> {
  const mill = await openMill(directory);
  const card = { number: SECRET, holder: "Ada" };
  const payload = { card, lines: [{ secret: SECRET, sum: 1n }], fails: true };
  const options = { key: "A-1", headers: { card } };
  const sent = [
    mill.publish.settle(payload, options),
    mill.publish.settle(payload, options),
    mill.publish.audit({ card }),
  ];
  for (const { done } of await Promise.all(sent)) await done.catch(() => {});
  return mill;
}

const directoryOf = (): string => join(temporaryDirectory(), "journal");

async function tryCommands(directory: string, isRunning: boolean): Promise<void> {
  const listed = await millrace("dlq", "list", directory, "--handler", "settle", "--json");
  assert.is(listed.code, 0, listed.stderr);
  const { letters } = JSON.parse(listed.stdout) as { letters: { sequence: number }[] };
  assert.is(letters.length, 2);
  const { sequence } = letters[0] as { sequence: number };
  assert.is((await millrace("dlq", "list", directory)).stdout.split("\n").length, 4);
  const shown = JSON.parse((await millrace("dlq", "show", directory, String(sequence))).stdout) as object;
  assert.equal((shown as { payload: unknown }).payload, {
    card: { number: "[redacted]", holder: "Ada" },
    lines: [{ secret: "[redacted]", sum: "1" }],
    fails: true,
  });
  assert.is((await millrace("dlq", "show", directory, "999999")).code, 1);
  assert.is((await millrace("dlq", "drop", directory)).code, 2);
  assert.is((await millrace("dlq", "list", directory, "--reason", "tired")).code, 2);
  assert.is((await millrace("dlq", "list", directory, "--from", "soon")).code, 2);
  const dry = JSON.parse((await millrace("dlq", "redrive", directory, "--dry-run", "--json")).stdout) as object;
  assert.equal(dry, { directory, isRunning, dryRun: true, redriven: 0, count: 3 });
  const dropped = await millrace("dlq", "drop", directory, "--text", "no audit");
  assert.equal([dropped.code, dropped.stdout], [0, "1 letter dropped\n"]);
  assert.is(
    (await millrace("dlq", "redrive", directory, "--limit", "1", "--key", "A-1")).stdout,
    "1 letter redriven\n",
  );
}

test("a running service carries out the commands, and goes on", async () => {
  const directory = directoryOf();
  const mill = await withLetters(directory);
  await tryCommands(directory, true);
  await until(() => mill.stats().intake?.dead === 4, "the redriven letter again");
  assert.is((await millrace("dlq", "redrive", directory, "--all", "--to-handler", "nobody")).code, 2);
  const status = JSON.parse((await millrace("intake", "status", directory, "--json")).stdout) as { stats: object };
  assert.is((status.stats as { deadKept: number }).deadKept, 2);
  assert.is((await millrace("intake", "pause", directory, "settle")).code, 0);
  const ack = await mill.publish.settle({ fails: false });
  assert.is((await mill.drain()).paused, 1);
  assert.is((await millrace("intake", "resume", directory, "settle")).code, 0);
  await ack.done;
  await mill.close();
  assert.not(existsSync(join(directory, "control.sock")));
});

test("a directory that nobody has open carries them out, and the next start sees it", async () => {
  const directory = directoryOf();
  await (await withLetters(directory)).close();
  await tryCommands(directory, false);
  // Nobody says whether it has such a handler.
  const { stdout } = await millrace("intake", "pause", directory, "setle");
  assert.is(stdout, "setle is paused from the next start on, if the service has a handler of this name\n");
  const mill = await openMill(directory);
  await until(() => mill.stats().intake?.dead === 1, "the redriven letter again");
  assert.is(await mill.dead.count(), 2);
  await mill.close();
});

test("a reader that leaves early ends a list quietly", async () => {
  const directory = directoryOf();
  const mill = await openMill(directory, { failuresMax: 0 });
  const record = { note: "y".repeat(300), fails: true };
  const sent = await Promise.all(Array.from({ length: 2000 }, () => mill.publish.settle(record)));
  for (const { done } of sent) await done.catch(() => {});
  await mill.close();
  for (const json of ["", "--json"]) {
    const list = `"${process.execPath}" "${launcher}" dlq list "${directory}" --limit 2000 ${json}`;
    const { stdout, stderr } = await new Promise<Pick<Outcome, "stdout" | "stderr">>((resolve) => {
      execFile("sh", ["-c", `{ ${list}; echo "code $?" >&2; } | head -1`], (_, out, err) => {
        resolve({ stdout: out, stderr: err });
      });
    });
    assert.is(stdout.split("\n").length, 2);
    assert.is(stderr, "code 0\n");
  }
});

test("who looks at a stopped directory writes nothing there", async () => {
  const directory = directoryOf();
  const mill = await withLetters(directory);
  await mill.close();
  const filesOf = (): unknown =>
    readdirSync(directory).map((name) => {
      const { ino, size, mtimeMs } = statSync(join(directory, name));
      return [name, ino, size, mtimeMs];
    });
  const before = filesOf();
  const output = join(directory, "..", "read.ndjson");
  chmodSync(directory, 0o500);
  for (const args of [
    ["dlq", "list", directory],
    ["dlq", "show", directory, "1"],
    ["dlq", "export", directory, "--output", output],
    ["dlq", "redrive", directory, "--dry-run"],
    ["dlq", "drop", directory, "--all", "--dry-run"],
    ["intake", "status", directory],
  ]) {
    const { code, stderr } = await millrace(...args);
    assert.is(code, 0, `${args.join(" ")}: ${stderr}`);
    assert.equal(filesOf(), before, args.join(" "));
  }
  chmodSync(directory, 0o700);
  assert.is(readFileSync(output, "utf8").trimEnd().split("\n").length, 3);
});

test("without a socket a service that runs is in use, and says so", async () => {
  const directory = directoryOf();
  const mill = await openMill(directory, { control: false });
  assert.not(existsSync(join(directory, "control.sock")));
  const { code, stderr } = await millrace("dlq", "list", directory);
  assert.is(code, 1);
  assert.match(stderr, "ERR_JOURNAL_LOCKED");
  await mill.close();
  assert.is((await millrace("dlq", "list", temporaryDirectory())).code, 1);
});

test("nothing that prints records shows what is redacted", async () => {
  const directory = directoryOf();
  const mill = await withLetters(directory);
  const file = join(directory, "..", "letters.ndjson");
  const records = join(directory, "..", "records.ndjson");
  const printed = async (): Promise<string> => {
    const outputs = [
      await millrace("dlq", "list", directory, "--json"),
      await millrace("dlq", "list", directory),
      await millrace("dlq", "show", directory, "1"),
      await millrace("intake", "status", directory),
      await millrace("journal", "tail", "--dir", directory, "--lines", "1000"),
      await millrace("journal", "tail", "--dir", directory, "--lines", "1000", "--json"),
      await millrace("journal", "export", "--dir", directory),
      await millrace("journal", "inspect", "--dir", directory, "--json"),
    ];
    return outputs.map(({ stdout, stderr }) => stdout + stderr).join("\n");
  };
  const running = await printed();
  assert.is(await mill.dead.export({ file }), 3);
  await mill.close();
  const stopped = await printed();
  await millrace("journal", "export", "--dir", directory, "--output", records);
  for (const text of [running, stopped, readFileSync(file, "utf8"), readFileSync(records, "utf8")]) {
    assert.not(text.includes(SECRET));
    assert.match(text, "[redacted]");
  }
  assert.equal([statSync(file).mode & 0o777, statSync(records).mode & 0o777], [0o600, 0o600]);
  assert.match(running, "hidden");
  // A function can't be called without its service.
  assert.match(stopped, "[withheld");
  // The stored payload stays as it is.
  const again = await openMill(directory, { handlers: {} });
  const [letter] = await again.dead.list();
  assert.equal((letter?.payload as { card?: unknown } | undefined)?.card, { number: SECRET, holder: "Ada" });
  await again.close();
});

test("paths that are none are refused before anything is opened", async () => {
  const directory = directoryOf();
  for (const redact of [["a..b", "["], [""], [1], "card"] as unknown[]) {
    await rejectsWith(openMill(directory, { redact: redact as string[] }), "ERR_INVALID_OPTION");
  }
  assert.not(existsSync(directory));
});

/** Sends text, and returns what comes until the connection ends or goes quiet with an answer. */
function exchange(path: string, text: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    let got = "";
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("close", () => resolve(got));
    socket.on("data", (part: string) => {
      got += part;
      if (got.endsWith("\n")) socket.end();
    });
    socket.write(text);
  });
}

test("the socket is its owner's, and bad requests are answered and end it", async () => {
  const directory = directoryOf();
  const mill = await openMill(directory);
  const path = join(directory, "control.sock");
  assert.is(statSync(path).mode & 0o777, 0o600);
  const bad = [
    "{\n",
    "null\n",
    '{"v":2,"id":1,"command":"stats"}\n',
    '{"v":1,"command":"stats"}\n',
    "x".repeat(70_000),
  ];
  for (const text of bad) assert.match(await exchange(path, text), "ERR_CONTROL_PROTOCOL");
  assert.match(await exchange(path, '{"v":1,"id":5,"command":"__proto__"}\n'), "ERR_INVALID_OPTION");
  assert.match(await exchange(path, '{"v":1,"id":5,"command":"dead.lst"}\n'), "dead.list");
  assert.match(await exchange(path, '{"v":1,"id":6,"command":"stats"}\n'), '"id":6,"result"');
  await (
    await mill.publish.settle({ fails: false })
  ).done;
  await mill.close();
});

test("a path that no socket's address holds works all the same", async () => {
  if (process.platform !== "linux") return;
  const directory = join(temporaryDirectory(), "d".repeat(120), "journal");
  const mill = await openMill(directory);
  assert.ok(existsSync(join(directory, "control.sock")));
  assert.is(JSON.parse((await millrace("intake", "status", directory, "--json")).stdout).isRunning, true);
  await mill.close();
  assert.not(existsSync(join(directory, "control.sock")));
});

test("the socket of a dead process is replaced, and nobody is taken for a service", async () => {
  const directory = directoryOf();
  await (await openMill(directory)).close();
  const path = join(directory, "control.sock");
  // As a killed process leaves it: a socket without a listener.
  const left = createServer().listen(path);
  await until(() => existsSync(path), "a socket");
  const aside = `${path}.aside`;
  await new Promise<void>((resolve) => {
    execFile("ln", [path, aside], () => left.close(() => execFile("mv", [aside, path], () => resolve())));
  });
  assert.is(await ControlClient.connect(directory), undefined);
  const mill = await openMill(directory);
  await rejectsWith(openMill(directory), "ERR_JOURNAL_LOCKED");
  assert.is((await millrace("intake", "status", directory)).code, 0);
  await mill.close();
  // Something else of that name is no service either, and in nobody's way.
  writeFileSync(path, "");
  chmodSync(path, 0o600);
  assert.is((await millrace("dlq", "list", directory)).code, 0);
  mkdirSync(join(directory, "..", "other"));
});

test.run();
