/** Mistakes in a command line: each is told in one style, and leads to the help of its command. */
import { resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { documentOf, millrace } from "./support.ts";

const cases: readonly [args: readonly string[], message: string, help: string][] = [
  [["ingst"], 'unknown command "ingst"; did you mean ingest?', "millrace"],
  [["zzzz"], 'unknown command "zzzz"', "millrace"],
  [["journal", "verfy"], 'unknown command "verfy"; did you mean verify?', "millrace journal"],
  [["--nope"], "unknown option --nope", "millrace"],
  [["journal", "verify"], "--dir <dir> is required", "millrace journal verify"],
  [["journal", "verify", "--dri", "x"], "unknown option --dri; did you mean --dir?", "millrace journal verify"],
  [["journal", "verify", "--dri=x"], "unknown option --dri; did you mean --dir?", "millrace journal verify"],
  [
    ["journal", "verify", "--dir", "x", "--jsn"],
    "unknown option --jsn; did you mean --json?",
    "millrace journal verify",
  ],
  [
    ["ingest", "f.csv", "--hanlder", "a#b", "--dir", "d"],
    "unknown option --hanlder; did you mean --handler?",
    "millrace ingest",
  ],
  [["journal", "verify", "--dir"], "--dir <dir> needs a value", "millrace journal verify"],
  [["journal", "verify", "./data"], "--dir <dir> is required; did you mean --dir ./data?", "millrace journal verify"],
  [
    ["journal", "verify", "--dir", "a", "b"],
    'millrace journal verify takes no argument, but got "b"',
    "millrace journal verify",
  ],
  [["dlq", "list"], "<dir> is required: millrace dlq list <dir>", "millrace dlq list"],
  [["dlq", "show", "./data"], "<sequence> is required: millrace dlq show <dir> <sequence>", "millrace dlq show"],
  [["dlq", "list", "a", "b"], "too many arguments: millrace dlq list <dir>", "millrace dlq list"],
  [["dlq", "list", "--dir", "a"], "<dir> is no option: millrace dlq list <dir>", "millrace dlq list"],
  [["completion", "tcsh"], '<shell> must be bash, zsh or fish, not "tcsh"', "millrace completion"],
  [
    ["ingest", "f", "--handler", "a#b", "--dir", "d", "--format", "xml"],
    '--format must be ndjson, json or csv, not "xml"',
    "millrace ingest",
  ],
  [
    ["load", "run", "--seconds", "0"],
    '--seconds must be a number above 0 and at most 86400, not "0"',
    "millrace load run",
  ],
  // An empty value is a variable of a script that isn't set.
  [["journal", "verify", "--dir", ""], "--dir must not be empty", "millrace journal verify"],
  [["dlq", "list", ""], "<dir> must not be empty", "millrace dlq list"],
  [["dlq", "drop", "./data", "--text", ""], "--text must not be empty", "millrace dlq drop"],
  [["intake", "pause", "./data", ""], "<handler> must not be empty", "millrace intake pause"],
  [["ingest", "", "--handler", "a#b", "--dir", "d"], "<file> must not be empty", "millrace ingest"],
  [["replay", "./data", "--shadow", ""], "--shadow must not be empty", "millrace replay"],
  [["trace", "record", "--out", "", "--", "node"], "--out must not be empty", "millrace trace record"],
  [
    ["dlq", "drop", "./data", "--after", ""],
    '--after must be a whole number from 0 to 9007199254740991, not ""',
    "millrace dlq drop",
  ],
  [["serve", "--port", ""], '--port must be a whole number from 0 to 65535, not ""', "millrace serve"],
  [["serve", "--port", " 80"], '--port must be a whole number from 0 to 65535, not " 80"', "millrace serve"],
  [["serve", "--port", "0x50"], '--port must be a whole number from 0 to 65535, not "0x50"', "millrace serve"],
  [
    ["load", "run", "--rate", "0x10"],
    '--rate must be a number above 0 and at most 1000000, not "0x10"',
    "millrace load run",
  ],
  [
    ["dlq", "drop", "./data", "--to", "12"],
    '--to must be a time such as 2026-01-31T12:00:00Z, not "12"',
    "millrace dlq drop",
  ],
  [
    ["dlq", "list", "./data", "--from", "record 12"],
    '--from must be a time such as 2026-01-31T12:00:00Z, not "record 12"',
    "millrace dlq list",
  ],
  // `Date.parse` takes it for a day in March.
  ...["2026-02-30", "2026-02-30T12:00", "2026-02-30T12:00:00Z"].map((text): [string[], string, string] => [
    ["dlq", "drop", "./data", "--from", text],
    `--from must be a time such as 2026-01-31T12:00:00Z, not "${text}"`,
    "millrace dlq drop",
  ]),
  [
    ["dlq", "redrive", "./data", "--rate", "1e-9"],
    '--rate must be a number from 0.001 to 1000000000, not "1e-9"',
    "millrace dlq redrive",
  ],
  [
    ["serve", "--requests-per-second", "0"],
    '--requests-per-second must be a whole number from 1 to 1000000, not "0"',
    "millrace serve",
  ],
  // A timer would fire at once.
  [
    ["top", "./data", "--interval", "100000m"],
    '--interval must be a duration from 10ms to 35791m, not "100000m"',
    "millrace top",
  ],
  [
    ["top", "./data", "--interval", "0s"],
    '--interval must be a duration from 10ms to 35791m, not "0s"',
    "millrace top",
  ],
  [
    ["serve", "--handlers", "x://y z", "--dir", "d", "--port", "0"],
    `--handlers: there is no file ${resolve("x://y z")}`,
    "millrace serve",
  ],
];

for (const [args, message, help] of cases) {
  test(`millrace ${args.join(" ")}`, async () => {
    const { code, stdout, stderr } = await millrace(args);
    assert.is(stderr, `millrace: ${message} (ERR_CLI_USAGE)\n  See \`${help} --help\`.\n`);
    assert.is(stdout, "");
    assert.is(code, 2);
  });
}

test("a value of any length leaves its message readable", async () => {
  const { code, stderr } = await millrace(["journal", "verify", "--dir", "x".repeat(100_000)]);
  assert.is(code, 1);
  assert.match(stderr, /^millrace: x+…x+ can't be used: ENAMETOOLONG.*'x+…x+' \(ERR_JOURNAL_STORAGE\)\n/);
  assert.ok(stderr.length < 2000, String(stderr.length));
});

test("an empty variable of the environment is named", async () => {
  const { code, stderr } = await millrace(["serve", "--handlers", "x.js"], { env: { MILLRACE_DIR: "" } });
  assert.match(stderr, "MILLRACE_DIR must not be empty");
  assert.is(code, 2);
});

test("with --json the document leads to the same help", async () => {
  const outcome = await millrace(["journal", "verify", "--json"]);
  const { error } = documentOf<{ error: { message: string; cure: string } }>(outcome);
  assert.equal([error.message, error.cure], ["--dir <dir> is required", "See `millrace journal verify --help`."]);
});

test("no colours, whatever the environment asks for", async () => {
  for (const env of [{ NO_COLOR: "1" }, { FORCE_COLOR: "1" }, { CLICOLOR_FORCE: "1" }]) {
    const all = [await millrace(["--help"], { env }), await millrace(["nonsuch"], { env })];
    // eslint-disable-next-line no-control-regex
    for (const { stdout, stderr } of all) assert.not.match(stdout + stderr, /\x1b/);
  }
});

test.run();
