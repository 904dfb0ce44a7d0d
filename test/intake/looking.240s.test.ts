// Handlers, lanes and records as people see them.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type HandlerReport, type Millrace, open } from "millrace";
import { rejectsWith, temporaryDirectory } from "../support.ts";

const handlers = new URL("../../../test/fixtures/page-handlers.mjs", import.meta.url);
const directory = join(temporaryDirectory(), "data");

function opened(): Promise<Millrace> {
  return open({
    handlers,
    processors: 1,
    journal: {
      directory,
      retain: "all",
      handlers: {
        settle: { redact: ["card.number"], concurrencyMax: 4 },
        shaky: { backoff: "constant", retryBaseMs: 1, attemptsMax: 3 },
      },
    },
  });
}

const reportOf = async (mill: Millrace, name: string): Promise<HandlerReport> =>
  (await mill.handlers()).find(({ handler }) => handler === name) as HandlerReport;

const mill = await opened();

test("a handler's report has its state, its limits and what became of its attempts", async () => {
  await mill.publish.settle!({});
  await mill.publish.settle!({ refused: true });
  await mill.drain();
  assert.equal(await reportOf(mill, "settle"), {
    handler: "settle",
    state: "open",
    running: 0,
    done: 1,
    failed: 1,
    held: 0,
    concurrencyMax: 4,
    ratePerSecond: undefined,
  });
  assert.equal((await mill.handlers()).length, 3, "also those that had no record");
});

test("records of a paused handler are held, and their lane is told apart", async () => {
  await mill.pause("settle");
  await Promise.all([mill.publish.settle!({}), mill.publish.settle!({}, { priority: "high" })]);
  await mill.drain();
  const { state, held } = await reportOf(mill, "settle");
  assert.equal([state, held], ["paused", 2]);
  const lanes = await mill.lanes();
  assert.equal(
    lanes.filter(({ handler }) => handler === undefined).map(({ priority, waiting }) => [priority, waiting]),
    [
      ["high", 0],
      ["normal", 0],
      ["low", 0],
    ],
  );
  const apart = lanes.filter(({ handler }) => handler === "settle");
  assert.equal(apart.map(({ priority, waiting }) => `${priority} ${waiting}`).toSorted(), ["high 1", "normal 1"]);
  await mill.resume("settle");
  await mill.drain();
  assert.is((await reportOf(mill, "settle")).state, "open");
  assert.is((await reportOf(mill, "settle")).done, 3);
});

test("a record is shown redacted, by its sequence and by its key", async () => {
  const { sequence } = await mill.publish.settle!(
    { card: { number: "4111" }, n: 1n },
    { key: "acc-1", priority: "low" },
  );
  const shown = await mill.journal.show(sequence);
  assert.equal(JSON.parse(JSON.stringify({ ...shown, publishedAt: "" })), {
    sequence,
    handler: "settle",
    priority: "low",
    publishedAt: "",
    key: "acc-1",
    payload: { card: { number: "[redacted]" }, n: "1" },
  });
  assert.is((await mill.journal.showByKey("acc-1"))?.sequence, sequence);
  assert.is(await mill.journal.showByKey("nobody"), undefined);
  assert.is(await mill.journal.show(sequence + 1_000_000), undefined);
  await rejectsWith(mill.journal.show(0), "ERR_INVALID_OPTION");
});

test("a redrive to another handler shows nothing that the handler of the publish hides", async () => {
  const { sequence } = await mill.publish.settle!({ refused: true, failures: 9, card: { number: "4111" } });
  await mill.drain({ all: true });
  await mill.dead.redrive({ after: sequence - 1, handler: "settle", toHandler: "shaky" });
  await mill.drain({ all: true });
  const shown = (await mill.dead.showOne(sequence)) as Record<string, any>;
  assert.is(shown.handler, "shaky");
  assert.is(shown.payload.card.number, "[redacted]");
  await mill.dead.drop({ after: sequence - 1, handler: "shaky" });
});

test("what stands in very many places of an error is shown in some of them", async () => {
  const { sequence } = await mill.publish.settle!({ tangled: 60 });
  await mill.drain({ all: true });
  const shown = JSON.stringify(await mill.dead.showOne(sequence));
  assert.match(shown, "[seen before]");
  assert.ok(shown.length < 100_000, `${shown.length} letters`);
  await mill.dead.drop({ after: sequence - 1, handler: "settle" });
});

test("a search for a text finds nothing that redact hides", async () => {
  const { sequence } = await mill.publish.settle!({ refused: true, note: "find me", card: { number: "4111" } });
  await mill.drain({ all: true });
  const count = (text: string): Promise<number> => mill.dead.count({ after: sequence - 1, text });
  assert.equal([await count("find me"), await count("4111")], [1, 0]);
  await mill.dead.drop({ after: sequence - 1, handler: "settle" });
});

test("a timeline has each attempt, each wait, the death and what came after it", async () => {
  const { sequence } = await mill.publish.shaky!({ failures: 4 });
  await mill.drain({ all: true });
  const kinds = async (): Promise<string[]> => (await mill.journal.timeline(sequence))!.events.map(({ kind }) => kind);
  const dead = ["published", "failed", "waits", "failed", "waits", "failed", "dead"];
  assert.equal(await kinds(), dead);
  const { events, isComplete } = (await mill.journal.timeline(sequence))!;
  assert.is(isComplete, true);
  const failures = events.filter((event) => event.kind === "failed");
  assert.equal(
    failures.map(({ attempt, error }) => [attempt, (error as Error).message]),
    [1, 2, 3].map((attempt) => [attempt, `attempt ${attempt}`]),
  );
  await mill.dead.redrive({ handler: "shaky" });
  await mill.drain({ all: true });
  assert.equal((await kinds()).slice(dead.length, dead.length + 2), ["redriven", "failed"]);
  await mill.dead.drop({ handler: "shaky" });
  assert.is((await kinds()).at(-1), "dropped");
});

test("a timeline survives a restart, ends with the record, and says where it broke off", async () => {
  const { sequence, done } = await mill.publish.shaky!({ failures: 1 });
  await done;
  await mill.publish.settle!({});
  await mill.close();
  const again = await opened();
  const timeline = await again.journal.timeline(sequence);
  assert.equal(
    timeline!.events.map(({ kind }) => kind),
    ["published", "failed", "waits", "done"],
  );
  assert.equal(await again.journal.timeline(sequence, { recordsMax: 1 }), {
    events: timeline!.events.slice(0, 1),
    isComplete: false,
  });
  // A record of the intake's own is none of a handler.
  let own = 1;
  while ((await again.journal.get(own)) !== undefined) own += 1;
  assert.is(await again.journal.timeline(own), undefined);
  await rejectsWith(again.journal.timeline(sequence, { recordMax: 1 } as never), "ERR_INVALID_OPTION");
  await again.close();
});

test.run();
