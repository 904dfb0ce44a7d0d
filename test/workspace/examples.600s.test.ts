/**
 * The examples in the documents run as they stand. A block that begins with `// NAME.mjs` or
 * `// NAME.ts` is a file. The block after a group of files says what they do: `text` is what the
 * group's program prints, the file that no other one of it names. `console` is a session: lines
 * that begin with `$ ` are given to a shell, and the others are what it prints. TypeScript is
 * compiled with the strictest options first, against the packages as users see them.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const compiler = join(root, "node_modules/typescript/lib/tsc.js");

interface Example {
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** The program's output, or a session in a shell. */
  readonly prints: string;
  readonly isSession: boolean;
}

function examplesIn(text: string): Example[] {
  const examples: Example[] = [];
  let files: { name: string; text: string }[] = [];
  for (const [, notRun, language, block = ""] of text.matchAll(
    /^(<!-- not run: .+ -->\n+)?```(js|ts|text|console)\n([\s\S]*?)^```/gm,
  )) {
    if (notRun !== undefined) continue;
    const isSession = language === "console";
    const name = /^\/\/ ([\w.-]+\.(?:mjs|ts))\n/.exec(block)?.[1];
    if (/^[jt]s$/.test(language as string) && name !== undefined) files.push({ name, text: block });
    if (/^[jt]s$/.test(language as string) || files.length === 0) continue;
    examples.push({ files, prints: block, isSession });
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

/** Runs the commands of a session, and returns the session as it went. */
function sessionOf(session: string, directory: string): string {
  const PATH = `${join(root, "node_modules/.bin")}:${process.env["PATH"] ?? ""}`;
  return session
    .split("\n")
    .filter((line) => line.startsWith("$ "))
    .map((line) => {
      const command = line.slice(2).replaceAll("npx millrace", "millrace");
      const { stdout } = spawnSync(command, {
        cwd: directory,
        encoding: "utf8",
        env: { ...process.env, PATH, NODE_OPTIONS: "" },
        shell: "/bin/bash",
        timeout: 60_000,
      });
      return `${line}\n${stdout}`;
    })
    .join("");
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
  if (example.isSession) return sessionOf(example.prints, directory);
  const program = programOf(example).replace(/\.ts$/, ".js");
  return execFileSync(process.execPath, [program], { cwd: directory, encoding: "utf8", timeout: 60_000 });
}

const documents = [
  "README.md",
  ...(readdirSync(join(root, "docs"), { recursive: true }) as string[])
    .filter((name) => !/^(?:api|node_modules)\b/.test(name))
    .map((name) => `docs/${name}`),
  ...readdirSync(join(root, "packages")).map((name) => `packages/${name}/README.md`),
];
let found = 0;
/** `MILLRACE_EXAMPLES=guides/payments` runs the examples of one page. */
const only = process.env["MILLRACE_EXAMPLES"] ?? "";

for (const document of documents.filter((name) => name.endsWith(".md") && name.includes(only))) {
  for (const example of examplesIn(readFileSync(join(root, document), "utf8"))) {
    const program = example.isSession ? (example.files.at(-1) as { name: string }).name : programOf(example);
    found += 1;
    test(`${document}: ${program} ${example.isSession ? "does" : "prints"} what the page says`, () => {
      const directory = join(root, ".build", "examples", `${document.replaceAll("/", "-")}-${program}`);
      assert.is(outputOf(example, directory), example.prints);
      rmSync(directory, { recursive: true });
    });
  }
}

test("there are examples", () => {
  assert.ok(found >= (only === "" ? 40 : 1));
});

test("a block that doesn't compile, or prints something else, is noticed", () => {
  const directory = join(root, ".build", "examples", "planted");
  const wrongType = {
    files: [{ name: "a.ts", text: "const a: number = 'one';\nconsole.log(a);\n" }],
    prints: "",
    isSession: false,
  };
  assert.throws(() => outputOf(wrongType, directory));
  const [example] = examplesIn('```js\n// a.mjs\nconsole.log("one");\n```\n\n```text\ntwo\n```\n');
  assert.not.equal(outputOf(example as Example, directory), example?.prints);
  const [session] = examplesIn('```js\n// a.mjs\nconsole.log("one");\n```\n\n```console\n$ node a.mjs\ntwo\n```\n');
  assert.is(outputOf(session as Example, directory), "$ node a.mjs\none\n");
  rmSync(directory, { recursive: true });
});

test.run();
