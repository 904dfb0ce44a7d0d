// What can't be moved fails its own call, before anything is sent.
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

test("the same view sent twice is refused the second time, with any number of calls beside it", () =>
  withScheduler({}, async ({ run }) => {
    const view = new Uint8Array([1, 2, 3]);
    const transferList = [view.buffer];
    const first = run.same(view, { transferList });
    const second = run.same(view, { transferList });
    await rejectsWith(second, "ERR_TRANSFER_REFUSED");
    assert.equal([...((await first) as Uint8Array)], [1, 2, 3]);
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
    assert.is(await pool.run.same(1), 1);
  } finally {
    await pool.close();
  }
});

test.run();
