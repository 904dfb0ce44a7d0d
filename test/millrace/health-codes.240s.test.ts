// Each code of health() that test/millrace/health.240s.test.ts doesn't bring about, made to happen.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type HealthCode, type HealthReason, healthAnswer, type Millrace, type MillraceOptions, open } from "millrace";
import { Faults } from "../fixtures/fault-storage.ts";
import { temporaryDirectory, until } from "../support.ts";

interface Handlers {
  nap(given: { readonly ms: number }): unknown;
  note(given: unknown): unknown;
  dies(given: unknown): unknown;
  holds(given: { readonly until: string }): unknown;
}

const handlers = new URL(
  `data:text/javascript,${encodeURIComponent(`
    export function nap({ ms }) { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms); }
    export function note() {}
    import { existsSync } from "node:fs";
    export async function holds({ until }) {
      while (!existsSync(until)) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  `)}`,
);
const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;

async function withMill(
  options: Partial<MillraceOptions>,
  body: (mill: Millrace<Handlers>) => Promise<void>,
): Promise<void> {
  const mill = await open<Handlers>({
    handlers,
    processors: 1,
    onFailure: () => {},
    onMachineDeath: () => {},
    onHint: () => {},
    ...options,
  });
  try {
    await body(mill);
  } finally {
    await mill.terminate().catch(() => {});
  }
}

const reasonOf = (mill: Millrace<Handlers>, code: HealthCode): HealthReason | undefined =>
  mill.health().reasons.find((reason) => reason.code === code);

/** Waits for the code, and returns what was told of it. */
async function told(mill: Millrace<Handlers>, code: HealthCode): Promise<HealthReason> {
  let found: HealthReason | undefined;
  await until(() => (found = reasonOf(mill, code)) !== undefined, code, 60_000);
  return found as HealthReason;
}

/** More records than a lane keeps in memory: it has to read the rest from the segments. */
async function publishMany(mill: Millrace<Handlers>): Promise<void> {
  for (let n = 0; n < 8; n += 1) {
    await mill.publishMany(Array.from({ length: 1000 }, () => ({ handler: "note" as const, payload: n })));
  }
}

test("an old backlog is told, and forgotten when it is handled", async () => {
  const options = { health: { backlogMs: 100 }, journal: { directory: temporaryDirectory() } };
  await withMill(options, async (mill) => {
    await mill.publish.nap({ ms: 1500 });
    await publishMany(mill);
    const { status, details } = await told(mill, "BACKLOG_OLD");
    assert.is(status, "degraded");
    assert.ok((details["ageMs"] as number) >= 100);
    assert.is((await healthAnswer(mill, "ready")).status, 200);
    await mill.drain();
    await until(() => reasonOf(mill, "BACKLOG_OLD") === undefined, "it is handled");
  });
});

test("the end of the delivery thread is told, and only a restart heals it", async () => {
  const faults = new Faults();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  let failure: unknown;
  const options = {
    journal: { directory: temporaryDirectory(), storage },
    onFailure: (error: unknown) => (failure = error),
  };
  await withMill(options, async (mill) => {
    await mill.publish.nap({ ms: 500 });
    faults.arm("logReadExit");
    await publishMany(mill);
    const { status } = await told(mill, "DELIVERY_DEAD");
    assert.is(status, "down");
    assert.equal(
      await Promise.all(
        (["live", "ready", "started"] as const).map(async (group) => (await healthAnswer(mill, group)).status),
      ),
      [503, 503, 200],
    );
    assert.match(String(failure), /the delivery thread has ended/);
  });
});

test("the end of the keeper thread is told until another one runs", async () => {
  const faults = new Faults();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  const small = {
    segmentBytesFirst: 2 ** 18,
    segmentBytesMax: 2 ** 18,
    batchBytesMax: 2 ** 16,
    recordBytesMax: 2 ** 15,
  };
  await withMill({ journal: { directory: temporaryDirectory(), storage, ...small } }, async (mill) => {
    faults.arm("spareExit");
    const text = "x".repeat(20_000);
    // The records of a few segments: the writer asks for the next one.
    const published = Array.from({ length: 40 }, () => mill.publish.note({ text }));
    const { status } = await told(mill, "KEEPER_DEAD");
    assert.is(status, "degraded");
    assert.is((await healthAnswer(mill, "live")).status, 200);
    faults.disarm("spareExit");
    await Promise.all(published);
    await until(() => reasonOf(mill, "KEEPER_DEAD") === undefined, "another one runs");
  });
});

test("no worker thread is told, and that there is one again", async () => {
  const flag = join(temporaryDirectory(), "flag");
  const module = new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { existsSync } from "node:fs";
      export function initialize() { if (existsSync(${JSON.stringify(flag)})) throw new Error("no connection"); }
      export function dies() { process.exit(7); }
    `)}`,
  );
  await withMill({ handlers: module }, async (mill) => {
    writeFileSync(flag, "");
    mill.run.dies(undefined).catch(() => {});
    assert.is((await told(mill, "THREADS_DEAD")).status, "down");
    assert.is((await healthAnswer(mill, "live")).status, 503);
    rmSync(flag);
    await until(() => reasonOf(mill, "THREADS_DEAD") === undefined, "one runs", 60_000);
  });
});

test("a level that rises is told before it rejects", async () => {
  const journal = { directory: temporaryDirectory(), levels: { unfinished: { high: 100, low: 50 } } };
  await withMill({ journal }, async (mill) => {
    const go = join(temporaryDirectory(), "go");
    for (let n = 0; n < 99 && mill.level === "ok"; n += 1) await mill.publish.holds({ until: go });
    assert.is(mill.level, "slow");
    assert.is((await told(mill, "LEVEL_SLOW")).status, "degraded");
    assert.is((await healthAnswer(mill, "ready")).status, 200);
    writeFileSync(go, "");
    await mill.drain();
    await until(() => reasonOf(mill, "LEVEL_SLOW") === undefined, "it falls");
  });
});

test("a paused handler at the mark is told, and takes the service from nobody", async () => {
  const journal = { directory: temporaryDirectory(), levels: { unfinished: { high: 10 } } };
  await withMill({ journal }, async (mill) => {
    await mill.pause("note");
    for (let n = 0; n < 10; n += 1) await mill.publish.note(n);
    await until(() => mill.stats().intake?.held === 10, "delivery has looked at all of them");
    const { status, details } = await told(mill, "HANDLERS_FULL");
    assert.equal([status, details["handlers"]], ["degraded", "note"]);
    assert.is((await healthAnswer(mill, "ready")).status, 200);
    await mill.resume("note");
    await until(() => reasonOf(mill, "HANDLERS_FULL") === undefined, "it takes records again");
  });
});

test("little room on the disk is told from the limit on that was asked for", async () => {
  const directory = temporaryDirectory();
  const freeBytesMin = Number.MAX_SAFE_INTEGER;
  await withMill({ health: { freeBytesMin }, journal: { directory } }, async (mill) => {
    const { status, details } = await told(mill, "DISK_ROOM_LOW");
    assert.is(status, "degraded");
    assert.is(details["freeBytesMin"], freeBytesMin);
    assert.ok((details["freeBytes"] as number) > 0);
  });
  await withMill({ health: { freeBytesMin: 0 }, journal: { directory } }, async (mill) => {
    await until(() => mill.metrics().some(({ name }) => name === "millrace_log_disk_free_bytes"), "it is measured");
    assert.is(reasonOf(mill, "DISK_ROOM_LOW"), undefined);
  });
});

test("a blocked event loop is told from the limit on that was asked for", async () => {
  await withMill({ health: { eventLoopDelayMs: 200 } }, async (mill) => {
    // The monitor has begun.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const end = performance.now() + 600;
    while (performance.now() < end);
    const { status, details } = await told(mill, "EVENT_LOOP_DELAY");
    assert.is(status, "degraded");
    assert.ok((details["delayMs"] as number) >= 200);
  });
});

test("a slow disk is told from the limits on that were asked for", async () => {
  const faults = new Faults();
  const storage = { url: faultStorage, data: { directory: temporaryDirectory(), faults: faults.buffer } };
  const health = { diskSlowMs: 20, diskStuckMs: 200 };
  await withMill({ health, journal: { directory: temporaryDirectory(), storage } }, async (mill) => {
    faults.arm("logSyncHang");
    const publishing = mill.publish.note(1);
    assert.ok(((await told(mill, "DISK_STUCK")).details["ms"] as number) >= 200);
    assert.is((await healthAnswer(mill, "live")).status, 200);
    assert.is((await healthAnswer(mill, "ready")).status, 503);
    faults.disarm("logSyncHang");
    await publishing;
  });
});

test.run();
