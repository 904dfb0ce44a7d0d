// The pieces of the benchmark of the intake, with a queue that a test can hold back. The servers of
// the peers aren't started here: not every computer has them.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";

interface Payment {
  readonly id: string;
  readonly account: string;
}

interface Measure {
  readonly unit: string;
  readonly what?: string;
  readonly value: number;
}

interface Loaded {
  readonly saturate: (ms: number) => Promise<number>;
  readonly keepRate: (perSecond: number, ms: number) => Promise<Measure[]>;
  readonly settle: (count: number) => Promise<void>;
  readonly close: () => Promise<void>;
}

const compiled = (name: string): URL => new URL(`../../bench/${name}.js`, import.meta.url);
const { paymentOf, numberOf, priorityOf } = (await import(compiled("payments").href)) as {
  readonly paymentOf: (n: number, accounts?: number) => Payment;
  readonly numberOf: (payment: Payment) => number;
  readonly priorityOf: (n: number) => string;
};
const { LoadedQueue, latencyMeasures } = (await import(compiled("queue-load").href)) as {
  readonly LoadedQueue: { readonly open: (kind: object, directory: string) => Promise<Loaded> };
  readonly latencyMeasures: (latencies: Float64Array) => Measure[];
};
const { intake } = (await import(compiled("intake.bench").href)) as {
  readonly intake: {
    readonly cases: readonly { readonly id: string }[];
    readonly subjects: readonly { readonly name: string; readonly measures?: (id: string) => boolean }[];
  };
};

test("payments have seven fields, their number, and an account of their own each", () => {
  const count = 1_000_000;
  const accounts = new Set(Array.from({ length: 1000 }, (_, index) => paymentOf(index, count).account));
  assert.is(accounts.size, 1000);
  assert.is(Object.keys(paymentOf(7)).length, 7);
  for (const n of [0, 9, 10, 123_456_789]) assert.is(numberOf(paymentOf(n)), n);
  const priorities = Array.from({ length: 100 }, (_, n) => priorityOf(n));
  assert.equal(
    ["high", "normal", "low"].map((priority) => priorities.filter((each) => each === priority).length),
    [10, 80, 10],
  );
});

/** Handles payments in the next turn; every `lostEvery`th is forgotten. */
function kindOf(lostEvery = Infinity): { kind: object; seen: () => readonly string[]; mostWaiting: () => number } {
  const seen: string[] = [];
  let waiting = 0;
  let mostWaiting = 0;
  const kind = {
    name: "sample",
    batch: 10,
    calls: 2,
    outstandingMax: 50,
    open: async (_: string, onDone: (n: number) => void) => ({
      publish: async (payments: readonly Payment[]) => {
        waiting += payments.length;
        mostWaiting = Math.max(mostWaiting, waiting);
        setTimeout(() => {
          for (const payment of payments) {
            waiting -= 1;
            seen.push(payment.id);
            if (seen.length % lostEvery !== 0) onDone(numberOf(payment));
          }
        }, 1);
      },
      settled: async () => {
        while (waiting > 0) await sleep(1);
      },
      close: async () => {},
    }),
  };
  return { kind, seen: () => seen, mostWaiting: () => mostWaiting };
}

test("a load publishes each payment once, and holds back what only waits", async () => {
  const { kind, seen, mostWaiting } = kindOf();
  const queue = await LoadedQueue.open(kind, "");
  assert.ok((await queue.saturate(20)) > 0);
  const measures = await queue.keepRate(1000, 50);
  assert.equal(
    measures.map(({ what }) => what),
    ["ack p50", "ack p99", "ack p99.9", "ack max", "event-loop delay p99"],
  );
  assert.ok(measures.every(({ value }) => value >= 0));
  const before = seen().length;
  await queue.settle(25);
  assert.is(seen().length, before + 25);
  assert.is(new Set(seen()).size, seen().length);
  // Two calls may find room for ten each before either has published.
  assert.ok(mostWaiting() <= 50 + 2 * 10, `${mostWaiting()} were waiting`);
  await queue.close();
});

test("a queue that loses a payment gives no figure", async () => {
  const queue = await LoadedQueue.open(kindOf(20).kind, "");
  try {
    await queue.settle(100);
    assert.unreachable("nobody noticed");
  } catch (thrown) {
    assert.match((thrown as Error).message, /handled 95 of 100 payments/);
  }
});

test("latencies are told by percentile, to the last one", () => {
  const latencies = Float64Array.from({ length: 1000 }, (_, index) => 999 - index);
  assert.equal(
    latencyMeasures(latencies).map(({ value }) => value),
    [500, 990, 999, 999],
  );
});

test("peers measure the loads, and only ours what a backlog costs", () => {
  const casesOf = (index: number): string[] =>
    intake.cases.map(({ id }) => id).filter((id) => intake.subjects[index]?.measures?.(id) ?? true);
  assert.is(casesOf(0).length, intake.cases.length);
  for (let index = 1; index < intake.subjects.length; index += 1) {
    assert.ok(casesOf(index).every((id) => ["saturation", "half", "alone"].includes(id)));
    assert.ok(casesOf(index).includes("saturation"));
  }
});

/** A program that starts a server, which prints its process, and says so. */
const HOLDER = `
  const { startServer } = await import(process.argv[1]);
  startServer("sh", ["-c", "echo $$ >&2; exec sleep 600"], { signal: "TERM" });
  setInterval(() => {}, 1000);
`;

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("a server ends with the benchmark that started it, also when that is killed", async () => {
  const holder = spawn(process.execPath, ["--input-type=module", "-e", HOLDER, compiled("server").href], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [line] = (await once(createInterface(holder.stderr), "line")) as [string];
  const pid = Number(line);
  assert.ok(isAlive(pid));
  holder.kill("SIGKILL");
  await once(holder, "exit");
  while (isAlive(pid)) await sleep(5);
});

test.run();
