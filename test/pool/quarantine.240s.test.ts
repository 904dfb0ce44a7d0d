/** Calls in a child process, and what is left when they end it. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "@millrace/codec";
import { headerReader } from "@millrace/intake/internal/publisher/opening";
import { TaskHeaderWriter } from "@millrace/intake/internal/format/task-header";
import { Quarantine } from "@millrace/pool";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

const handlers = new URL("../fixtures/quarantine-handlers.js", import.meta.url).href;

function headerOf(sequence: number): Uint8Array {
  const writer = new TaskHeaderWriter(new Uint8Array(16), { recordBytesMax: 1024, groupBytesMax: 1024 });
  const none = new Uint8Array(0);
  const facts = { sequence, timeMs: 1, attempt: 1, redriven: 0, resultBytesMax: 0, isRecorded: false };
  const header = { ...facts, key: none, replayOf: 0, scheduled: undefined, trace: "", lastSpan: "", headers: none };
  return Uint8Array.from(writer.write(header));
}

type Call = (name: string, text: string, timeoutMs?: number) => Promise<unknown>;

async function withQuarantine(body: (call: Call) => Promise<void>) {
  const file = join(temporaryDirectory(), "called");
  const quarantine = new Quarantine(handlers, headerReader(), 30_000);
  let calls = 0;
  try {
    await body((handler, text, timeoutMs = 60_000) => {
      calls += 1;
      const argument = Uint8Array.from(encode({ file, text }));
      return quarantine.call({ handler, argument, header: headerOf(calls), timeoutMs });
    });
    assert.is(readFileSync(file, "utf8").split("\n").length - 1, calls, "each handler was called once");
  } finally {
    await quarantine.close();
  }
}

for (const end of ["kills", "exits", "throwsLater"]) {
  test(`calls that wait while one ${end} are handled by the next process`, async () => {
    await withQuarantine(async (call) => {
      const ended = call(end, "first");
      const waiting = [call("echo", "second"), call(end, "third"), call("echo", "fourth")];
      await rejectsWith(ended, "ERR_QUARANTINE_DIED");
      await waiting[0];
      await rejectsWith(waiting[1] as Promise<unknown>, "ERR_QUARANTINE_DIED");
      await waiting[2];
    });
  });
}

for (const handler of ["hangs", "blocks", "obeys", "throwsWhenLate", "ignores", "late"]) {
  test(`the time limit ends a call that ${handler}, and the next one is handled`, async () => {
    await withQuarantine(async (call) => {
      const late = call(handler, "first", 100);
      const next = call("echo", "second");
      const { details } = await rejectsWith(late, "ERR_QUARANTINE_TIMEOUT");
      assert.equal(details, { handler, timeoutMs: 100 });
      await next;
      await rejectsWith(call(handler, "third", 1), "ERR_QUARANTINE_TIMEOUT");
    });
  });
}

test("a handler finds the variables of its program", async () => {
  process.env.MILLRACE_TEST_VARIABLE = "a database";
  await withQuarantine(async (call) => void (await call("needsVariables", "a database")));
});

for (const [name, flags, variables] of [
  ["--input-type -e", ["--input-type=module", "-e"], {}],
  ["--input-type module --eval", ["--input-type", "module", "--max-old-space-size=300", "--eval"], {}],
  ["the type in NODE_OPTIONS", ["-e"], { NODE_OPTIONS: "--input-type=module" }],
] as const) {
  test(`a program that is no file has a quarantine as well: ${name}`, () => {
    const file = join(temporaryDirectory(), "called");
    const bytes = [encode({ file, text: "first" }), headerOf(1)].map((each) => JSON.stringify([...each]));
    const program = `
      import { Quarantine } from ${JSON.stringify(import.meta.resolve("@millrace/pool"))};
      import { headerReader } from ${JSON.stringify(import.meta.resolve("@millrace/intake/internal/publisher/opening"))};
      const quarantine = new Quarantine(${JSON.stringify(handlers)}, headerReader(), 30_000);
      const [argument, header] = [${bytes.join()}].map((each) => Uint8Array.from(each));
      await quarantine.call({ handler: "echo", argument, header, timeoutMs: 30_000 });
      await quarantine.close();`;
    const { status, stderr } = spawnSync(process.execPath, [...flags, program], {
      encoding: "utf8",
      env: { ...process.env, ...variables },
      timeout: 60_000,
    });
    assert.is(status, 0, stderr);
    assert.ok(existsSync(file));
  });
}

test("the time limit counts from the call of the handler, not from the start", async () => {
  await withQuarantine(async (call) => {
    // A process takes longer than this to start.
    const slow = call("hangs", "first", 1500);
    // It waits for the one before it.
    await call("echo", "second", 1000);
    await rejectsWith(slow, "ERR_QUARANTINE_TIMEOUT");
  });
});

test("a module that blocks its process while it loads is given up", async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, "blocks.mjs"), "for (;;);");
  const call = { handler: "echo", argument: Uint8Array.from(encode(1)), header: headerOf(1), timeoutMs: 60_000 };
  const blocked = new Quarantine(pathToFileURL(join(directory, "blocks.mjs")).href, headerReader(), 200);
  try {
    await rejectsWith(blocked.call(call), "ERR_QUARANTINE_TIMEOUT");
  } finally {
    await blocked.close();
  }
});

test("a call that waits when the quarantine is closed starts no process", async () => {
  const file = join(temporaryDirectory(), "called");
  const quarantine = new Quarantine(handlers, headerReader(), 30_000);
  const call = (handler: string, sequence: number): Promise<unknown> => {
    const argument = Uint8Array.from(encode({ file, text: handler }));
    return quarantine.call({ handler, argument, header: headerOf(sequence), timeoutMs: 60_000 });
  };
  const calls = [call("hangs", 1), call("echo", 2)].map((each) => rejectsWith(each, "ERR_QUARANTINE_DIED"));
  await until(() => existsSync(file), "the first one runs", 60_000);
  await quarantine.close();
  await Promise.all([...calls, rejectsWith(call("echo", 3), "ERR_QUARANTINE_DIED")]);
  assert.is(readFileSync(file, "utf8"), "hangs\n");
  await quarantine.close();
});

test("a process that was idle for its time, or just is, takes the next call", async () => {
  await withQuarantine(async (call) => {
    // The process ends after a second of idleness.
    for (const pauseMs of [900, 980, 1000, 1010, 1050]) {
      await call("echo", `before ${pauseMs}`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    await call("echo", "last");
  });
});

test.run();
