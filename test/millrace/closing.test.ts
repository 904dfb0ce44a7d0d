// close({ signal }) and terminate(): nothing that a handler does keeps a runtime open.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, type MillraceOptions, open } from "millrace";
import type * as handlers from "../fixtures/endless-handlers.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const url = new URL("../fixtures/endless-handlers.js", import.meta.url);

function openWith(options: Partial<MillraceOptions> = {}): Promise<Millrace<typeof handlers>> {
  return open<typeof handlers>({ handlers: url, processors: 1, onHint: () => {}, ...options });
}

function sharedWords(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4));
}

for (const name of ["spin", "forever", "sleep"] as const) {
  for (const through of ["run", "blocking"] as const) {
    test(`close({ signal }) ends a handler that never does: ${through}.${name}`, async () => {
      const mill = await openWith();
      const words = sharedWords();
      const call = rejectsWith(mill[through][name](words), "ERR_SCHEDULER_CLOSED");
      await until(() => Atomics.load(words, 0) === 1, "it has begun");
      const controller = new AbortController();
      const closing = rejectsWith(mill.close({ signal: controller.signal }), "ERR_CLOSE_ABORTED");
      await rejectsWith(mill.run.echo(1), "ERR_SCHEDULER_CLOSED");
      controller.abort(new Error("too long"));
      const error = await closing;
      assert.equal(error.details.tasks, [{ handler: name, running: 1, queued: 0 }]);
      assert.match(error.message, `${name} (1 running, 0 queued)`);
      assert.is((error.cause as Error).message, "too long");
      await call;
      assert.is(mill.stats().scheduler.threads, 0);
      await mill.close().catch(() => {});
      await mill.terminate();
    });
  }
}

test("close({ signal }) after close(), and with a signal that is aborted already", async () => {
  for (const isAborted of [false, true]) {
    const mill = await openWith();
    const words = sharedWords();
    const call = rejectsWith(mill.run.forever(words), "ERR_SCHEDULER_CLOSED");
    await until(() => Atomics.load(words, 0) === 1, "it has begun");
    const plain = isAborted ? undefined : mill.close();
    const signal = isAborted ? AbortSignal.abort() : AbortSignal.timeout(10);
    await rejectsWith(mill.close({ signal }), "ERR_CLOSE_ABORTED");
    await call;
    await plain;
  }
});

test("close({ signal }) resolves when all is over in time, and leaves no listener", async () => {
  const mill = await openWith();
  const calls = Array.from({ length: 100 }, (_, n) => mill.run.echo(n));
  const controller = new AbortController();
  await mill.close({ signal: controller.signal });
  assert.is((await Promise.all(calls)).length, 100);
  controller.abort();
  await mill.close({ signal: AbortSignal.timeout(60_000) });
});

test("terminate() ends all at once, any number of times, also while close() waits", async () => {
  const mill = await openWith({ processors: 2 });
  const words = sharedWords();
  const calls = [mill.runMany.spin([words]), mill.run.forever(words), mill.blocking.sleep(words)];
  const rejected = calls.map((call) => rejectsWith(call, "ERR_SCHEDULER_CLOSED"));
  await until(() => Atomics.load(words, 0) === 3, "all have begun");
  const closing = mill.close();
  await Promise.all([mill.terminate(), mill.terminate()]);
  await Promise.all(rejected);
  await closing;
  await mill.terminate();
  assert.is(mill.stats().scheduler.threads, 0);
  await rejectsWith(mill.run.echo(1), "ERR_SCHEDULER_CLOSED");
  await rejectsWith(mill.blocking.echo(1), "ERR_SCHEDULER_CLOSED");
});

test("a record whose handler never ends is delivered again after an opening", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "deliveries");
  const failures: unknown[] = [];
  const journal = { directory: join(directory, "journal") };
  const openAgain = (): Promise<Millrace<typeof handlers>> =>
    openWith({ journal, onFailure: (error) => failures.push(error) });
  const deliveries = (): number => (existsSync(file) ? readFileSync(file, "utf8").split("\n").length - 1 : 0);

  let mill = await openAgain();
  const { done } = await mill.publish.deliver({ file });
  const undone = rejectsWith(done, "ERR_INTAKE_CLOSED");
  await until(() => deliveries() === 1, "the handler has begun");
  const error = await rejectsWith(mill.close({ signal: AbortSignal.timeout(20) }), "ERR_CLOSE_ABORTED");
  assert.equal(error.details.tasks, [{ handler: "deliver", running: 1, queued: 0 }]);
  await undone;

  mill = await openAgain();
  await until(() => deliveries() === 2, "the record was delivered again");
  await mill.terminate();
  await mill.close();

  writeFileSync(`${file}.end`, "");
  mill = await openAgain();
  await until(() => deliveries() === 3, "the record was delivered once more");
  await mill.drain();
  await mill.close({ signal: AbortSignal.timeout(60_000) });
  assert.equal(failures, []);
});

test("wrong options of close() reject, and leave the runtime open", async () => {
  const mill = await openWith();
  for (const options of [{ sginal: AbortSignal.abort() }, AbortSignal.abort(), 5, null, { signal: 5 }]) {
    await rejectsWith(mill.close(options as never), "ERR_INVALID_OPTION");
  }
  assert.is(await mill.run.echo(1), 1);
  await mill.close();
});

test.run();
