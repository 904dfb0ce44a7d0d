// An object that can't be moved fails its own call, before anything is sent.
import { MessageChannel, type Transferable } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Blocking } from "@millrace/pool";
import type * as handlers from "../fixtures/parcel-handlers.ts";
import { rejectsWith } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

const url = new URL("../fixtures/parcel-handlers.js", import.meta.url);
const withScheduler = schedulersOf<typeof handlers>({ handlers: url, processors: 1 });

function moved<T extends Transferable>(thing: T): T {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(thing, [thing]);
  port1.close();
  port2.close();
  return thing;
}

function movedBytes(): Uint8Array {
  const bytes = new Uint8Array(1000);
  moved(bytes.buffer);
  return bytes;
}

/** Holds this thread up, and returns when that ended; ms since 1970 with a fraction. */
function blockFor(ms: number): number {
  const end = performance.now() + ms;
  while (performance.now() < end);
  return performance.timeOrigin + performance.now();
}

const twice = new ArrayBuffer(8);
const bytes = new Uint8Array(8);
const closed = new MessageChannel().port1;
closed.close();

const REFUSED: [what: string, list: unknown[]][] = [
  ["a buffer that was moved before", [movedBytes().buffer]],
  ["a buffer that is listed twice", [twice, twice]],
  ["a view", [bytes]],
  ["shared memory", [new SharedArrayBuffer(8)]],
  ["a plain object", [{}]],
  ["a number", [5]],
  ["null", [null]],
  ["a port that was moved before", [moved(new MessageChannel().port1)]],
  ["a port that was closed", [closed]],
];

for (const [what, list] of REFUSED) {
  test(`${what} in a transferList rejects that call alone`, () =>
    withScheduler({}, async (scheduler) => {
      const others = Array.from({ length: 20 }, (_, n) => scheduler.run.same({ n }));
      const kept = new ArrayBuffer(16);
      const transferList = [kept, ...list] as object[];
      await rejectsWith(scheduler.run.same({ kept, list: [] }, { transferList }), "ERR_TRANSFER_REFUSED");
      assert.is(kept.byteLength, 16, "nothing was moved");
      assert.equal(
        await Promise.all(others),
        Array.from({ length: 20 }, (_, n) => ({ n })),
      );
      assert.is(scheduler.stats().restarts, 0);
    }));
}

test("the same view sent twice is refused the second time, with calls beside it", () =>
  withScheduler({}, async ({ run }) => {
    const view = new Uint8Array([1, 2, 3]);
    const transferList = [view.buffer];
    const first = run.same(view, { transferList });
    const second = run.same(view, { transferList });
    await rejectsWith(second, "ERR_TRANSFER_REFUSED");
    assert.equal([...((await first) as Uint8Array)], [1, 2, 3]);
  }));

test("detached memory in the argument is refused, and doesn't arrive as empty memory", () =>
  withScheduler({}, async (scheduler) => {
    const buffer = movedBytes().buffer;
    for (const value of [movedBytes(), buffer, { deep: [movedBytes()] }, [movedBytes().buffer]]) {
      await rejectsWith(scheduler.run.same(value), "ERR_VALUE_UNSUPPORTED");
      await rejectsWith(scheduler.runMany.same([1, value]), "ERR_VALUE_UNSUPPORTED");
      await rejectsWith(scheduler.parallelMap.same([1, value]), "ERR_VALUE_UNSUPPORTED");
      const other = new ArrayBuffer(8);
      await rejectsWith(scheduler.run.same({ value, other }, { transferList: [other] }), "ERR_VALUE_UNSUPPORTED");
    }
    assert.equal(await scheduler.run.same(new Uint8Array(0)), new Uint8Array(0));
    assert.is(scheduler.stats().restarts, 0);
  }));

test("a buffer that is moved alone is sent at the call, before the caller's turn", () =>
  withScheduler({}, async ({ run }) => {
    await run.same(1);
    for (const view of [new Uint8Array(1000).fill(7), new Uint8Array(0)]) {
      for (const value of [view, view.slice().buffer]) {
        const buffer = value instanceof Uint8Array ? value.buffer : value;
        const length = buffer.byteLength;
        const call = run.stamped(value, { transferList: [buffer] });
        assert.is(buffer.byteLength, 0, "it is gone at once");
        const blockedUntil = blockFor(100);
        const { at, value: echoed } = await call;
        assert.ok(at < blockedUntil, "the handler ran while this thread was blocked");
        assert.is((echoed as Uint8Array | ArrayBuffer).byteLength, length);
        assert.is(echoed instanceof Uint8Array, value instanceof Uint8Array);
      }
    }
  }));

test("views of a part, resizable and large buffers move as in structured clone", () =>
  withScheduler({}, async ({ run }) => {
    const whole = new Uint8Array([1, 2, 3, 4]);
    const part = (await run.same(whole.subarray(1, 3), { transferList: [whole.buffer] })) as Uint8Array;
    assert.equal([...part], [2, 3]);
    const large = new Uint8Array(2 ** 21);
    assert.is(((await run.same(large, { transferList: [large.buffer] })) as Uint8Array).length, 2 ** 21);
    assert.is(large.length, 0);
  }));

test("a port that isn't listed, and a getter that throws, reject their call", () =>
  withScheduler({}, async ({ run }) => {
    const { port1, port2 } = new MessageChannel();
    const buffer = new ArrayBuffer(8);
    await rejectsWith(run.same({ port1, buffer }, { transferList: [buffer] }), "ERR_TRANSFER_REFUSED");
    const value = {
      get bad(): never {
        throw new RangeError("getter");
      },
    };
    const thrown = await run.same(value, { transferList: [buffer] }).catch((error: unknown) => error);
    assert.ok(thrown instanceof RangeError);
    port1.close();
    port2.close();
  }));

test("a handler that moves what was moved before fails its own call", () =>
  withScheduler({}, async ({ run }) => {
    for (const what of ["detached", "twice", "view"] as const) {
      await rejectsWith(run.transferWrong(what), "ERR_TRANSFER_REFUSED");
    }
    assert.is(await run.same(1), 1);
  }));

test("blocking calls refuse the same", async () => {
  const pool = new Blocking<typeof handlers>(url.href, ["same"], { threadsMax: 1 });
  try {
    for (const [, list] of REFUSED) {
      await rejectsWith(pool.run.same([], { transferList: list as never }), "ERR_TRANSFER_REFUSED");
    }
    for (const value of [movedBytes(), movedBytes().buffer, { deep: movedBytes() }]) {
      await rejectsWith(pool.run.same(value), "ERR_VALUE_UNSUPPORTED");
    }
    assert.is(await pool.run.same(1), 1);
  } finally {
    await pool.close();
  }
});

test.run();
