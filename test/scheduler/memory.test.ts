// The memory of calls: any size fits, results wait for room, bursts leave nothing behind.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { isMillraceError } from "@millrace/base";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type * as handlers from "../fixtures/memory-handlers.ts";
import { rejectsWith, until } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const handlersUrl = new URL("../fixtures/memory-handlers.js", import.meta.url);
const withScheduler = schedulersOf<typeof handlers>({ handlers: handlersUrl, processors: 2, onHint: () => {} });

test("after a burst of one size every other size still fits", () =>
  withScheduler({ arenaBytesMax: 64 * MIB }, async ({ run }) => {
    for (const size of [600_000, 70, 5000, 130_000, 40 * MIB, 1]) {
      const value = Buffer.alloc(size, 1);
      const calls = Math.min(300, Math.ceil((150 * MIB) / size));
      const lengths = await Promise.all(Array.from({ length: calls }, () => run.length(value)));
      assert.ok(lengths.every((length) => length === size));
    }
    assert.is(await run.length("abc"), 3);
  }));

test("an argument of exactly arenaBytesMax fits, one larger is refused", () =>
  withScheduler({ arenaBytesMax: MIB }, async ({ run }) => {
    // The encoding of a long text or of bytes takes five more.
    assert.is(await run.length(Buffer.alloc(MIB - 5)), MIB - 5);
    assert.is(await run.length("x".repeat(MIB - 5)), MIB - 5);
    const error = await rejectsWith(run.length(Buffer.alloc(MIB)), "ERR_ARENA_FULL");
    assert.is(error.details["arenaBytesMax"], MIB);
    assert.is((await run.bytes(MIB - 5)).length, MIB - 5);
    await rejectsWith(run.bytes(MIB), "ERR_ARENA_FULL");
    assert.is(await run.length("abc"), 3);
  }));

test("results beyond arenaBytesMax wait until others are read; none is thrown away", () =>
  withScheduler({ arenaBytesMax: 4 * MIB }, async ({ run, runMany }) => {
    const sizes = Array.from({ length: 150 }, (_, index) => (index % 5 === 0 ? 3 * MIB : 300_000 + index));
    const sync = await Promise.all(sizes.map((size) => run.bytes(size)));
    const later = await Promise.all(sizes.map((size) => run.bytesLater(size)));
    const many = await runMany.bytes(sizes);
    for (const results of [sync, later, many]) {
      for (const [index, result] of results.entries()) {
        assert.is(result.length, sizes[index]);
        assert.is(result[result.length - 1], (sizes[index] as number) & 0xff);
      }
    }
  }));

test("small results don't wait for room", () =>
  withScheduler({ arenaBytesMax: MIB, processors: 1 }, async ({ run }) => {
    const large = Array.from({ length: 20 }, () => run.bytes(MIB - 100));
    const small = Array.from({ length: 20 }, (_, index) => run.echo(index));
    assert.equal(
      await Promise.all(small),
      Array.from({ length: 20 }, (_, index) => index),
    );
    await Promise.all(large);
  }));

test("an error arrives however little room there is", () =>
  withScheduler({ arenaBytesMax: 4096 }, async ({ run }) => {
    try {
      await run.fails(20_000);
      assert.unreachable();
    } catch (thrown) {
      assert.is((thrown as Error).message.length, 20_000);
    }
  }));

test("nested calls end, also when their callers hold more than arenaBytesMax", () =>
  withScheduler({ arenaBytesMax: MIB }, async ({ run }) => {
    const value = Buffer.alloc(300_000);
    const chains = Array.from({ length: 6 }, () => run.chain({ depth: 20, value }));
    assert.equal(await Promise.all(chains), [20, 20, 20, 20, 20, 20]);
    assert.is(await run.joins(MIB - 100), 2 * (MIB - 100));
  }));

test("with a page of memory and two tasks at a time everything still arrives", () =>
  withScheduler({ arenaBytesMax: 4096, tasksMax: 2, nestedTasksMax: 2 }, async ({ run, runMany }) => {
    const values = Array.from({ length: 400 }, (_, index) => "y".repeat((index * 37) % 4000));
    assert.equal(await runMany.echo(values), values);
    assert.equal(await Promise.all(values.map((value) => run.echo(value))), values);
    const value = Buffer.alloc(3000);
    assert.equal(await Promise.all([1, 2, 3].map((depth) => run.chain({ depth, value }))), [1, 2, 3]);
  }));

test("a result waits on its machine: a handler that blocks has sent it before", () =>
  withScheduler({ arenaBytesMax: MIB, processors: 1 }, async ({ run }) => {
    const words = new Int32Array(new SharedArrayBuffer(8));
    const large = Array.from({ length: 4 }, () => run.bytesLater(MIB - 100));
    // Refused as long as one of the others is between its timer and its end.
    const block = async (): Promise<void> => {
      try {
        await run.waitFor(words);
      } catch (thrown) {
        if (!isMillraceError(thrown, "ERR_ASYNC_PENDING")) throw thrown;
        await block();
      }
    };
    const blocked = block();
    assert.equal(
      (await Promise.all(large)).map((each) => each.length),
      Array.from({ length: 4 }, () => MIB - 100),
    );
    Atomics.store(words, 0, 1);
    await blocked;
  }));

test("what a burst took is given back when idle, and mapped again when needed", () =>
  withScheduler({}, async (scheduler) => {
    const { run } = scheduler;
    const atFirst = scheduler.stats().mappedBytes;
    for (let round = 0; round < 2; round += 1) {
      const value = Buffer.alloc(600_000, round);
      await Promise.all(Array.from({ length: 100 }, () => run.echo(value)));
      assert.ok(scheduler.stats().mappedBytes > atFirst + 20 * MIB);
      await until(() => scheduler.stats().mappedBytes === atFirst, "memory is given back", 60_000);
    }
  }));

test("what a burst took comes back when the runtime is closed at once", async () => {
  const rssBefore = process.memoryUsage.rss();
  const closed: unknown[] = [];
  for (let round = 0; round < 3; round += 1) {
    await withScheduler({}, async (scheduler) => {
      closed.push(scheduler);
      await Promise.all(Array.from({ length: 300 }, () => scheduler.run.length(Buffer.alloc(MIB, 1))));
    });
  }
  const limit = rssBefore + 200 * MIB;
  await until(() => process.memoryUsage.rss() < limit, "memory comes back", 30_000);
  assert.is(closed.length, 3, "although the runtimes are kept");
});

test("a machine that takes a dead one's place reads and writes large values", () =>
  withScheduler({ processors: 1 }, async ({ run }) => {
    for (let round = 0; round < 3; round += 1) {
      const value = Buffer.alloc(3 * MIB, round + 1);
      const calls = Array.from({ length: 4 }, () => run.echo(value));
      const death = run.dies().catch((error: unknown) => error);
      const results = (await Promise.allSettled([...calls, run.echo(value)])) as PromiseSettledResult<unknown>[];
      assert.ok((await death) instanceof Error);
      for (const result of results) {
        if (result.status === "fulfilled") assert.equal(result.value, value);
      }
      assert.equal(await run.echo(value), value);
    }
  }));

test("a runtime opens and works in 8 GB of addresses", () => {
  // Elsewhere the limit has another unit, or none.
  if (process.platform !== "linux") return;
  const program = fileURLToPath(new URL("../fixtures/little-memory.js", import.meta.url));
  const { stdout, stderr } = spawnSync("sh", ["-c", `ulimit -v 8388608; exec "${process.execPath}" "${program}"`], {
    encoding: "utf8",
  });
  assert.is(stdout.trim(), Array.from({ length: 20 }, () => 10_000_000).join(), stderr);
});

test.run();
