import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { open } from "millrace";
import { Journal } from "@millrace/journal";
import type * as handlers from "../fixtures/handlers.ts";
import { handlersUrl, rejectsWith, temporaryDirectory } from "../support.ts";

test("a runtime copies its journal in use; the copy opens with every record", async () => {
  const directory = temporaryDirectory();
  const copy = join(temporaryDirectory(), "not", "there", "yet");
  const mill = await open<typeof handlers>({ handlers: handlersUrl, processors: 1, journal: { directory } });
  try {
    const acks = await Promise.all(Array.from({ length: 20 }, (_, n) => mill.publish.echo(n)));
    const last = Math.max(...acks.map(({ sequence }) => sequence));
    const summary = await mill.backup(copy);
    assert.ok(summary.lastSequence >= last, `${summary.lastSequence} of ${last}`);
    await rejectsWith(mill.backup(copy), "ERR_JOURNAL_STORAGE");
  } finally {
    await mill.close();
  }
  const journal = await Journal.open({ directory: copy, verifyAll: true });
  assert.ok(journal.recovery.records >= 20);
  await journal.close();
});

test("without a journal there is nothing to copy", async () => {
  const mill = await open({ handlers: handlersUrl, processors: 1 });
  await rejectsWith(mill.backup(temporaryDirectory()), "ERR_INTAKE_ABSENT");
  await mill.close();
});

test.run();
