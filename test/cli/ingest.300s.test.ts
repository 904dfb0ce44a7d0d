import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Journal } from "@millrace/journal";
import { until } from "../support.ts";
import { type Document, handlers, Place } from "./ingest-place.ts";
import { documentOf, millrace, type Outcome } from "./support.ts";

test("NDJSON: a record a line, known by its number; empty lines are skipped", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n\n{"n":3}\r\n"text"\n{"n":"ü€"}');
  const outcome = await place.ingest(file);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<Document>(outcome);
  assert.is(document.records, 4);
  assert.is(document.acknowledged, 4);
  assert.is(document.handled, 4);
  assert.equal(place.handled(), [
    [1, { n: 1 }],
    [3, { n: 3 }],
    [4, "text"],
    [5, { n: "ü€" }],
  ]);
});

test("a JSON array and CSV, told by content and ending; CSV values are text", async () => {
  const place = new Place();
  const json = place.file("in.json", ' [ {"a":1}, [2], null,\n"x" ]');
  assert.is((await place.ingest(json)).code, 0);
  assert.equal(place.handled(), [
    [1, { a: 1 }],
    [2, [2]],
    [3, null],
    [4, "x"],
  ]);
  const other = new Place();
  const csv = other.file("in.csv", '\uFEFFname,city\nAda,"London, UK"\n"Li\nne 2",x\n');
  assert.is((await other.ingest(csv)).code, 0);
  assert.equal(
    other.handled().map(([, value]) => value),
    [
      { name: "Ada", city: "London, UK" },
      { name: "Li\nne 2", city: "x" },
    ],
  );
});

test("stdin, with its format told by the first character", async () => {
  const place = new Place();
  const outcome = await place.ingest("-", [], { input: '{"n":1}\n{"n":2}\n' });
  assert.is(documentOf<Document>(outcome).handled, 2);
});

test("a malformed line ends the run with its number; earlier lines stay stored", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n{"n":2}\n{"n":\n{"n":4}\n');
  const outcome = await place.ingest(file);
  assert.is(outcome.code, 1);
  const document = documentOf<Document>(outcome);
  assert.is(document.error?.code, "ERR_INGEST_MALFORMED");
  assert.is(document.error?.details.line, 3);
  assert.is(document.acknowledged, 2);
  assert.match(outcome.stderr, "line 3");
  assert.not.match(outcome.stderr, "    at ");

  writeFileSync(file, '{"n":1}\n{"n":2}\n{"n":3}\n{"n":4}\n');
  const again = documentOf<Document>(await place.ingest(file));
  assert.is(again.alreadyStored, 2);
  assert.is(again.published, 2);
  assert.equal(
    place.handled().map(([line]) => line),
    [1, 2, 3, 4],
  );
});

test("with --on-error skip malformed lines are counted, and the others go through", async () => {
  const place = new Place();
  const lines = Array.from({ length: 100 }, (_, n) => (n % 4 === 1 ? "{oops" : `{"n":${n}}`));
  const outcome = await place.ingest(place.file("in.ndjson", lines.join("\n")), ["--on-error", "skip"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<Document>(outcome);
  assert.is(document.malformed, 25);
  assert.is(document.records, 75);
  assert.is(document.handled, 75);
  assert.match(outcome.stderr, "skipped line 2, byte 9: ");

  const csv = new Place();
  const result = await csv.ingest(csv.file("in.csv", "a,b\n1,2\n1,2,3\n4,5\n"), ["--on-error", "skip"]);
  assert.is(documentOf<Document>(result).malformed, 1, result.stderr);
  assert.is(documentOf<Document>(result).handled, 2);
});

test("a mistake in a JSON array ends the run and names the element before it", async () => {
  const place = new Place();
  const elements = Array.from({ length: 50 }, (_, n) => `{"n":${n},"text":"${"x".repeat(600)}"}`);
  const outcome = await place.ingest(place.file("in.json", `[${elements.join()},{"n":},${elements.join()}]`));
  assert.is(outcome.code, 1);
  const document = documentOf<Document>(outcome);
  assert.is(document.error?.code, "ERR_INGEST_MALFORMED");
  const after = document.error?.details.afterElement as number;
  assert.ok(after >= 48 && after <= 50, String(after));
  assert.is(document.acknowledged, after);
  assert.is(place.handled().length, after);
  const cut = await place.ingest(place.file("cut.json", `[${elements.join()}`));
  assert.is(cut.code, 1);
  assert.is(documentOf<Document>(cut).error?.details.afterElement, 50);
});

test("a record over the limit is a malformed line", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", `{"n":1}\n"${"x".repeat(2 ** 21)}"\n{"n":3}\n`);
  const fatal = await place.ingest(file);
  assert.is(fatal.code, 1);
  assert.is(documentOf<Document>(fatal).error?.code, "ERR_INGEST_MALFORMED");
  assert.is(documentOf<Document>(fatal).error?.details.line, 2);
  const skipped = await place.ingest(file, ["--on-error", "skip"]);
  assert.is(skipped.code, 0, skipped.stderr);
  assert.is(documentOf<Document>(skipped).malformed, 1);
  assert.equal(
    place.handled().map(([line]) => line),
    [1, 3],
  );
});

/** Ends a run by `signal` when it has handled some of `lines`, while more of them could come. */
async function endHalfWay(place: Place, lines: readonly string[], signal: "SIGKILL" | "SIGINT"): Promise<Outcome> {
  return place.ingest("-", ["--source", "in", "--in-flight", "100"], {
    input: `${lines.join("\n")}\n`,
    keepsInputOpen: true,
    onStart: (child) => {
      void until(() => existsSync(place.notes) && statSync(place.notes).size > 2000, "some are handled").then(() =>
        child.kill(signal),
      );
    },
  });
}

test("killed half-way and run again: all are handled, none is stored twice", async () => {
  const place = new Place();
  const lines = Array.from({ length: 30_000 }, (_, n) => `{"n":${n}}`);
  const total = lines.length;
  const killed = await endHalfWay(place, lines.slice(0, 15_000), "SIGKILL");
  assert.is(killed.signal, "SIGKILL");
  const file = place.file("in.ndjson", lines.join("\n"));
  const outcome = await place.ingest(file, ["--source", "in"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<Document>(outcome);
  assert.is(document.records, total);
  assert.is(document.alreadyStored + document.published, total);
  assert.ok(document.alreadyStored > 0 && document.published > 0, JSON.stringify(document));
  assert.is(document.acknowledged, document.published);
  assert.is(new Set(place.handled().map(([line]) => line)).size, total);

  const third = documentOf<Document>(await place.ingest(file, ["--source", "in"]));
  assert.is(third.alreadyStored, total);
  assert.is(third.published, 0);
  assert.is(third.handled, 0);
});

test("a changed file is refused under its old name, and taken under a new one", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n{"n":2}\n');
  await place.ingest(file);
  writeFileSync(file, '{"n":1}\n{"n":"other"}\n{"n":3}\n');
  const changed = await place.ingest(file);
  assert.is(changed.code, 1);
  assert.is(documentOf<Document>(changed).error?.code, "ERR_INGEST_CHANGED");
  assert.is(documentOf<Document>(changed).error?.details.line, 2);
  const renamed = await place.ingest(file, ["--source", "second"]);
  assert.is(renamed.code, 0);
  assert.is(documentOf<Document>(renamed).published, 3);
});

test("Ctrl-C stops in good order with 130, and the next run goes on", async () => {
  const place = new Place();
  const lines = Array.from({ length: 100_000 }, (_, n) => `{"n":${n}}`);
  const total = lines.length;
  const stopped = await endHalfWay(place, lines.slice(0, 50_000), "SIGINT");
  assert.is(stopped.code, 130, stopped.stderr);
  const document = documentOf<Document>(stopped);
  assert.ok(document.interrupted);
  assert.ok(document.published < total);
  assert.is(document.acknowledged, document.published);
  const rest = documentOf<Document>(await place.ingest(place.file("in.ndjson", lines.join("\n")), ["--source", "in"]));
  assert.is(rest.alreadyStored, document.acknowledged);
  assert.is(rest.published, total - document.acknowledged);
  assert.is(new Set(place.handled().map(([line]) => line)).size, total);
});

test("records whose handler always fails are dead: exit code 1", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n');
  const outcome = await millrace([
    "ingest",
    file,
    "--handler",
    `${handlers}#fail`,
    "--dir",
    place.data,
    "--json",
    "--processors",
    "1",
  ]);
  assert.is(outcome.code, 1);
  assert.is(documentOf<Document>(outcome).dead, 1);
});

test("dead records of an earlier run are told, and redriven on demand", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n{"n":2}\n');
  const run = (handler: string, more: string[] = []): ReturnType<typeof millrace> =>
    millrace(["ingest", file, "--handler", handler, "--dir", place.data, "--json", "--processors", "1", ...more]);
  const failing = `${handlers}#fail`;
  assert.is((await run(failing, ["--attempts", "1"])).code, 1);
  const again = await run(failing, ["--attempts", "1"]);
  assert.is(again.code, 1);
  assert.equal(
    [documentOf<Document>(again)].map(({ dead, deadKept, published }) => [dead, deadKept, published]),
    [[0, 2, 0]],
  );
  assert.match(again.stderr, /2 records are dead, 2 of them since an earlier run/);
  const redriven = await run(failing, ["--attempts", "1", "--redrive"]);
  assert.is(redriven.code, 1);
  assert.is(documentOf<Document>(redriven).dead, 2);
});

test("records whose handler has gone are told: exit code 1", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n');
  const gone = place.file("gone.mjs", "export const now = () => {};\n");
  const run = (name: string): ReturnType<typeof millrace> =>
    millrace(["ingest", file, "--handler", `${gone}#${name}`, "--dir", place.data, "--json", "--processors", "1"]);
  const journal = await Journal.open({ directory: place.data });
  await journal.append(Buffer.of(0xc0), { headers: Buffer.from([1, 6, ...Buffer.from("before")]), type: 1 });
  await journal.close();
  const outcome = await run("now");
  assert.is(outcome.code, 1);
  assert.is(documentOf<Document>(outcome).unhandled, 1);
  assert.match(outcome.stderr, /no handler for them/);
});

test("wrong input is refused with a code, what to do, and no stack", async () => {
  const place = new Place();
  const file = place.file("in.ndjson", '{"n":1}\n');
  const strange = place.file("in.txt", "hello\n");
  const dir = ["--dir", place.data];
  const handler = ["--handler", `${handlers}#note`];
  const cases: [args: string[], exitCode: number, code: string | undefined][] = [
    [["ingest", join(place.directory, "missing"), ...handler, ...dir], 1, "ERR_INGEST_INPUT"],
    [["ingest", place.directory, ...handler, ...dir], 1, "ERR_INGEST_INPUT"],
    [["ingest", strange, ...handler, ...dir], 1, "ERR_INGEST_INPUT"],
    [["ingest", file, "--handler", `${handlers}#nope`, ...dir], 2, "ERR_HANDLER_UNKNOWN"],
    [["ingest", file, "--handler", handlers, ...dir], 2, "ERR_CLI_USAGE"],
    [["ingest", file, "--handler", "missing.mjs#note", ...dir], 2, "ERR_CLI_USAGE"],
    [["ingest", file, ...handler, "--dir", "/proc/millrace"], 1, "ERR_JOURNAL_STORAGE"],
    [["ingest", file, ...handler, "--dir", file], 1, "ERR_JOURNAL_STORAGE"],
    [["ingest", file, ...handler, ...dir, "--processors", "0"], 2, "ERR_CLI_USAGE"],
    [["ingest", file, ...handler, ...dir, "--formt", "csv"], 2, undefined],
    [["ingest", file, ...handler], 2, undefined],
    [["ingestt"], 2, undefined],
  ];
  for (const [args, exitCode, code] of cases) {
    const outcome = await millrace([...args, "--json"]);
    assert.is(outcome.code, exitCode, `${args.join(" ")}: ${outcome.stderr}`);
    assert.ok(outcome.stderr.length > 0);
    assert.not.match(outcome.stderr, "    at ");
    if (code === undefined) continue;
    const { error } = documentOf<Document>(outcome);
    assert.is(error?.code, code, args.join(" "));
    assert.ok((error?.cure ?? "").length > 0);
  }
  const verbose = await millrace(["ingest", strange, ...handler, ...dir, "--verbose"]);
  assert.match(verbose.stderr, "    at ");
});

test("a directory in use by another process is refused; nothing there is lost", async () => {
  const place = new Place();
  const total = 50_000;
  const file = place.file("in.ndjson", Array.from({ length: total }, (_, n) => `{"n":${n}}`).join("\n"));
  const other = place.file("other.ndjson", '{"n":1}\n');
  const first = place.ingest(file);
  await until(() => existsSync(place.notes), "the first one has begun");
  const second = await place.ingest(other);
  assert.is(second.code, 1);
  assert.is(documentOf<Document>(second).error?.code, "ERR_JOURNAL_LOCKED");
  assert.not.match(second.stderr, "lockWaitMs", "the command has no such option");
  const outcome = await first;
  assert.is(outcome.code, 0, outcome.stderr);
  assert.is(documentOf<Document>(outcome).handled, total);
});

test("every command has help with examples and exit codes", async () => {
  for (const args of [["ingest"], ["load", "crash"], ["load", "run"], ["journal", "inspect"], ["journal", "verify"]]) {
    const outcome = await millrace([...args, "--help"]);
    assert.is(outcome.code, 0);
    assert.match(outcome.stdout, /Examples?:\n {2}(millrace|curl)/);
    assert.match(outcome.stdout, "Exit codes:");
  }
});

test.run();
