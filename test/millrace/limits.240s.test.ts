// Values that a publish and an opening refuse, with the limit in the message; and names that every
// object has.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { Intake } from "@millrace/intake";
import { Quarantine } from "@millrace/pool";
import { rejectsWith, temporaryDirectory } from "../support.ts";

type Loose = Record<string, (payload?: unknown, options?: unknown) => Promise<{ readonly done: Promise<void> }>>;

const echo = new URL("data:text/javascript,export function echo(value) { return value; }");
const moduleOf = (text: string): URL => new URL(`data:text/javascript,${encodeURIComponent(text)}`);

async function withMill(body: (mill: Millrace, publish: Loose) => Promise<void>, handlers = echo): Promise<void> {
  const mill = await open({ handlers, processors: 1, journal: { directory: temporaryDirectory() } });
  try {
    await body(mill, mill.publish as unknown as Loose);
    await mill.drain({ all: true });
  } finally {
    await mill.terminate();
  }
}

// ── what a publish refuses ──────────────────────────────────────────────────────────────────────

test("a record that is too large says which part, and the limit of that part", async () => {
  await withMill(async (mill, publish) => {
    for (const headers of [
      { text: "x".repeat(100_000) },
      { ["n".repeat(70_000)]: 1 },
      { list: new Uint8Array(65_536) },
    ]) {
      const error = await rejectsWith(
        publish.echo?.(1, { headers }) as Promise<unknown>,
        "ERR_JOURNAL_RECORD_TOO_LARGE",
      );
      assert.match(error.message, "65535");
      assert.not.match(error.message, "1048576");
      assert.is(error.details.part, "headers");
    }
    const error = await rejectsWith(
      publish.echo?.("x".repeat(2 ** 20)) as Promise<unknown>,
      "ERR_JOURNAL_RECORD_TOO_LARGE",
    );
    assert.match(error.message, "1048576");
    const group = mill.publishMany([{ handler: "echo", headers: { text: "x".repeat(100_000) } }]);
    assert.match((await rejectsWith(group, "ERR_JOURNAL_RECORD_TOO_LARGE")).message, "65535");
    await (
      await publish.echo?.(1, { headers: { text: "x".repeat(60_000) } })
    )?.done;
  });
});

test("wrong options are refused with name and limit, and nothing is stored", async () => {
  const now = Date.now();
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ key: "k".repeat(1025) }, /key.*1024/],
    [{ key: "é".repeat(513) }, /key.*1024/],
    [{ key: "" }, /key/],
    [{ key: 5 }, /key/],
    [{ idempotencyKey: "k".repeat(256) }, /idempotencyKey.*255/],
    [{ idempotencyKey: "" }, /idempotencyKey/],
    [{ producer: { id: "p".repeat(5000), sequence: 1 } }, /producer/],
    [{ producer: { id: "p", sequence: NaN } }, /producer/],
    [{ producer: { id: "p", sequence: -1 } }, /producer/],
    [{ producer: { id: "p", sequence: 2 ** 60 } }, /producer/],
    [{ producer: null }, /producer/],
    [{ delayMs: NaN }, /delayMs/],
    [{ delayMs: -1 }, /delayMs/],
    [{ delayMs: Infinity }, /delayMs/],
    [{ delayMs: 1e15 }, /delayMs.*315360000000/],
    [{ notBefore: NaN }, /notBefore/],
    [{ notBefore: 1e17 }, /notBefore/],
    [{ delayMs: 5, notBefore: now }, /not both/],
    [{ ttlMs: 0 }, /ttlMs/],
    [{ ttlMs: NaN }, /ttlMs/],
    [{ expiresAt: now - 1 }, /over before/],
    [{ expiresAt: Infinity }, /expiresAt/],
    [{ delayMs: 10, ttlMs: 10 }, /over before/],
    [{ notBefore: now + 60_000, expiresAt: now + 30_000 }, /over before/],
    [{ headers: 5 }, /headers/],
    [{ headers: "text" }, /headers/],
    [{ headers: [1, 2] }, /headers/],
    [{ headers: null }, /headers/],
    [{ priority: "urgent" }, /priority/],
    [{ priority: "__proto__" }, /priority/],
    [{ __proto__: { prioritty: "high" }, prioritty: "high" }, /priority/],
  ];
  await withMill(async (mill, publish) => {
    const before = mill.stats().intake?.journal.durableSequence;
    for (const [options, says] of wrong) {
      const error = await rejectsWith(publish.echo?.(1, options) as Promise<unknown>, "ERR_INVALID_OPTION");
      assert.match(error.message, says, JSON.stringify(options));
      await rejectsWith(mill.publishMany([{ handler: "echo", ...options }] as never), "ERR_INVALID_OPTION");
    }
    assert.is(mill.stats().intake?.journal.durableSequence, before);
    // In the past is now.
    await (
      await publish.echo?.(1, { notBefore: 0 })
    )?.done;
    await (
      await publish.echo?.(1, { delayMs: 0, ttlMs: 60_000, key: "k".repeat(1024) })
    )?.done;
  });
});

test("names that every object has are unknown handlers, unless the module exports them", async () => {
  const names = ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"];
  await withMill(async (mill, publish) => {
    for (const name of names) {
      assert.throws(() => publish[name], /no handler is called/);
      assert.throws(() => (mill.run as unknown as Loose)[name], /no handler is called/);
      await rejectsWith(mill.publishMany([{ handler: name }]), "ERR_HANDLER_UNKNOWN");
      await rejectsWith(mill.pause(name), "ERR_HANDLER_UNKNOWN");
      await rejectsWith(mill.dead.redrive({ toHandler: name }), "ERR_HANDLER_UNKNOWN");
    }
  });
  const odd = new URL("../../../test/fixtures/odd-names.mjs", import.meta.url);
  const notes = join(temporaryDirectory(), "notes");
  await withMill(async (mill, publish) => {
    const exported = names.filter((name) => mill.handlerNames.includes(name));
    assert.is(exported.length, 4);
    const headers = JSON.parse('{ "__proto__": 1, "constructor": 2, "toString": 3 }') as object;
    for (const name of exported) {
      const record = await publish[name]?.({ notes }, { key: "__proto__", idempotencyKey: "constructor", headers });
      await record?.done;
      await mill.pause(name);
      await mill.resume(name);
    }
    const expected = '[["__proto__",1],["constructor",2],["toString",3]]';
    assert.equal(
      readFileSync(notes, "utf8").split("\n").slice(0, -1).toSorted(),
      exported.map((name) => `${name} ${expected}`).toSorted(),
    );
  }, odd);
});

// ── a module that never loads ───────────────────────────────────────────────────────────────────

const HANGS = {
  "top-level await beside a timer": "setInterval(() => {}, 1000); await new Promise(() => {}); export function a() {}",
  "top-level await of nothing": "await new Promise(() => {}); export function a() {}",
  "an import that awaits": `import ${JSON.stringify(
    moduleOf("setInterval(() => {}, 1000); await new Promise(() => {});").href,
  )}; export function a() {}`,
  "a loop": "for (;;); export function a() {}",
  initialize:
    "export function a() {} export async function initialize() { await new Promise(() => setInterval(() => {}, 9)); }",
};

for (const [what, text] of Object.entries(HANGS)) {
  test(`a module that never loads is told, with its name: ${what}`, async () => {
    const handlers = moduleOf(text);
    const given = { handlers, processors: 1, startTimeoutMs: 500 };
    for (const journal of [undefined, { directory: temporaryDirectory() }]) {
      const opening = open({ ...given, ...(journal === undefined ? {} : { journal }) });
      const error = await rejectsWith(opening, "ERR_HANDLER_MODULE");
      assert.is(error.details.url, handlers.href);
      assert.ok(error.message.includes(handlers.href));
      // Nothing of it holds the directory.
      if (journal !== undefined) await (await open({ handlers: echo, processors: 1, journal })).close();
    }
  });
}

test("in quarantine a module that never loads is told as well", async () => {
  const quarantine = new Quarantine(moduleOf(HANGS["top-level await beside a timer"]).href, Intake.headerReader(), 500);
  const call = { handler: "a", argument: new Uint8Array([0xc0]), header: new Uint8Array(64), timeoutMs: 1000 };
  const error = await rejectsWith(quarantine.call(call), "ERR_HANDLER_MODULE");
  assert.match(error.message, "500 ms");
  assert.match(error.message, "data:text/javascript");
  await quarantine.close();
});

test.run();
