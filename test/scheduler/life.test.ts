// Modules of handlers, types, the trace, and the end of a process.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readTrace, Scheduler, TRACE, type TraceRings } from "@millrace/scheduler";
import type * as handlers from "../fixtures/nested-handlers.ts";
import { rejectsWith, until } from "../support.ts";

const fixture = (name: string): URL => new URL(`../fixtures/${name}`, import.meta.url);
/** A fixture that isn't compiled. */
const source = (name: string): URL => new URL(`../../../test/fixtures/${name}`, import.meta.url);

interface Loose {
  readonly [name: string]: (argument: unknown) => Promise<unknown>;
}

async function calling(url: URL, body: (run: Loose) => Promise<void>): Promise<void> {
  const scheduler = await Scheduler.open({ handlers: url, processors: 1 });
  try {
    await body(scheduler.run as unknown as Loose);
  } finally {
    await scheduler.close();
  }
}

test("a CommonJS module works, and handlers may look at their arguments in any way", () =>
  calling(source("cjs-handlers.cjs"), async (run) => {
    assert.is(await run.double?.(4), 8);
    assert.equal(await run.bound?.(4), [1, 4, 1]);
    assert.equal(await run.withDefault?.(4), [4, false]);
    assert.is(await run.withRest?.(4), 2);
    assert.equal(await run.withArguments?.(4), [4, 2]);
  }));

test("a TypeScript source runs where Node strips types, and is refused elsewhere", async () => {
  assert.ok(existsSync(source("typescript-handlers.ts")));
  const stripsTypes = "typescript" in process.features && process.features.typescript !== false;
  if (stripsTypes) {
    await calling(source("typescript-handlers.ts"), async (run) => assert.equal(await run.half?.({ x: 4 }), { x: 2 }));
  } else {
    const opening = Scheduler.open({ handlers: source("typescript-handlers.ts"), processors: 1 });
    const error = await rejectsWith(opening, "ERR_HANDLER_MODULE");
    assert.match(error.message, "typescript-handlers.ts");
  }
});

test("wrong names, arguments and results don't compile", async () => {
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: fixture("nested-handlers.js"), processors: 1 });
  const check = async (): Promise<void> => {
    // @ts-expect-error no handler of that name
    await scheduler.run.duble(1);
    // @ts-expect-error a wrong argument
    await scheduler.run.double("1");
    // @ts-expect-error a wrong result
    const text: string = await scheduler.run.double(1);
    // @ts-expect-error initialize is no handler
    await scheduler.run.initialize({ machine: 1 });
    // @ts-expect-error no list of numbers
    await scheduler.runMany.double(["1"]);
    // @ts-expect-error it takes no pair
    await scheduler.parallelReduce.double([1]);
    // @ts-expect-error an unknown option
    await scheduler.run.double(1, { prioritty: "high" });
    return void text;
  };
  assert.type(check, "function");
  const sum: number = await scheduler.parallelReduce.add([1, 2, 3]);
  const doubled: number[] = await scheduler.parallelMap.double([1, 2]);
  assert.is(sum, 6);
  assert.equal(doubled, [2, 4]);
  await scheduler.close();
});

for (const how of ["close", "leave it open"]) {
  test(`a process ends by itself: ${how}`, async () => {
    const child = spawn(process.execPath, [fileURLToPath(fixture("idle-process.js")), how], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk) => (output += String(chunk)));
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.is(code, 0);
    assert.is(output.trim(), "55");
  });
}

test("MILLRACE_SCHEDTRACE prints a line of state again and again", async () => {
  const child = spawn(process.execPath, [fileURLToPath(fixture("idle-process.js")), "close"], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, MILLRACE_SCHEDTRACE: "1" },
  });
  let output = "";
  child.stderr.on("data", (chunk) => (output += String(chunk)));
  await new Promise((resolve) => child.once("close", resolve));
  assert.match(
    output,
    /^SCHED \d+ms: processors=2 idle=\d+ machines=2 spare=0 blocked=0 outstanding=\d+ outbox=\[\d+ \d+ \d+\] queues=\[\d+ \d+\]$/m,
  );
});

test("the trace holds what happened to each task, in order, and drops the oldest", async () => {
  const scheduler = await Scheduler.open<typeof handlers>({
    handlers: fixture("nested-handlers.js"),
    processors: 1,
    trace: 1024,
  });
  await scheduler.run.double(1);
  await scheduler.run.doubleLater(2);
  const { records } = readTrace(scheduler.traceRings as TraceRings);
  const kinds = (name: string): string[] =>
    records
      .filter((record) => record.handler === scheduler.handlerNames.indexOf(name))
      .toSorted((left, right) => left.timeMs - right.timeMs)
      .map(({ kind }) => Object.entries(TRACE).find(([, value]) => value === kind)?.[0] ?? "unknown");
  assert.equal(kinds("double"), ["submit", "start", "end", "outcome"]);
  assert.equal(kinds("doubleLater"), ["submit", "start", "suspend", "settle", "outcome"]);
  await scheduler.runMany.double(Array.from({ length: 5000 }, (_, n) => n));
  const full = readTrace(scheduler.traceRings as TraceRings);
  assert.ok((full.dropped[0] as number) > 0, "the machine's ring has been overwritten");
  assert.ok(full.records.length <= 2 * 1024 + 64);
  assert.ok(full.records.every((record) => record.kind >= 1 && record.kind <= 12));
  await scheduler.close();
});

test("resource limits reach the threads: one that needs more dies, later calls run", async () => {
  const scheduler = await Scheduler.open<typeof handlers>({
    handlers: fixture("nested-handlers.js"),
    processors: 1,
    resourceLimits: { maxOldGenerationSizeMb: 16 },
    onHint: () => {},
  });
  await rejectsWith(scheduler.run.hoard(), "ERR_MACHINE_DIED");
  assert.is(await scheduler.run.double(2), 4);
  await until(() => scheduler.stats().restarts === 1, "the machine was replaced");
  await scheduler.close();
});

test.run();
