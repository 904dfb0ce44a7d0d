import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { completeFile, partOfNew } from "@millrace/journal/kernel";
import { writeLines } from "@millrace/intake/internal/letters/lines-file";
import { temporaryDirectory } from "../support.ts";

const isThere = ({ code }: { code?: string }): boolean => code === "EEXIST";

test("a file gets its name when it is whole, and never takes another's", () => {
  const directory = temporaryDirectory();
  const path = join(directory, "letters");
  const [one, two] = [partOfNew(path), partOfNew(path)];
  assert.is.not(one, two);
  writeFileSync(one, "one");
  writeFileSync(two, "two");
  assert.not(existsSync(path));
  completeFile(one, path);
  assert.throws(() => completeFile(two, path), isThere);
  assert.throws(() => partOfNew(path), isThere);
  assert.is(readFileSync(path, "utf8"), "one");
  assert.equal(readdirSync(directory).toSorted(), ["letters", two.slice(directory.length + 1)]);
});

test("an export that hasn't ended yet has another name; one that fails leaves nothing", async () => {
  const directory = temporaryDirectory();
  const path = join(directory, "letters");
  let seen: string[] = [];
  const lines = async function* (isGood: boolean): AsyncGenerator<object> {
    yield { text: "x".repeat(2 ** 19) };
    seen = readdirSync(directory);
    if (!isGood) throw new Error("the source ends");
    yield { text: "y" };
  };
  const failed = await writeLines(path, lines(false)).catch((thrown: Error) => thrown.message);
  assert.is(failed, "the source ends");
  assert.equal(readdirSync(directory), []);
  assert.is(await writeLines(path, lines(true)), 2);
  assert.is(seen.length, 1);
  assert.match(seen[0] as string, /^letters\.[0-9a-f]{8}\.part$/);
  assert.equal(readdirSync(directory), ["letters"]);
  const again = await writeLines(path, lines(true)).catch(({ code }: NodeJS.ErrnoException) => code);
  assert.is(again, "EEXIST");
});

test.run();
