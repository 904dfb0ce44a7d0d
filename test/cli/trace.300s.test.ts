import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  allocateTraceRings,
  type ChromeEvent,
  type ChromeTrace,
  chromeTrace,
  PID,
  readTrace,
  TraceRecorder,
} from "@millrace/scheduler";
import { open } from "millrace";
import type * as handlers from "../fixtures/handlers.ts";
import type { TraceStats } from "@millrace/cli/internal/trace/stats";
import { handlersUrl, temporaryDirectory } from "../support.ts";
import { documentOf, millrace } from "./support.ts";

/** Two machines, three tasks of `add` (one failed), one async `wait`, a steal of two, a sleep. */
function sample(): string {
  const rings = allocateTraceRings(2, 1, 64);
  const [one, two, main] = [0, 1, 2].map((ring) => new TraceRecorder(rings, ring)) as TraceRecorder[];
  for (const task of [0, 1, 2, 3]) main?.submitted(task, 0, task === 3 ? 1 : 0, 1);
  one?.depth(4, 0);
  one?.started(0, 0, 0, 0, 2);
  two?.stole(1, -1, 0, 2);
  for (const task of [1, 2]) {
    two?.started(task, 0, 0, 1, 2);
    two?.ended(task, 0, 0, task !== 1);
  }
  two?.parked(0);
  two?.unparked(false);
  one?.ended(0, 0, 0, true);
  one?.started(3, 0, 1, 0, 2);
  one?.suspended(3, 0, 1);
  one?.settled(3, 0, 1, true);
  const file = join(temporaryDirectory(), "trace.json");
  writeFileSync(file, JSON.stringify(chromeTrace(rings, readTrace(rings), ["add", "wait"])));
  return file;
}

test("trace stats counts per handler, machine and processor", async () => {
  const file = sample();
  const outcome = await millrace(["trace", "stats", file, "--json"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const stats = documentOf<TraceStats & { file: string }>(outcome);
  assert.is(stats.file, file);
  assert.equal([stats.tasks, stats.failed, stats.cut, stats.dropped], [4, 1, 0, 0]);
  const [add, wait] = stats.handlers.toSorted((left, right) => (left.handler < right.handler ? -1 : 1));
  assert.equal([add?.handler, add?.tasks, add?.failed, add?.async], ["add", 3, 1, 0]);
  assert.equal([wait?.handler, wait?.tasks, wait?.failed, wait?.async], ["wait", 1, 0, 1]);
  assert.ok(wait?.settledUs !== undefined && add?.settledUs === undefined);
  assert.ok(add?.waitedUs !== undefined && add.waitedUs.p50 >= 0 && add.waitedUs.p50 <= add.waitedUs.max);
  assert.equal(
    stats.machines.map((each) => [
      each.machine,
      each.tasks,
      each.parks,
      each.parksTimedOut,
      each.steals,
      each.stolenTasks,
    ]),
    [
      [0, 2, 0, 0, 0, 0],
      [1, 2, 1, 1, 1, 2],
    ],
  );
  assert.ok(stats.machines.every((each) => each.busyPercent > 0 && each.busyPercent <= 100));
  assert.equal(stats.processors, [{ processor: 0, stolenTasks: 2, queueMax: 4 }]);
});

test("trace stats without --json is a table for people", async () => {
  const { code, stdout } = await millrace(["trace", "stats", sample()]);
  assert.is(code, 0);
  assert.match(stdout, /tasks +4, 1 failed/);
  assert.match(stdout, /handler +tasks +failed/);
  assert.match(stdout, /\n {2}add +3 +1 /);
});

test("what is no trace is refused", async () => {
  const file = join(temporaryDirectory(), "other.json");
  const whole = { producer: "millrace", beganMs: 0, durationMs: 1, machines: 1, submitters: 0, dropped: [0] };
  const trace = (data: object, ...traceEvents: unknown[]): string => JSON.stringify({ traceEvents, otherData: data });
  writeFileSync(file, trace(whole));
  assert.is((await millrace(["trace", "stats", file])).code, 0);
  for (const text of [
    "{}",
    "[]",
    "null",
    "not JSON",
    trace({ ...whole, producer: "somebody" }),
    trace({ producer: "millrace" }),
    trace({ ...whole, beganMs: 1e300 }),
    trace({ ...whole, dropped: 0 }),
    trace(whole, null),
    trace(whole, { ph: "X" }),
  ]) {
    writeFileSync(file, text);
    const outcome = await millrace(["trace", "stats", file, "--json"]);
    assert.is(outcome.code, 1);
    assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_TRACE_FILE", text);
  }
  assert.is((await millrace(["trace", "stats", "/nowhere/trace.json"])).code, 1);
});

test("a program that leaves no trace is an error that says how it ended", async () => {
  const out = join(temporaryDirectory(), "trace.json");
  const record = (...program: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> =>
    millrace(["trace", "record", "--out", out, "--json", "--", ...program]);
  for (const program of [[process.execPath, "-e", "process.exit(4)"], ["/nowhere/program"]]) {
    const outcome = await record(...program);
    assert.is(outcome.code, 1);
    const { error } = JSON.parse(outcome.stdout) as { error: { code: string; message: string } };
    assert.is(error.code, "ERR_TRACE_NONE");
    assert.match(error.message, program.length > 1 ? "exit code 4" : "could not be started");
  }
});

test("a signal that ends record and its program is the exit code", async () => {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const text = "console.log('it runs'); setInterval(() => {}, 1000)";
    const outcome = await millrace(["trace", "record", "--json", "--", process.execPath, "-e", text], {
      // With --json the program's output goes to stderr.
      onStart: (child) => child.stderr?.once("data", () => child.kill(signal)),
    });
    assert.is(outcome.code, code, outcome.stderr);
    assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_TRACE_NONE");
  }
});

const program = fileURLToPath(new URL("../fixtures/traced-program.js", import.meta.url));

interface Recorded {
  readonly exitCode: number | null;
  readonly wasEnded: boolean;
  readonly traces: readonly [TraceStats & { file: string }, ...unknown[]];
}

test("the trace of a run has every task once, and agrees with the run's counts", async () => {
  const out = join(temporaryDirectory(), "trace.json");
  const outcome = await millrace(["trace", "record", "--out", out, "--json", "--", process.execPath, program]);
  assert.is(outcome.code, 0, outcome.stderr);
  const { traces } = documentOf<Recorded>(outcome);
  assert.is(traces.length, 1);
  assert.is(traces[0].file, out);
  const { traceEvents, otherData } = JSON.parse(readFileSync(out, "utf8")) as ChromeTrace;
  const count = (matches: (event: ChromeEvent) => boolean): number => traceEvents.filter(matches).length;
  for (const [handler, tasks] of [
    ["add", 100],
    ["later", 20],
    ["fail", 10],
  ] as const) {
    assert.is(
      count(({ ph, cat, name }) => ph === "X" && cat === "task" && name === handler),
      tasks,
      handler,
    );
    assert.is(
      count(({ name, pid }) => pid === PID.submitters && name === `submit ${handler}`),
      tasks,
    );
    assert.is(
      count(({ name, pid }) => pid === PID.submitters && name === `outcome of ${handler}`),
      tasks,
    );
  }
  assert.is(
    count(({ ph }) => ph === "b"),
    20,
  );
  assert.is(
    count(({ ph }) => ph === "e"),
    20,
  );
  const tasks = traceEvents.filter(({ ph, cat }) => ph === "X" && cat === "task");
  assert.ok(
    tasks.every(({ dur, args }) => (dur as number) >= 0 && (args?.waitedUs as number) >= 0 && args?.cut === undefined),
  );
  assert.is(
    new Set(traceEvents.filter(({ ph }) => ph === "s").map(({ id }) => id)).size,
    count(({ ph }) => ph === "s"),
  );

  const line = outcome.stderr.split("\n").find((text) => text.startsWith("[")) as string;
  const counted = JSON.parse(line) as { ok: number; failed: number }[];
  const [stats] = traces;
  assert.is(stats.tasks, 130);
  assert.is(stats.failed, 10);
  assert.equal(
    otherData.dropped.filter((dropped) => dropped > 0),
    [],
  );
  for (const [machine, { ok, failed }] of counted.entries()) assert.is(stats.machines[machine]?.tasks, ok + failed);
  assert.ok(stats.machines.reduce((sum, machine) => sum + machine.steals, 0) <= 130);
});

test("a program leaves its trace at an exit without close, or after --seconds", async () => {
  const out = join(temporaryDirectory(), "trace.json");
  const record = (options: string[], how: string): ReturnType<typeof millrace> =>
    millrace(["trace", "record", "--out", out, "--json", ...options, "--", process.execPath, program, how]);
  const exited = documentOf<Recorded>(await record([], "exit"));
  assert.equal([exited.exitCode, exited.wasEnded, exited.traces[0].tasks], [0, false, 130]);
  const endless = await record(["--seconds", "2"], "stay");
  assert.is(endless.code, 0, endless.stderr);
  assert.is(documentOf<Recorded>(endless).wasEnded, true);
});

test("with --seconds a program that opens no runtime is ended too", async () => {
  const out = join(temporaryDirectory(), "trace.json");
  const idle = [process.execPath, "-e", "setInterval(() => {}, 1000)"];
  const outcome = await millrace(["trace", "record", "--out", out, "--seconds", "1", "--json", "--", ...idle]);
  assert.is(outcome.code, 1, outcome.stderr);
  assert.is(documentOf<{ error: { code: string } }>(outcome).error.code, "ERR_TRACE_NONE");
  assert.match(outcome.stderr, "opened no runtime in time");
});

test("a program can take its own trace, while tasks run and without the command", async () => {
  const mill = await open<typeof handlers>({ handlers: handlersUrl, processors: 1, trace: 1024 });
  try {
    await Promise.all(Array.from({ length: 10 }, (_, n) => mill.run.echo(n)));
    const { traceEvents, otherData } = mill.trace() as ChromeTrace;
    assert.is(traceEvents.filter(({ ph, cat }) => ph === "X" && cat === "task").length, 10);
    assert.ok(Math.abs(otherData.beganMs + otherData.durationMs - Date.now()) < 60_000, "times are of today");
  } finally {
    await mill.close();
  }
  const untraced = await open({ handlers: handlersUrl, processors: 1 });
  assert.is(untraced.trace(), undefined);
  await untraced.close();
});

test("with few records the oldest are dropped and counted", async () => {
  const out = join(temporaryDirectory(), "trace.json");
  const outcome = await millrace([
    "trace",
    "record",
    "--out",
    out,
    "--records",
    "16",
    "--json",
    "--",
    process.execPath,
    program,
  ]);
  const [stats] = documentOf<Recorded>(outcome).traces;
  assert.ok(stats.dropped > 100);
  assert.ok(stats.tasks < 130);
});

test("wrong usage ends with 2 and a reason; --help has examples and exit codes", async () => {
  assert.is((await millrace(["trace", "record"])).code, 2);
  assert.is((await millrace(["trace", "stats"])).code, 2);
  const odd = await millrace(["trace", "record", "--records", "1000", "--", "true"]);
  assert.is(odd.code, 2);
  assert.match(odd.stderr, "--records must be a power of two");
  for (const command of ["record", "stats"]) {
    const { code, stdout } = await millrace(["trace", command, "--help"]);
    assert.is(code, 0);
    assert.match(stdout, /Examples?:\n {2}millrace trace/);
    assert.match(stdout, "Exit codes:");
  }
});

test.run();
