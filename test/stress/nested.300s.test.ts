// Random trees of nested calls with every table at its smallest: whatever waits, what it waits for
// runs. Depth to 10,000, width to 100,000.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError, seededRandom } from "@millrace/base";
import { Scheduler, type SchedulerOptions } from "@millrace/scheduler";
import type * as handlers from "../fixtures/tree-handlers.ts";
import { sizeOf, type Tree } from "../fixtures/tree-handlers.ts";

const url = new URL("../fixtures/tree-handlers.js", import.meta.url);
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 2 ** 31);
const rounds = Number(process.env.MILLRACE_STRESS_ROUNDS ?? 1);
/** Nodes of the trees of one storm, at least. */
const NODES = 4000;

async function withScheduler(
  options: Partial<SchedulerOptions>,
  body: (scheduler: Scheduler<typeof handlers>) => Promise<void>,
): Promise<void> {
  const scheduler = await Scheduler.open<typeof handlers>({ handlers: url, onHint: () => {}, ...options });
  try {
    await body(scheduler);
    assert.is(await scheduler.run.echo(1), 1, "later calls run");
    await scheduler.close();
  } catch (thrown) {
    console.log(`# seed ${seed}: ${JSON.stringify(scheduler.stats())}`);
    await scheduler.terminate();
    throw thrown;
  }
}

/** Calls of trees, of which some die, are aborted or come too late. */
async function storm(options: Partial<SchedulerOptions>, salt: number, deaths: boolean): Promise<void> {
  const random = seededRandom(seed + salt);
  const made: Promise<unknown>[] = [];
  let nodes = 0;
  await withScheduler(options, async ({ run }) => {
    while (nodes < NODES) {
      const tree: Tree = { seed: random.below(2 ** 31), depth: 1 + random.below(7), width: 1 + random.below(5) };
      const size = sizeOf(tree);
      if (size > NODES) continue;
      nodes += size;
      const dice = random.below(20);
      const limits = dice === 0 ? { timeoutMs: 1 + random.below(30) } : dice === 1 ? { runTimeoutMs: 1 } : {};
      const priority = (["high", "normal", "low"] as const)[random.below(3)] as "high";
      if (deaths && dice === 2) made.push(run.growThenDie({ tree, dies: true }).catch(allowed("ERR_MACHINE_DIED")));
      else {
        const call = run.grow(tree, { ...limits, priority });
        const codes = ["ERR_TASK_TIMEOUT", ...(deaths ? ["ERR_MACHINE_DIED"] : [])];
        made.push(call.then((value) => assert.is(value, size), allowed(...codes)));
      }
      if (made.length % 32 === 0) await made[random.below(made.length)];
    }
    await Promise.all(made);
  });
  console.log(`# ${made.length} trees with ${nodes} nodes on ${options.processors} processors, seed ${seed}`);
}

/** Passes over the errors with these codes. */
function allowed(...codes: string[]): (thrown: unknown) => void {
  return (thrown) => {
    if (!isMillraceError(thrown) || !codes.includes(thrown.code)) throw thrown;
  };
}

function smallest(processors: number): Partial<SchedulerOptions> {
  return { processors, machinesMax: processors, tasksMax: 2, nestedTasksMax: 2, asyncTasksPerMachine: 1 };
}

for (let round = 0; round < rounds; round += 1) {
  for (const processors of [1, 2, 3, 8]) {
    test(`random trees on ${processors} processors, round ${round}`, () =>
      storm(smallest(processors), round * 100 + processors, false));
    test(`random trees on ${processors} processors with threads that die, round ${round}`, () =>
      storm({ ...smallest(processors), machinesMax: processors + 1 }, round * 100 + 50 + processors, true));
  }
}

for (const processors of [1, 2, 8]) {
  test(`a chain of 10,000 calls and a fan of 100,000 on ${processors} processors`, () =>
    withScheduler({ ...smallest(processors), asyncTasksPerMachine: 2 }, async ({ run }) => {
      assert.is(await run.chain({ n: 10_000, ms: 1 }), 10_000);
      assert.is(await run.fan(100_000), 100_000);
    }));
}

test.run();
