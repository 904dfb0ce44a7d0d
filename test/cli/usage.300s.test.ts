/** Mistakes in a command line: each is told in one style, and leads to the help of its command. */
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
];

for (const [args, message, help] of cases) {
  test(`millrace ${args.join(" ")}`, async () => {
    const { code, stdout, stderr } = await millrace(args);
    assert.is(stderr, `millrace: ${message} (ERR_CLI_USAGE)\n  See \`${help} --help\`.\n`);
    assert.is(stdout, "");
    assert.is(code, 2);
  });
}

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
