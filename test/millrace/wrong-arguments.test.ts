// Errors of calls for arguments of a wrong type, and for filters that nobody can have meant.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, open } from "millrace";
import { handlersUrl, rejectsWith, temporaryDirectory } from "../support.ts";

async function withMill(body: (mill: Millrace) => Promise<void>): Promise<void> {
  const directory = join(temporaryDirectory(), "journal");
  const mill = await open({ handlers: handlersUrl, processors: 1, journal: { directory } });
  try {
    await body(mill);
  } finally {
    await mill.close();
  }
}

test("an argument of a wrong type is refused with its name", () =>
  withMill(async (mill) => {
    const { dead, journal, producers } = mill;
    const read = async (options: object): Promise<void> => {
      for await (const record of journal.read(options)) assert.unreachable(String(record.place));
    };
    const calls: [string, (value: never) => unknown, readonly unknown[]][] = [
      ["pause", (value) => mill.pause(value), [undefined, 5, null, {}]],
      ["resume", (value) => mill.resume(value), [5, Symbol("x")]],
      ["producer", (value) => mill.producer(value, "id"), [undefined, {}]],
      ["publishMany", (value) => mill.publishMany([{ handler: value }]), [5, null]],
      ["dead.get", (value) => dead.get(value), [undefined, "1", 0, 1.5, 1n]],
      ["producers.drop", (value) => producers.drop(value), [undefined, 5, ""]],
      ["on", (value) => mill.on(value, () => {}), ["died", undefined]],
      ["on, listener", (value) => mill.on("dead", value), [undefined, 5]],
      ["off", (value) => mill.off(value, () => {}), ["levels"]],
      ["journal.get", (value) => journal.get(value), ["1", undefined, Number.NaN, -1]],
      ["journal.find", (value) => journal.find(value), [undefined, 5, ""]],
      ["journal.backup", (value) => journal.backup(value), [undefined, 5, "", "a\0b"]],
      ["backup", (value) => mill.backup(value), [undefined, new URL("file:///tmp/x")]],
      ["journal.read", read, [{ frm: 1 }, { from: new Date(Number.NaN) }, { to: "now" }, { follow: 1 }]],
    ];
    for (const [name, call, values] of calls) {
      for (const value of values) {
        const { message, details } = await rejectsWith((async () => call(value as never))(), "ERR_INVALID_OPTION");
        assert.ok(message.length > 0 && typeof details.allowed === "string", `${name}(${String(value)}): ${message}`);
      }
    }
  }));

test("a record of publishMany whose handler stands under a misspelt member is refused", () =>
  withMill(async (mill) => {
    const wrong = [{ handlr: "echo", payload: 1 }] as never;
    assert.match((await rejectsWith(mill.publishMany(wrong), "ERR_INVALID_OPTION")).message, '"handlr"');
    await rejectsWith(mill.publishMany([{ payload: 1 }] as never), "ERR_INVALID_OPTION");
  }));

test("what changes dead letters takes no filter whose value is missing", () =>
  withMill(async ({ dead }) => {
    const filters = [undefined, null, "echo", { key: undefined }, { handler: "echo", to: undefined }] as never[];
    for (const filter of filters) {
      await rejectsWith(dead.drop(filter), "ERR_INVALID_OPTION");
      await rejectsWith(dead.redrive(filter), "ERR_INVALID_OPTION");
    }
    assert.is(await dead.drop({}), 0);
    assert.is(await dead.redrive({}), 0);
  }));

test("options for a handler that the module doesn't export are a warning", async () => {
  const directory = join(temporaryDirectory(), "journal");
  const warnings: string[] = [];
  const listener = (warning: Error & { code?: string }): void => {
    if (warning.code === "MILLRACE_HANDLER_UNKNOWN") warnings.push(warning.message);
  };
  process.on("warning", listener);
  try {
    const handlers = { ehco: { timeoutMs: 5 }, echo: { timeoutMs: 5 } } as never;
    await (await open({ handlers: handlersUrl, processors: 1, journal: { directory, handlers } })).close();
    assert.is(warnings.length, 1);
    assert.match(warnings[0] as string, /"ehco".*did you mean "echo"\?/);
  } finally {
    process.off("warning", listener);
  }
});

test("options of a handler that are no object, and a path with a NUL, are refused", async () => {
  for (const wrong of [null, 5, [], "strict"]) {
    const journal = { directory: "d", handlers: { echo: wrong as never } };
    await rejectsWith(open({ handlers: handlersUrl, journal }), "ERR_INVALID_OPTION");
  }
  await rejectsWith(open({ handlers: handlersUrl, journal: { directory: "a\0b" } }), "ERR_INVALID_OPTION");
});

test.run();
