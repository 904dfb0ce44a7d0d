import { fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { openStopped } from "@millrace/intake";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const handlers = new URL("../../../test/fixtures/replay-handlers.mjs", import.meta.url);
const program = fileURLToPath(new URL("../../../test/fixtures/replay-program.mjs", import.meta.url));
interface Payload {
  readonly file: string;
  readonly n: number;
}
interface Handlers {
  settle(payload: Payload): unknown;
  audit(payload: Payload): unknown;
  order(payload: Payload): unknown;
}
interface Call {
  readonly handler: string;
  readonly n: number;
  readonly sequence: number;
  readonly of?: number;
  readonly key?: string;
  readonly headers?: unknown;
  readonly schedule?: object;
}
type Journal = NonNullable<MillraceOptions["journal"]>;
const SMALL = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };

function openMill(directory: string, options: Partial<Journal> = {}): Promise<Millrace<Handlers>> {
  const journal = { directory, retain: "all" as const, failuresMax: 0, ...options };
  return open<Handlers>({ handlers, processors: 1, journal });
}

function places(): { directory: string; file: string } {
  const directory = temporaryDirectory();
  return { directory: join(directory, "data"), file: join(directory, "calls") };
}

function callsIn(file: string): Call[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n").slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Call);
}

/** `count` records of `settle`, all done; the last one's sequence. */
async function settled(mill: Millrace<Handlers>, file: string, count: number): Promise<number> {
  const acknowledgements = await Promise.all(Array.from({ length: count }, (_, n) => mill.publish.settle({ file, n })));
  await Promise.all(acknowledgements.map(({ done }) => done));
  return acknowledgements.at(-1)?.sequence ?? 0;
}

test("recorded payloads are published again, and name the record that they replay", async () => {
  const { directory, file } = places();
  const mill = await openMill(directory);
  const options = { key: "A-1", headers: { by: "test" }, priority: "high", idempotencyKey: "once" } as const;
  const first = await mill.publish.settle({ file, n: 1 }, options);
  await first.done;
  assert.ok((await mill.publish.settle({ file, n: 1 }, options)).duplicate);
  const group = await mill.publishMany([
    { handler: "audit", payload: { file, n: 2 } },
    { handler: "settle", payload: { file, n: 3 }, producer: { id: "src", sequence: 9 } },
  ]);
  await Promise.all(group.map(({ done }) => done));
  const result = await mill.replay();
  assert.equal(
    { ...result, name: "" },
    {
      name: "",
      matched: 3,
      published: 3,
      publishedBefore: 0,
      handlers: { settle: 2, audit: 1 },
    },
  );
  await mill.drain();
  const again = callsIn(file).filter(({ of }) => of !== undefined);
  assert.equal(again.map(({ handler, n, of }) => `${handler} ${n} ${of}`).toSorted(), [
    `audit 2 ${group[0]?.sequence}`,
    `settle 1 ${first.sequence}`,
    `settle 3 ${group[1]?.sequence}`,
  ]);
  const keyed = again.find(({ n }) => n === 1);
  assert.is(keyed?.key, "A-1");
  assert.equal(keyed?.headers, { by: "test" });
  assert.equal(
    (await mill.producers.list()).map(({ id }) => id),
    ["src"],
    "a name of its own is forgotten",
  );
  assert.is((await mill.replay({ dryRun: true })).matched, 3, "replays aren't replayed");
  await mill.close();
});

test("ends, filter and handler say which records, and who gets them", async () => {
  const { directory, file } = places();
  const mill = await openMill(directory);
  const last = await settled(mill, file, 10);
  const between = new Date();
  await until(() => Date.now() > between.getTime() + 1, "a later time");
  const { done, sequence } = await mill.publish.audit({ file, n: 10 }, { key: "k" });
  await done;
  const matched = async (options: Parameters<typeof mill.replay>[0]): Promise<number> => {
    return (await mill.replay({ ...options, dryRun: true })).matched;
  };
  assert.is(await matched({ to: last }), 10);
  assert.is(await matched({ from: last }), 2);
  assert.is(await matched({ from: 0, to: 1 }), 1);
  assert.is(await matched({ from: last, to: last - 1 }), 0);
  assert.is(await matched({ from: between }), 1);
  assert.is(await matched({ to: between }), 10);
  assert.is(await matched({ from: "checkpoint" }), 11, "there is none yet");
  assert.is(await matched({ filter: { handler: "audit" } }), 1);
  assert.is(await matched({ filter: { handler: ["audit", "settle"], key: "k" } }), 1);
  assert.is(await matched({ filter: { priority: "low" } }), 0);
  assert.is(await matched({ filter: { handler: [] } }), 0);
  const { handlers: by } = await mill.replay({ handler: "audit", filter: { handler: "settle" }, to: 3 });
  assert.equal(by, { audit: callsIn(file).filter((call) => call.sequence <= 3).length });
  await mill.drain();
  assert.ok(callsIn(file).every(({ handler, of }) => of === undefined || handler === "audit"));
  assert.ok(sequence > last);
  await mill.close();
});

test("what isn't there, and what isn't an option, is refused with a code", async () => {
  const { directory, file } = places();
  const mill = await openMill(directory, { ...SMALL, retain: { bytesMax: 3 * 65_536 } });
  const before = new Date();
  const text = "x".repeat(4000);
  const first = (): number => mill.stats().intake?.firstSequence ?? 0;
  for (let round = 0; round < 100 && first() === 1; round += 1) {
    const sent = Array.from({ length: 50 }, (_, n) => mill.publish.settle({ file, n, text } as Payload));
    await Promise.all((await Promise.all(sent)).map(({ done }) => done));
  }
  await until(() => first() > 1, "the oldest are given up");
  const error = await mill.replay({ from: 1 }).catch((thrown: unknown) => thrown);
  const { code, details } = error as { code: string; details: Record<string, number> };
  assert.is(code, "ERR_REPLAY_RANGE");
  assert.ok((details["firstSequence"] as number) > 1 && (details["firstMs"] as number) >= before.getTime());
  await rejectsWith(mill.replay({ from: new Date(0) }), "ERR_REPLAY_RANGE");
  await rejectsWith(mill.replay({ from: 1e9 }), "ERR_REPLAY_RANGE");
  await rejectsWith(mill.replay({ to: 1e9 }), "ERR_REPLAY_RANGE");
  assert.ok((await mill.replay({ dryRun: true })).matched > 0, "without an end it takes what is there");
  const bad = [
    { from: -1 },
    { from: Number.NaN },
    { from: new Date(Number.NaN) },
    { from: "yesterday" },
    { to: "checkpoint" },
    { name: "" },
    { name: "n".repeat(249) },
    { ratePerSecond: 0 },
    { filter: { handlers: "settle" } },
    { filter: { handler: [1] } },
    { form: 1 },
    { from: undefined },
    { filter: undefined },
    { filter: { key: undefined } },
  ];
  for (const options of bad) await rejectsWith(mill.replay(options as never), "ERR_INVALID_OPTION");
  await rejectsWith(mill.replay({ handler: "setle" }), "ERR_HANDLER_UNKNOWN");
  const aborted = AbortSignal.abort(new RangeError("no"));
  assert.instance(await mill.replay({ signal: aborted }).catch((thrown: unknown) => thrown), RangeError);
  await mill.close();
  await rejectsWith(mill.replay(), "ERR_INTAKE_CLOSED");
});

test("under one name each record is replayed once, whatever is asked for in between", async () => {
  const { directory, file } = places();
  let mill = await openMill(directory);
  await settled(mill, file, 700);
  const stop = new AbortController();
  const broken = mill.replay({ name: "march", ratePerSecond: 300, signal: stop.signal });
  await until(() => callsIn(file).some(({ of }) => of !== undefined), "some are published again");
  stop.abort(new RangeError("enough"));
  assert.instance(await broken.catch((thrown: unknown) => thrown), RangeError);
  await mill.close();

  mill = await openMill(directory);
  const { published, publishedBefore } = await mill.replay({ name: "march" });
  assert.ok(publishedBefore > 0 && published + publishedBefore === 700, `${publishedBefore} and ${published}`);
  // Delivery learns a moment later what is durable; what comes again before is a duplicate.
  await mill.drain();
  assert.is((await mill.replay({ name: "march" })).published, 0);
  const [one, other] = await Promise.all([mill.replay({ name: "april" }), mill.replay({ name: "april" })]);
  assert.ok(one.published + other.published >= 700);
  await mill.drain();
  const of = callsIn(file).flatMap((call) => call.of ?? []);
  assert.is(of.length, 1400, "two replays at once under one name are one");
  assert.is(new Set(of).size, 700);
  await mill.close();
});

test("a replay that is killed goes on, and each record is replayed once", async () => {
  const { directory, file } = places();
  const mill = await openMill(directory);
  await settled(mill, file, 600);
  await mill.close();
  let isOver = false;
  for (let life = 0; life < 20 && !isOver; life += 1) {
    const child = fork(program, [directory, "killed"], { stdio: "inherit" });
    const ended = once(child, "exit");
    const told = once(child, "message");
    await Promise.race([told, ended]);
    const seen = callsIn(file).length;
    // Killed once some more are handled, or let to its end.
    const second = once(child, "message").then(
      ([answer]) => (isOver = (answer as { published: number }).published >= 0),
    );
    if (life < 3) {
      await Promise.race([until(() => callsIn(file).length > seen + 20, "more is handled", 30_000), second]);
      if (!isOver) child.kill("SIGKILL");
    }
    await ended;
  }
  assert.ok(isOver);
  const replays = new Map<number, Set<number>>();
  for (const { of, sequence } of callsIn(file)) {
    if (of !== undefined) replays.set(of, (replays.get(of) ?? new Set()).add(sequence));
  }
  assert.is(replays.size, 600, "none is missing");
  assert.ok(
    [...replays.values()].every(({ size }) => size === 1),
    "none has two records",
  );
});

test("what a handler has published is replayed by itself, without its due time", async () => {
  const { directory, file } = places();
  const mill = await openMill(directory);
  await mill.publish.order({ file, n: 1 }, { delayMs: 1, ttlMs: 600_000 });
  await mill.drain({ all: true });
  const { handlers: by } = await mill.replay({ filter: { handler: "audit" } });
  assert.equal(by, { audit: 1 });
  await mill.replay({ filter: { handler: "order" } });
  await mill.drain({ all: true });
  assert.equal(
    callsIn(file)
      .map(({ handler }) => handler)
      .toSorted(),
    ["audit", "audit", "audit", "order", "order"],
  );
  await mill.close();
});

test("a directory that nobody has open takes a replay, for the next service", async () => {
  const { directory, file } = places();
  let mill = await openMill(directory);
  await settled(mill, file, 20);
  await mill.close();
  let stopped = await openStopped(directory);
  assert.is((await stopped.replay({ name: "x", to: 5, dryRun: true })).published, 0);
  const { published } = await stopped.replay({ name: "x", to: 5 });
  await stopped.close();
  stopped = await openStopped(directory);
  assert.is((await stopped.replay({ name: "x", to: 5 })).published, 0);
  await stopped.close();
  mill = await openMill(directory);
  await mill.drain();
  assert.is(callsIn(file).length, 20 + published);
  await mill.close();
});

test.run();
