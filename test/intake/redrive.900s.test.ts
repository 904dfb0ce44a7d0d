// A redrive that dies midway goes on where it was.
import { fork } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { temporaryDirectory, until } from "../support.ts";

interface Handlers {
  settle(record: object): unknown;
}

function openMill(directory: string): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers: new URL("../../../test/fixtures/dead-letter-handlers.mjs", import.meta.url),
    processors: 1,
    journal: { directory, failuresMax: 0, dead: { bytesMax: 2 ** 31 } },
  });
}

const kept = (mill: Millrace<Handlers>): number => mill.stats().intake?.deadKept ?? 0;

const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];

const program = fileURLToPath(new URL("../fixtures/redrive-program.js", import.meta.url));

/** Redrives in a process of its own, which is killed after so many letters were seen to run. */
async function redriveAndDie(directory: string, file: string, lines: number): Promise<void> {
  const child = fork(program, [directory], { stdio: "ignore" });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  await until(() => linesOf(file).length >= lines || child.exitCode !== null, "letters", 60_000);
  child.kill("SIGKILL");
  await ended;
}

test("a redrive of 100,000 letters that is killed midway goes on: each happens once", async () => {
  const directory = join(temporaryDirectory(), "journal");
  const file = join(directory, "..", "notes");
  const count = 100_000;
  let mill = await openMill(directory);
  for (let from = 0; from < count; from += 10_000) {
    const payloads = Array.from({ length: 10_000 }, (_, n) => ({ n: from + n, file, fails: true, quietly: true }));
    await Promise.all(payloads.map((payload) => mill.publish.settle(payload)));
  }
  await until(() => kept(mill) === count, "the letters", 400_000);
  const opened = Date.now();
  await until(() => Date.now() > opened, "a later ms");
  await mill.close();
  await redriveAndDie(directory, file, 1000);
  mill = await openMill(directory);
  const rest = await mill.dead.redrive({ to: opened });
  assert.ok(rest > 0 && rest < count, String(rest));
  await until(() => kept(mill) === count, "all of them again", 400_000);
  assert.is(await mill.dead.count({ to: opened }), 0);
  await mill.close();
  const times = new Map<string, Set<string>>();
  for (const line of linesOf(file)) {
    const [n, redriven] = line.split(" ") as [string, string];
    times.set(n, (times.get(n) ?? new Set()).add(redriven));
  }
  assert.is(times.size, count);
  // A record may run again after a kill; it was redriven once all the same.
  for (const redriven of times.values()) assert.equal([...redriven], ["1"]);
});

test.run();
