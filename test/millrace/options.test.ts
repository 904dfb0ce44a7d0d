// Errors of open() for wrong options: with the user's own names and the nearest known one, before
// anything is started.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { open } from "millrace";
import { handlersUrl, rejectsWith } from "../support.ts";

const INTERNAL = /guests|headerReader|deliveryThread|Scheduler|Intake|Journal\b/;

async function refusal(given: unknown): Promise<{ message: string; details: Record<string, unknown> }> {
  const error = await rejectsWith(open(given as never), "ERR_INVALID_OPTION");
  assert.not.match(error.message, INTERNAL);
  for (const name of ["owner", "name", "allowed"]) assert.type(error.details[name], "string", name);
  return error;
}

test("an unknown option is refused with the nearest one of the user's own", async () => {
  const handlers = handlersUrl;
  const cases: [unknown, RegExp][] = [
    [{ handlers, jurnal: {} }, /^open: unknown option "jurnal"; did you mean "journal"\?$/],
    [{ handlers, procesors: 2 }, /^open: unknown option "procesors"; did you mean "processors"\?$/],
    [{ handlers, onfailure: () => {} }, /^open: unknown option "onfailure"; did you mean "onFailure"\?$/],
    [
      { handlers, zzzzzzzz: 1 },
      /^open: unknown option "zzzzzzzz"; known are handlers, .*journal, blocking, health, spans, onFailure$/,
    ],
    [{ handlers, journal: { dir: "d" } }, /^open\({ journal }\): unknown option "dir"; did you mean "directory"\?$/],
    [
      { handlers, journal: { directory: "d", retries: 3 } },
      /^open\({ journal }\): unknown option "retries"; known are /,
    ],
    [{ handlers, health: { backlog: 3 } }, /^open\({ health }\): .*did you mean "backlogMs"\?$/],
    [{ handlers, health: { diskSlowMs: 20_000 } }, /diskSlowMs \(20000\) is above diskStuckMs \(10000\)$/],
    [{ handlers, blocking: { threadMax: 3 } }, /^open\({ blocking }\): .*did you mean "threadsMax"\?$/],
    [{ handlers, resourceLimits: { maxOldGenerationSize: 64 } }, /did you mean "maxOldGenerationSizeMb"\?$/],
    [{ handlers, blocking: { resourceLimits: { stackSize: 4 } } }, /did you mean "stackSizeMb"\?$/],
  ];
  for (const [given, message] of cases) assert.match((await refusal(given)).message, message);
});

test("options between the packages are none of the user's", async () => {
  for (const given of [
    { handlers: handlersUrl, guests: [] },
    { handlers: handlersUrl, headerReader: handlersUrl },
    { handlers: handlersUrl, journal: { directory: "d", deliveryThread: 1 } },
  ]) {
    const error = await rejectsWith(open(given as never), "ERR_INVALID_OPTION");
    assert.match(error.message, /: unknown option "(guests|headerReader|deliveryThread)"; known are /);
  }
});

test("a value of the wrong type is refused with name, value and what is allowed", async () => {
  const handlers = handlersUrl;
  const cases: [Record<string, unknown>, string, unknown][] = [
    [{ handlers: 5 }, "handlers", 5],
    [{ handlers: "" }, "handlers", ""],
    [{ handlers: { echo: () => 1 } }, "handlers", undefined],
    [{ handlers, processors: "2" }, "processors", "2"],
    [{ handlers, processors: 0 }, "processors", 0],
    [{ handlers, trace: true }, "trace", true],
    [{ handlers, journal: "directory" }, "journal", "directory"],
    [{ handlers, journal: null }, "journal", null],
    [{ handlers, journal: { directory: 3 } }, "directory", 3],
    [{ handlers, journal: { directory: "d", attemptsMax: 0 } }, "attemptsMax", 0],
    [{ handlers, journal: { directory: "d", maxDeliveries: 0 } }, "maxDeliveries", 0],
    [{ handlers, journal: { directory: "d", storage: null } }, "storage", null],
    [{ handlers, blocking: 3 }, "blocking", 3],
    [{ handlers, blocking: { threadsMax: 0 } }, "threadsMax", 0],
    [{ handlers, onFailure: "console.error" }, "onFailure", "console.error"],
    [{ handlers, onHint: true }, "onHint", true],
    [{ handlers, resourceLimits: { stackSizeMb: "4" } }, "stackSizeMb", "4"],
  ];
  for (const [given, name, value] of cases) {
    const { details } = await refusal(given);
    assert.is(details.name, name);
    if (value !== undefined) assert.is(details.value, value);
  }
});

test("what is missing, or no object at all, is refused", async () => {
  assert.match((await refusal(undefined)).message, 'open: option "handlers" is required: a URL or a path');
  assert.match((await refusal({})).message, 'open: option "handlers" is required: a URL or a path');
  assert.match(
    (await refusal({ handlers: handlersUrl, journal: {} })).message,
    'open({ journal }): option "directory" is required',
  );
  for (const given of [null, 5, "handlers.js", handlersUrl, [handlersUrl], () => {}]) {
    assert.match((await refusal(given)).message, "open: the options must be an object with options, not ");
  }
});

test.run();
