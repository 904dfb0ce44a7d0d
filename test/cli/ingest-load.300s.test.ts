import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { until } from "../support.ts";
import { type Document, Place } from "./ingest-place.ts";
import { documentOf } from "./support.ts";

/** Of the producer, which gathers records in groups. */
const GROUP_BYTES = 256 * 1024;

/** Values of all sizes: some fill groups, and some are longer than one. */
function valueOf(n: number): unknown {
  if (n % 997 === 0) return { n, long: "ü".repeat(GROUP_BYTES * 0.7) };
  if (n % 101 === 0) return { n, text: "x".repeat(n % 5000), deep: [[[{ n }]]] };
  return { n, exact: n / 7, text: "a\tb" };
}

test("mistakes within groups, and records longer than one, cost nobody else", async () => {
  const place = new Place();
  const lines: string[] = [];
  const wanted: [number, unknown][] = [];
  for (let n = 1; n <= 6000; n += 1) {
    const isWrong = n % 509 === 0;
    lines.push(isWrong ? `{"n":${n},}` : JSON.stringify(valueOf(n)));
    if (!isWrong) wanted.push([n, valueOf(n)]);
  }
  const file = place.file("in.ndjson", `${lines.join("\n")}\n`);
  const outcome = await place.ingest(file, ["--on-error", "skip", "--processors", "2"]);
  assert.is(outcome.code, 0, outcome.stderr);
  const document = documentOf<Document>(outcome);
  assert.is(document.malformed, 11);
  assert.equal(document.mistakes[0]?.lines, [509, 1018, 1527, 2036, 2545]);
  assert.is(document.handled, wanted.length);
  assert.equal(place.handled(), wanted);
  const again = documentOf<Document>(await place.ingest(file, ["--on-error", "skip"]));
  assert.equal([again.alreadyStored, again.published, again.handled], [wanted.length, 0, 0]);
});

/** A number that the system tells of a process. */
function told(pid: number, file: string, pattern: RegExp): number {
  const found = pattern.exec(readFileSync(`/proc/${pid}/${file}`, "utf8"));
  return Number(found?.[1]);
}

test("with a slow handler the input is stored, and memory doesn't grow with it", async () => {
  const place = new Place();
  const count = 240_000;
  const line = `${JSON.stringify({ text: "x".repeat(1000) })}\n`;
  const inputBytes = count * line.length;
  const file = place.file("in.ndjson", line.repeat(count));
  const peaks: number[] = [];
  const onStart = ({ pid = 0 }: ChildProcess): void => {
    const note = (): unknown => peaks.push(told(pid, "status", /VmHWM:\s+(\d+) kB/) * 1024);
    const hasRead = (share: number) => () => told(pid, "io", /rchar: (\d+)/) > share * inputBytes;
    // The handlers would take minutes: the signal comes when all is read.
    void until(hasRead(0.4), "a part is read")
      .then(note)
      .then(() => until(hasRead(1.05), "all is read"))
      .then(note)
      .finally(() => process.kill(pid, "SIGINT"));
  };
  const outcome = await place.ingest(file, [], { onStart }, "slow");
  assert.is(outcome.code, 130, outcome.stderr);
  const { published, acknowledged, handled } = documentOf<Document>(outcome);
  assert.ok(published > count / 2 && acknowledged === published, `${published} published, ${acknowledged} stored`);
  assert.ok(handled < count / 2, `${handled} handled`);
  // Rings and lanes fill up first. All of the rest would be 0.6 of the input.
  const [early = 0, late = Infinity] = peaks;
  assert.ok(late - early < inputBytes / 3, `${early} to ${late} bytes`);
});

test.run();
