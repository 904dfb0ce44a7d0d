import { execFileSync } from "node:child_process";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError } from "@millrace/base";
import { Blocking, type BlockingOptions } from "@millrace/pool";
import { loadHandlers } from "@millrace/scheduler";
import { open } from "millrace";
import type * as blockingHandlers from "../fixtures/blocking-handlers.ts";
import type * as dyingHandlers from "../fixtures/dying-handlers.ts";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith, throwsWith, until } from "../support.ts";

const url = new URL("../fixtures/blocking-handlers.js", import.meta.url).href;

const dyingUrl = new URL("../fixtures/dying-handlers.js", import.meta.url).href;

async function namesOf(module: string): Promise<string[]> {
  return [...(await loadHandlers(module)).handlers.keys()];
}

async function withPool(
  options: BlockingOptions,
  body: (pool: Blocking<typeof blockingHandlers>) => Promise<void>,
): Promise<void> {
  const pool = new Blocking<typeof blockingHandlers>(url, await namesOf(url), options);
  try {
    await body(pool);
  } finally {
    await pool.terminate();
  }
}

async function withHandlers(body: (pool: Blocking<typeof handlers>) => Promise<void>): Promise<void> {
  const pool = new Blocking<typeof handlers>(handlersUrl.href, await namesOf(handlersUrl.href));
  try {
    await body(pool);
  } finally {
    await pool.close();
  }
}

/** Shared words: [0] opens the gate, [1] counts who waits at it. */
function newGate(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(8));
}

function openGate(gate: Int32Array): void {
  Atomics.store(gate, 0, 1);
  Atomics.notify(gate, 0);
}

test("a blocking call returns what the same call by run returns, for every value", async () => {
  const mill = await open<typeof handlers>({ handlers: handlersUrl, processors: 1 });
  try {
    const values = [undefined, null, true, -0, 1.5, NaN, "text", 10n, [1, "two"], new Map([[1, new Set([2])]])];
    for (const value of [...values, Buffer.from("bytes"), new Date(5), { deep: { er: new Error("inside") } }]) {
      assert.equal(await mill.blocking.echo(value), await mill.run.echo(value));
    }
    const buffer = await mill.blocking.echo(Buffer.from("bytes"));
    assert.ok(Buffer.isBuffer(buffer), "a Buffer stays one");
    assert.is(await mill.blocking.later(5), "after 5");
    assert.is(mill.stats().blocking.completed, values.length + 5);
  } finally {
    await mill.close();
  }
});

test("an error crosses as for run: class, message, stack, code, cause, own members", async () => {
  const mill = await open<typeof handlers>({ handlers: handlersUrl, processors: 1 });
  try {
    const [byRun, blocking] = await Promise.all([caught(mill.run.fail("much")), caught(mill.blocking.fail("much"))]);
    for (const key of ["name", "message", "code", "detail"]) assert.equal(blocking[key], byRun[key], key);
    assert.ok(blocking instanceof RangeError);
    assert.is((blocking.cause as Error).message, "the reason");
    assert.match(String(blocking.stack), "fixtures/handlers");
    assert.ok((await caught(mill.blocking.failLater("later"))) instanceof TypeError);
  } finally {
    await mill.close();
  }
});

async function caught(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await promise;
  } catch (thrown) {
    return thrown as Record<string, unknown>;
  }
  throw new Error("nothing was thrown");
}

test("what can't be sent rejects its call alone, with the path to the culprit", () =>
  withHandlers(async ({ run }) => {
    const argument = await rejectsWith(run.echo({ list: [() => 1] }), "ERR_VALUE_UNSUPPORTED");
    assert.match(argument.message, "value.list[0] is a function");
    await rejectsWith(run.unsendable(), "ERR_VALUE_UNSUPPORTED");
    assert.is(await run.echo(1), 1);
  }));

test("an argument is taken as it is at the call, also when the call has to wait", () =>
  withHandlers(async ({ run }) => {
    const value = { n: 0 };
    const results = Array.from({ length: 20 }, (_, n) => {
      value.n = n;
      return run.echo(value);
    });
    assert.equal(
      await Promise.all(results),
      Array.from({ length: 20 }, (_, n) => ({ n })),
    );
  }));

test("no thread before the first call, at most threadsMax, threadsMin when idle", () =>
  withPool({ threadsMin: 1, threadsMax: 3, idleTimeoutMs: 1 }, async (pool) => {
    assert.is(pool.stats().threads, 0);
    const gate = newGate();
    const calls = Array.from({ length: 5 }, () => pool.run.gate(gate));
    await until(() => Atomics.load(gate, 1) === 3, "three calls run at the same time");
    assert.equal(pool.stats(), { threads: 3, running: 3, waiting: 2, completed: 0 });
    openGate(gate);
    assert.is(new Set(await Promise.all(calls)).size, 3);
    await until(() => pool.stats().threads === 1, "idle threads end");
    assert.is(pool.stats().completed, 5);
  }));

test("handlers on blocked threads don't hold up calls by run", async () => {
  const mill = await open<typeof blockingHandlers>({ handlers: new URL(url), processors: 1 });
  try {
    const gate = newGate();
    const blocked = Array.from({ length: 3 }, () => mill.blocking.gate(gate));
    await until(() => Atomics.load(gate, 1) === 3, "the blocking calls run");
    assert.type(await mill.run.idOf(), "number");
    openGate(gate);
    await Promise.all(blocked);
  } finally {
    await mill.close();
  }
});

test("a signal rejects a waiting call, and ends the thread of a running one", () =>
  withPool({ threadsMax: 1 }, async (pool) => {
    const started = newGate();
    const running = new AbortController();
    const waiting = new AbortController();
    const loop = pool.run.forever(started, { signal: running.signal });
    const queued = pool.run.idOf(undefined, { signal: waiting.signal });
    const last = pool.run.idOf();
    await until(() => Atomics.load(started, 0) === 1, "the loop runs");
    waiting.abort("not needed");
    assert.is((await rejectsWith(queued, "ERR_TASK_ABORTED")).cause, "not needed");
    assert.is(pool.stats().waiting, 1);
    running.abort();
    const error = await rejectsWith(loop, "ERR_TASK_ABORTED");
    assert.is((error.cause as Error).name, "AbortError");
    assert.type(await last, "number");
    const aborted = pool.run.idOf(undefined, { signal: AbortSignal.abort("before") });
    assert.is((await rejectsWith(aborted, "ERR_TASK_ABORTED")).cause, "before");
  }));

test("a waiting call gets the place of an aborted one, though a thread is stuck", () =>
  withPool({ threadsMin: 1, threadsMax: 2 }, async (pool) => {
    const stuck = newGate();
    const started = newGate();
    const controller = new AbortController();
    const first = pool.run.gate(stuck);
    const second = rejectsWith(pool.run.forever(started, { signal: controller.signal }), "ERR_TASK_ABORTED");
    const third = pool.run.idOf();
    await until(() => Atomics.load(started, 0) === 1 && Atomics.load(stuck, 1) === 1, "both threads are taken");
    controller.abort();
    assert.type(await third, "number");
    await second;
    openGate(stuck);
    await first;
  }));

test("timeoutMs counts from the call and ends a thread that never returns", () =>
  withPool({ threadsMax: 1 }, async (pool) => {
    const loop = pool.run.forever(newGate(), { timeoutMs: 30 });
    const queued = pool.run.idOf(undefined, { timeoutMs: 60_000 });
    const error = await rejectsWith(loop, "ERR_TASK_TIMEOUT");
    assert.equal(error.details, { handler: "forever", timeoutMs: 30 });
    assert.type(await queued, "number");
  }));

test("a thread that dies takes only its own call with it, and every call settles", () =>
  withPool({ threadsMax: 2 }, async (pool) => {
    const calls = Array.from({ length: 30 }, (_, n) => (n % 3 === 0 ? pool.run.exit(n) : pool.run.idOf()));
    const outcomes = await Promise.allSettled(calls);
    outcomes.forEach((outcome, n) => assert.is(outcome.status, n % 3 === 0 ? "rejected" : "fulfilled"));
    const { reason } = outcomes[3] as PromiseRejectedResult;
    assert.ok(isMillraceError(reason, "ERR_MACHINE_DIED"));
    assert.match((reason.cause as Error).message, "process.exit(3) was called");
    pool.run.throwWhenIdle().catch(() => {});
    assert.type(await pool.run.idOf(), "number");
  }));

test("resource limits reach the threads: a call beyond them rejects, the next runs", () =>
  withPool(
    { threadsMax: 1, resourceLimits: { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 2 } },
    async (pool) => {
      const error = await rejectsWith(pool.run.fill(), "ERR_MACHINE_DIED");
      assert.is((error.cause as { code?: string }).code, "ERR_WORKER_OUT_OF_MEMORY");
      assert.is(error.details["reason"], "out of memory");
      assert.match(error.message, "24 MB (maxOldGenerationSizeMb)");
      assert.type(await pool.run.idOf(), "number");
    },
  ));

test("threads that can't start reject the calls instead of leaving them", () =>
  withPool(
    { threadsMax: 2, resourceLimits: { maxOldGenerationSizeMb: 4, maxYoungGenerationSizeMb: 1 } },
    async (pool) => {
      for (let n = 0; n < 3; n += 1) await rejectsWith(pool.run.idOf(), "ERR_MACHINE_DIED");
    },
  ));

test("a blocking call is told how its thread ended, as a call by run is", async () => {
  const pool = new Blocking<typeof dyingHandlers>(dyingUrl, await namesOf(dyingUrl), { threadsMax: 2 });
  try {
    const exit = await rejectsWith(pool.run.exit(3), "ERR_MACHINE_DIED");
    assert.equal([exit.details["reason"], exit.details["exitCode"], exit.details["handler"]], ["exit", 3, "exit"]);
    assert.match((exit.cause as Error).stack ?? "", "dying-handlers");
    const late = await rejectsWith(pool.run.throwLater("late"), "ERR_MACHINE_DIED");
    assert.is(late.details["reason"], "uncaught error");
    const cause = late.cause as TypeError & { code: string; details: object };
    assert.ok(cause instanceof TypeError);
    assert.equal([cause.message, cause.code, cause.details], ["late", "E_LATE", { omitted: ["helper"] }]);
    const rejected = await rejectsWith(pool.run.rejectLater("nobody"), "ERR_MACHINE_DIED");
    assert.equal([rejected.details["reason"], (rejected.cause as Error).message], ["unhandled rejection", "nobody"]);
    assert.is(await pool.run.echo(1), 1);
  } finally {
    await pool.terminate();
  }
});

test("more waiting calls than queueMax are refused", () =>
  withPool({ threadsMax: 1, queueMax: 2 }, async (pool) => {
    const gate = newGate();
    const calls = Array.from({ length: 3 }, () => pool.run.gate(gate));
    const error = await rejectsWith(pool.run.idOf(), "ERR_BLOCKING_FULL");
    assert.equal(error.details, { waiting: 2, threadsMax: 1 });
    openGate(gate);
    await Promise.all(calls);
    assert.type(await pool.run.idOf(), "number");
  }));

test("transferList hands memory over at the call", () =>
  withPool({}, async (pool) => {
    const bytes = new Uint8Array([7, 8]);
    const result = pool.run.first(bytes, { transferList: [bytes.buffer] });
    assert.is(bytes.length, 0, "detached");
    assert.is(await result, 7);
  }));

test("a handler sees in its context that no machine runs it", () =>
  withPool({}, async (pool) => {
    assert.equal(await pool.run.whereAmI(), [-1, 1]);
    assert.is(await pool.run.initialisedBy(), -1);
    assert.is(await pool.run.inBlocking(), "blocked");
    await rejectsWith(pool.run.spawning(), "ERR_BLOCKING_CONTEXT");
    const before = Date.now();
    const deadline = await pool.run.deadlineOf(undefined, { timeoutMs: 60_000 });
    assert.ok(deadline >= before + 60_000 && deadline <= Date.now() + 60_000);
  }));

test("close waits for calls under way and then refuses; terminate doesn't wait", async () => {
  const names = await namesOf(url);
  const closing = new Blocking<typeof blockingHandlers>(url, names, { threadsMax: 1 });
  const gate = newGate();
  const calls = [closing.run.gate(gate), closing.run.gate(gate)];
  const closed = closing.close();
  await rejectsWith(closing.run.idOf(), "ERR_SCHEDULER_CLOSED");
  openGate(gate);
  await closed;
  assert.is((await Promise.all(calls)).length, 2);
  assert.is(closing.stats().threads, 0);

  const ending = new Blocking<typeof blockingHandlers>(url, names, { threadsMax: 1 });
  const started = newGate();
  const loop = rejectsWith(ending.run.forever(started), "ERR_SCHEDULER_CLOSED");
  const waiting = rejectsWith(ending.run.idOf(), "ERR_SCHEDULER_CLOSED");
  await until(() => Atomics.load(started, 0) === 1, "the loop runs");
  await ending.terminate();
  await Promise.all([loop, waiting]);
});

test("options and names are checked before anything starts", async () => {
  throwsWith(() => new Blocking(url, [], { threadsMax: 0 }), "ERR_INVALID_OPTION");
  throwsWith(() => new Blocking(url, [], { threadsMin: 3, threadsMax: 2 }), "ERR_INVALID_OPTION");
  throwsWith(() => new Blocking(url, [], { resourceLimits: { maxHeap: 1 } } as never), "ERR_INVALID_OPTION");
  throwsWith(() => new Blocking(url, [], { resourceLimits: { maxOldGenerationSizeMb: 3 } }), "ERR_INVALID_OPTION");
  const misspelt = await rejectsWith(
    open({ handlers: handlersUrl, blocking: { threadMax: 2 } as never }),
    "ERR_INVALID_OPTION",
  );
  assert.match(misspelt.message, 'did you mean "threadsMax"?');
  await withPool({}, async (pool) => {
    throwsWith(() => (pool.run as unknown as Record<string, () => void>).idOff?.(), "ERR_HANDLER_UNKNOWN");
    await rejectsWith(pool.run.idOf(undefined, { timeoutMs: 0 }), "ERR_INVALID_OPTION");
  });
});

test("the process waits for a blocking call, and ends by itself when the pool is idle", () => {
  const script = `
    import { Blocking } from "@millrace/pool";
    const pool = new Blocking(${JSON.stringify(handlersUrl.href)}, ["later"]);
    console.log(await pool.run.later(20));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], {
    encoding: "utf8",
    cwd: new URL("../../..", import.meta.url),
    timeout: 30_000,
  });
  assert.is(output, "after 20\n");
});

test.run();
