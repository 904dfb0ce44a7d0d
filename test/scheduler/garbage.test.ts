import { Worker } from "node:worker_threads";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type * as module from "@millrace/scheduler/internal/shared/garbage";
import { testIf } from "../support.ts";

/** A thread that sets the flags of the whole process as fast as it can, until it is terminated. */
const OTHER_THREAD = `
  const { setFlagsFromString } = require("node:v8");
  require("node:worker_threads").parentPort.postMessage("up");
  for (;;) {
    setFlagsFromString("--expose-gc");
    setFlagsFromString("--no-expose-gc");
  }`;

/** As a thread has it that hasn't collected yet. */
async function newGarbage(instance: number): Promise<module.Garbage> {
  const url = import.meta.resolve("@millrace/scheduler/internal/shared/garbage");
  const { Garbage } = (await import(`${url}?${instance}`)) as typeof module;
  return new Garbage();
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Whether an object that nobody holds goes with a tick, sooner or later. */
async function collects(garbage: module.Garbage): Promise<boolean> {
  const unneeded = unheld();
  garbage.letGo(2 ** 30);
  for (let ticks = 0; ticks < 100; ticks += 1) {
    // A look holds the object until the turn is over.
    if (unneeded.deref() === undefined) return true;
    await nextTurn();
    garbage.tick();
    await nextTurn();
  }
  return false;
}

/** In a function of its own, so that nothing else holds the object. */
const unheld = (): WeakRef<object> => new WeakRef({});

testIf(globalThis.gc === undefined)("other threads that use the collector at once do no harm", async () => {
  const other = new Worker(OTHER_THREAD, { eval: true });
  await new Promise((resolve) => other.once("message", resolve));
  try {
    for (let instance = 0; instance < 40; instance += 1) {
      assert.ok(await collects(await newGarbage(instance)), `instance ${instance} collects nothing`);
    }
  } finally {
    await other.terminate();
  }
  assert.is(globalThis.gc, undefined);
});

testIf(globalThis.gc === undefined)("a gc that somebody else has put there isn't called", async () => {
  const others: { gc?: unknown } = globalThis;
  for (const gc of [() => assert.unreachable("it isn't ours"), 1, undefined]) {
    others.gc = gc;
    try {
      assert.ok(await collects(await newGarbage(100 + String(gc).length)));
      assert.is(others.gc, gc);
    } finally {
      delete others.gc;
    }
  }
});

test.run();
