import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { NodeStorage, Journal } from "@millrace/journal";
import { shadowOfStored } from "@millrace/intake";
import { differenceOf } from "@millrace/intake/internal/shadow/compare";
import { finishedRecords, type Finished } from "@millrace/intake/internal/shadow/finished";
import { IgnoredPaths } from "@millrace/intake/internal/shadow/paths";
import { StoredLog } from "@millrace/intake/internal/shadow/stored-log";
import { WINDOW_DEFAULTS } from "@millrace/intake/internal/states/dedupe-window";
import {
  type Millrace,
  type MillraceOptions,
  open,
  type ShadowOptions,
  type ShadowReport,
  type ShownEnd,
} from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const then = new URL("../../../test/fixtures/shadow-then.mjs", import.meta.url);
const now = new URL("../../../test/fixtures/shadow-now.mjs", import.meta.url);

interface Payload {
  readonly what?: string;
  readonly n: number;
  readonly file?: string;
  readonly card?: string;
}
interface Handlers {
  pay(payload: Payload): unknown;
  mail(payload: object): unknown;
  gone(): unknown;
}
type Mill = Millrace<Handlers>;
type JournalOptions = NonNullable<MillraceOptions["journal"]>;
const IGNORE = ["result.at", "result.list[*].id"];

function openMill(directory: string, options: Partial<JournalOptions> = {}): Promise<Mill> {
  const journal = { directory, retain: "all", record: "outcomes", retryBaseMs: 1, failuresMax: 0 } as const;
  return open<Handlers>({ handlers: then, processors: 1, journal: { ...journal, ...options } });
}

function newDirectory(): string {
  return join(temporaryDirectory(), "data");
}

async function publishAll(mill: Mill, whats: readonly string[]): Promise<Map<string, number>> {
  const sent = await Promise.all(whats.map((what, n) => mill.publish.pay({ what, n })));
  await mill.drain({ all: true });
  return new Map(whats.map((what, index) => [what, sent[index]?.sequence as number]));
}

function kindsOf({ differences }: ShadowReport, sequences: ReadonlyMap<string, number>): Record<string, string> {
  const names = new Map([...sequences].map(([what, sequence]) => [sequence, what]));
  return Object.fromEntries(
    differences.map(({ sequence, kind, paths }) => [names.get(sequence), [kind, ...paths].join(" ")]),
  );
}

function feeOf(end: ShownEnd | undefined): unknown {
  return (end?.result as { fee?: unknown } | undefined)?.fee;
}

test("results whose parts point at each other are compared", () => {
  const ring = (last: number): unknown => {
    const nodes: Record<string, unknown>[] = Array.from({ length: 40 }, (_, n) => ({ n: n === 39 ? last : n }));
    for (const [n, node] of nodes.entries()) Object.assign(node, { next: nodes[(n + 1) % 40], back: nodes.at(n - 1) });
    return nodes[0];
  };
  const end = (value: unknown) => ({ reason: undefined, value, isKnown: true, published: [], ranMs: undefined });
  const none = new IgnoredPaths("shadow", []);
  assert.is(differenceOf(end(ring(39)), end(ring(39)), none), undefined);
  assert.is(differenceOf(end(ring(39)), end(ring(0)), none)?.kind, "result");
});

test("the next version's ends are compared with the recorded ones", async () => {
  const mill = await openMill(newDirectory());
  const same = ["plain", "publishes", "refused-both", "second"];
  const different = ["changed", "fails", "refused-then", "refused-otherwise", "publishes-otherwise", "now-publishes"];
  const sequences = await publishAll(mill, [...same, ...different]);
  const before = mill.stats().intake?.journal.durableSequence;
  const report = await mill.shadow({ handlers: now, ignore: IGNORE, filter: { handler: "pay" } });
  assert.equal(kindsOf(report, sequences), {
    changed: "result result.fee",
    fails: "fails",
    "refused-then": "returns",
    "refused-otherwise": "error error.code",
    "publishes-otherwise": "published published[0].payload.n",
    "now-publishes": "published published[0]",
  });
  assert.is(report.records, 10);
  assert.is(report.same, 4);
  assert.is(report.unrecorded, 0);
  assert.equal(report.kinds, { result: 1, fails: 1, returns: 1, error: 1, published: 2 });
  assert.is(mill.stats().intake?.journal.durableSequence, before, "nothing is stored");
  const { shadowMs, recordedMs, records } = report.handlers["pay"] as (typeof report.handlers)[string];
  assert.equal([records, shadowMs.count, recordedMs.count], [10, 10, 10]);
  const changed = report.differences.find(({ kind }) => kind === "result");
  assert.is(feeOf(changed?.recorded), 4);
  assert.is(feeOf(changed?.shadow), 5);
  const published = report.differences.find(({ paths }) => paths[0] === "published[0]")?.shadow?.published;
  assert.equal(published?.[0]?.payload, { sequence: 0 }, "publishNow stores nothing");
  await mill.close();
});

test("a handler that hangs, blocks or exits ends nothing but itself", async () => {
  const mill = await openMill(newDirectory());
  const bad = ["exits", "function", "late-error"];
  const sequences = await publishAll(mill, ["a", ...bad, "b", "c", "d"]);
  const report = await mill.shadow({ handlers: now, ignore: IGNORE, concurrencyMax: 4 });
  assert.equal(kindsOf(report, sequences), { exits: "death", function: "result result", "late-error": "fails" });
  assert.is(report.same, 4, "those beside them");
  const slow = await publishAll(mill, ["hangs", "blocks", "e", "f"]);
  const from = Math.min(...slow.values());
  // As long as a thread may take to end on a machine that has much else to do.
  const late = await mill.shadow({ handlers: now, ignore: IGNORE, from, timeoutMs: 3000 });
  assert.equal(kindsOf(late, slow), { hangs: "timeout", blocks: "timeout" });
  assert.is(late.same, 2);
  const again = await mill.publish.pay({ n: 1 });
  await again.done;
  assert.is(mill.stats().scheduler.restarts, 0, "the service's threads are others");
  await mill.close();
});

test("a handler learns that it is a shadow, and gets what the first one got", async () => {
  const directory = newDirectory();
  const file = join(directory, "..", "calls");
  const mill = await openMill(directory);
  const options = { key: "A-1", headers: { by: "test" } };
  const first = await mill.publish.pay({ what: "second", n: 0, file }, options);
  for (let n = 1; n < 40; n += 1) await mill.publish.pay({ n, file }, options);
  await mill.drain({ all: true });
  assert.not(existsSync(file));
  const report = await mill.shadow({ handlers: now, ignore: IGNORE, processors: 2 });
  assert.is(report.different, 0);
  const calls = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(
    calls.map(({ n }) => n),
    Array.from({ length: 40 }, (_, n) => n),
    "in the order of their key",
  );
  const { id, ...rest } = calls[0] as Record<string, unknown>;
  const { sequence } = first;
  assert.match(String(id), new RegExp(`^[0-9a-f]{32}-${sequence}$`));
  assert.equal(rest, { n: 0, sequence, attempt: 2, key: "A-1", isShadow: true, headers: { by: "test" } });
  await mill.close();
});

test("without recorded outcomes failures and published records are compared", async () => {
  const mill = await openMill(newDirectory(), { record: "none", handlers: { mail: { record: "outcomes" } } });
  const sequences = await publishAll(mill, [
    "plain",
    "changed",
    "fails",
    "refused-then",
    "refused-otherwise",
    "publishes",
  ]);
  const report = await mill.shadow({ handlers: now, filter: { handler: "pay" } });
  assert.equal(kindsOf(report, sequences), {
    fails: "fails",
    "refused-then": "returns",
    "refused-otherwise": "error error.code",
  });
  assert.is(report.unrecorded, 4);
  assert.is(report.handlers["pay"]?.recordedMs.count, 0);
  await mill.close();
});

test("what has no end is left out, and a handler that is gone is a difference", async () => {
  const mill = await openMill(newDirectory());
  await (
    await mill.publish.gone()
  ).done;
  await mill.pause("pay");
  await mill.publish.pay({ n: 1 });
  await mill.publish.pay({ n: 2 }, { ttlMs: 1 });
  await mill.publish.mail({}, { delayMs: 100_000 });
  await new Promise((resolve) => setTimeout(resolve, 10));
  const report = await mill.shadow({ handlers: now });
  assert.equal(report.kinds, { missing: 1 });
  assert.is(report.differences[0]?.shadow, undefined);
  assert.is(report.unfinished, 3);
  await mill.resume("pay");
  await mill.drain();
  assert.is((await mill.shadow({ handlers: now, to: 1, handler: "mail" })).kinds["missing"], undefined);
  const later = await mill.shadow({ handlers: now, ignore: IGNORE, filter: { handler: "pay" } });
  assert.equal([later.same, later.expired, later.unfinished], [1, 1, 0]);
  await mill.close();
});

test("a signal, a wrong option, a module that isn't there", async () => {
  const mill = await openMill(newDirectory());
  await publishAll(mill, ["hangs", "plain", "plain2"]);
  const shadow = (options: Partial<ShadowOptions>): Promise<unknown> => mill.shadow({ handlers: now, ...options });
  const stop = new AbortController();
  const stopped = shadow({ signal: stop.signal, concurrencyMax: 1 }).catch((thrown: unknown) => thrown);
  setTimeout(() => stop.abort(new Error("enough")), 200);
  assert.is(((await stopped) as Error).message, "enough");
  await rejectsWith(shadow({ handlers: new URL("nowhere.mjs", now) }), "ERR_HANDLER_MODULE");
  await rejectsWith(shadow({ from: 1000 }), "ERR_REPLAY_RANGE");
  for (const wrong of [
    { ignore: ["at"] },
    { ignore: ["result[x]"] },
    { ignore: [""] },
    { ignore: "result" },
    { processors: 0 },
    { timeoutMs: -1 },
    { from: undefined },
    { handlers: undefined },
    { ignored: [] },
    { filter: { handlers: "pay" } },
  ]) {
    await rejectsWith(shadow(wrong as never), "ERR_INVALID_OPTION");
  }
  const report = await mill.shadow({ handlers: now, ignore: IGNORE, from: 2, ratePerSecond: 1000, differencesMax: 0 });
  assert.is(report.different, 0);
  await mill.close();
});

test("what is shown of a difference is redacted", async () => {
  const mill = await openMill(newDirectory(), { redact: ["card", "fee"] });
  await mill.publish.pay({ what: "changed", n: 1, card: "4711" });
  await mill.drain();
  const { differences } = await mill.shadow({ handlers: now, ignore: IGNORE });
  const [shown] = differences;
  assert.equal(shown?.paths, ["result.fee"]);
  assert.match(JSON.stringify(shown?.payload), '"card":"[redacted]"');
  assert.is(feeOf(shown?.recorded), "[redacted]");
  assert.not.match(JSON.stringify(shown), "4711");
  await mill.close();
});

test("a directory is read while a service has it open, and nothing is written", async () => {
  const directory = newDirectory();
  const mill = await openMill(directory);
  await publishAll(mill, ["plain", "changed", "publishes"]);
  const before = mill.stats().intake?.journal.durableSequence;
  const report = await shadowOfStored(directory, { handlers: now, ignore: IGNORE, filter: { handler: "pay" } });
  assert.equal([report.records, report.different], [3, 1]);
  assert.is(mill.stats().intake?.journal.durableSequence, before);
  await mill.close();
  const stopped = await shadowOfStored(directory, { handlers: now, ignore: IGNORE, from: "checkpoint" });
  assert.is(stopped.records, 0);
});

test("with little memory the same records come with the same ends", async () => {
  const directory = newDirectory();
  const mill = await openMill(directory);
  await mill.pause("pay");
  const options = (n: number): object => (n % 3 === 0 ? { idempotencyKey: `i${n % 9}` } : { key: `k${n % 4}` });
  const sent: number[] = [];
  for (let n = 0; n < 60; n += 1) sent.push((await mill.publish.pay({ n: n % 3 === 0 ? 0 : n }, options(n))).sequence);
  await mill.resume("pay");
  await until(() => mill.stats().intake?.done === 43, "all are done");
  await mill.close();
  const log = new StoredLog(new NodeStorage(directory));
  const read = async (pendingMax: number): Promise<string[]> => {
    const range = { from: log.firstSequence, to: log.durableSequence, fromMs: -Infinity, toMs: Infinity };
    const found: Finished[] = [];
    const unended = { unfinished: 0, expired: 0 };
    const records = finishedRecords(log, range, { dedupe: WINDOW_DEFAULTS, pendingMax }, unended, () => true);
    for await (const each of records) found.push(each);
    assert.is(unended.unfinished, 0);
    return found.map(({ record, end }) => `${record.origin} ${end?.attempt}`).toSorted();
  };
  const all = await read(1000);
  assert.is(all.length, 43, "duplicates are none");
  for (const few of [1, 2, 7]) assert.equal(await read(few), all);
  const journal = await Journal.open({ directory, allowUnsafeStorage: true });
  assert.equal(Buffer.from(journal.logId), log.logId);
  await journal.close();
});

test.run();
