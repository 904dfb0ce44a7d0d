/**
 * The cost of a backlog for our intake: keys, records that wait, a start over unfinished ones, and
 * a search among dead letters. No peer has these figures; the limits are our own.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Journal } from "@millrace/journal";
import { type DeadFilter, type Millrace, open } from "millrace";
import { type BenchmarkCase, type Measure, percentile } from "./harness.ts";
import { paymentOf, priorityOf } from "./payments.ts";
import { millrace } from "./queues.ts";
import { LoadedQueue } from "./queue-load.ts";

const module = new URL("./fixtures/payment-handlers.js", import.meta.url);
const blocked = new URL("./fixtures/blocked-payment-handlers.js", import.meta.url);

type Payments = Millrace<{ settle: (payment: object) => void; refuse: (payment: object) => void }>;

interface BacklogCase extends BenchmarkCase {
  readonly run: (directory: string) => Promise<Measure[]>;
}

/** Publishes that are under way at once while a backlog grows. */
const IN_FLIGHT = 8192;
const FEW_KEYS = 1000;
/** Rounds of a comparison within a process; the first of them warms up. */
const TURNS = 5;
const inWords = (count: number): string => count.toLocaleString("en-US");

const less = (unit: string, what: string, value: number): Measure => ({ unit, what, value, better: "less" });

/** Payment `from` to `until`, with order by account and priorities, as `handler`'s. */
async function publish(mill: Payments, handler: "settle" | "refuse", from: number, until: number): Promise<void> {
  for (let first = from; first < until; first += IN_FLIGHT) {
    const count = Math.min(IN_FLIGHT, until - first);
    const calls = Array.from({ length: count }, (_, index) => {
      const n = first + index;
      const payment = paymentOf(n);
      return mill.publish[handler](payment, { key: payment.account, priority: priorityOf(n) });
    });
    await Promise.all(calls);
  }
}

/**
 * A publish beside an append of the same bytes to a journal of its own, in turns: with an
 * `idempotencyKey`, without, and the append.
 */
export async function alone(ms: number, directory: string): Promise<Measure[]> {
  const mill = (await open({ handlers: module, journal: { directory: join(directory, "intake") } })) as Payments;
  const journal = await Journal.open({ directory: join(directory, "journal") });
  const record = Buffer.from(JSON.stringify(paymentOf(0)));
  const untilDone: number[] = [];
  const publishOne = async (n: number, isKeyed: boolean): Promise<number> => {
    const payment = paymentOf(n);
    const key = isKeyed ? { idempotencyKey: payment.id } : undefined;
    const startedAt = performance.now();
    const { done } = await mill.publish.settle(payment, { key: payment.account, priority: priorityOf(n), ...key });
    const elapsed = performance.now() - startedAt;
    await done;
    if (startedAt > warmUntil) untilDone.push((performance.now() - startedAt) * 1000);
    return elapsed;
  };
  const appendOne = async (): Promise<number> => {
    const startedAt = performance.now();
    await journal.append(record);
    return performance.now() - startedAt;
  };
  const ways = [(n: number) => publishOne(n, true), (n: number) => publishOne(n, false), appendOne];
  const latencies = ways.map((): number[] => []);
  const warmUntil = performance.now() + ms / 3;
  for (let n = 0; performance.now() < warmUntil + ms; n += 1) {
    const way = n % ways.length;
    const elapsed = await (ways[way] as (n: number) => Promise<number>)(n);
    if (performance.now() > warmUntil) (latencies[way] as number[]).push(elapsed * 1000);
  }
  await journal.close();
  await mill.close();
  const [keyed, plain, append] = latencies.map((each) => percentile(Float64Array.from(each), 50)) as [
    number,
    number,
    number,
  ];
  return [
    less("µs", "publish with a key p50", keyed),
    less("µs", "publish without one p50", plain),
    less("µs", "the journal's append p50", append),
    less("µs", "publish until done p50", percentile(Float64Array.from(untilDone), 50)),
    less("µs", "publish until done p99", percentile(Float64Array.from(untilDone), 99)),
    less("×", "publish without a key / append", plain / append),
    less("×", "publish with a key / append", keyed / append),
  ];
}

/** As many payments over few accounts as over an account for each, in turns. */
async function keys(count: number, directory: string): Promise<Measure[]> {
  const few = await LoadedQueue.open(millrace, join(directory, "few"), FEW_KEYS);
  const many = await LoadedQueue.open(millrace, join(directory, "many"), count);
  const costs = new Map([
    [few, [] as number[]],
    [many, [] as number[]],
  ]);
  for (let turn = 0; turn < TURNS; turn += 1) {
    for (const queue of turn % 2 === 0 ? [few, many] : [many, few]) {
      const before = process.cpuUsage();
      await queue.settle(count / TURNS);
      const { user, system } = process.cpuUsage(before);
      if (turn > 0) (costs.get(queue) as number[]).push(((user + system) * TURNS) / count);
    }
  }
  const [atFew, atMany] = [few, many].map((queue) =>
    percentile(Float64Array.from(costs.get(queue) as number[]), 50),
  ) as [number, number];
  await few.close();
  await many.close();
  return [
    less("µs", `CPU per payment, ${inWords(FEW_KEYS)} accounts`, atFew),
    less("µs", `CPU per payment, ${inWords(count)} accounts`, atMany),
    less("×", "CPU of many / of few", atMany / atFew),
  ];
}

/** Memory after a collection, at 100,000 payments that wait and at every power of ten after it. */
async function memory(count: number, directory: string): Promise<Measure[]> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const mill = (await open({ handlers: module, journal: { directory } })) as Payments;
  await mill.pause("settle");
  const measures: Measure[] = [];
  let published = 0;
  for (let goal = 10_000; goal <= count; goal *= 10) {
    await publish(mill, "settle", published, goal);
    published = goal;
    collect();
    measures.push(less("MB", `RSS at ${inWords(goal)}`, process.memoryUsage.rss() / 1e6));
  }
  await mill.terminate();
  return measures;
}

/** From the call of `open` until the first handler runs. */
async function opening(count: number, directory: string): Promise<Measure[]> {
  const before = (await open({ handlers: blocked, journal: { directory } })) as Payments;
  await publish(before, "settle", 0, count);
  await before.terminate();
  const startedAt = performance.now();
  const mill = (await open({ handlers: module, journal: { directory } })) as Payments;
  const openedAt = performance.now();
  while (mill.stats().intake?.delivered === 0) await sleep(1);
  const deliveredAt = performance.now();
  const unfinished = mill.stats().intake?.recovered;
  await mill.terminate();
  if (unfinished !== count) throw new Error(`${unfinished} of ${count} payments were unfinished`);
  return [less("ms", "first delivery", deliveredAt - startedAt), less("ms", "the opening", openedAt - startedAt)];
}

async function deadLetters(count: number, directory: string): Promise<Measure[]> {
  const journal = {
    directory,
    dead: { bytesMax: 16 * 2 ** 30 },
    handlers: { refuse: { failuresMax: 0 } },
  };
  const mill = (await open({ handlers: module, journal })) as Payments;
  await publish(mill, "refuse", 0, count);
  await mill.drain();
  const halfTime = (
    (await mill.dead.list({ after: Math.floor(count / 2), limit: 1 }))[0] as { readonly diedAtMs: number }
  ).diedAtMs;
  const filters: Readonly<Record<string, [DeadFilter, number | undefined]>> = {
    handler: [{ handler: "refuse" }, count],
    reason: [{ reason: "refused" }, count],
    time: [{ from: halfTime, to: Date.now() + 1 }, undefined],
    key: [{ key: paymentOf(1).account }, undefined],
    text: [{ text: `invoice ${count - 1} ` }, 1],
  };
  const measures: Measure[] = [];
  for (const [name, [filter, expected]] of Object.entries(filters)) {
    const startedAt = performance.now();
    const found = await mill.dead.count(filter);
    measures.push(less("ms", `by ${name}`, performance.now() - startedAt));
    if (expected !== undefined && found !== expected) throw new Error(`${found} letters by ${name}, not ${expected}`);
  }
  await mill.terminate();
  return measures;
}

const caseOf = (
  id: string,
  words: string,
  count: number,
  run: (count: number, directory: string) => Promise<Measure[]>,
  isQuick = false,
): BacklogCase => ({
  id: `${id}/${count}`,
  words: words.replace("N", inWords(count)),
  isQuick,
  run: (directory) => run(count, directory),
});

const MILLION = 1_000_000;

export const backlogCases: readonly BacklogCase[] = [
  caseOf("keys", "N payments over as many accounts", MILLION, keys),
  caseOf("memory", "memory while N payments come to wait", MILLION, memory, true),
  caseOf("memory", "memory while N payments come to wait", 10 * MILLION, memory),
  caseOf("opening", "a start over N unfinished payments", MILLION, opening),
  caseOf("dead", "a filter over N dead letters", 100_000, deadLetters, true),
  caseOf("dead", "a filter over N dead letters", MILLION, deadLetters),
];
