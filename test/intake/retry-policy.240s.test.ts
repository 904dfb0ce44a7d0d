// Retry policies: a table and a function, of the options and of the handler's module.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for it.
import { REASON } from "@millrace/intake/internal/format/state-records";
import { decide, handlerTerms } from "@millrace/intake/internal/delivery/policy";
import { NonRetryable, open, Snooze } from "millrace";
import { rejectsWith, temporaryDirectory, throwsWith } from "../support.ts";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  table(record: object): unknown;
  asks(record: object): unknown;
  wishes(record: object): unknown;
  options(record: object): unknown;
  broken(record: object): unknown;
}

const fixtures = new URL("../../../test/fixtures/", import.meta.url);
const attempt = { firstFailedMs: 0, nowMs: 0, error: new Error("x"), reason: REASON.error, fraction: 0.5 };

const withMill = millsOf<Handlers>({ handlers: new URL("retry-handlers.mjs", fixtures), journal: { failuresMax: 0 } });

const timesOf = (file: string): number[] =>
  readFileSync(file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => Number(line.split(" ")[1]));

test("a table's waits come one after the other, and the last repeats", () => {
  const terms = handlerTerms("h", { backoff: [5, 90_000, 7] }, {});
  const waits = [1, 2, 3, 4, 9].map((attempts) => decide(terms, { ...attempt, attempts }));
  assert.equal(
    waits.map((each) => (each.kind === "retry" ? each.waitMs : each.kind)),
    [5, 90_000, 7, 7, 7],
  );
  for (const backoff of [[], [-1], [Number.NaN], ["1"], "often", 5]) {
    throwsWith(() => handlerTerms("h", { backoff: backoff as number[] }, {}), "ERR_INVALID_OPTION");
  }
});

test("full jitter is spread over the whole wait, up to its cap", () => {
  const terms = handlerTerms("h", { retryBaseMs: 100, retryMaxMs: 1000 }, {});
  const waitOf = (attempts: number, fraction: number): number => {
    const decision = decide(terms, { ...attempt, attempts, fraction });
    return decision.kind === "retry" ? decision.waitMs : -1;
  };
  const waits = [waitOf(1, 0), waitOf(1, 0.5), waitOf(3, 0.5), waitOf(9, 0.5), waitOf(65_000, 1)];
  assert.equal(waits, [0, 50, 200, 500, 1000]);
});

test("a handler's own table decides, up to the options' limit of attempts", async () => {
  await withMill({ attemptsMax: 4, retryBaseMs: 60_000 }, async (mill, file) => {
    await rejectsWith((await mill.publish.table({ file })).done, "ERR_RECORD_DEAD");
    const times = timesOf(file);
    assert.is(times.length, 4);
    assert.ok((times[2] as number) - (times[1] as number) >= 55, times.join());
  });
});

test("a handler's own function decides of errors, and of what is no error", async () => {
  await withMill({ retryBaseMs: 60_000 }, async (mill, file) => {
    const { done } = await mill.publish.asks({ file });
    assert.is(((await rejectsWith(done, "ERR_RECORD_DEAD")).cause as Error).message, "asks");
    assert.is(timesOf(file).length, 3);
    const other = await mill.publish.asks({ file, text: "a text" });
    assert.match(((await rejectsWith(other.done, "ERR_RECORD_DEAD")).cause as Error).message, /a text/);
    const [letter] = await mill.dead.list();
    assert.equal([letter?.reason, letter?.attempts], ["refused", 3]);
  });
});

test("what an error asks for goes first, and undefined leaves it to the options", async () => {
  await withMill({ attemptsMax: 2, retryBaseMs: 1, retryMaxMs: 1 }, async (mill, file) => {
    await rejectsWith((await mill.publish.wishes({ file, wish: { retryAfterMs: 1 } })).done, "ERR_RECORD_DEAD");
    assert.is(timesOf(file).length, 2);
    await rejectsWith((await mill.publish.options({ file })).done, "ERR_RECORD_DEAD");
    assert.is(timesOf(file).length, 4);
  });
});

test("a policy that fails is told in the letter, and the options decide", async () => {
  await withMill({ attemptsMax: 2, retryBaseMs: 1, retryMaxMs: 1 }, async (mill, file) => {
    await rejectsWith((await mill.publish.broken({ file })).done, "ERR_RECORD_DEAD");
    const [letter] = await mill.dead.list();
    const texts = letter?.failures.map(({ error }) => (error as Error).message) ?? [];
    assert.match(texts[0] ?? "", /a policy that throws.*broken/);
    assert.match(texts[1] ?? "", /returned no wait.*broken/);
  });
});

test("a policy that is none refuses the opening", async () => {
  const journal = { directory: join(temporaryDirectory(), "journal") };
  const opening = open({ handlers: new URL("bad-retry-handlers.mjs", fixtures), processors: 1, journal });
  const { details } = await rejectsWith(opening, "ERR_INVALID_OPTION");
  assert.is(details["value"], "often");
});

test("the exported errors ask for what their names say", () => {
  const terms = handlerTerms("h", {}, {});
  const dead = decide(terms, { ...attempt, attempts: 1, error: new NonRetryable("no") });
  assert.is(dead.kind, "dead");
  const later = decide(terms, { ...attempt, attempts: 1, error: new Snooze(5000) });
  assert.equal(later, { kind: "retry", waitMs: 5000, counts: false, reason: REASON.snooze });
});

test.run();
