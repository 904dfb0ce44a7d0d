/**
 * The examples in the documents run as they stand. A block that begins with `// NAME.mjs` or
 * `// NAME.ts` is a file; the block `text` after a group of files is what the group prints. The
 * program of a group is the file that no other one of it names. TypeScript is compiled with the
 * strictest options first, against the packages as users see them.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const compiler = join(root, "node_modules/typescript/lib/tsc.js");

interface Example {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  readonly prints: string;
}

function examplesIn(text: string): Example[] {
  const examples: Example[] = [];
  let files: { name: string; text: string }[] = [];
  for (const [, language, block = ""] of text.matchAll(/^```(js|ts|text)\n([\s\S]*?)^```/gm)) {
    const name = /^\/\/ ([\w-]+\.(?:mjs|ts))\n/.exec(block)?.[1];
    if (language !== "text" && name !== undefined) files.push({ name, text: block });
    if (language !== "text" || files.length === 0) continue;
    examples.push({ files, prints: block });
    files = [];
  }
  assert.is(files.length, 0, "every example says what it prints");
  return examples;
}

/** The file of a group that none of the others names. */
function programOf({ files }: Example): string {
  const stem = (name: string): string => name.replace(/\.\w+$/, "");
  const programs = files.filter(({ name }) =>
    files.every((other) => other.name === name || !other.text.includes(`./${stem(name)}.`)),
  );
  assert.is(programs.length, 1, `one program among ${files.map(({ name }) => name).join(", ")}`);
  return (programs[0] as { name: string }).name;
}

function compile(directory: string, names: readonly string[]): void {
  const strict = ["--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"];
  const module = ["--module", "nodenext", "--target", "es2022", "--lib", "es2024,esnext.disposable"];
  const options = [...strict, ...module, "--rewriteRelativeImportExtensions", "--types", "node"];
  execFileSync(process.execPath, [compiler, ...options, ...names], { cwd: directory, encoding: "utf8" });
}

/**
 * Runs a group in a directory of the workspace, where packages are found, and returns what it
 * prints.
 */
function outputOf(example: Example, directory: string): string {
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "package.json"), '{ "type": "module" }\n');
  for (const { name, text } of example.files) writeFileSync(join(directory, name), text);
  const sources = example.files.map(({ name }) => name).filter((name) => name.endsWith(".ts"));
  if (sources.length > 0) compile(directory, sources);
  const program = programOf(example).replace(/\.ts$/, ".js");
  return execFileSync(process.execPath, [program], { cwd: directory, encoding: "utf8", timeout: 60_000 });
}

const documents = [
  "README.md",
  ...readdirSync(join(root, "docs")).map((name) => `docs/${name}`),
  ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/README.md`),
];
let found = 0;

for (const document of documents.filter((name) => name.endsWith(".md"))) {
  for (const example of examplesIn(readFileSync(join(root, document), "utf8"))) {
    const program = programOf(example);
    found += 1;
    test(`${document}: ${program} prints what the page says`, () => {
      const directory = join(root, ".build", "examples", `${document.replaceAll("/", "-")}-${program}`);
      assert.is(outputOf(example, directory), example.prints);
      rmSync(directory, { recursive: true });
    });
  }
}

test("there are examples", () => {
  assert.ok(found >= 20);
});

test("a block that doesn't compile, or prints something else, is noticed", () => {
  const directory = join(root, ".build", "examples", "planted");
  const wrongType = { files: [{ name: "a.ts", text: "const a: number = 'one';\nconsole.log(a);\n" }], prints: "" };
  assert.throws(() => outputOf(wrongType, directory));
  const [example] = examplesIn('```js\n// a.mjs\nconsole.log("one");\n```\n\n```text\ntwo\n```\n');
  assert.not.equal(outputOf(example as Example, directory), example?.prints);
  rmSync(directory, { recursive: true });
});

test.run();
