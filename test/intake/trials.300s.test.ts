// Faults that a new user of the intake has met, each as it should be.
import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  hook(record: object): unknown;
  down(record: object): unknown;
  blocked(record: object): unknown;
  fatal(record: object): unknown;
  note(record: object): unknown;
  slow(record: object): unknown;
  hangs(record: object): unknown;
}

const fixtures = new URL("../../../test/fixtures/", import.meta.url);

const withMill = millsOf<Handlers>({ handlers: new URL("trial-handlers.mjs", fixtures) });

const linesOf = (file: string): string[] =>
  existsSync(file)
    ? readFileSync(file, "utf8")
        .split("\n")
        .filter((line) => line !== "")
    : [];

test("a handler that has returned is done, whatever it has returned", async () => {
  await withMill({}, async (mill, file) => {
    for (const what of ["response", "function", "symbol"]) await (await mill.publish.hook({ file, what })).done;
    assert.is(linesOf(file).length, 3);
  });
});

test("records outlive an outage of what their handler needs", async () => {
  await withMill({ retryBaseMs: 20, retryMaxMs: 200 }, async (mill, file) => {
    const backAt = Date.now() + 1500;
    const sent = Array.from({ length: 200 }, (_, n) => mill.publish.down({ file, n, until: backAt }));
    await Promise.all((await Promise.all(sent)).map(({ done }) => done));
    assert.is(mill.stats().intake?.dead, 0);
  });
});

test("by default a record is tried again for a day", async () => {
  await withMill({}, async (mill, file) => {
    await mill.publish.down({ file, n: 1, until: Infinity });
    await until(() => (mill.stats().intake?.waitingRetries ?? 0) === 1, "it waits");
    assert.is(mill.stats().intake?.dead, 0);
  });
});

test("a record that ends its process is dead after a few starts, and the service runs", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const script = fileURLToPath(new URL("fatal-service.mjs", fixtures));
  const start = async (which: string): Promise<{ signal: string | undefined; stdout: string }> => {
    const args = [script, join(directory, "journal"), file, which];
    try {
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
      return { signal: undefined, stdout };
    } catch (thrown) {
      const { signal, stdout } = thrown as { signal: string; stdout: string };
      return { signal, stdout };
    }
  };
  let starts = 1;
  let { signal, stdout } = await start("first");
  assert.is(signal, "SIGSEGV");
  for (; signal !== undefined && starts < 8; starts += 1) ({ signal, stdout } = await start("again"));
  assert.is(signal, undefined, `still ended after ${starts} starts: ${linesOf(file).join("; ")}`);
  assert.match(stdout, /drained .* 1\n/, `the record is a dead letter: ${stdout}${linesOf(file).join("; ")}`);
  // Attempts are counted across the starts.
  const attempts = linesOf(file).flatMap((line) => (line.startsWith("fatal ") ? [Number(line.split(" ")[2])] : []));
  assert.ok(attempts.length >= 3 && new Set(attempts).size >= 3, `attempts ${attempts.join(", ")}`);
  for (const name of ["a", "b", "c"]) assert.ok(linesOf(file).some((line) => line.startsWith(`${name} `)));
});

test("a record that sticks in quarantine holds up no other there, and ends as one does", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const script = fileURLToPath(new URL("sticking-service.mjs", fixtures));
  let stdout = "";
  let starts = 0;
  for (; stdout === "" && starts < 8; starts += 1) {
    const args = [script, join(directory, "journal"), file, String(starts)];
    const running = promisify(execFile)(process.execPath, args, { timeout: 120_000 });
    ({ stdout } = await running.catch(() => ({ stdout: "" })));
  }
  assert.ok(starts < 8, linesOf(file).join("; "));
  assert.equal(JSON.parse(stdout), ["blocks timeout 2", "hangs timeout 2"]);
  // Their last attempts were alone as well.
  const alone = (name: string): number => linesOf(file).filter((line) => line.startsWith(`${name} alone`)).length;
  assert.equal(["hangs", "blocks", "returns"].map(alone), [2, 2, 1]);
});

test("a high record is next, however many low ones wait", async () => {
  await withMill({}, async (mill, file) => {
    const low = Array.from({ length: 5000 }, (_, n) =>
      mill.publish.slow({ file, text: `low${n}`, ms: 1 }, { priority: "low" }),
    );
    await Promise.all(low);
    const high = await mill.publish.note({ file, text: "high" }, { priority: "high" });
    const before = linesOf(file).length;
    await high.done;
    const place = linesOf(file).indexOf("high");
    assert.ok(place >= 0);
    assert.ok(place - before < 500, `${place - before} lines between the high one's ack and its turn`);
  });
});

test("a kind of record that only fails holds up no other", async () => {
  await withMill({ retryBaseMs: 1000, retryMaxMs: 1000 }, async (mill, file) => {
    const failing = Array.from({ length: 3000 }, (_, n) => mill.publish.down({ file, n, until: Infinity }));
    await Promise.all(failing);
    await (
      await mill.publish.note({ file, text: "healthy" })
    ).done;
    assert.ok(linesOf(file).includes("healthy"));
  });
});

test("an attempt has a time limit, and what comes later is ignored", async () => {
  await withMill({ handlers: { hangs: { timeoutMs: 50, attemptsMax: 2 } }, retryBaseMs: 1 }, async (mill, file) => {
    const { done } = await mill.publish.hangs({ file });
    const error = await rejectsWith(done, "ERR_RECORD_DEAD");
    assert.match((error.cause as Error).message, /time limit/);
    assert.is(linesOf(file).length, 2);
    await (
      await mill.publish.note({ file, text: "after" })
    ).done;
  });
});

test("records of one key run one after the other, across retries", async () => {
  await withMill({ retryBaseMs: 5, retryMaxMs: 5 }, async (mill, file) => {
    const sent = Array.from({ length: 40 }, (_, n) =>
      mill.publish.down({ file, n, until: n === 3 ? Date.now() + 300 : 0 }, { key: "account-1" }),
    );
    await Promise.all((await Promise.all(sent)).map(({ done }) => done));
    const numbers = linesOf(file).map((line) => Number(line.split(" ")[1]));
    assert.equal(
      [...new Set(numbers)],
      Array.from({ length: 40 }, (_, n) => n),
    );
    assert.equal(
      numbers,
      numbers.toSorted((left, right) => left - right),
    );
  });
});

test("a duplicate isn't handled, and follows the first one", async () => {
  await withMill({}, async (mill, file) => {
    const publish = (text: string) => mill.publish.note({ file, text }, { idempotencyKey: "p-1" });
    const first = await publish("once");
    const second = await publish("once");
    assert.is(first.duplicate, false);
    assert.equal([second.duplicate, second.sequence], [true, first.sequence]);
    await second.done;
    await rejectsWith(publish("other"), "ERR_IDEMPOTENCY_MISMATCH");
    assert.equal(linesOf(file), ["once"]);
  });
});

test("a publish is told whether it is the first, however early it asks", async () => {
  await withMill({}, async (mill, file) => {
    // One after the other: each question races with the delivery thread's look at its record.
    for (let n = 0; n < 300; n += 1) {
      const ack = await mill.publish.note({ file, text: "x" }, { idempotencyKey: `${n >> 1}` });
      assert.is(ack.duplicate, n % 2 === 1);
    }
    const acks = Array.from({ length: 5000 }, (_, n) =>
      mill.publish.note({ file, text: "y" }, { idempotencyKey: `many ${n}` }),
    );
    for (const ack of await Promise.all(acks)) assert.is(ack.duplicate, false);
  });
});

test("a duplicate is known after a restart", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  for (let start = 0; start < 3; start += 1) {
    const mill = await open<Handlers>({
      handlers: new URL("trial-handlers.mjs", fixtures),
      processors: 1,
      journal: { directory: join(directory, "journal") },
    });
    const publish = { idempotencyKey: "p-1", producer: { id: "file", sequence: 7 } };
    const ack = await mill.publish.note({ file, text: "once" }, publish);
    assert.is(ack.duplicate, start > 0);
    await ack.done;
    await mill.close();
  }
  assert.equal(linesOf(file), ["once"]);
});

test("dead letters are listed, redriven once, and dropped", async () => {
  await withMill({ attemptsMax: 2, retryBaseMs: 1 }, async (mill, file, directory) => {
    const obstacle = join(directory, "obstacle");
    writeFileSync(obstacle, "");
    const acks = await Promise.all([1, 2, 3].map((n) => mill.publish.blocked({ file, n, obstacle }, { key: `k${n}` })));
    for (const { done } of acks) await rejectsWith(done, "ERR_RECORD_DEAD");
    const letters = await mill.dead.list();
    assert.equal(
      letters.map(({ sequence, key, attempts, handler, reason }) => [sequence, key, attempts, handler, reason]),
      acks.map(({ sequence }, index) => [sequence, `k${index + 1}`, 2, "blocked", "exhausted"]),
    );
    assert.equal(
      letters[0]?.failures.map(({ error }) => (error as Error).message),
      ["the downstream is away", "the downstream is away"],
    );
    assert.is(await mill.dead.count({ key: "k2" }), 1);
    rmSync(obstacle);
    assert.is(await mill.dead.redrive({ key: "k1" }), 1);
    assert.is(await mill.dead.drop({ key: "k2" }), 1);
    await mill.drain();
    assert.equal(
      (await mill.dead.list()).map(({ key }) => key),
      ["k3"],
    );
    assert.is(linesOf(file).filter((line) => line === "blocked 1").length, 3);
  });
});

test("thousands of letters are redriven at once, and none is no fault", async () => {
  await withMill({ attemptsMax: 1, failuresMax: 0 }, async (mill, file, directory) => {
    assert.is(await mill.dead.redrive({}), 0);
    assert.is(await mill.dead.drop({ handler: "note" }), 0);
    const obstacle = join(directory, "obstacle");
    writeFileSync(obstacle, "");
    await Promise.all(Array.from({ length: 5000 }, (_, n) => mill.publish.blocked({ file, n, obstacle })));
    await mill.drain({ all: true });
    assert.is(await mill.dead.count(), 5000);
    assert.is((await mill.dead.list()).length, 1000, "a list has a limit");
    rmSync(obstacle);
    assert.is(await mill.dead.redrive({}), 5000);
    await mill.drain({ all: true });
    assert.is(await mill.dead.count(), 0);
    assert.is(linesOf(file).length, 10_000);
  });
});

test("done says late what it says early: the record was never handled", async () => {
  await withMill({ attemptsMax: 1 }, async (mill, file, directory) => {
    await mill.pause("note");
    const expired = await mill.publish.note({ file, text: "too late" }, { ttlMs: 20 });
    const dead = await mill.publish.blocked({ file, n: 1, obstacle: directory });
    await until(() => mill.stats().intake?.dead === 1, "a dead letter");
    await new Promise((resolve) => setTimeout(resolve, 40));
    await mill.resume("note");
    await mill.drain();
    assert.is(await mill.dead.drop({}), 1);
    for (const { done } of [expired, dead]) await rejectsWith(done, "ERR_RECORD_EXPIRED");
    assert.equal(linesOf(file), ["blocked 1"]);
  });
});

test("whoever asks beside the end, or after it, is answered", async () => {
  const publish = async (mill: Millrace<Handlers>, file: string): Promise<string> => {
    const acks = Array.from({ length: 500 }, (_, n) =>
      mill.publish.note({ file, text: "x" }, { idempotencyKey: `${n}` }),
    );
    const codes = new Set<string>();
    for (const each of await Promise.allSettled(acks)) {
      codes.add(each.status === "fulfilled" ? "ok" : (each.reason as { code: string }).code);
    }
    // Stored or not: only the first of these is refused for certain.
    codes.delete("ok");
    codes.delete("ERR_JOURNAL_UNCERTAIN");
    return [...codes].join();
  };
  for (const end of ["close", "terminate"] as const) {
    await withMill({}, async (mill, file) => {
      await mill.pause("slow");
      const { done } = await mill.publish.note({ file, text: "early" });
      await done;
      await mill.pause("note");
      const waits = await mill.publish.note({ file, text: "waits" });
      const told = publish(mill, file);
      const beside = [mill.resume("slow"), mill.dead.list(), mill.drain()];
      const ended = mill[end]();
      const late = [mill.pause("slow"), mill.dead.redrive({})];
      for (const each of await Promise.allSettled([...beside, ...late])) {
        if (each.status === "rejected") assert.is((each.reason as { code: string }).code, "ERR_INTAKE_CLOSED");
      }
      assert.is(await told, "");
      await ended;
      await rejectsWith(waits.done, "ERR_INTAKE_CLOSED");
      await rejectsWith(mill.pause("slow"), "ERR_INTAKE_CLOSED");
      await rejectsWith(mill.drain(), "ERR_INTAKE_CLOSED");
    });
  }
});

test("a paused handler is given nothing, across restarts", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const start = (): Promise<Millrace<Handlers>> =>
    open<Handlers>({
      handlers: new URL("trial-handlers.mjs", fixtures),
      processors: 1,
      journal: { directory: join(directory, "journal") },
    });
  let mill = await start();
  await mill.pause("note");
  await mill.publish.note({ file, text: "later" });
  assert.is((await mill.drain()).paused, 1);
  await mill.close();
  mill = await start();
  assert.is((await mill.drain()).paused, 1);
  assert.equal(linesOf(file), []);
  await mill.resume("note");
  await mill.drain();
  assert.equal(linesOf(file), ["later"]);
  await mill.close();
});

test("a record is delivered after its delay, and not after its time", async () => {
  await withMill({}, async (mill, file) => {
    const delayed = await mill.publish.note({ file, text: "delayed" }, { delayMs: 300 });
    assert.equal(await mill.drain(), { waitingRetry: 0, scheduled: 1, paused: 0, unroutable: 0 });
    assert.equal(linesOf(file), []);
    await delayed.done;
    await mill.pause("note");
    const { done } = await mill.publish.note({ file, text: "too late" }, { ttlMs: 50 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    await mill.resume("note");
    await rejectsWith(done, "ERR_RECORD_EXPIRED");
    assert.equal(linesOf(file), ["delayed"]);
  });
});

test("many records are stored together or not at all", async () => {
  await withMill({}, async (mill, file) => {
    const acks = await mill.publishMany([
      { handler: "note", payload: { file, text: "debit" } },
      { handler: "note", payload: { file, text: "credit" }, key: "a" },
    ]);
    await Promise.all(acks.map(({ done }) => done));
    assert.equal(linesOf(file), ["debit", "credit"]);
    const durable = mill.stats().intake?.journal.durableSequence;
    await rejectsWith(
      mill.publishMany([
        { handler: "note", payload: { file, text: "x" } },
        { handler: "note", payload: { file, text: "z".repeat(2 ** 21) } },
      ]),
      "ERR_JOURNAL_RECORD_TOO_LARGE",
    );
    await rejectsWith(mill.publishMany([{ handler: "nota" as never }]), "ERR_HANDLER_UNKNOWN");
    await mill.drain();
    assert.ok((mill.stats().intake?.journal.durableSequence ?? 0) <= (durable ?? 0) + 2);
  });
});

test("options that make no sense are refused before anything is stored", async () => {
  await withMill({}, async (mill, file) => {
    const wrong: object[] = [
      { key: "" },
      { key: 7 },
      { key: "k".repeat(2000) },
      { idempotencyKey: "é".repeat(200) },
      { delayMs: Number.NaN },
      { delayMs: -1 },
      { delayMs: 1e15 },
      { delayMs: 1, notBefore: Date.now() },
      { ttlMs: 5, delayMs: 10 },
      { expiresAt: Date.now() - 1 },
      { producer: { id: "", sequence: 1 } },
      { producer: { id: "x", sequence: -1 } },
      { prioritee: "high" },
    ];
    for (const options of wrong) {
      await rejectsWith(mill.publish.note({ file, text: "x" }, options as never), "ERR_INVALID_OPTION");
    }
    const ack = await mill.publish.note({ file, text: "x" }, { key: "__proto__", idempotencyKey: "__proto__" });
    await ack.done;
    assert.equal(linesOf(file), ["x"]);
  });
});

test.run();
