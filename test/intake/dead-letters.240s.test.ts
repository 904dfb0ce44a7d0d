// Questions about dead letters, and commands to them.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type IntakeEvents, type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

interface Handlers {
  settle(record: object): unknown;
  audit(record: object): unknown;
}

const fixtures = new URL("../../../test/fixtures/", import.meta.url);

function openMill(directory: string, options: Partial<MillraceOptions["journal"]> = {}): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers: new URL("dead-letter-handlers.mjs", fixtures),
    processors: 1,
    journal: { directory, ...options },
  });
}

async function withMill(
  body: (mill: Millrace<Handlers>, directory: string) => Promise<void>,
  options: Partial<MillraceOptions["journal"]> = {},
): Promise<void> {
  const directory = temporaryDirectory();
  const mill = await openMill(join(directory, "journal"), options);
  try {
    await body(mill, directory);
  } finally {
    await mill.terminate();
  }
}

const kept = (mill: Millrace<Handlers>): number => mill.stats().intake?.deadKept ?? 0;

/** Resolves when so many records more have become dead letters. */
async function die(mill: Millrace<Handlers>, count: number, options: object = {}): Promise<void> {
  const sent = Array.from({ length: count }, (_, n) => mill.publish.settle({ n, fails: true }, options));
  await Promise.all((await Promise.all(sent)).map(({ done }) => done.catch(() => {})));
}

const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];

test("letters are picked by handler, reason, key, time and text, in their order", async () => {
  await withMill(async (mill) => {
    await die(mill, 3, { key: "A-1" });
    const between = Date.now();
    await until(() => Date.now() > between, "a later ms");
    await die(mill, 2, { key: "A-2" });
    await (await mill.publish.audit({ word: "naïve", big: 2n ** 70n })).done.catch(() => {});
    const picked = async (filter: object): Promise<number[]> =>
      (await mill.dead.list(filter)).map((each) => each.sequence);
    const all = await picked({});
    assert.equal(
      all,
      all.toSorted((left, right) => left - right),
    );
    assert.is(all.length, 6);
    assert.equal(await picked({ handler: "settle" }), all.slice(0, 5));
    assert.equal(await picked({ handler: "nobody" }), []);
    assert.equal(await picked({ key: "A-1" }), all.slice(0, 3));
    assert.equal(await picked({ key: "A-3" }), []);
    assert.equal(await picked({ to: between + 1, limit: 2 }), all.slice(0, 2));
    assert.equal(await picked({ from: between + 1 }), all.slice(3));
    assert.equal(await picked({ reason: "refused" }), all);
    assert.equal(await picked({ reason: "timeout" }), []);
    assert.equal(await picked({ after: all[3] as number }), all.slice(4));
    assert.equal(await picked({ text: "naïve" }), all.slice(5));
    assert.equal(await picked({ text: String(2n ** 70n) }), all.slice(5));
    assert.equal(await picked({ text: "no audit today" }), all.slice(5));
    assert.equal(await picked({ key: "A-2", handler: "settle", text: '"n":1' }), all.slice(4, 5));
    assert.is(await mill.dead.count({ key: "A-1", limit: 1 }), 3);
    assert.is((await mill.dead.get(all[5] as number))?.handler, "audit");
    assert.is(await mill.dead.get(999_999), undefined);
    await rejectsWith(mill.dead.list({ reason: "tired" } as never), "ERR_INVALID_OPTION");
    await rejectsWith(mill.dead.list({ handlr: "settle" } as never), "ERR_INVALID_OPTION");
  });
});

test("a record is never dead because it snoozed, and no filter says so", async () => {
  const mill = await openMill(temporaryDirectory());
  for (const call of ["list", "drop", "redrive"] as const) {
    await rejectsWith(mill.dead[call]({ reason: "snooze" as never }), "ERR_INVALID_OPTION");
  }
  await mill.close();
});

test("a dry run counts and does nothing; a redriven record learns so, across a restart", async () => {
  const directory = join(temporaryDirectory(), "journal");
  const file = join(directory, "..", "notes");
  let mill = await openMill(directory);
  for (let n = 0; n < 4; n += 1) await mill.publish.settle({ n, file, fails: true }, { key: "A" });
  await until(() => kept(mill) === 4, "the letters");
  assert.is(await mill.dead.redrive({ dryRun: true }), 4);
  assert.is(await mill.dead.drop({ dryRun: true, limit: 3 }), 3);
  assert.is(await mill.dead.count(), 4);
  assert.is(await mill.dead.redrive({ limit: 2 }), 2);
  await until(() => mill.stats().intake?.dead === 6, "the letters again");
  await mill.close();
  mill = await openMill(directory);
  assert.is(await mill.dead.redrive({}), 4);
  await until(() => mill.stats().intake?.dead === 4, "the third time");
  await mill.close();
  assert.equal(linesOf(file), ["0 0", "1 0", "2 0", "3 0", "0 1", "1 1", "0 2", "1 2", "2 1", "3 1"]);
});

test("letters go to another handler and die there, but to none that isn't there", async () => {
  await withMill(async (mill) => {
    await die(mill, 1);
    await rejectsWith(mill.dead.redrive({ toHandler: "nobody" }), "ERR_HANDLER_UNKNOWN");
    assert.is(await mill.dead.redrive({ toHandler: "audit" }), 1);
    await until(() => mill.stats().intake?.dead === 2, "the letter again");
    const [letter] = await mill.dead.list();
    assert.is(letter?.handler, "audit");
    assert.is(await mill.dead.count({ handler: "settle" }), 0);
    assert.is(await mill.dead.count({ handler: "audit" }), 1);
  });
});

test("who redrives or drops letters finds that in the counters", async () => {
  await withMill(
    async (mill) => {
      const rounds = 50;
      await die(mill, 2 * rounds);
      await until(() => kept(mill) === 2 * rounds, "the letters");
      await mill.pause("settle");
      for (let left = 2 * rounds; left > 0; left -= 2) {
        await mill.dead.redrive({ limit: 1 });
        assert.is(kept(mill), left - 1);
        await mill.dead.drop({ limit: 1 });
        assert.is(kept(mill), left - 2);
      }
    },
    { failuresMax: 0 },
  );
});

test("a redrive keeps to its rate, and ends when it is told to", async () => {
  await withMill(async (mill) => {
    await die(mill, 30);
    await mill.pause("settle");
    const from = performance.now();
    assert.is(await mill.dead.redrive({ limit: 10, ratePerSecond: 100 }), 10);
    // Parts of ten: nine of them wait for 100 ms each at a rate of 10.
    assert.is(await mill.dead.redrive({ limit: 3, ratePerSecond: 10 }), 3);
    assert.ok(performance.now() - from >= 190);
    const signal = AbortSignal.timeout(50);
    const reason = await mill.dead.redrive({ ratePerSecond: 1, signal }).catch((error: Error) => error.name);
    assert.is(reason, "TimeoutError");
    assert.is(await mill.dead.count(), 16);
  });
});

test("an export is complete, readable by its owner alone, and never over another file", async () => {
  await withMill(async (mill, directory) => {
    const circle: Record<string, unknown> = { when: new Date(0), bytes: Buffer.from("x"), big: 2n ** 64n };
    await (await mill.publish.audit(circle, { headers: { from: "test" }, key: "k" })).done.catch(() => {});
    await die(mill, 2);
    const file = join(directory, "letters.ndjson");
    assert.is(await mill.dead.export({ file }), 3);
    assert.is(statSync(file).mode & 0o777, 0o600);
    const [first, ...rest] = linesOf(file).map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.is(rest.length, 2);
    assert.equal(first?.["payload"], {
      when: "1970-01-01T00:00:00.000Z",
      bytes: { base64: "eA==" },
      big: String(2n ** 64n),
    });
    assert.equal([first?.["handler"], first?.["key"], first?.["headers"]], ["audit", "k", { from: "test" }]);
    const before = readFileSync(file);
    const code = await mill.dead.export({ file }).catch((error: NodeJS.ErrnoException) => error.code);
    assert.is(code, "EEXIST");
    assert.equal(readFileSync(file), before);
  });
});

test("whoever listens hears of each death once, until they stop", async () => {
  await withMill(async (mill) => {
    const heard: number[] = [];
    const listener = ({ sequence, handler, reason, attempts, diedAtMs }: IntakeEvents["dead"]): void => {
      assert.equal([handler, reason, attempts, diedAtMs > 0], ["settle", "refused", 1, true]);
      heard.push(sequence);
    };
    mill.on("dead", listener);
    await die(mill, 3);
    await until(() => heard.length === 3, "three deaths");
    mill.off("dead", listener);
    await die(mill, 1);
    assert.is(heard.length, 3);
  });
});

test("without room for letters records wait, publishes are refused, and both go on", async () => {
  const directory = join(temporaryDirectory(), "journal");
  let mill = await openMill(directory, { dead: { bytesMax: 4000 } });
  const stats = (): { deadBytes: number; deadWaiting: number; deadKept: number } => mill.stats().intake as never;
  let refusal: (Error & { details: Record<string, unknown> }) | undefined;
  for (let n = 0; n < 100 && refusal === undefined; n += 1) {
    try {
      const { done } = await mill.publish.settle({ n, fails: true });
      await Promise.race([done.catch(() => {}), until(() => stats().deadWaiting > 0, "no room")]);
    } catch (thrown) {
      refusal = thrown as typeof refusal;
    }
  }
  assert.is((refusal as { code?: string } | undefined)?.code, "ERR_DEAD_LETTERS_FULL");
  assert.is(refusal?.details["handler"], "settle");
  assert.ok(stats().deadBytes <= 4000, String(stats().deadBytes));
  await rejectsWith(mill.publishMany([{ handler: "settle", payload: 1 }]), "ERR_DEAD_LETTERS_FULL");
  // Others aren't concerned.
  await (
    await mill.publish.audit({ ok: true })
  ).done;
  const { paused } = await mill.drain();
  assert.ok(paused >= 1);
  const waiting = stats().deadKept;
  await mill.close();
  mill = await openMill(directory, { dead: { bytesMax: 4000 } });
  await until(() => stats().deadWaiting === paused && stats().deadKept === waiting, "they wait still");
  assert.is(mill.stats().intake?.delivered, 0);
  await mill.dead.drop({});
  await until(() => stats().deadWaiting === 0 && stats().deadKept === paused, "room");
  const [last] = await mill.dead.list();
  assert.equal([last?.attempts, last?.reason, last?.failures.length], [1, "refused", 1]);
  await (
    await mill.publish.settle({ fails: false })
  ).done;
  await mill.close();
});

test.run();
