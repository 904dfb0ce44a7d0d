// Handlers publish with the end of their records, while processes are killed.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError, seededRandom } from "@millrace/base";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { Faults } from "../fixtures/fault-storage.ts";
import type * as handlers from "../fixtures/publishing-handlers.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const ENOSPC = 28;
/** Their groups take more than a quarter of the reserve. */
const LARGE_ORDERS = 200;
const KILLS = 12;
const ORDERS = 400;
const faultStorage = new URL("../fixtures/fault-storage.js", import.meta.url).href;
const service = fileURLToPath(new URL("../fixtures/publishing-service.js", import.meta.url));

interface Life {
  readonly acked: readonly number[];
  readonly isDrained: boolean;
}

/** Runs the service, and kills it `killAfterMs` after it is ready. */
function live(args: readonly string[], killAfterMs: number): Promise<Life> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [service, ...args], { stdio: ["ignore", "pipe", "inherit"] });
    const acked: number[] = [];
    let isDrained = false;
    let timer: NodeJS.Timeout | undefined;
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [word, n] = line.split(" ");
      if (word === "ack") acked.push(Number(n));
      else if (word === "drained") isDrained = true;
      else if (killAfterMs < Infinity) timer = setTimeout(() => child.kill("SIGKILL"), killAfterMs);
    });
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve({ acked, isDrained });
    });
  });
}

/** By order: the sequences of the records that it has published. */
function producedIn(file: string): Map<number, Set<number>> {
  const produced = new Map<number, Set<number>>();
  if (!existsSync(file)) return produced;
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [word, n, sequence] = line.split(" ");
    if (word !== "ledger") continue;
    const sequences = produced.get(Number(n)) ?? new Set();
    produced.set(Number(n), sequences.add(Number(sequence)));
  }
  return produced;
}

test("an order has its ledger records exactly once, whatever is killed when", async () => {
  const root = temporaryDirectory();
  const file = join(root, "notes");
  const random = seededRandom(Number(process.env["MILLRACE_SEED"] ?? 5));
  const acked = new Set<number>();
  let first = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const args = [join(root, "journal"), file, "order", String(first), String(ORDERS)];
    for (const n of (await live(args, random.below(400))).acked) acked.add(n);
    first += ORDERS;
  }
  const last = await live([join(root, "journal"), file, "order", String(first), "1"], Infinity);
  assert.ok(last.isDrained, "in the end everything is done");
  const produced = producedIn(file);
  for (const n of acked) {
    assert.is(produced.get(n)?.size, 1 + (n % 3), `order ${n} has published other records than its own`);
  }
  for (const [n, sequences] of produced)
    assert.is(sequences.size, 1 + (n % 3), `order ${n}, which wasn't acknowledged`);
  console.log(`# ${KILLS} kills, ${acked.size} orders acknowledged, ${produced.size} done`);
  assert.ok(acked.size > KILLS, "the kills come after the first orders");
});

test("a record that only a process of its own survives publishes from there", async () => {
  const root = temporaryDirectory();
  const file = join(root, "notes");
  const directory = join(root, "journal");
  await live([directory, file, "fatal", "7", "1"], Infinity);
  let starts = 1;
  for (let isDrained = false; !isDrained && starts < 8; starts += 1) {
    ({ isDrained } = await live([directory, file, "order", "100", "1"], Infinity));
  }
  assert.ok(starts < 8, "the service runs in the end");
  assert.is(producedIn(file).get(7)?.size, 1);
});

type Mill = Millrace<typeof handlers>;

interface Filled {
  readonly mill: Mill;
  readonly faults: Faults;
  readonly file: string;
  /** Opens the directory once more, on a disk with room. */
  readonly again: () => Promise<Mill>;
  /** Resolves when the last one is done. */
  readonly done: Promise<unknown>;
}

/** On a full disk the handlers of all large orders have returned, and some groups wait for room. */
async function withGroupsThatWait(): Promise<Filled> {
  const root = temporaryDirectory();
  const file = join(root, "notes");
  const directory = join(root, "journal");
  mkdirSync(directory);
  const faults = new Faults();
  const start = (storage?: NonNullable<MillraceOptions["journal"]>["storage"]): Promise<Mill> =>
    open<typeof handlers>({
      handlers: new URL("../fixtures/publishing-handlers.js", import.meta.url),
      processors: 1,
      journal: {
        directory,
        recordBytesMax: 8192,
        batchBytesMax: 16_384,
        segmentBytesMax: 2 ** 20,
        ringBytes: 2 ** 20,
        ...(storage === undefined ? undefined : { storage }),
      },
    });
  const mill = await start({ url: faultStorage, data: { directory, faults: faults.buffer } });
  await mill.pause("order");
  const orders = await Promise.all(
    Array.from({ length: LARGE_ORDERS }, (_, n) => mill.publish.order({ file, n, count: 2, bytes: 3000 })),
  );
  const other = await mill.publish.result({ file, n: 1 });
  // Without one not even the record of the resumption below would be written.
  await until(() => readdirSync(directory).some((name) => /^reserve-\d+\.wal$/.test(name)), "the reserve");
  faults.arm("spareWrite", ENOSPC);
  let refused: unknown;
  for (let round = 0; round < 2000 && refused === undefined; round += 1) {
    await mill.publish
      .ledger({ file, n: -1, filling: "x".repeat(7000) })
      .catch((thrown: unknown) => (refused = thrown));
  }
  assert.ok(isMillraceError(refused, "ERR_JOURNAL_FULL"), String(refused));
  await mill.resume("order");
  const wrote = (): number =>
    readFileSync(file, "utf8")
      .split("\n")
      .filter((line) => line.startsWith("order")).length;
  await until(() => existsSync(file) && wrote() === LARGE_ORDERS, "all handlers have returned", 60_000);
  await other.done;
  const done = Promise.all(orders.map((order) => order.done));
  // A quarter of the reserve takes a part of them.
  const isDone = await Promise.race([
    done.then(
      () => true,
      () => false,
    ),
    new Promise((resolve) => setTimeout(resolve, 1000, false)),
  ]);
  assert.is(isDone, false, "some wait for room");
  return { mill, faults, file, again: () => start(), done };
}

function assertProducedOnce(file: string): void {
  const produced = producedIn(file);
  for (let n = 0; n < LARGE_ORDERS; n += 1) assert.is(produced.get(n)?.size, 2, `order ${n}`);
}

test("on a full disk groups wait, and no other handler does", async () => {
  const { mill, faults, file, done } = await withGroupsThatWait();
  faults.disarm("spareWrite");
  await done;
  await mill.drain();
  await mill.close();
  assertProducedOnce(file);
});

test("close says that groups which wait for room are given up; they are handled again", async () => {
  const { mill, file, again, done } = await withGroupsThatWait();
  const refused = await rejectsWith(mill.close(), "ERR_JOURNAL_FULL");
  assert.match(refused.message, /no room for what the handlers of \d+ records have left/);
  await rejectsWith(done, "ERR_INTAKE_CLOSED");
  const next = await again();
  assert.ok((next.stats().intake?.recovered ?? 0) > 0);
  await next.drain();
  await next.close();
  assertProducedOnce(file);
});

test("terminate() says nothing of groups that wait for room", async () => {
  const { mill, file, again, done } = await withGroupsThatWait();
  const refused = rejectsWith(done, "ERR_INTAKE_CLOSED");
  await mill.terminate();
  await refused;
  const next = await again();
  await next.drain();
  await next.close();
  assertProducedOnce(file);
});

test.run();
