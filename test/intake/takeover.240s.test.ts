// One process takes a directory over from another: `lockWaitMs`, with real processes.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { open } from "millrace";
import { Journal, memoryStorage } from "@millrace/journal";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const service = fileURLToPath(new URL("../../../test/fixtures/rolling-service.mjs", import.meta.url));
const WAIT = String(100_000);

interface Service {
  readonly child: ChildProcess;
  output(): string;
  readonly over: Promise<void>;
}

interface Place {
  readonly directory: string;
  readonly notes: string;
}

function start({ directory, notes }: Place, name: string, lockWaitMs = WAIT, how = ""): Service {
  const child = spawn(process.execPath, [service, directory, notes, name, lockWaitMs, how], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += String(chunk)));
  return { child, output: () => output, over: new Promise((resolve) => child.once("close", () => resolve())) };
}

function place(): Place {
  const directory = temporaryDirectory();
  return { directory: join(directory, "journal"), notes: join(directory, "notes") };
}

const isOpen = (of: Service): Promise<void> => until(() => of.output().includes("open\n"), "it is open", 60_000);

function linesOf({ notes }: Place): string[] {
  return existsSync(notes) ? readFileSync(notes, "utf8").split("\n").slice(0, -1) : [];
}

/** Everything acknowledged was handled, and the second process began after the first had ended. */
function checkTakenOver(at: Place, first: Service, second: Service): void {
  const lines = linesOf(at);
  const handled = new Set(lines.flatMap((line) => /^handled (\d+)/.exec(line)?.[1] ?? []));
  const acknowledged = lines.flatMap((line) => /^acknowledged (\d+)/.exec(line)?.[1] ?? []);
  assert.ok(acknowledged.length >= 10);
  assert.equal(
    acknowledged.filter((sequence) => !handled.has(sequence)),
    [],
  );
  const last = lines.findLastIndex((line) => line.endsWith(` ${first.child.pid}`));
  const next = lines.findIndex((line) => line.endsWith(` ${second.child.pid}`) || line === "second open");
  assert.ok(last < next, `line ${last} is of the first, line ${next} of the second`);
}

test("a process waits until the one before has closed the directory, then goes on", async () => {
  const at = place();
  const first = start(at, "first");
  await isOpen(first);
  const second = start(at, "second", WAIT, "once");
  await until(() => linesOf(at).length > 50, "the first works");
  assert.is(second.output(), "");
  first.child.kill("SIGTERM");
  await first.over;
  await second.over;
  assert.match(first.output(), /closed/);
  assert.is(second.output(), "open\nclosed\n");
  assert.ok(linesOf(at).indexOf("first closed") < linesOf(at).indexOf("second open"));
  checkTakenOver(at, first, second);
});

test("a process waits for one that is killed, and delivers what that had acknowledged", async () => {
  const at = place();
  const first = start(at, "first");
  await isOpen(first);
  const second = start(at, "second", WAIT, "once");
  await until(() => linesOf(at).length > 50, "the first works");
  first.child.kill("SIGKILL");
  await Promise.all([first.over, second.over]);
  assert.is(second.output(), "open\nclosed\n");
  checkTakenOver(at, first, second);
});

test("the wait also covers a directory whose file LOCK was removed", async () => {
  const at = place();
  const first = start(at, "first");
  await isOpen(first);
  rmSync(join(at.directory, "LOCK"));
  const second = start(at, "second", WAIT, "once");
  await until(() => linesOf(at).length > 50, "the first works");
  first.child.kill("SIGTERM");
  await Promise.all([first.over, second.over]);
  assert.is(second.output(), "open\nclosed\n");
  checkTakenOver(at, first, second);
});

test("the wait ends at its time, with the holder's pid, and when its signal aborts", async () => {
  const at = place();
  const first = start(at, "first");
  await isOpen(first);
  const [late, atOnce, aborted] = [start(at, "late", "300"), start(at, "at once", "0"), start(at, "x", WAIT, "abort")];
  await Promise.all([late.over, atOnce.over, aborted.over]);
  for (const each of [late, atOnce]) assert.is(each.output().trim(), `ERR_JOURNAL_LOCKED ${first.child.pid}`);
  assert.is(aborted.output().trim(), "no longer wanted");
  const waiting = Journal.open({ directory: at.directory, lockWaitMs: 30 });
  const error = await rejectsWith(waiting, "ERR_JOURNAL_LOCKED");
  assert.equal(error.details, { directory: at.directory, pid: first.child.pid, lockWaitMs: 30 });
  assert.match(error.message, `in use by process ${first.child.pid}; waited for 30 ms`);
  first.child.kill("SIGTERM");
  await first.over;
  assert.is(first.output(), "open\nclosed\n");
});

test("openings within a process wait for each other, in memory too", async () => {
  for (const where of [{ directory: place().directory }, { storage: memoryStorage(), allowUnsafeStorage: true }]) {
    const first = await Journal.open(where);
    const opened: Journal[] = [];
    const waiting = [1, 2].map(async () => {
      const journal = await Journal.open({ ...where, lockWaitMs: 60_000 });
      opened.push(journal);
      return journal;
    });
    await rejectsWith(Journal.open(where), "ERR_JOURNAL_LOCKED");
    assert.is(opened.length, 0);
    await first.append("a");
    await first.close();
    await (await Promise.race(waiting)).close();
    for (const journal of await Promise.all(waiting)) await journal.close();
    assert.equal(
      opened.map((journal) => journal.recovery.lastSequence),
      [1, 1],
    );
  }
});

test("a signal that is aborted already, or handlers that don't load, end the wait", async () => {
  const { directory } = place();
  const holder = await Journal.open({ directory });
  const reason = new Error("not wanted");
  const given = { directory, lockWaitMs: 100_000 };
  await Journal.open({ ...given, lockSignal: AbortSignal.abort(reason) }).then(
    () => assert.unreachable(),
    (thrown: unknown) => assert.is(thrown, reason),
  );
  const opening = open({ handlers: new URL("data:text/javascript,export const a = 1"), journal: given });
  await rejectsWith(opening, "ERR_HANDLER_MODULE");
  await rejectsWith(Journal.open({ directory, lockWaitMs: -1 }), "ERR_INVALID_OPTION");
  await rejectsWith(Journal.open({ directory, lockSignal: 5 as never }), "ERR_INVALID_OPTION");
  await holder.close();
});

test.run();
