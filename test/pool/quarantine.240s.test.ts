/** Calls in a child process, and what is left when they end it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "@millrace/codec";
import { headerReader } from "@millrace/intake/internal/publisher/opening";
import { TaskHeaderWriter } from "@millrace/intake/internal/format/task-header";
import { Quarantine } from "@millrace/pool";
import { rejectsWith, temporaryDirectory } from "../support.ts";

const handlers = new URL("../fixtures/quarantine-handlers.js", import.meta.url).href;

function headerOf(sequence: number): Uint8Array {
  const writer = new TaskHeaderWriter(new Uint8Array(16), { recordBytesMax: 1024, groupBytesMax: 1024 });
  const none = new Uint8Array(0);
  const header = { sequence, timeMs: 1, attempt: 1, redriven: 0, resultBytesMax: 0, key: none, replayOf: 0 };
  return Uint8Array.from(writer.write({ ...header, scheduled: undefined, headers: none }));
}

async function withQuarantine(body: (call: (name: string, text: string) => Promise<unknown>) => Promise<void>) {
  const file = join(temporaryDirectory(), "called");
  const quarantine = new Quarantine(handlers, headerReader(), 30_000);
  let calls = 0;
  try {
    await body((handler, text) => {
      calls += 1;
      return quarantine.call({ handler, argument: Uint8Array.from(encode({ file, text })), header: headerOf(calls) });
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
