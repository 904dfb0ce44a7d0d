// An opening that fails leaves nothing: no file, no thread, no lock.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory, testIf, until } from "../support.ts";

const ROUNDS = 2;

/** Open files and threads of this process. */
const countOf = (what: "fd" | "task"): number => readdirSync(`/proc/self/${what}`).length;

testIf(existsSync("/proc/self/fd"))("openings that fail leave no file open and no thread", async () => {
  const root = temporaryDirectory();
  const moduleOf = (name: string, text: string): URL => {
    const path = join(root, `${name}.mjs`);
    writeFileSync(path, text);
    return pathToFileURL(path);
  };
  const good = moduleOf("good", "export function f() {}");
  const inUse = join(root, "in-use");
  const file = join(root, "file");
  const damaged = join(root, "damaged");
  writeFileSync(file, "");
  mkdirSync(damaged);
  writeFileSync(join(damaged, "log-0000000000000001.wal"), "nonsense".repeat(2000));
  const holder = await open({ handlers: good, processors: 1, journal: { directory: inUse } });
  const unknown = { x: { handler: "nobody", everyMs: 1000 } };
  const cases: readonly (readonly [code: string, handlers: URL, journal: NonNullable<MillraceOptions["journal"]>])[] = [
    ["ERR_HANDLER_MODULE", moduleOf("throws", "throw new Error('no');"), { directory: join(root, "a") }],
    ["ERR_HANDLER_MODULE", new URL("none.mjs", good), { directory: join(root, "b") }],
    ["ERR_INVALID_OPTION", moduleOf("retry", "export function f() {}; f.retry = 5;"), { directory: join(root, "c") }],
    ["ERR_HANDLER_UNKNOWN", good, { directory: join(root, "d"), schedules: unknown }],
    ["ERR_JOURNAL_LOCKED", good, { directory: inUse }],
    ["ERR_JOURNAL_LOCKED", good, { directory: inUse, lockWaitMs: 20 }],
    ["ERR_JOURNAL_STORAGE", good, { directory: file }],
    ["ERR_JOURNAL_DAMAGED", good, { directory: damaged }],
  ];
  const fail = async ([code, handlers, journal]: (typeof cases)[0]): Promise<unknown> =>
    rejectsWith(open({ handlers, processors: 1, journal }), code);
  for (const each of cases) await fail(each);
  const [files, threads] = [countOf("fd"), countOf("task")];
  for (let round = 0; round < ROUNDS; round += 1) for (const each of cases) await fail(each);
  await until(() => countOf("task") <= threads, "all threads have ended");
  assert.ok(countOf("fd") <= files + 2, `${countOf("fd")} files are open after ${files}`);
  // Nothing of them holds a directory.
  for (const name of ["a", "b", "c", "d"]) {
    await (await open({ handlers: good, processors: 1, journal: { directory: join(root, name) } })).close();
  }
  await holder.close();
});

test.run();
