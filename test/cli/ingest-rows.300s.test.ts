// Faults that `millrace ingest` must not hide: each case as a user would run it.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import * as zlib from "node:zlib";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../support.ts";
import { type Document, handlers, Place } from "./ingest-place.ts";
import { documentOf, launcher, millrace, type Outcome } from "./support.ts";

const SKIP = ["--on-error", "skip"];
const of = (outcome: Outcome): Document => documentOf<Document>(outcome);
const lines = (count: number): string => Array.from({ length: count }, (_, n) => `{"n":${n}}\n`).join("");

test("what is dead is told again, and redriven once its handler is mended", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", lines(5));
  const first = await place.ingest(file, ["--attempts", "1"], {}, "failSome");
  assert.is(first.code, 1);
  assert.equal([of(first).dead, of(first).handled], [3, 2]);
  assert.match(first.stderr, /3 records are dead; --redrive tries them again/);
  assert.match(first.stderr, /1 × TypeError: n is 0 \(lines 1\)/);
  for (const _ of [1, 2]) {
    const again = await place.ingest(file, ["--attempts", "1"], {}, "failSome");
    assert.is(again.code, 1);
    assert.equal([of(again).dead, of(again).deadKept, of(again).handled], [0, 3, 0]);
    assert.match(again.stderr, /3 records are dead, 3 of them since an earlier run/);
  }
  // The mended handler, under the same name.
  const mended = place.file("mended.mjs", "export function failSome() {}\n");
  const redriven = await millrace([
    "ingest",
    file,
    "--handler",
    `${mended}#failSome`,
    "--dir",
    place.data,
    "--json",
    "--redrive",
  ]);
  assert.is(redriven.code, 0, redriven.stderr);
  assert.equal([of(redriven).handled, of(redriven).deadKept], [3, 0]);
});

test("nothing is published twice after a compaction, or with default retention", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", lines(3000));
  assert.is((await place.ingest(file)).code, 0);
  for (const command of [["journal", "compact", "--dir", place.data], undefined]) {
    if (command !== undefined) assert.is((await millrace(command)).code, 0);
    const again = await place.ingest(file);
    assert.is(again.code, 0, again.stderr);
    assert.equal([of(again).alreadyStored, of(again).published, of(again).handled], [3000, 0, 0]);
  }
  // A file that has grown goes on, one that was edited is refused, also after a compaction.
  appendFileSync(file, '{"n":"new"}\n');
  assert.equal([of(await place.ingest(file)).published], [1]);
  assert.is((await millrace(["journal", "compact", "--dir", place.data])).code, 0);
  const text = readFileSync(file, "utf8");
  writeFileSync(file, `${text.replace('"n":2999', '"n":9992')}{"n":"more"}\n`);
  const edited = await place.ingest(file);
  assert.is(edited.code, 1);
  assert.is(of(edited).error?.code, "ERR_INGEST_CHANGED");
  const { from, to } = (of(edited).error as NonNullable<Document["error"]>).details as { from: number; to: number };
  assert.ok(from <= 3000 && to >= 3000 && to - from < 8, `${from} to ${to}`);
  assert.is(of(edited).published, 0);
  writeFileSync(file, lines(100));
  const shorter = await place.ingest(file);
  assert.is(of(shorter).error?.code, "ERR_INGEST_CHANGED", shorter.stderr);
});

test("a line that was malformed is published once it is mended", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n{"n":\n{"n":3}\n');
  assert.is(of(await place.ingest(file, SKIP)).malformed, 1);
  writeFileSync(file, '{"n":1}\n{"n":2}\n{"n":3}\n');
  for (const published of [1, 0]) {
    const mended = await place.ingest(file);
    assert.equal([mended.code, of(mended).published], [0, published], mended.stderr);
  }
  assert.equal(
    place.handled().map(([line]) => line),
    [1, 2, 3],
  );
});

test("another handler is another source of the same file", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", lines(3));
  assert.is(of(await place.ingest(file)).handled, 3);
  const other = await place.ingest(file, ["--attempts", "1"], {}, "failSome");
  assert.is(other.code, 1);
  assert.equal([of(other).published, of(other).deadKept], [3, 3]);
  // The dead ones are none of the first handler's.
  const first = await place.ingest(file);
  assert.equal([first.code, of(first).alreadyStored, of(first).deadKept], [0, 3, 0]);
});

test("other encodings are read when they are named or marked, and never guessed", async () => {
  const place = new Place();
  const latin = Buffer.from('{"a":"caf\xe9"}\n{"a":1}\n', "latin1");
  const file = place.file("latin.ndjson", latin);
  const refused = await place.ingest(file);
  assert.is(refused.code, 1);
  assert.equal([of(refused).error?.details["line"], of(refused).error?.details["offset"]], [1, 9]);
  assert.match(refused.stderr, /0xE9 isn't UTF-8; --encoding/);
  assert.equal(place.handled(), []);
  assert.is((await place.ingest(file, ["--encoding", "latin1"])).code, 0);
  assert.equal(place.handled()[0]?.[1], { a: "café" });
  const marked = new Place();
  const utf16 = marked.file("a.csv", Buffer.from("\uFEFFname;x\r\nMüller;€\r\n", "utf16le"));
  const read = await marked.ingest(utf16);
  assert.is(read.code, 0, read.stderr);
  assert.equal(marked.handled()[0]?.[1], { name: "Müller", x: "€" });
  assert.equal([of(read).sources[0]?.["encoding"], of(read).sources[0]?.["delimiter"]], ["utf-16le", ";"]);
  const unmarked = marked.file("b.ndjson", Buffer.from('{"a":1}\n', "utf16le"));
  assert.match((await marked.ingest(unmarked)).stderr, /--encoding utf-16le/);
  const broken = marked.file("c.csv", Buffer.from([0x61, 0x0a, 0x81, 0x0a]));
  const wrong = await marked.ingest(broken, ["--encoding", "shift_jis"]);
  assert.equal([wrong.code, of(wrong).error?.code], [1, "ERR_INGEST_INPUT"]);
  assert.is((await marked.ingest(broken, ["--encoding", "klingon"])).code, 2);
});

test("numbers that JavaScript alters are malformed, or kept as it was asked for", async () => {
  const place = new Place();
  const file = place.file("in.json", '[{"id":1},\n{"id":9007199254740993}]');
  const refused = await place.ingest(file);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /element 2, line 2, byte 17: 9007199254740993 would be altered.*--big-numbers/);
  assert.is((await place.ingest(file, ["--big-numbers", "bigint"])).code, 0);
  assert.equal(place.handled()[1]?.[1], { id: "9007199254740993n" });
  // The last digit of a number that is kept counts too.
  writeFileSync(file, '[{"id":1},\n{"id":9007199254740995}]');
  assert.is(of(await place.ingest(file, ["--big-numbers", "bigint"])).error?.code, "ERR_INGEST_CHANGED");
});

test("a header that would lose values is refused", async () => {
  const place = new Place();
  for (const [name, text] of Object.entries({ twice: "id,id,name\n1,2,x\n", unnamed: "a,b,,\n1,2,3,4\n" })) {
    const outcome = await place.ingest(place.file(`${name}.csv`, text), SKIP);
    assert.equal([outcome.code, of(outcome).error?.code, of(outcome).records], [1, "ERR_INGEST_MALFORMED", 0]);
  }
  const mixed = place.file("mixed.csv", "a,b\n1,2\r\n3,4\n");
  assert.is((await place.ingest(mixed)).code, 0);
  assert.equal(
    place.handled().map(([, value]) => value),
    [
      { a: "1", b: "2" },
      { a: "3", b: "4" },
    ],
  );
});

test("gzip, brotli and zstd are read as such, whatever the file is called", async () => {
  const place = new Place();
  const csv = "a;b\n1;2\n";
  const files = [place.file("gzip.csv", gzipSync(csv)), place.file("plain.csv.br", brotliCompressSync(csv))];
  files.push(place.file("twice.csv.gz", Buffer.concat([gzipSync("a;b\n"), gzipSync("1;2\n")])));
  for (const file of files) assert.is(of(await place.ingest(file)).handled, 1, file);
  assert.equal(
    place.handled().map(([, value]) => value),
    Array.from({ length: 3 }, () => ({ a: "1", b: "2" })),
  );
  const { zstdCompressSync } = zlib as { zstdCompressSync?: (text: Buffer) => Buffer };
  const magic = Buffer.from("28b52ffd0400390000613b620a313b320a", "hex");
  const zstd = place.file("z.csv", zstdCompressSync === undefined ? magic : zstdCompressSync(Buffer.from(csv)));
  const outcome = await place.ingest(zstd);
  if (zstdCompressSync === undefined) assert.match(outcome.stderr, /zstd, which Node .* can't read; Node 22.15 can/);
  else assert.is(of(outcome).handled, 1, outcome.stderr);
  const cut = place.file("cut.ndjson.gz", gzipSync(lines(1000)).subarray(0, 500));
  const broken = await place.ingest(cut);
  assert.equal([broken.code, of(broken).error?.code], [1, "ERR_INGEST_INPUT"]);
  const parquet = await place.ingest(place.file("x.ndjson", "PAR1...."));
  assert.match(parquet.stderr, "Parquet");
});

test("a stray quote costs one line, and what is skipped is counted", async () => {
  const place = new Place();
  const rows = Array.from({ length: 300_000 }, (_, n) => `${n},row ${n}`).join("\n");
  const file = place.file("in.csv", `a,b\n1,x\n2,"oops\n${rows}\n`);
  const outcome = await place.ingest(file, SKIP, {}, "quiet");
  assert.is(outcome.code, 0, outcome.stderr);
  const { records, malformed, skippedBytes, skippedLines, mistakes } = of(outcome);
  assert.equal([records, malformed, skippedBytes, skippedLines], [300_001, 1, 8, 1]);
  assert.match(mistakes[0]?.problem ?? "", "--quote-max-bytes");
});

test("nesting of 6,000 is malformed alone, with its line", async () => {
  const place = new Place();
  const deep = `${"[".repeat(6000)}${"]".repeat(6000)}`;
  for (const [name, text] of Object.entries({
    "a.ndjson": `{"n":1}\n${deep}\n{"n":3}\n`,
    "b.json": `[{"n":1},\n${deep},{"n":3}]`,
  })) {
    const outcome = await place.ingest(place.file(name, text), SKIP);
    assert.equal([outcome.code, of(outcome).records, of(outcome).malformed], [0, 2, 1], outcome.stderr);
    assert.match(outcome.stderr, /line 2, byte \d+: values are nested deeper/);
  }
});

/** Runs the command with an input that stays open, until it ends. */
function withOpenInput(
  args: readonly string[],
  begin: (child: ChildProcess) => void,
): Promise<[code: number | null, text: string]> {
  const child = spawn(process.execPath, [launcher, ...args], { stdio: ["pipe", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk) => (text += String(chunk)));
  begin(child);
  return new Promise((resolve) => child.on("close", (code) => resolve([code, text])));
}

for (const [signal, exitCode] of [
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const) {
  test(`${signal} while stdin is idle ends the command with what it has`, async () => {
    const place = new Place();
    const done = place.file(
      "done.mjs",
      `import { writeFileSync } from "node:fs"; export function it() { writeFileSync(${JSON.stringify(place.notes)}, "x"); }`,
    );
    const args = ["ingest", "-", "--handler", `${done}#it`, "--dir", place.data, "--json"];
    const [code, text] = await withOpenInput(args, (child) => {
      child.stdin?.write('{"n":1}\n{"n":');
      void until(() => existsSync(place.notes), "the first line is handled").then(() => child.kill(signal));
    });
    assert.is(code, exitCode);
    const document = JSON.parse(text) as Document;
    assert.equal(
      [document.acknowledged, document.handled, document.interrupted, document.signal],
      [1, 1, true, signal],
    );
  });
}

test("an input of which nothing is read fails, and so do too many mistakes", async () => {
  const place = new Place();
  const bad = place.file("bad.ndjson", "x\ny\nz\n");
  const all = await place.ingest(bad, SKIP);
  assert.is(all.code, 1);
  assert.match(all.stderr, "no record could be read");
  assert.equal(
    of(all).mistakes.map(({ count }) => count),
    [1, 1, 1],
  );
  const some = place.file("some.ndjson", `{"n":1}\nx\nx\n{"n":2}\nx\n`);
  assert.is((await place.ingest(some, ["--max-malformed", "3"])).code, 0);
  const many = await place.ingest(some, ["--max-malformed", "2"]);
  assert.is(many.code, 1);
  assert.match(many.stderr, /line 5, byte \d+: .*more than 2 parts are malformed/);
  assert.is((await place.ingest(some, ["--max-malformed", "2", "--on-error", "fatal"])).code, 2);
});

test("a run that a mistake ends prints how far it came", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", `{"n":1}\n{"n":2}\nx\n`);
  const args = ["ingest", file, "--handler", `${handlers}#note`, "--dir", place.data, "--processors", "1"];
  const { code, stdout, stderr } = await millrace(args);
  assert.is(code, 1, stderr);
  assert.match(stderr, "ERR_INGEST_MALFORMED");
  assert.match(stdout, /acknowledged +2\n/);
});

test("a mistake in a JSON array has its place, and can be skipped", async () => {
  const place = new Place();
  const file = place.file("in.json", '[{"n":1},\n{"n":},\n{"n":3}]');
  const fatal = await place.ingest(file);
  assert.equal([fatal.code, of(fatal).error?.details["line"], of(fatal).error?.details["offset"]], [1, 2, 15]);
  const skipped = await place.ingest(file, SKIP);
  assert.equal([skipped.code, of(skipped).records, of(skipped).malformed], [0, 2, 1], skipped.stderr);
  const cut = await place.ingest(place.file("cut.json", '[{"n":1},{"n":2}'), SKIP);
  assert.equal([cut.code, of(cut).records], [1, 2]);
});

test("pipes are read, of the shell too, and an idle one ends with a signal", async () => {
  const place = new Place();
  const fifo = join(place.directory, "pipe");
  execFileSync("mkfifo", [fifo]);
  const reading = place.ingest(fifo, [], {}, "quiet");
  writeFileSync(fifo, lines(3));
  assert.equal([(await reading).code, of(await reading).handled], [0, 3]);
  const shell = `"${process.execPath}" "${launcher}" ingest <(echo '{"n":1}') <(echo '{"n":2}') --handler "${place.file("h.mjs", "export function h() {}\n")}#h" --dir "${place.data}" --json`;
  const document = JSON.parse(execFileSync("bash", ["-c", shell]).toString()) as Document;
  assert.equal([document.handled, document.sources.length], [2, 2]);
  // Nobody writes to the second one.
  const args = [place.file("first.ndjson", lines(1)), fifo];
  const idle = await place.ingest(args, [], {
    onStart: (child) => {
      void until(() => existsSync(place.notes), "the first one is read").then(() => child.kill("SIGTERM"));
    },
  });
  assert.equal([idle.code, of(idle).handled], [143, 1], idle.stderr);
});

test("records that wait for longer than the command does: exit code 1", async () => {
  const place = new Place();
  const outcome = await place.ingest(place.file("in.ndjson", lines(2)), ["--retry-for", "200ms"], {}, "snooze");
  assert.equal([outcome.code, of(outcome).waiting, of(outcome).deadKept], [1, 2, 0], outcome.stderr);
  assert.match(outcome.stderr, "2 records wait for their next attempt");
});

test("several files are several sources; a missing one is told before anything is done", async () => {
  const place = new Place();
  const files = [
    place.file("a.ndjson", lines(2)),
    place.file("b.csv", "n\n7\n"),
    place.file("c.json", "[]"),
    place.file("d.ndjson", ""),
  ];
  const outcome = await place.ingest(files);
  assert.is(outcome.code, 0, outcome.stderr);
  assert.equal([of(outcome).records, of(outcome).sources.map(({ records }) => records)], [3, [2, 1, 0, 0]]);
  const none = new Place();
  assert.is((await none.ingest([files[0] as string, join(place.directory, "missing")])).code, 1);
  assert.not.ok(existsSync(none.data));
  assert.is((await place.ingest(files, ["--source", "one"])).code, 2);
  mkdirSync(join(place.directory, "dir"));
  const directory = await place.ingest(join(place.directory, "dir"));
  assert.match(directory.stderr, "is a directory");
  const stdin = openSync(place.directory, "r");
  const args = ["ingest", "-", "--handler", `${handlers}#settle`, "--dir", none.data];
  const given = spawnSync(process.execPath, [launcher, ...args], { stdio: [stdin, "pipe", "pipe"], encoding: "utf8" });
  closeSync(stdin);
  assert.is(given.status, 1);
  assert.match(given.stderr, "stdin is a directory (ERR_INGEST_INPUT)");
});

test("a file that was moved is another source", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", lines(2));
  await place.ingest(file);
  renameSync(file, `${file}.old.ndjson`);
  const moved = await place.ingest(`${file}.old.ndjson`);
  assert.is(of(moved).published, 2);
  const named = await place.ingest(`${file}.old.ndjson`, ["--source", file]);
  assert.equal([of(named).published, of(named).alreadyStored], [0, 2]);
});

test.run();
