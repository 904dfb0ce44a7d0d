// The scheduler on real threads, more of them than cores, some of which die at random moments:
// every accepted call settles exactly once, with its own result, and nothing stays behind.
import { availableParallelism } from "node:os";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError, seededRandom } from "@millrace/base";
import { Scheduler, type SchedulerOptions } from "@millrace/scheduler";
import type * as handlers from "../fixtures/nested-handlers.ts";
import { until } from "../support.ts";

const nestedUrl = new URL("../fixtures/nested-handlers.js", import.meta.url);
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 2 ** 31);
const rounds = Number(process.env.MILLRACE_STRESS_ROUNDS ?? 1);

type Outcome = "value" | "died" | "aborted" | "late" | "failed";

/** The outcomes that a call may have: its value, or one of these. */
interface Made {
  readonly promise: Promise<unknown>;
  readonly expected: unknown;
  readonly allowed: readonly Outcome[];
}

const CODES: Readonly<Record<string, Outcome>> = {
  ERR_MACHINE_DIED: "died",
  ERR_TASK_ABORTED: "aborted",
  ERR_TASK_TIMEOUT: "late",
};

function makeCall(run: Scheduler<typeof handlers>["run"], dice: number, n: number, words: Int32Array): Made {
  if (dice < 40) return { promise: run.double(n), expected: 2 * n, allowed: ["value", "died"] };
  if (dice < 55) return { promise: run.double(n, { retry: "crash" }), expected: 2 * n, allowed: ["value", "died"] };
  if (dice < 65) return { promise: run.doubleLater(n), expected: 2 * n, allowed: ["value", "died"] };
  if (dice < 72) return { promise: run.sumOf([n, 1]), expected: 2 * n + 2, allowed: ["value", "died"] };
  if (dice < 78) return { promise: run.fib(9), expected: 34, allowed: ["value", "died"] };
  if (dice < 83) return { promise: run.spawnMany(50), expected: 50, allowed: ["value", "died"] };
  if (dice < 88) {
    const signal = AbortSignal.timeout(dice % 4);
    return { promise: run.doubleLater(n, { signal }), expected: 2 * n, allowed: ["value", "died", "aborted"] };
  }
  if (dice < 92) {
    return { promise: run.double(n, { timeoutMs: 1 }), expected: 2 * n, allowed: ["value", "died", "late"] };
  }
  if (dice < 95) return { promise: run.sharedBack(words), expected: words, allowed: ["value", "died"] };
  if (dice < 97) return { promise: run.failBelow(2, { retry: "error" }), expected: 2, allowed: ["value", "died"] };
  return { promise: run.fail("on purpose"), expected: undefined, allowed: ["failed", "died"] };
}

async function outcomeOf({ promise, expected }: Made): Promise<Outcome> {
  try {
    const value = await promise;
    if (expected instanceof Int32Array) assert.instance(value, Int32Array);
    else assert.equal(value, expected);
    return "value";
  } catch (thrown) {
    if (isMillraceError(thrown)) {
      const outcome = CODES[thrown.code];
      if (outcome !== undefined) return outcome;
    } else if (thrown instanceof RangeError && thrown.message === "on purpose") return "failed";
    throw thrown;
  }
}

async function storm(
  options: Partial<SchedulerOptions>,
  calls: number,
  deathsPerThousand: number,
  salt: number,
): Promise<void> {
  const random = seededRandom(seed + salt);
  const words = new Int32Array(new SharedArrayBuffer(64));
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: nestedUrl, onHint: () => {}, ...options });
  let unhandled: unknown;
  const onUnhandled = (reason: unknown): void => void (unhandled = reason);
  process.on("unhandledRejection", onUnhandled);
  try {
    const counts: Record<Outcome, number> = { value: 0, died: 0, aborted: 0, late: 0, failed: 0 };
    let settled = 0;
    for (let made = 0; made < calls;) {
      const burst = 1 + random.below(400);
      const deaths: Promise<unknown>[] = [];
      const batch: Made[] = [];
      for (let n = 0; n < burst && made < calls; n += 1, made += 1) {
        if (random.below(1000) < deathsPerThousand) deaths.push(scheduler.run.exit(3));
        batch.push(makeCall(scheduler.run, random.below(100), made, words));
      }
      const [outcomes] = await Promise.all([Promise.all(batch.map(outcomeOf)), Promise.allSettled(deaths)]);
      outcomes.forEach((outcome, index) => {
        assert.ok((batch[index] as Made).allowed.includes(outcome), `${outcome} was not to be expected`);
        counts[outcome] += 1;
        settled += 1;
      });
    }
    assert.is(settled, calls);
    if (deathsPerThousand === 0) assert.is(counts.died, 0);
    await until(() => scheduler.stats().outstanding === 0, "aborted tasks have ended");
    const stats = scheduler.stats();
    if (deathsPerThousand === 0) assert.is(stats.sweptTasks, 0, "no task had to be found by the safety net");
    assert.is(unhandled, undefined);
    console.log(
      `# ${calls} calls on ${stats.processors} processors, seed ${seed}: ${JSON.stringify(counts)}, ${stats.restarts} restarts, ` +
        `${stats.wakeupsMissed} wake-ups missed, ${stats.sweptTasks} swept`,
    );
  } catch (thrown) {
    console.log(`# seed ${seed}: ${JSON.stringify(scheduler.stats())}`);
    throw thrown;
  } finally {
    process.off("unhandledRejection", onUnhandled);
    await scheduler.terminate();
  }
}

for (let round = 0; round < rounds; round += 1) {
  for (const factor of [1, 2, 4, 8]) {
    const processors = availableParallelism() * factor;
    test(`${processors} processors, round ${round}: every call settles once, as threads die at random`, () =>
      storm({ processors, tasksMax: 64, nestedTasksMax: 16, asyncTasksPerMachine: 8 }, 1500, 4, round * 100 + factor));
  }
  test(`round ${round}: nothing is lost while nobody dies`, () =>
    storm({ processors: availableParallelism() * 2, tasksMax: 128, nestedTasksMax: 32 }, 4000, 0, round));
}

test("no task waits long while a processor is idle", async () => {
  // Lone calls from a quiet system: each finds a machine asleep. The wait is printed; the bound is
  // far above what a wake-up takes.
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: nestedUrl, processors: 2, onHint: () => {} });
  let worstMs = 0;
  for (let n = 0; n < 200; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, n % 7));
    const startedAt = performance.now();
    await scheduler.run.double(n);
    worstMs = Math.max(worstMs, performance.now() - startedAt);
  }
  console.log(`# longest lone call: ${worstMs.toFixed(2)} ms`);
  assert.ok(worstMs < 5000, "a wake-up was lost");
  await scheduler.close();
});

test.run();
