import { fork } from "node:child_process";
import { once } from "node:events";
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { foreignRecord, stateFields } from "@millrace/intake";
import { type AttemptEnd, decodeAttempt, valueOf } from "@millrace/intake/internal/format/attempt-record";
import { ackRanges } from "@millrace/intake/internal/format/state-records";
import { Journal, RECORD_TYPE } from "@millrace/journal";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const handlers = new URL("../../../test/fixtures/recorded-handlers.mjs", import.meta.url);
const program = fileURLToPath(new URL("../../../test/fixtures/recorded-program.mjs", import.meta.url));

interface Handlers {
  work(payload: object): unknown;
  slow(payload: object): unknown;
  plain(payload: object): unknown;
}
type Mill = Millrace<Handlers>;
type JournalOptions = NonNullable<MillraceOptions["journal"]>;

interface Recorded extends AttemptEnd {
  readonly place: number;
  readonly value: unknown;
}

async function withMill(
  directory: string,
  options: Partial<JournalOptions>,
  body: (mill: Mill) => Promise<void>,
): Promise<void> {
  const journal = { directory, retain: "all", retryBaseMs: 1, failuresMax: 0, record: "outcomes", ...options } as const;
  const mill = await open<Handlers>({ handlers, processors: 1, journal });
  try {
    await body(mill);
  } finally {
    await mill.close();
  }
}

async function recordedIn(directory: string): Promise<Recorded[]> {
  const journal = await Journal.open({ directory, allowUnsafeStorage: true });
  const found: Recorded[] = [];
  for await (const { type, sequence, payload } of journal.read()) {
    if (type !== RECORD_TYPE.attempt) continue;
    const end = decodeAttempt(payload);
    found.push({ ...end, place: sequence, value: valueOf(end) });
  }
  await journal.close();
  return found;
}

function brief({ attempt, reason, isLast, value }: Recorded): string {
  const text = value instanceof Error ? `${value.name}: ${value.message}` : String(value);
  return `${attempt} ${reason ?? "returned"}${isLast ? " last" : ""} ${text}`;
}

function codeOf(end: Recorded | undefined): unknown {
  return (end?.value as { code?: unknown } | undefined)?.code;
}

test("each end of an attempt is recorded, with its result or error and its time", async () => {
  const directory = join(temporaryDirectory(), "data");
  const sequences = new Map<string, number>();
  await withMill(directory, { attemptsMax: 3, handlers: { slow: { timeoutMs: 40 } } }, async (mill) => {
    for (const what of ["result", "nothing", "throws", "recovers", "refuses", "snoozes", "array", "publishes"]) {
      sequences.set(what, (await mill.publish.work({ what, n: 1 })).sequence);
    }
    sequences.set("slow", (await mill.publish.slow({ ms: 20 })).sequence);
    sequences.set("late", (await mill.publish.slow({ ms: 10_000 })).sequence);
    await mill.drain({ all: true });
    assert.is(mill.stats().intake?.unrecorded, 0);
  });
  const found = await recordedIn(directory);
  const of = (what: string): Recorded[] => found.filter(({ origin }) => origin === sequences.get(what));
  const [result] = of("result");
  assert.equal(result?.value, { n: 1, at: new Date(5), big: 7n });
  assert.is(result?.handler, "work");
  assert.ok((result?.ranMs as number) >= 0);
  assert.equal(of("nothing").map(brief), ["1 returned last undefined"]);
  const over = "RangeError: over the limit";
  assert.equal(of("throws").map(brief), [`1 error ${over}`, `2 error ${over}`, `3 error last ${over}`]);
  assert.is(codeOf(of("throws")[0]), "ERR_OVER");
  assert.equal(of("recovers").map(brief), [
    "1 error Error: attempt 1",
    "2 error Error: attempt 2",
    "3 returned last recovered",
  ]);
  assert.equal(of("refuses").map(brief), ["1 error last Error: never"]);
  assert.equal(of("snoozes").map(brief), ["1 snooze Snooze: not now", "1 returned last later"]);
  assert.equal(
    of("array").map(({ value }) => value),
    Array.from({ length: 3 }, () => [new Uint8Array([1, 2]), 5]),
  );
  assert.equal(of("publishes").map(brief), ["1 returned last published"]);
  assert.ok((of("slow")[0]?.ranMs as number) >= 15, `it ran ${of("slow")[0]?.ranMs} ms`);
  assert.equal(
    of("late").map(({ reason, ranMs }) => [reason, ranMs]),
    Array.from({ length: 3 }, () => ["timeout", 40]),
  );
});

test("what can't be recorded is said, and a thread that died took an unknown time", async () => {
  const directory = join(temporaryDirectory(), "data");
  await withMill(directory, { attemptsMax: 1, resultBytesMax: 1000 }, async (mill) => {
    await mill.publish.work({ what: "function" });
    await mill.publish.work({ what: "bytes", bytes: 1000 });
    await mill.publish.work({ what: "exits" });
    await mill.drain();
    assert.is(mill.stats().intake?.dead, 1);
  });
  const [unsupported, large, exited] = (await recordedIn(directory)).toSorted((a, b) => a.origin - b.origin);
  assert.is(unsupported?.isRefused, true);
  assert.is(codeOf(unsupported), "ERR_RESULT_UNSUPPORTED");
  assert.is(unsupported?.reason, undefined, "it has returned");
  assert.is(codeOf(large), "ERR_RESULT_TOO_LARGE");
  assert.is(exited?.reason, "death");
  assert.is(exited?.ranMs, undefined);
});

test("without the option nothing is recorded, and what is returned isn't read", async () => {
  const directory = join(temporaryDirectory(), "data");
  const off = { record: "none", handlers: { work: { record: "outcomes", result: "keep" } } } as const;
  await withMill(directory, off, async (mill) => {
    await (
      await mill.publish.plain({})
    ).done;
    const { result } = await mill.publish.work({ n: 1 });
    assert.equal(await result, { n: 1, at: new Date(5), big: 7n }, "kept and recorded");
  });
  assert.equal(
    (await recordedIn(directory)).map(({ handler }) => handler),
    ["work"],
  );
  await rejectsWith(open({ handlers, journal: { directory, record: "results" as never } }), "ERR_INVALID_OPTION");
});

test("recorded ends hold no segment, and go with the segments that are given up", async () => {
  const directory = join(temporaryDirectory(), "data");
  const small = { recordBytesMax: 8192, batchBytesMax: 16_384, segmentBytesMax: 65_536, ringBytes: 32_768 };
  await withMill(directory, { ...small, retain: "unfinished" }, async (mill) => {
    let last = 0;
    // Ends: what is finished is given up within seconds.
    for (let first = 1; last === 0 || first <= last; { fromSequence: first } = await mill.retained()) {
      const sent = Array.from({ length: 20 }, () => mill.publish.work({ what: "bytes", bytes: 500 }));
      const [{ sequence, done } = assert.unreachable() as never] = await Promise.all(sent);
      if (last === 0) last = sequence;
      await done;
    }
  });
});

test("tools know recorded ends, and show no result of them", async () => {
  const directory = join(temporaryDirectory(), "data");
  await withMill(directory, { attemptsMax: 1 }, async (mill) => {
    await mill.publish.work({ what: "secret" });
    await mill.publish.work({ what: "throws" });
    await mill.drain();
  });
  const journal = await Journal.open({ directory, allowUnsafeStorage: true });
  const shown: object[] = [];
  for await (const record of journal.read()) {
    if (record.type !== RECORD_TYPE.attempt) continue;
    const { header, key, payload } = record;
    const bytes = { header: () => header, key: () => key, payload: () => payload };
    assert.is(foreignRecord({ ...record, replaces: 0, continues: false, ...bytes }), undefined);
    shown.push(stateFields(record) as object);
  }
  await journal.close();
  const [returned, threw] = shown as Record<string, unknown>[];
  assert.equal(Object.keys(returned as object), ["record", "handler", "attempt", "ranMs", "resultBytes"]);
  assert.match(JSON.stringify(threw), "over the limit");
});

test("a newer end is refused, and so are bytes that are none", () => {
  const payload = Buffer.alloc(24);
  const withByte = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(payload);
    bytes[7] = 2;
    bytes[8] = 1;
    bytes[at] = value;
    return bytes;
  };
  const refusalOf = (bytes: Buffer): string => {
    try {
      decodeAttempt(bytes);
      return "none";
    } catch (thrown) {
      return (thrown as { code: string }).code;
    }
  };
  assert.is(refusalOf(withByte(0, 1)), "none");
  assert.is(refusalOf(withByte(7, 3)), "ERR_JOURNAL_VERSION");
  assert.is(refusalOf(withByte(8, 3)), "ERR_JOURNAL_VERSION");
  assert.is(refusalOf(withByte(14, 4)), "ERR_JOURNAL_VERSION");
  assert.is(refusalOf(withByte(15, 9)), "ERR_RECORD_UNREADABLE");
  assert.is(refusalOf(payload.subarray(0, 5)), "ERR_RECORD_UNREADABLE");
});

test("after kill -9 every record that is done has its end recorded before", async () => {
  const place = temporaryDirectory();
  const [directory, file] = [join(place, "data"), join(place, "calls")];
  appendFileSync(file, "");
  const done = new Set<number>();
  for (let life = 0; life < 4; life += 1) {
    const child = fork(program, [directory, file, String(life * 5000)], { stdio: "inherit" });
    const ended = once(child, "exit");
    let told = 0;
    child.on("message", (sequence) => {
      done.add(sequence as number);
      told += 1;
    });
    await Promise.race([until(() => told > 60 + life * 77, "some are done", 60_000), ended]);
    child.kill("SIGKILL");
    await ended;
  }
  const journal = await Journal.open({ directory, allowUnsafeStorage: true });
  const ends = new Set<number>();
  try {
    for await (const { type, payload } of journal.read()) {
      if (type === RECORD_TYPE.attempt) {
        const { origin, isLast } = decodeAttempt(payload);
        if (isLast) ends.add(origin);
      } else if (type === RECORD_TYPE.ack) {
        const ranges = ackRanges(payload);
        for (let index = 0; index < ranges.ranges; index += 1) {
          const [first, last] = ranges.range(index);
          for (let origin = first; origin <= last; origin += 1) assert.ok(ends.has(origin), `${origin} has no end`);
        }
      }
    }
  } finally {
    await journal.close();
  }
  for (const sequence of done) assert.ok(ends.has(sequence), `${sequence} is done, and its end isn't recorded`);
  assert.ok(done.size > 200);
});

test.run();
