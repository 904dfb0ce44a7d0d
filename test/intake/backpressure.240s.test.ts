// Publishes to a full intake, with the smallest marks that there are.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type LevelReport, type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  note(record: object): unknown;
  blocked(record: object): unknown;
  waits(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/trial-handlers.mjs", import.meta.url);
const SMALLEST = { high: 2, low: 1 };

type Journal = Partial<MillraceOptions["journal"]>;

function start(directory: string, options: Journal): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers,
    processors: 1,
    journal: { directory: join(directory, "journal"), retryBaseMs: 1, retryMaxMs: 5, ...options },
  });
}

const withMill = millsOf<Handlers>({ handlers, journal: { retryBaseMs: 1, retryMaxMs: 5 } });

const linesOf = (file: string): string[] => (existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : []);

const intakeOf = (mill: Millrace<Handlers>) =>
  mill.stats().intake as NonNullable<ReturnType<typeof mill.stats>["intake"]>;

test("a publish waits while too many records are unfinished, in order", async () => {
  await withMill({ levels: { unfinished: SMALLEST } }, async (mill, file) => {
    const levels: string[] = [];
    mill.on("level", ({ level, cause }) => levels.push(`${level} ${cause}`));
    assert.is(mill.level, "ok");
    const go = `${file}.go`;
    await mill.publish.waits({ file, text: "a", until: go });
    await mill.publish.waits({ file, text: "b", until: go });
    assert.is(mill.level, "reject");
    const third = mill.publish.note({ file, text: "c" });
    const fourth = mill.publish.note({ file, text: "d" });
    assert.is(intakeOf(mill).waitingPublishes, 2);
    writeFileSync(go, "");
    await Promise.all((await Promise.all([third, fourth])).map(({ done }) => done));
    assert.equal(linesOf(file).slice(0, 2).toSorted(), ["a", "b"]);
    assert.equal(linesOf(file).slice(2), ["c", "d"]);
    await until(() => mill.level === "ok", "the level falls");
    await until(() => levels.at(-1)?.startsWith("ok") === true, "the events say so");
    assert.ok(levels.includes("reject unfinished"), levels.join());
  });
});

test("tryPublish refuses options about waiting", async () => {
  await withMill({}, async (mill, file) => {
    for (const options of [{ whenFull: "wait" }, { timeoutMs: 5 }, { signal: AbortSignal.timeout(5) }]) {
      // Their type refuses them as well.
      await rejectsWith(mill.tryPublish.note({ file, text: "refused" }, options as {}), "ERR_INVALID_OPTION");
    }
    assert.is(mill.stats().intake?.unfinished, 0);
  });
});

test("a publish that doesn't wait is refused at once, and isn't stored", async () => {
  await withMill({ levels: { unfinished: SMALLEST }, whenFull: "reject" }, async (mill, file) => {
    await mill.pause("note");
    await mill.publishMany([1, 2].map((n) => ({ handler: "note", payload: { file, text: `${n}` } })));
    for (const publish of [
      () => mill.publish.note({ file, text: "refused" }),
      () => mill.tryPublish.note({ file, text: "refused" }),
      () => mill.tryPublish.note({ file, text: "refused" }, { key: "k" }),
      () => mill.publish.note({ file, text: "refused" }, { whenFull: "wait", timeoutMs: 20 }),
      () => mill.publish.note({ file, text: "refused" }, { timeoutMs: 0 }),
      () => mill.publishMany([{ handler: "note", payload: { file, text: "refused" } }]),
    ]) {
      const { details } = await rejectsWith(publish(), "ERR_INTAKE_FULL");
      const { level, cause, retryAfterMs } = details as unknown as LevelReport;
      assert.equal([level, cause], ["reject", "stopped"]);
      assert.ok(retryAfterMs >= 10 && retryAfterMs <= 60_000);
    }
    await mill.resume("note");
    await mill.drain();
    assert.equal(linesOf(file), ["1", "2"]);
    assert.is(intakeOf(mill).done, 2);
    await (
      await mill.publish.note({ file, text: "3" })
    ).done;
  });
});

test("a signal ends the wait of a publish, and close ends all", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await start(directory, { levels: { unfinished: { high: 1 } } });
  await mill.pause("note");
  await mill.publish.note({ file, text: "stored" });
  const controller = new AbortController();
  const given = mill.publish.note({ file, text: "given up" }, { signal: controller.signal });
  const { signal } = controller;
  const waiting = mill.publishMany([{ handler: "note", payload: { file, text: "closed" } }], { signal });
  const closed = mill.publish.note({ file, text: "closed" });
  const reason = new Error("enough");
  controller.abort(reason);
  assert.is(await given.catch((thrown: unknown) => thrown), reason);
  assert.is(await waiting.catch((thrown: unknown) => thrown), reason);
  const late = mill.publish.note({ file, text: "late" }, { signal });
  assert.is(await late.catch((thrown: unknown) => thrown), reason);
  await Promise.all([mill.close(), rejectsWith(closed, "ERR_INTAKE_CLOSED")]);

  const again = await start(directory, { levels: { unfinished: { high: 1 } } });
  assert.is(intakeOf(again).unfinished, 1);
  await again.resume("note");
  await again.drain();
  assert.equal(linesOf(file), ["stored"]);
  await again.close();
});

test("no mark stops retries, dead letters, redrives, keys, groups, drain or a restart", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const options: Journal = { levels: { unfinished: SMALLEST, ring: SMALLEST }, attemptsMax: 3, failuresMax: 0 };
  const mill = await start(directory, options);
  // A group may be larger than the mark.
  const group = Array.from({ length: 10 }, (_, n) => ({ handler: "note" as const, payload: { file, text: `${n}` } }));
  await Promise.all((await mill.publishMany(group)).map(({ done }) => done));
  // Those that fail are dead one after the other, and make room.
  const obstacle = join(directory, "obstacle");
  writeFileSync(obstacle, "");
  const failing = Array.from({ length: 20 }, (_, n) =>
    mill.publish.blocked({ file, n, obstacle }, { key: `${n % 3}` }),
  );
  for (const { done } of await Promise.all(failing)) await rejectsWith(done, "ERR_RECORD_DEAD");
  await until(() => intakeOf(mill).unfinished === 0, "none is left");
  // Redriven ones are more than the mark, and publishes wait for them.
  assert.is(await mill.dead.redrive({}), 20);
  const behind = mill.publish.note({ file, text: "behind" });
  await mill.drain();
  await (
    await behind
  ).done;
  assert.is(intakeOf(mill).deadKept, 20);
  await mill.pause("blocked");
  assert.is(await mill.dead.redrive({}), 20);
  const waiting = mill.publish.note({ file, text: "waits" });
  assert.is(await mill.dead.redrive({}), 0);
  await Promise.all([mill.close(), waiting.catch(() => {})]);
  rmSync(obstacle);
  const again = await start(directory, options);
  await again.resume("blocked");
  await again.drain({ all: true });
  await until(() => intakeOf(again).unfinished === 0 && again.level === "ok", "none is left");
  await again.close();
});

test("records that never run are counted while they last, and no longer", async () => {
  await withMill({ levels: { unfinished: { high: 100 } } }, async (mill, file) => {
    const unfinished = (): number => intakeOf(mill).unfinished;
    await mill.publish.note({ file, text: "first" }, { idempotencyKey: "k" });
    await mill.publish.note({ file, text: "first" }, { idempotencyKey: "k" });
    await rejectsWith(mill.publish.note({ file, text: "other" }, { idempotencyKey: "k" }), "ERR_IDEMPOTENCY_MISMATCH");
    await mill.publish.note({ file, text: "expires" }, { delayMs: 50, ttlMs: 60 });
    await mill.publish.note({ file, text: "much later" }, { delayMs: 3_600_000 });
    await until(() => unfinished() === 1, "only the delayed one is left");
    await mill.tryPublish.note({ file, text: "last" });
    await until(() => unfinished() === 1, "only the delayed one is left");
  });
});

test("a full ring makes a publish wait, or refuses it, until half of it is free", async () => {
  const options: Journal = { ringBytes: 2 ** 15, recordBytesMax: 2 ** 12, batchBytesMax: 2 ** 13 };
  await withMill(options, async (mill, file) => {
    const text = "x".repeat(1000);
    const sent = Array.from({ length: 300 }, () => mill.publish.note({ file, text }));
    assert.ok(intakeOf(mill).waitingPublishes > 200);
    const { details } = await rejectsWith(mill.tryPublish.note({ file, text }), "ERR_INTAKE_FULL");
    assert.is(details["cause"], "ring");
    await Promise.all((await Promise.all(sent)).map(({ done }) => done));
    assert.is(linesOf(file).length, 300);
    await mill.tryPublish.note({ file, text });
  });
});

test("marks of the ring count records that aren't durable", async () => {
  await withMill({ levels: { ring: SMALLEST } }, async (mill, file) => {
    const sent = Array.from({ length: 50 }, (_, n) => mill.publish.note({ file, text: `${n}` }));
    assert.is(intakeOf(mill).waitingPublishes, 48);
    assert.is(intakeOf(mill).level.cause, "ring");
    const sequences = (await Promise.all(sent)).map(({ sequence }) => sequence);
    assert.equal(
      sequences,
      sequences.toSorted((left, right) => left - right),
    );
  });
});

test("what waits is limited in bytes", async () => {
  await withMill({ levels: { unfinished: { high: 1 } }, pendingBytesMax: 1000 }, async (mill, file) => {
    await mill.pause("note");
    await mill.publish.note({ file, text: "first" });
    const waiting = mill.publish.note({ file, text: "waits" });
    await rejectsWith(mill.publish.note({ file, text: "x".repeat(1000) }), "ERR_JOURNAL_BUSY");
    await mill.resume("note");
    await waiting;
  });
});

test("too few free bytes of the disk count as full", async () => {
  const freeBytesMin = Number.MAX_SAFE_INTEGER - 1;
  await withMill({ levels: { disk: { freeBytesMin, freeBytesResume: freeBytesMin + 1 } } }, async (mill, file) => {
    const refused = await rejectsWith(mill.tryPublish.note({ file, text: "a" }), "ERR_INTAKE_FULL");
    assert.is(refused.details["cause"], "disk");
    const disk = intakeOf(mill).level.gauges.find(({ cause }) => cause === "disk");
    assert.ok(disk !== undefined && disk.used > 0 && disk.used < disk.high && disk.unit === "bytesFree");
    await rejectsWith(mill.publish.note({ file, text: "a" }, { timeoutMs: 10 }), "ERR_INTAKE_FULL");
  });
});

test("the rate says how fast records are finished", async () => {
  await withMill({ levels: { unfinished: { high: 50, low: 1 } } }, async (mill, file) => {
    for (let round = 0; round < 40; round += 1) {
      await Promise.all(Array.from({ length: 25 }, (_, n) => mill.publish.note({ file, text: `${n}` })));
    }
    await until(() => intakeOf(mill).level.ratePerSecond > 0, "records are finished");
    await mill.drain();
  });
});

test("options of waiting that make no sense are refused", async () => {
  await withMill({}, async (mill, file) => {
    const record = { file, text: "a" };
    await rejectsWith(mill.publish.note(record, { timeoutMs: -1 }), "ERR_INVALID_OPTION");
    await rejectsWith(mill.publish.note(record, { whenFull: "drop" as "wait" }), "ERR_INVALID_OPTION");
    await rejectsWith(mill.publishMany([], { signal: 1 as unknown as AbortSignal }), "ERR_INVALID_OPTION");
    assert.is(intakeOf(mill).done, 0);
  });
});

test.run();
