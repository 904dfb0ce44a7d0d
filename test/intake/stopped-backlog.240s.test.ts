// Records of handlers that are stopped hold up publishes to these handlers, and no others.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Acknowledgement, LevelReport, Millrace } from "millrace";
import { rejectsWith, until } from "../support.ts";
import { type JournalOptions, millsIn, millsOf, newPlace } from "../with-mill.ts";

interface Handlers {
  note(record: object): unknown;
  waits(record: object): unknown;
  down(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/trial-handlers.mjs", import.meta.url);
const options: Partial<JournalOptions> = { retryBaseMs: 1, retryMaxMs: 5 };
const withMill = millsOf<Handlers>({ handlers, journal: options });
const inPlace = millsIn<Handlers>({ handlers, journal: options });
const HIGH = 10;
const MARKS = { levels: { unfinished: { high: HIGH, low: HIGH / 2 } } };

const linesOf = (file: string): string[] => (existsSync(file) ? readFileSync(file, "utf8").trimEnd().split("\n") : []);

function levelOf(mill: Millrace<Handlers>): LevelReport {
  return (mill.stats().intake as { level: LevelReport }).level;
}

/** Publishes until the handler takes no more; how many it took. */
async function fill(mill: Millrace<Handlers>, publish: (n: number) => Promise<Acknowledgement>): Promise<number> {
  for (let n = 0; n < 5 * HIGH; n += 1) {
    try {
      await publish(n);
    } catch (thrown) {
      assert.is((thrown as { code: string }).code, "ERR_INTAKE_FULL");
      return n;
    }
  }
  throw new Error(`it takes everything: ${JSON.stringify(levelOf(mill))}`);
}

/**
 * As `fill`, of a paused handler. Until delivery has looked at a record it can't know that it
 * waits.
 */
function fillPaused(mill: Millrace<Handlers>, publish: (n: number) => Promise<Acknowledgement>): Promise<number> {
  return fill(mill, async (n) => {
    const acknowledgement = await publish(n);
    await until(() => mill.stats().intake?.held === n + 1, "it is held");
    return acknowledgement;
  });
}

test("the backlog of a paused handler holds up that one alone", async () => {
  await withMill(MARKS, async (mill, file) => {
    const levels: string[] = [];
    mill.on("level", ({ level }) => levels.push(level));
    await mill.pause("waits");
    const taken = await fillPaused(mill, (n) => mill.tryPublish.waits({ file, text: `late${n}`, until: file }));
    assert.is(taken, HIGH);
    const { details, message } = await rejectsWith(mill.tryPublish.waits({ file, until: file }), "ERR_INTAKE_FULL");
    assert.equal([details["level"], details["cause"], details["retryAfterMs"]], ["reject", "stopped", 1000]);
    assert.match(message, "the handler takes no records now");
    assert.equal(levelOf(mill).refusedHandlers, ["waits"]);
    const late = mill.publish.waits({ file, text: "last", until: file });
    // Many times the mark, and one after the other.
    for (let n = 0; n < 3 * HIGH; n += 1) {
      await (
        await mill.publish.note({ file, text: `${n}` })
      ).done;
    }
    // A group and a publish that may wait go as well.
    const group = [1, 2].map((n) => ({ handler: "note" as const, payload: { file, text: `group${n}` } }));
    await mill.publishMany(group, { whenFull: "reject" });
    await (
      await mill.publish.note({ file, text: "end" })
    ).done;
    assert.is(mill.level, "ok");
    assert.is(mill.stats().intake?.waitingPublishes, 1);
    assert.equal(levels, []);
    const reason = mill.health().reasons.find(({ code }) => code === "HANDLERS_FULL");
    assert.equal([reason?.status, reason?.details["handlers"]], ["degraded", "waits"]);
    await mill.resume("waits");
    await (
      await late
    ).done;
    await mill.drain();
    assert.is(linesOf(file).at(-1), "last");
    assert.equal(levelOf(mill).refusedHandlers, []);
  });
});

test("publishes that waited for a paused handler keep their order, also after a resume", async () => {
  await withMill({ ...MARKS, handlers: { note: { concurrencyMax: 1 } } }, async (mill, file) => {
    await mill.pause("note");
    const taken = await fillPaused(mill, (n) => mill.tryPublish.note({ file, text: `${n}` }));
    const waiting = Array.from({ length: 20 }, (_, n) => mill.publish.note({ file, text: `${taken + n}` }));
    await (
      await mill.publish.waits({ file, text: "other", until: handlers.pathname })
    ).done;
    const resumed = mill.resume("note");
    const behind = Array.from({ length: 5 }, (_, n) => mill.publish.note({ file, text: `${taken + 20 + n}` }));
    await resumed;
    const all = await Promise.all([...waiting, ...behind]);
    await Promise.all(all.map(({ done }) => done));
    assert.equal(
      linesOf(file).filter((line) => line !== "other"),
      Array.from({ length: taken + 25 }, (_, n) => `${n}`),
    );
  });
});

test("a group waits for each of its handlers, and holds up none of them", async () => {
  await withMill(MARKS, async (mill, file) => {
    await mill.pause("waits");
    await fillPaused(mill, () => mill.tryPublish.waits({ file, text: "late", until: file }));
    const group = mill.publishMany([
      { handler: "note", payload: { file, text: "in group" } },
      { handler: "waits", payload: { file, text: "in group", until: file } },
    ]);
    await (
      await mill.publish.note({ file, text: "alone" })
    ).done;
    assert.equal(linesOf(file), ["alone"]);
    await mill.resume("waits");
    await Promise.all((await group).map(({ done }) => done));
    assert.is(linesOf(file).filter((line) => line === "in group").length, 2);
  });
});

test("what waits for a stopped handler leaves bytes to what waits for others", async () => {
  const text = "x".repeat(1000);
  await withMill({ ...MARKS, pendingBytesMax: 4000 }, async (mill, file) => {
    const go = `${file}.go`;
    await mill.pause("note");
    await fillPaused(mill, () => mill.tryPublish.note({ file, text: "" }));
    const late = mill.publish.note({ file, text });
    await rejectsWith(mill.publish.note({ file, text }), "ERR_JOURNAL_BUSY");
    await Promise.all(Array.from({ length: HIGH }, (_, n) => mill.publish.waits({ file, text: `${n}`, until: go })));
    assert.is(mill.level, "reject");
    const waits = mill.publish.waits({ file, text, until: go });
    writeFileSync(go, "");
    await (
      await waits
    ).done;
    await mill.resume("note");
    await late;
  });
});

test("what waits for a stopped handler in line leaves bytes to others too", async () => {
  const text = "x".repeat(1000);
  await withMill({ ...MARKS, pendingBytesMax: 4000 }, async (mill, file) => {
    const go = `${file}.go`;
    await mill.pause("note");
    await fill(mill, () => mill.tryPublish.waits({ file, text: "", until: go }));
    const first = mill.publish.waits({ file, text: "", until: go });
    const late = mill.publish.note({ file, text });
    await rejectsWith(mill.publish.note({ file, text }), "ERR_JOURNAL_BUSY");
    const behind = mill.publish.waits({ file, text, until: go });
    writeFileSync(go, "");
    for (const { done } of await Promise.all([first, behind])) await done;
    await mill.resume("note");
    await (
      await late
    ).done;
  });
});

test("records behind another of their key hold up nothing in a pause", async () => {
  await withMill(MARKS, async (mill, file) => {
    const go = `${file}.go`;
    const taken = await fill(mill, (n) => mill.tryPublish.waits({ file, text: `${n}`, until: go }, { key: "k" }));
    await mill.pause("waits");
    for (let n = 0; n < 3 * HIGH; n += 1) await (await mill.publish.note({ file, text: "note" })).done;
    writeFileSync(go, "");
    await mill.resume("waits");
    await mill.drain();
    assert.equal(
      linesOf(file).filter((line) => line !== "note"),
      Array.from({ length: taken }, (_, n) => `${n}`),
    );
  });
});

test("records that wait for their time hold up nothing", async () => {
  await withMill(MARKS, async (mill, file) => {
    for (let n = 0; n < 3 * HIGH; n += 1) await mill.publish.note({ file, text: "later" }, { delayMs: 3_600_000 });
    for (let n = 0; n < HIGH; n += 1) await (await mill.publish.note({ file, text: "now" })).done;
    await until(() => mill.stats().intake?.unfinished === 3 * HIGH, "only those are left");
    assert.is(mill.level, "ok");
    // They count for handlers that are stopped.
    await mill.pause("note");
    await rejectsWith(mill.tryPublish.note({ file, text: "late" }), "ERR_INTAKE_FULL");
  });
});

test("a handler that rests holds up no other", async () => {
  await withMill({ ...MARKS, handlers: { down: { failuresMax: 2 } } }, async (mill, file) => {
    const record = { file, n: 1, until: Infinity };
    await fill(mill, () => mill.tryPublish.down(record));
    for (let n = 0; n < 3 * HIGH; n += 1) await (await mill.publish.note({ file, text: `${n}` })).done;
    assert.is(linesOf(file).filter((line) => !line.startsWith("down")).length, 3 * HIGH);
  });
});

test("a backlog of a paused handler that is read from the disk again holds up no other", async () => {
  const place = newPlace();
  const many = 3000;
  await inPlace(place, {}, async (mill, file) => {
    await mill.pause("waits");
    await mill.publishMany(Array.from({ length: many }, () => ({ handler: "waits", payload: { file, until: file } })));
  });
  // Lanes keep few of them in memory.
  await inPlace(place, { ...MARKS, laneRecordsMax: 16 }, async (mill, file) => {
    for (let n = 0; n < 3 * HIGH; n += 1) await (await mill.publish.note({ file, text: `${n}` })).done;
    await until(() => mill.stats().intake?.held === many, "all of them are known");
    assert.equal([mill.level, levelOf(mill).refusedHandlers], ["ok", ["waits"]]);
    const backlog = (): number | undefined => levelOf(mill).gauges.find(({ cause }) => cause === "stopped")?.used;
    await until(() => backlog() === many, "no other is left");
    await rejectsWith(mill.tryPublish.waits({ file, until: file }), "ERR_INTAKE_FULL");
    await mill.resume("waits");
    await mill.drain();
    assert.is(levelOf(mill).level, "ok");
  });
  assert.is(linesOf(place.file).length, many + 3 * HIGH);
});

test.run();
