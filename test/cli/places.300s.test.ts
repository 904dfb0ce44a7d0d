// The command's messages about places that it can't read or write.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { temporaryDirectory } from "../support.ts";
import { documentOf, millrace } from "./support.ts";

interface Refusal {
  readonly error: { readonly code: string; readonly message: string; readonly cure?: string };
}

async function refusal(...args: readonly string[]): Promise<Refusal["error"]> {
  const outcome = await millrace([...args, "--json"]);
  assert.is(outcome.code, 1, outcome.stderr);
  const { error } = documentOf<Refusal>(outcome);
  assert.type(error.cure, "string");
  return error;
}

test("a directory of a journal that is none, or can't be read, is an error with a code", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "file");
  writeFileSync(file, "");
  const cases = [
    [join(directory, "absent"), "ERR_JOURNAL_MISSING", "there is no such directory"],
    [file, "ERR_JOURNAL_MISSING", "it is no directory"],
    [join(file, "below"), "ERR_JOURNAL_MISSING", "it is no directory"],
    [directory, "ERR_JOURNAL_MISSING", "there are no segments in it"],
    [join(directory, "x".repeat(300)), "ERR_JOURNAL_STORAGE", "ENAMETOOLONG"],
  ] as const;
  for (const [path, code, text] of cases) {
    for (const command of [
      ["dlq", "list", path],
      ["journal", "verify", "--dir", path],
      ["intake", "status", path],
    ]) {
      // One after the other: two cores.
      // oxlint-disable-next-line no-await-in-loop
      const error = await refusal(...command);
      assert.is(error.code, code);
      assert.match(error.message, text);
    }
  }
});

test("a file of dead letters that can't be made is an error with a code", async () => {
  const directory = join(temporaryDirectory(), "journal");
  await (await Journal.open({ directory, allowUnsafeStorage: true })).close();
  const there = join(directory, "..", "there");
  mkdirSync(there);
  for (const output of [there, join(directory, "absent", "file"), join(there, "x".repeat(300))]) {
    // oxlint-disable-next-line no-await-in-loop
    const error = await refusal("dlq", "export", directory, "--output", output);
    assert.is(error.code, "ERR_CLI_OUTPUT");
    assert.match(error.message, "can't be written: E");
  }
});

test.run();
