// Schedules of a runtime: defined, declared, caught up with, and through kills.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type IntakeOptions, type Millrace, open, type ScheduleOptions } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

interface Handlers {
  tick(options: { file: string }): void;
  tock(options: { file: string }): void;
}

const fixtures = new URL("../../../test/fixtures/", import.meta.url);

function openIn(directory: string, options: Partial<IntakeOptions> = {}): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers: new URL("schedule-handlers.mjs", fixtures),
    processors: 1,
    journal: { directory: join(directory, "journal"), ...options },
  });
}

const EACH_DAY = { handler: "tick", cron: "0 3 * * *", timeZone: "Europe/Berlin" } as const;

interface Tick {
  readonly name: string;
  readonly dueMs: number;
  readonly missed: number;
  readonly atMs: number;
}

function ticksIn(file: string): Tick[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [name = "", ...numbers] = line.split(" ");
    const [dueMs = 0, missed = 0, atMs = 0] = numbers.map(Number);
    return { name, dueMs, missed, atMs };
  });
}

test("a schedule calls its handler, whatever the main thread does", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "ticks");
  const mill = await openIn(directory);
  try {
    await mill.schedule("each-second", { handler: "tick", payload: { file }, everyMs: 1000 });
    await until(() => ticksIn(file).length > 0, "the first is handled");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
    const blockedUntil = Date.now();
    assert.ok(ticksIn(file).some(({ atMs }) => atMs < blockedUntil - 500));
    const [info] = await mill.schedules();
    assert.is(info?.name, "each-second");
    assert.equal(info?.payload, { file });
    assert.is(info?.state, "active");
    assert.is((info?.nextDueAtMs as number) - (info?.lastDueAtMs as number), 1000);
    assert.is(mill.stats().intake?.scheduled, new Set(ticksIn(file).map(({ dueMs }) => dueMs)).size);
    assert.ok(await mill.unschedule("each-second"));
    assert.not(await mill.unschedule("each-second"));
    await mill.drain();
    const { length } = ticksIn(file);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.is(ticksIn(file).length, length);
    assert.equal(await mill.schedules(), []);
  } finally {
    await mill.close();
  }
});

test("a deploy adds, changes and removes what it declares, and nothing else", async () => {
  const directory = temporaryDirectory();
  const states = async (schedules?: Record<string, ScheduleOptions>): Promise<string[]> => {
    const mill = await openIn(directory, schedules === undefined ? {} : { schedules });
    await mill.schedule("by hand", { handler: "tock", everyMs: 3_600_000 });
    const all = await mill.schedules();
    await mill.close();
    return all.map(({ name, handler, cron, everyMs, isDeclared }) =>
      [name, handler, cron ?? everyMs, isDeclared ? "declared" : ""].join(" ").trim(),
    );
  };
  const other = { ...EACH_DAY, handler: "tock" };
  assert.equal(await states({ a: EACH_DAY, b: EACH_DAY }), [
    "a tick 0 3 * * * declared",
    "b tick 0 3 * * * declared",
    "by hand tock 3600000",
  ]);
  assert.equal(await states(), ["a tick 0 3 * * * declared", "b tick 0 3 * * * declared", "by hand tock 3600000"]);
  assert.equal(await states({ b: other, c: EACH_DAY }), [
    "b tock 0 3 * * * declared",
    "by hand tock 3600000",
    "c tick 0 3 * * * declared",
  ]);
  assert.equal(await states({}), ["by hand tock 3600000"]);
});

test("what a schedule can't mean is refused at once", async () => {
  const directory = temporaryDirectory();
  const mill = await openIn(directory);
  try {
    const wrong: [Record<string, unknown>, string][] = [
      [{ handler: "tick" }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", cron: "0 3 * * *", everyMs: 1000 }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", cron: "0 25 * * *" }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", cron: "0 0 30 2 *" }, "ERR_INVALID_OPTION"],
      [{ ...EACH_DAY, timeZone: "Mars/Olympus" }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", everyMs: 999 }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", everyMs: Number.NaN }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", everyMs: 2 ** 53 }, "ERR_INVALID_OPTION"],
      [{ handler: "tick", everyMs: 1000, timeZone: "Europe/Berlin" }, "ERR_INVALID_OPTION"],
      [{ ...EACH_DAY, catchUp: "some" }, "ERR_INVALID_OPTION"],
      [{ ...EACH_DAY, catchUpMax: 0 }, "ERR_INVALID_OPTION"],
      [{ ...EACH_DAY, catchup: "all" }, "ERR_INVALID_OPTION"],
      [{ ...EACH_DAY, handler: "tik" }, "ERR_HANDLER_UNKNOWN"],
      [{ ...EACH_DAY, handler: "__proto__" }, "ERR_HANDLER_UNKNOWN"],
      [{ ...EACH_DAY, payload: "x".repeat(16_384) }, "ERR_SCHEDULE_REFUSED"],
    ];
    for (const [options, code] of wrong) {
      const refused = await rejectsWith(mill.schedule("x", options as never), code);
      assert.match(refused.message, /tick|tik|__proto__|x/);
    }
    for (const name of ["", "x".repeat(256), undefined, 7]) {
      await rejectsWith(mill.schedule(name as string, EACH_DAY), "ERR_INVALID_OPTION");
    }
    assert.equal(await mill.schedules(), []);
    await mill.schedule("__proto__", EACH_DAY);
    assert.is((await mill.schedules())[0]?.name, "__proto__");
  } finally {
    await mill.close();
  }
  await rejectsWith(openIn(directory, { schedules: { a: { ...EACH_DAY, handler: "tik" } } }), "ERR_HANDLER_UNKNOWN");
  await rejectsWith(openIn(directory, { schedules: { a: { handler: "tick", cron: "x" } } }), "ERR_INVALID_OPTION");
  // The directory is free again.
  await (await openIn(directory)).close();
});

test("a schedule too many is refused", async () => {
  const mill = await openIn(temporaryDirectory());
  try {
    const names = Array.from({ length: 1000 }, (_, index) => `s${index}`);
    await Promise.all(names.map((name) => mill.schedule(name, EACH_DAY)));
    await rejectsWith(mill.schedule("another", EACH_DAY), "ERR_SCHEDULE_REFUSED");
    // Another definition of one that is there isn't one more.
    await mill.schedule("s7", { ...EACH_DAY, cron: "0 4 * * *" });
    assert.is((await mill.schedules()).length, 1000);
  } finally {
    await mill.close();
  }
});

test("each due time has one record, however often the process is killed", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "ticks");
  const service = fileURLToPath(new URL("schedule-service.mjs", fixtures));
  for (let life = 0; life < 6; life += 1) {
    const child = spawn(process.execPath, [service, join(directory, "journal"), file], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    await new Promise((resolve) => setTimeout(resolve, 200 + 370 * life));
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  const mill = await openIn(directory);
  await mill.unschedule("each");
  await mill.drain();
  const [info] = await mill.schedules();
  assert.is(info, undefined);
  // A handler may be called twice; the due times are those of the records.
  const dueTimes = [...new Set(ticksIn(file).map(({ dueMs }) => dueMs))].toSorted((a, b) => a - b);
  const { delivered, done } = mill.stats().intake ?? {};
  await mill.close();
  assert.ok(dueTimes.length >= 3, `${dueTimes.length} due times, ${delivered} delivered, ${done} done`);
  for (const [index, dueMs] of dueTimes.entries()) {
    assert.is(dueMs, (dueTimes[0] as number) + index * 1000, "none is left out");
  }
});

test.run();
