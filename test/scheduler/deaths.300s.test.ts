// Threads that can't start, and threads that die: the reason is always told, and others go on.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type MachineDeath, Scheduler, type SchedulerOptions } from "@millrace/scheduler";
import type * as handlers from "../fixtures/dying-handlers.ts";
import { rejectsWith, until } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const url = new URL("../fixtures/dying-handlers.js", import.meta.url);

function open(options: Partial<SchedulerOptions> = {}): Promise<Scheduler<typeof handlers>> {
  return Scheduler.open<typeof handlers>({ handlers: url, processors: 1, onMachineDeath: () => {}, ...options });
}

/** Nothing here checks what a test leaves behind. */
const withScheduler = schedulersOf<typeof handlers>(
  { handlers: url, processors: 1, onMachineDeath: () => {} },
  () => {},
);

// ── modules that can't start ────────────────────────────────────────────────────────────────────

/** A limit of time that a start never reaches, and one that it has to. */
const PATIENT = {};
const SHORT = { startTimeoutMs: 1500 };
const SMALL = { resourceLimits: { maxOldGenerationSizeMb: 24 } };
const fine = "export const fine = () => 1;";

const modules: readonly (readonly [
  what: string,
  text: string,
  message: RegExp,
  cause: string | undefined,
  options: object,
])[] = [
  [
    "rejects a promise",
    `Promise.reject(new Error("db refused")); ${fine}`,
    /unhandled rejection: db refused/,
    "db refused",
    PATIENT,
  ],
  ["rejects after a turn", `queueMicrotask(() => Promise.reject(new Error("soon"))); ${fine}`, /soon/, "soon", PATIENT],
  ["throws", `${fine} throw new TypeError("at import");`, /could not be loaded: at import/, "at import", PATIENT],
  ["throws undefined", `${fine} throw undefined;`, /could not be loaded/, undefined, PATIENT],
  [
    "throws in a timer",
    `setTimeout(() => { throw new Error("tick") }, 0); ${fine} await new Promise((r) => setTimeout(r, 100));`,
    /uncaught error: tick/,
    "tick",
    PATIENT,
  ],
  [
    "calls process.exit()",
    `process.exit(3); ${fine}`,
    /process\.exit\(3\) was called/,
    "process.exit(3) was called",
    PATIENT,
  ],
  ["has a syntax error", `${fine} }}`, /could not be loaded/, "Unexpected token '}'", PATIENT],
  ["imports a file that isn't there", `import "./not-there.mjs"; ${fine}`, /could not be loaded/, undefined, PATIENT],
  [
    "awaits for ever",
    `${fine} await new Promise(() => {});`,
    /awaits a promise that nothing can settle/,
    undefined,
    PATIENT,
  ],
  [
    "awaits for ever beside a timer",
    `setInterval(() => {}, 1000); ${fine} await new Promise(() => {});`,
    /was not loaded within 1500 ms/,
    undefined,
    SHORT,
  ],
  ["loops for ever", `${fine} for (;;);`, /was not loaded within 1500 ms/, undefined, SHORT],
  [
    "needs too much memory",
    `let a = []; for (;;) a = [a, a.length]; ${fine}`,
    /24 MB \(maxOldGenerationSizeMb\)/,
    undefined,
    SMALL,
  ],
  [
    "has an initialize() that throws",
    `export const initialize = () => { throw new Error("init") }; setInterval(() => {}, 1000); ${fine}`,
    /initialize\(\) of .* threw: init/,
    "init",
    PATIENT,
  ],
  [
    "has an initialize() that never ends",
    `export const initialize = () => new Promise(() => setInterval(() => {}, 1000)); ${fine}`,
    /was not loaded within 1500 ms/,
    undefined,
    SHORT,
  ],
  ["exports nothing", "setInterval(() => {}, 1000);", /exports no function/, undefined, PATIENT],
];

for (const [what, text, message, cause, options] of modules) {
  test(`open() tells why: the module ${what}`, async () => {
    const handlersUrl = new URL(`data:text/javascript,${encodeURIComponent(text)}`);
    const opening = Scheduler.open({ handlers: handlersUrl, processors: 2, ...options });
    const error = await rejectsWith(opening, "ERR_HANDLER_MODULE");
    assert.match(error.message, message);
    assert.is(error.details["url"], handlersUrl.href);
    if (cause !== undefined) assert.is((error.cause as Error).message, cause);
  });
}

/** Longer than a good module takes to load on a loaded machine. */
const PATIENCE_MS = 5000;

async function withBrokenModule(how: string, body: () => Promise<void>): Promise<void> {
  process.env["MILLRACE_TEST_MODULE"] = how;
  try {
    await body();
  } finally {
    delete process.env["MILLRACE_TEST_MODULE"];
  }
}

for (const [how, cause] of [
  ["throws", "the database is down"],
  ["exits", "process.exit(5) was called"],
  ["loops", undefined],
] as const) {
  test(`without any thread calls fail with the reason: the module ${how}; and it heals`, () =>
    withScheduler({ startTimeoutMs: PATIENCE_MS }, async (scheduler) => {
      const { run, runMany } = scheduler;
      assert.is(await run.echo(1), 1);
      await withBrokenModule(how, async () => {
        await rejectsWith(run.exit(1), "ERR_MACHINE_DIED");
        const many = rejectsWith(runMany.echo([1, 2, 3]), "ERR_HANDLER_MODULE");
        const error = await rejectsWith(run.echo({ two: 2 }), "ERR_HANDLER_MODULE");
        await many;
        assert.is(error.details["url"], url.href);
        if (cause === undefined) assert.match(error.message, `was not loaded within ${PATIENCE_MS} ms`);
        else assert.is((error.cause as Error).message, cause);
        if (how !== "loops") assert.is(scheduler.stats().threads, 0);
      });
      // A thread that was begun with the broken module fails first.
      let answer: unknown;
      for (let attempt = 0; attempt < 5 && answer !== 3; attempt += 1) {
        // oxlint-disable-next-line no-await-in-loop -- one after the other
        answer = await run.echo(3).catch(() => undefined);
      }
      assert.is(answer, 3);
    }));
}

test("close() and terminate() end while no thread can be started", async () => {
  for (const how of ["close", "terminate"] as const) {
    const scheduler = await open({ startTimeoutMs: PATIENCE_MS });
    await withBrokenModule("throws", async () => {
      await rejectsWith(scheduler.run.exit(1), "ERR_MACHINE_DIED");
      const call = rejectsWith(scheduler.run.echo(1), how === "close" ? "ERR_HANDLER_MODULE" : "ERR_SCHEDULER_CLOSED");
      await Promise.all([scheduler[how](), call]);
    });
  }
});

// ── threads that die ────────────────────────────────────────────────────────────────────────────

interface Told {
  readonly reason: string;
  readonly cause: RegExp;
  readonly exitCode: number;
  /** A line of the stack of the cause. */
  readonly stack?: RegExp;
}

const deaths: readonly (readonly [name: keyof typeof handlers, argument: unknown, told: Told])[] = [
  ["exit", 3, { reason: "exit", cause: /^process\.exit\(3\) was called$/, exitCode: 3, stack: /dying-handlers/ }],
  ["exit", 0, { reason: "exit", cause: /^process\.exit\(0\) was called$/, exitCode: 0 }],
  ["throwLater", "late", { reason: "uncaught error", cause: /^late$/, exitCode: 1, stack: /dying-handlers/ }],
  ["rejectLater", "nobody", { reason: "unhandled rejection", cause: /^nobody$/, exitCode: 1 }],
  ["throwNumber", 5, { reason: "uncaught error", cause: /^5$/, exitCode: 1 }],
  ["overflowLater", undefined, { reason: "uncaught error", cause: /call stack/, exitCode: 1 }],
  ["hoard", undefined, { reason: "out of memory", cause: /memory limit/, exitCode: 1 }],
  ["exitAfterHandled", 9, { reason: "exit", cause: /^process\.exit\(9\) was called$/, exitCode: 9 }],
];

for (const [name, argument, told] of deaths) {
  test(`the call is told how its thread ended: ${name}(${String(argument)})`, async () => {
    const heard: MachineDeath[] = [];
    const options = { ...SMALL, onHint: () => {}, onMachineDeath: (death: MachineDeath) => void heard.push(death) };
    await withScheduler(options, async (scheduler) => {
      const call = (scheduler.run as unknown as Record<string, (argument: unknown) => Promise<unknown>>)[name];
      const error = await rejectsWith(call?.(argument) as Promise<unknown>, "ERR_MACHINE_DIED");
      const { reason, exitCode, machine, attempts, crashedMachines, limits } = error.details;
      assert.equal([reason, exitCode, attempts], [told.reason, told.exitCode, 1]);
      assert.equal(crashedMachines, [machine]);
      const cause = error.cause as Error & { code?: string; details?: object };
      assert.match(cause.message, told.cause);
      assert.match(error.message, told.reason === "out of memory" ? "24 MB" : cause.message);
      if (told.stack !== undefined) assert.match(cause.stack ?? "", told.stack);
      if (name === "throwLater") {
        assert.ok(cause instanceof TypeError);
        assert.equal([cause.code, cause.details], ["E_LATE", { omitted: ["helper"] }]);
      }
      if (name === "hoard") assert.is((limits as { maxOldGenerationSizeMb: number }).maxOldGenerationSizeMb, 24);
      assert.is(await scheduler.run.echo(1), 1);
      assert.is(heard.length, 1);
      assert.equal([heard[0]?.reason, heard[0]?.exitCode, heard[0]?.failed], [told.reason, told.exitCode, 1]);
      assert.match(heard[0]?.error.message ?? "", told.cause);
    });
  });
}

test("a handler is told how the thread of another machine ended under its task", () =>
  withScheduler({ processors: 2 }, async ({ run }) => {
    const error = (await run.deathElsewhere()) as Error & { code: string; details: Record<string, unknown> };
    assert.is(error.code, "ERR_MACHINE_DIED");
    assert.equal([error.details["reason"], error.details["exitCode"]], ["exit", 6]);
    assert.is((error.cause as Error).message, "process.exit(6) was called");
  }));

test("a handler that ends its threads doesn't hold up calls of others", () =>
  withScheduler({}, async ({ run, runMany }) => {
    let ended = 0;
    const bad = Array.from({ length: 9 }, () => run.exit(1).catch(() => (ended += 1)));
    assert.equal(await run.echo({ first: 1 }), { first: 1 });
    // On a machine so slow that a thread takes longer to start than the pauses of the others they
    // come first.
    assert.ok(ended <= 5, `${ended} threads ended before`);
    const before = ended;
    assert.equal(await runMany.echo([1, 2, 3]), [1, 2, 3]);
    assert.ok(ended <= before + 2, `${ended - before} threads ended meanwhile`);
    await Promise.all(bad);
  }));

test("a handler that has ended threads is called again", () =>
  withScheduler({}, async ({ run }) => {
    for (let turn = 0; turn < 4; turn += 1) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await rejectsWith(run.exit(1), "ERR_MACHINE_DIED");
    }
    assert.is(await run.exitElsewhere(0).catch(() => "gone"), "here");
  }));

test("a death is a process warning where nobody listens, and only there", async () => {
  const warnings: (Error & { code?: string })[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listen);
  try {
    await withScheduler({}, async ({ run }) => void (await rejectsWith(run.exit(3), "ERR_MACHINE_DIED")));
    assert.is(warnings.length, 0);
    const scheduler = await Scheduler.open<typeof handlers>({ handlers: url, processors: 1 });
    await rejectsWith(scheduler.run.exit(3), "ERR_MACHINE_DIED");
    await until(() => warnings.length > 0, "a warning");
    await scheduler.close();
  } finally {
    process.off("warning", listen);
  }
  assert.is(warnings.length, 1);
  assert.is(warnings[0]?.code, "MILLRACE_MACHINE_DIED");
  assert.match(
    warnings[0]?.message ?? "",
    /worker thread 0 ended: process\.exit\(3\) was called; 1 of its tasks failed/,
  );
});

test.run();
