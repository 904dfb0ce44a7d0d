// The scripts of `millrace completion` in the shells themselves.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { temporaryDirectory, testIf } from "../support.ts";
import { launcher, millrace } from "./support.ts";

const has = (shell: string): boolean => spawnSync(shell, ["-c", "true"]).error === undefined;

function scriptOf(shell: string): string {
  const file = join(temporaryDirectory(), `millrace.${shell}`);
  writeFileSync(file, execFileSync(process.execPath, [launcher, "completion", shell]));
  return file;
}

/** A line up to the cursor, and words that must be among the proposals, or must not. */
const cases: readonly (readonly [line: string, wanted: readonly string[], unwanted: readonly string[]])[] = [
  ["millrace ", ["ingest", "load", "journal", "trace", "completion"], ["inspect"]],
  ["millrace jo", ["journal"], ["ingest"]],
  ["millrace journal ", ["inspect", "verify", "export"], ["--handler"]],
  ["millrace journal verify --", ["--dir", "--json"], ["--handler"]],
  ["millrace ingest file --ha", ["--handler"], ["--dir"]],
  ["millrace ingest file --format ", ["ndjson", "csv"], ["--dir"]],
  ["millrace completion ba", [], ["ingest"]],
];

function holds(shell: string, proposals: (line: string) => string[]): void {
  for (const [line, wanted, unwanted] of cases) {
    const found = proposals(line);
    for (const word of wanted) assert.ok(found.includes(word), `${shell}: ${line}| lacks ${word}: ${found.join(" ")}`);
    for (const word of unwanted) assert.not.ok(found.includes(word), `${shell}: ${line}| has ${word}`);
  }
}

testIf(has("bash"))("bash completes commands, options and choices", () => {
  const script = scriptOf("bash");
  holds("bash", (line) => {
    const words = line.split(" ");
    const list = words.map((word) => `'${word}'`).join(" ");
    const program = `source ${script}; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _millrace; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync("bash", ["-c", program], { encoding: "utf8" }).trim().split("\n");
  });
});

testIf(has("zsh"))("zsh completes commands, options and choices", () => {
  const script = scriptOf("zsh");
  holds("zsh", (line) => {
    const words = line.split(" ");
    const list = words.map((word) => `'${word}'`).join(" ");
    // Outside of the line editor: what would be added is printed, where it fits.
    const current = words.at(-1) as string;
    const fakes = `compdef() {}; _files() {}; compadd() { print -l -- "\${(@M)candidates:#${current}*}" }`;
    const program = `${fakes}; source ${script}; words=(${list}); CURRENT=${words.length}; _millrace`;
    return execFileSync("zsh", ["-f", "-c", program], { encoding: "utf8" }).trim().split("\n");
  });
});

testIf(has("fish"))("fish completes commands, options and choices", () => {
  const script = scriptOf("fish");
  holds("fish", (line) => {
    const program = `source ${script}; complete -C '${line}'`;
    const output = execFileSync("fish", ["--no-config", "-c", program], { encoding: "utf8" });
    return output
      .trim()
      .split("\n")
      .map((proposal) => proposal.split("\t")[0] as string);
  });
});

test("another shell is refused with those that are known", async () => {
  const { code, stderr } = await millrace(["completion", "tcsh"]);
  assert.is(code, 2);
  assert.match(stderr, /bash, zsh or fish/);
});

test("the README names every command", async () => {
  const readme = readFileSync(new URL("../../../README.md", import.meta.url), "utf8");
  const help = (await millrace(["--help"])).stdout;
  const names = [...help.matchAll(/^ {2}([a-z]+) .*$/gm)].map(([, name]) => name as string);
  assert.ok(names.includes("ingest") && names.includes("dlq"), names.join(" "));
  for (const name of names) if (name !== "help") assert.match(readme, `| \`${name} `);
});

test.run();
