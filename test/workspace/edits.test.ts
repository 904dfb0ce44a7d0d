/**
 * The edits by which the checker's mutants and the seeded bugs are made name a place in a compiled
 * module. When you change such a line, carry the edit over. This test says so at once, and not
 * after the half hour that running them takes.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Mutant } from "../model/api.ts";
import { scenarioFiles } from "../model/files.ts";
import { SEEDED_BUGS } from "../crash/seeded-bugs.ts";
import { INTAKE_BUGS } from "../intake/seeded-bugs.ts";

const packages = fileURLToPath(new URL("../../../packages/", import.meta.url));

/** The fault of an edit's place; undefined when the place is there, once. */
function fault(path: string, from: string): string | undefined {
  if (!existsSync(path)) return `${path} isn't there`;
  const found = readFileSync(path, "utf8").split(from).length - 1;
  return found === 1 ? undefined : `${JSON.stringify(from)} occurs ${found} times in ${path.slice(packages.length)}`;
}

test("each mutant of a scenario names one place", async () => {
  const faults: string[] = [];
  let count = 0;
  for (const { name, url } of scenarioFiles()) {
    const { mutants } = (await import(url)) as { readonly mutants: readonly Mutant[] };
    for (const { breaks, file, from } of mutants) {
      const [owner = "", ...path] = file.split("/");
      // Mutants of the checker's own fixtures are not in a package.
      const compiled = join(packages, owner, "dist", `${path.join("/")}.js`);
      const own = fileURLToPath(new URL(`../model/${file}.js`, import.meta.url));
      const wrong = fault(existsSync(own) ? own : compiled, from);
      if (wrong !== undefined) faults.push(`${name}: ${breaks}: ${wrong}`);
      count += 1;
    }
  }
  assert.ok(count >= 378, `${count} mutants`);
  assert.equal(faults, []);
});

for (const [owner, bugs, least] of [
  ["journal", SEEDED_BUGS, 62],
  ["intake", INTAKE_BUGS, 75],
] as const) {
  test(`each seeded bug of the ${owner} names one place`, () => {
    const faults = bugs.flatMap(({ name, file, from }) => {
      const wrong = fault(join(packages, owner, "dist", file), from);
      return wrong === undefined ? [] : [`${name}: ${wrong}`];
    });
    assert.ok(bugs.length >= least, `${bugs.length} bugs`);
    assert.equal(faults, []);
  });
}

test("an edit without a place, and one with two, are noticed", () => {
  const path = join(packages, "base/dist/invariant.js");
  assert.is(fault(path, "export function invariant("), undefined);
  assert.match(fault(path, "no such text") as string, "occurs 0 times");
  assert.match(fault(path, "i") as string, /occurs \d\d+ times/);
  assert.match(fault(`${path}.gone`, "i") as string, "isn't there");
});

test.run();
