import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  blocksNotRun,
  circles,
  climbingImports,
  COLUMNS_MAX,
  deadExports,
  deadFiles,
  type Files,
  FUNCTION_LINES_MAX,
  longFunctions,
  longTestNames,
  unknownNames,
  wideLines,
} from "./tidy.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const { folders } = (await import(join(root, "scripts/layers.mjs"))) as { folders: Record<string, string[]> };

/**
 * The files that git knows, and those that it would take in: a fault in a new file counts before
 * the file is added.
 */
const paths = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
  maxBuffer: 1 << 26,
})
  .split("\n")
  .filter((path) => /\.(ts|mjs|js|cjs|md|json)$/.test(path) && existsSync(join(root, path)));
const repository: Files = new Map(paths.map((path) => [path, readFileSync(join(root, path), "utf8")]));

const climbs = (files: Files): string[] => climbingImports(files, folders);

const A = "packages/base/src/a.ts";
const B = "packages/base/src/b.ts";
const words = (columns: number): string => "word ".repeat(columns / 5).trimEnd();

/** Each check with files in which it must find as many faults as stated. */
const checks: { name: string; check: (files: Files) => string[]; planted: Record<string, string>; faults: number }[] = [
  {
    name: "comments and prose fit in their columns",
    check: wideLines,
    planted: {
      [A]: `// ${words(COLUMNS_MAX + 5)}\n/**\n * ${words(COLUMNS_MAX + 5)}\n */\n// ${words(COLUMNS_MAX - 5)}\n`,
      "docs/a.md": `${words(COLUMNS_MAX + 5)}\n\n| ${words(COLUMNS_MAX + 5)} |\n`,
    },
    faults: 3,
  },
  {
    name: "a function fits on a screen",
    check: longFunctions,
    planted: { [A]: `export function long() {\n${"  let a;\n".repeat(FUNCTION_LINES_MAX)}}\n` },
    faults: 1,
  },
  {
    name: "no export is dead",
    check: deadExports,
    planted: {
      [A]: "export const dead = 1;\nexport const used = 2;\nexport type Tested = 3;\n",
      [B]: 'import { used } from "./a.ts";\nvoid used;\n',
      "test/base/a.test.ts": 'import type { Tested } from "@millrace/base/internal/a";\ntype T = Tested;\n',
    },
    faults: 2,
  },
  {
    name: "no file is dead",
    check: deadFiles,
    planted: { [A]: "export {};\n", [B]: 'import "./c.ts";\n', "packages/base/src/index.ts": 'import "./b.ts";\n' },
    faults: 1,
  },
  {
    name: "imports make no circle",
    check: circles,
    planted: {
      [A]: 'import "./b.ts";\n',
      [B]: 'import type { C } from "./c.ts";\n',
      "packages/base/src/c.ts": 'import "./a.ts";',
    },
    faults: 1,
  },
  {
    name: "no folder imports from one above it",
    check: climbs,
    planted: {
      "packages/scheduler/src/shared/a.ts": 'import "../machine/b.ts";\nimport "../errors.ts";\n',
      "packages/scheduler/src/elsewhere/a.ts": "",
    },
    faults: 2,
  },
  {
    name: "documents name what exists",
    check: unknownNames,
    planted: {
      [A]: "export class Machine { #turn() {} }\n",
      "docs/a.md": "`Machine.#run`, `Machine.#turn`, `#walk`, `a.ts`, `gone.ts`, `Atomics.wait`, `Atomics.sleep`\n",
    },
    faults: 4,
  },
  {
    name: "code in documents runs, or says why not",
    check: blocksNotRun,
    planted: {
      "docs/a.md": "```js\nlet a;\n```\n\n<!-- not run: a part -->\n\n```js\nlet b;\n```\n\n```js\n// c.mjs\n```\n",
    },
    faults: 1,
  },
  {
    name: "names of tests fit on a line",
    check: longTestNames,
    planted: { "test/base/a.test.ts": `test("${words(85)}", () => {});\n` },
    faults: 1,
  },
];

for (const { name, check, planted, faults } of checks) {
  test(name, () => {
    const complaints = check(repository);
    assert.ok(complaints.length === 0, `${complaints.length} to mend:\n${complaints.join("\n")}`);
  });
  test(`${name}: a fault that is planted is found`, () => {
    assert.is(check(new Map(Object.entries(planted))).length, faults);
  });
}

test("the checks see the repository", () => {
  assert.ok(repository.size > 300);
  assert.ok(repository.has("README.md") && repository.has("packages/scheduler/src/index.ts"));
});

test.run();
