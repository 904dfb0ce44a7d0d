// Calls with values of every size, one by one and in bursts; then none, and all memory has come
// back.
import * as assert from "uvu/assert";
import { type Random, seededRandom } from "@millrace/base";
import { Scheduler } from "@millrace/scheduler";
import type * as handlers from "../fixtures/memory-handlers.ts";
import { until } from "../support.ts";

const MIB = 2 ** 20;
const SIZE_MAX: number = 100 * MIB;
/** Bytes that the calls of one burst carry in all. */
const BURST_BYTES: number = 200 * MIB;
/** RSS may end this much above the baseline: a fifth, or this. */
const RSS_SLACK: number = 64 * MIB;

export interface SoakOptions {
  readonly seed: number;
  /** For how long rounds begin. */
  readonly durationMs: number;
  /** Waits until memory has come back; fails if it doesn't. */
  readonly idle: (isBack: () => boolean) => Promise<void>;
}

interface Size {
  readonly mapped: number;
  readonly rss: number;
}

/**
 * Runs rounds for a while. Fails when a value isn't what was sent, or when memory doesn't come
 * back.
 */
export async function soak({ seed, durationMs, idle }: SoakOptions): Promise<string> {
  const random = seededRandom(seed);
  const scheduler = await Scheduler.open<typeof handlers>({
    handlers: new URL("../fixtures/memory-handlers.js", import.meta.url),
    processors: 2,
    onHint: () => {},
  });
  try {
    await round(scheduler, random);
    // Everything that the first round leaves for good is part of the baseline: code, threads, pools
    // of small buffers.
    const { mappedBytes: atFirst } = await quiet(scheduler);
    await idle(() => scheduler.stats().mappedBytes === atFirst);
    const before = sizeOf(scheduler);
    const end = performance.now() + durationMs;
    let rounds = 0;
    let highest = 0;
    // At least one, however slow this machine is.
    do {
      await round(scheduler, random);
      rounds += 1;
      highest = Math.max(highest, process.memoryUsage.rss());
    } while (performance.now() < end);
    await quiet(scheduler);
    const limit = before.rss + Math.max(before.rss / 5, RSS_SLACK);
    await idle(() => sizeOf(scheduler).mapped === before.mapped && sizeOf(scheduler).rss <= limit);
    const after = sizeOf(scheduler);
    const told = `seed ${seed}, ${rounds} rounds; RSS ${mib(before.rss)}, at most ${mib(highest)}, at the end ${mib(after.rss)} MiB`;
    assert.is(after.mapped, before.mapped, told);
    assert.ok(after.rss <= limit, told);
    return told;
  } finally {
    await scheduler.close();
  }
}

function sizeOf(scheduler: Scheduler<typeof handlers>): Size {
  return { mapped: scheduler.stats().mappedBytes, rss: process.memoryUsage.rss() };
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}

/** Every call is over; the smallest that the arenas can be. */
async function quiet(scheduler: Scheduler<typeof handlers>): Promise<{ mappedBytes: number }> {
  await until(() => scheduler.stats().outstanding === 0, "every call is over", 60_000);
  let mappedBytes = scheduler.stats().mappedBytes;
  for (let look = 0; look < 20; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    mappedBytes = Math.min(mappedBytes, scheduler.stats().mappedBytes);
  }
  return { mappedBytes };
}

/** Sizes of every magnitude alike. */
function sizeFrom(random: Random, most: number): number {
  return Math.max(1, Math.floor(most ** random.fraction()));
}

async function round({ run, runMany }: Scheduler<typeof handlers>, random: Random): Promise<void> {
  for (let call = 0; call < 5; call += 1) await echo(run.echo, sizeFrom(random, SIZE_MAX));
  await echo(run.echo, SIZE_MAX);
  const size = sizeFrom(random, 4 * MIB);
  const count = Math.min(2000, Math.max(2, Math.floor(BURST_BYTES / size)));
  await Promise.all(Array.from({ length: count }, () => echo(run.echo, size)));
  const sizes = Array.from({ length: 60 }, () => sizeFrom(random, 8 * MIB));
  await Promise.all(sizes.map((each) => echo(run.echo, each)));
  const results = await runMany.bytes(sizes);
  assert.equal(
    results.map((result) => result.length),
    sizes,
  );
  const value = Buffer.alloc(sizeFrom(random, MIB), 3);
  assert.equal(await Promise.all([5, 20].map((depth) => run.chain({ depth, value }))), [5, 20]);
  const text = "ä".repeat(sizeFrom(random, 2 * MIB));
  assert.is(await run.length(text), text.length);
  await Promise.allSettled(sizes.map((each) => run.fails(Math.min(each, 5000))));
}

async function echo(call: (value: Buffer) => Promise<unknown>, size: number): Promise<void> {
  const mark = size & 0xff;
  const result = (await call(Buffer.alloc(size, mark))) as Uint8Array;
  assert.is(result.length, size);
  for (const at of [0, size >> 1, size - 1]) assert.is(result[at], mark);
}
