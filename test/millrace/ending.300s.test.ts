// How a runtime with a journal ends: close() with and without a limit, terminate(), teardown().
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

interface Noting {
  readonly notes: string;
  readonly text?: string;
}
interface Handlers {
  forever(record: Noting): unknown;
  spin(record: Noting): unknown;
  sleep(record: Noting): unknown;
  busy(record: Noting): unknown;
  quick(record: Noting): unknown;
  dies(): unknown;
  echo(value: number): number;
}
type Mill = Millrace<Handlers>;

const fixture = new URL("../../../test/fixtures/ending-handlers.mjs", import.meta.url);

function linesOf(file: string): string[] {
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];
}

/** A directory, and openings of a runtime in it. */
function place(options: Partial<MillraceOptions> = {}): {
  readonly notes: string;
  readonly openMill: () => Promise<Mill>;
} {
  const directory = temporaryDirectory();
  return {
    notes: join(directory, "notes"),
    openMill: () =>
      open<Handlers>({
        handlers: fixture,
        processors: 1,
        teardownTimeoutMs: 200,
        onHint: () => {},
        ...options,
        journal: { directory: join(directory, "journal"), ...options.journal },
      }),
  };
}

const intakeOf = (mill: Mill): NonNullable<ReturnType<Mill["stats"]>["intake"]> =>
  mill.stats().intake as NonNullable<ReturnType<Mill["stats"]>["intake"]>;

// ── a handler that never ends ───────────────────────────────────────────────────────────────────

for (const name of ["forever", "spin", "sleep"] as const) {
  test(`close({ timeoutMs }) ends beside a record in ${name}, and says so; it is no suspect`, async () => {
    const { notes, openMill } = place();
    // More often than a record may end its process before it is put into quarantine.
    for (let round = 1; round <= 3; round += 1) {
      const mill = await openMill();
      assert.is(intakeOf(mill).suspects, 0);
      if (round === 1) await mill.publish[name]({ notes });
      const begun = (): number => linesOf(notes).filter((line) => line.startsWith(name)).length;
      await until(() => begun() === round, "it has begun");
      const error = await rejectsWith(mill.close({ timeoutMs: 30 }), "ERR_CLOSE_ABORTED");
      assert.equal(error.details.tasks, [{ handler: name, running: 1, queued: 0 }]);
      assert.is((error.cause as Error).name, "TimeoutError");
      assert.is(mill.stats().scheduler.threads, 0);
    }
    // The same record, in this process, and no attempt is counted.
    const attempts = linesOf(notes).filter((line) => line.startsWith(name));
    assert.equal([...new Set(attempts)], [`${name} 1 1 ${process.pid}`]);
  });
}

test("close() without a limit leaves a record's handler after a while", async () => {
  const { notes, openMill } = place();
  const mill = await openMill();
  const { done } = await mill.publish.forever({ notes });
  const undone = rejectsWith(done, "ERR_INTAKE_CLOSED");
  await until(() => linesOf(notes).length === 1, "it has begun");
  const error = await rejectsWith(mill.close(), "ERR_CLOSE_ABORTED");
  assert.equal(error.details.tasks, [{ handler: "forever", running: 1, queued: 0 }]);
  await undone;
  assert.ok(linesOf(notes).includes("asked to stop"));
  assert.is(mill.stats().scheduler.threads, 0);
  const next = await openMill();
  assert.is(intakeOf(next).suspects, 0);
  await until(() => linesOf(notes).length === 3, "it is delivered again");
  await next.terminate();
});

test("the time limit of an attempt counts while the runtime closes", async () => {
  const { notes, openMill } = place({ journal: { handlers: { forever: { timeoutMs: 100 } } } });
  const mill = await openMill();
  await mill.publish.forever({ notes });
  await until(() => linesOf(notes).length === 1, "it has begun");
  const error = await rejectsWith(mill.close(), "ERR_TEARDOWN_FAILED");
  assert.match(error.message, /a handler still ran/);
  const next = await openMill();
  await until(() => linesOf(notes).includes(`forever 1 2 ${process.pid}`), "the second attempt");
  await next.terminate();
});

test("nothing runs any more when the directory is free for the next process", async () => {
  const { notes, openMill } = place();
  for (const end of ["close", "terminate"] as const) {
    const mill = await openMill();
    await mill.publish.busy({ notes });
    await until(() => linesOf(notes).length > 5, "it is busy");
    if (end === "terminate") await mill.terminate();
    else await rejectsWith(mill.close({ timeoutMs: 20 }), "ERR_CLOSE_ABORTED");
    const count = linesOf(notes).length;
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.is(linesOf(notes).length, count);
  }
});

// ── terminate ───────────────────────────────────────────────────────────────────────────────────

test("terminate() loses nothing that was acknowledged, and makes no suspects", async () => {
  const { notes, openMill } = place();
  const acknowledged: string[] = [];
  for (let round = 0; round < 5; round += 1) {
    const mill = await openMill();
    assert.is(intakeOf(mill).suspects, 0);
    const publishing = Array.from({ length: 200 }, async (_, n) => {
      const text = `${round}.${n}`;
      await mill.publish.quick({ notes, text }).then(
        () => acknowledged.push(text),
        () => {},
      );
    });
    if (round % 2 === 0) await publishing[round * 10];
    else await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([mill.terminate(), ...publishing]);
  }
  assert.ok(acknowledged.length > 0);
  const mill = await openMill();
  await mill.drain();
  await mill.close();
  const handled = new Set(linesOf(notes));
  assert.equal(
    acknowledged.filter((text) => !handled.has(text)),
    [],
  );
});

test("ends in any number and order, beside drain and publish, settle", async () => {
  const { notes, openMill } = place();
  const ends = [
    (mill: Mill) => [mill.close(), mill.close(), mill.close({ timeoutMs: 60_000 })],
    (mill: Mill) => [mill.close(), mill.terminate(), mill.close()],
    (mill: Mill) => [mill.terminate(), mill.close(), mill.terminate()],
    (mill: Mill) => [mill.drain(), mill.close(), mill.drain(), mill.publish.quick({ notes })],
    (mill: Mill) => [mill.publish.quick({ notes }), mill.drain({ all: true }), mill.terminate()],
    (mill: Mill) => [mill[Symbol.asyncDispose](), mill.drain(), mill.close()],
    (mill: Mill) => [mill.close({ timeoutMs: 0 }), mill.close({ signal: AbortSignal.abort() })],
  ];
  const allowed = new Set(["ERR_INTAKE_CLOSED", "ERR_CLOSE_ABORTED"]);
  for (const [index, end] of ends.entries()) {
    for (const isBegun of [false, true]) {
      const mill = await openMill();
      if (isBegun) await (await mill.publish.quick({ notes })).done;
      for (const outcome of await Promise.allSettled(end(mill))) {
        if (outcome.status === "rejected") assert.ok(allowed.has(outcome.reason.code), `${index} ${outcome.reason}`);
      }
      await mill.terminate();
      assert.is(mill.stats().scheduler.threads, 0);
    }
  }
  await (await openMill()).close();
});

// ── teardown ────────────────────────────────────────────────────────────────────────────────────

function moduleWith(file: string, teardown: string): URL {
  return new URL(`?${String(new URLSearchParams({ file, teardown }))}`, fixture);
}

for (const hasJournal of [false, true]) {
  test(`teardown runs once on each thread, after its last task, ${hasJournal ? "with" : "without"} a journal`, async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "notes");
    const mill = await open<Handlers>({
      handlers: moduleWith(file, "slow"),
      processors: 2,
      ...(hasJournal ? { journal: { directory: join(directory, "journal") } } : {}),
    });
    const calls = Array.from({ length: 50 }, (_, n) => mill.run.quick({ notes: file, text: `task ${n}` }));
    const records = hasJournal ? [await mill.publish.quick({ notes: file, text: "task of a record" })] : [];
    await mill.close();
    await Promise.all([...calls, ...records.map(({ done }) => done.catch(() => {}))]);
    const lines = linesOf(file);
    const threads = (what: string): string[] =>
      lines.flatMap((line) => (line.startsWith(what) ? [line.slice(what.length)] : [])).toSorted();
    assert.is(threads("initialize").length, 2);
    assert.equal(threads("teardown"), threads("initialize"));
    assert.equal(threads("torn down"), threads("initialize"));
    const lastTask = lines.findLastIndex((line) => line.startsWith("task"));
    assert.ok(lastTask < lines.findLastIndex((line) => line.startsWith("teardown")));
  });
}

for (const [how, says] of [
  ["throws", /can't close the connection/],
  ["hangs", /longer than 200 ms/],
  ["spins", /longer than 200 ms/],
  ["exits", /exit/],
  ["uncaught", /nobody catches it/],
] as const) {
  test(`a teardown that ${how} is told by close(), and all else is closed`, async () => {
    const { notes, openMill } = place();
    const withTeardown = place({ handlers: moduleWith(notes, how) });
    const mill = await withTeardown.openMill();
    await (
      await mill.publish.quick({ notes })
    ).done;
    const error = await rejectsWith(mill.close(), "ERR_TEARDOWN_FAILED");
    assert.match(error.message, says);
    assert.equal(error.details.machines, [0]);
    if (how === "throws") assert.is((error.cause as { code?: string }).code, "E_CONNECTION");
    assert.is(mill.stats().scheduler.threads, 0);
    await mill.terminate();
    await withTeardown.openMill().then((next) => next.terminate());
    await (await openMill()).close();
  });
}

test("teardown isn't called by terminate(), nor on a thread that has died", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const options = { handlers: moduleWith(file, "slow"), processors: 1, onMachineDeath: () => {} };
  const first = await open<Handlers>(options);
  await first.run.echo(1);
  await first.terminate();
  assert.equal(
    linesOf(file).filter((line) => line.startsWith("teardown")),
    [],
  );
  const second = await open<Handlers>(options);
  await rejectsWith(second.run.dies(), "ERR_MACHINE_DIED");
  assert.is(await second.run.echo(1), 1);
  await second.close();
  const lines = linesOf(file);
  assert.is(lines.filter((line) => line.startsWith("initialize")).length, 3);
  assert.is(lines.filter((line) => line.startsWith("teardown")).length, 1);
});

test("teardown is no handler, and what it leaves open ends with its thread", async () => {
  const mill = await open<Handlers>({ handlers: fixture, processors: 1 });
  assert.not(mill.handlerNames.includes("teardown"));
  const error = await Promise.resolve()
    .then(() => (mill.run as unknown as Record<string, () => Promise<unknown>>).teardown?.())
    .catch((thrown: unknown) => thrown as Error & { code: string });
  assert.is((error as { code: string }).code, "ERR_HANDLER_UNKNOWN");
  await mill.close();
  await rejectsWith(open({ handlers: fixture, teardownTimeoutMs: 0 }), "ERR_INVALID_OPTION");
  await rejectsWith(
    open({ handlers: new URL("data:text/javascript,export function teardown() {}") }),
    "ERR_HANDLER_MODULE",
  );
});

test.run();
