/**
 * `millrace ingest` of 200,000 real flights, from the start of its work to the last record handled,
 * as its own report says: every record durable before it is handled, by a handler that does
 * nothing.
 *
 * Beside it stands what a program would write by hand: read the file whole, parse it with
 * JSON.parse or csv-parse, and publish record by record.
 */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { parse as parseCsv } from "csv-parse/sync";
import { open } from "millrace";
import type { Benchmark, Measure } from "./harness.ts";

const flights = fileURLToPath(new URL("../../node_modules/vega-datasets/data/flights-200k.json", import.meta.url));
const command = fileURLToPath(new URL("../../packages/millrace/bin/millrace.mjs", import.meta.url));
const handlers = new URL("./fixtures/ingest-handlers.js", import.meta.url);
const REPORT_BYTES_MAX: number = 2 ** 20;
/** Publishes under way at once, as `--in-flight` has it by default. */
const IN_FLIGHT = 8192;

interface Flight {
  readonly delay: number;
}

/** Writes the flights in a format; the path of the file, and how many they are. */
function fileOf(format: string, directory: string): readonly [path: string, count: number] {
  const text = readFileSync(flights, "utf8");
  const all = JSON.parse(text) as readonly Flight[];
  const path = join(directory, `flights.${format}`);
  if (format === "json") writeFileSync(path, text);
  else if (format === "ndjson") writeFileSync(path, all.map((flight) => `${JSON.stringify(flight)}\n`).join(""));
  else {
    const names = Object.keys(all[0] as Flight);
    const rows = all.map((flight) => Object.values(flight).join(","));
    writeFileSync(path, `${[names.join(","), ...rows].join("\n")}\n`);
  }
  return [path, all.length];
}

const measure = (perSecond: number): Measure[] => [{ unit: "records/s", value: perSecond, better: "more" }];

async function ingest(format: string, _ms: number, directory: string): Promise<Measure[]> {
  const [path, count] = fileOf(format, directory);
  const place = ["--handler", `${fileURLToPath(handlers)}#none`, "--dir", join(directory, "journal")];
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [command, "ingest", path, ...place, "--json", "--quiet"],
    { maxBuffer: REPORT_BYTES_MAX },
  );
  const { handled, durationMs } = JSON.parse(stdout) as { readonly handled: number; readonly durationMs: number };
  if (handled !== count) throw new Error(`${handled} of ${count} records are handled`);
  return measure(handled / (durationMs / 1000));
}

function parsed(format: string, path: string): readonly unknown[] {
  const text = readFileSync(path, "utf8");
  if (format === "json") return JSON.parse(text) as unknown[];
  if (format === "csv") return parseCsv(text, { columns: true }) as unknown[];
  return text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as unknown]));
}

async function byHand(format: string, _ms: number, directory: string): Promise<Measure[]> {
  const [path, count] = fileOf(format, directory);
  const mill = await open({ handlers, journal: { directory: join(directory, "journal") } });
  const publish = mill.publish["none"] as (record: unknown) => Promise<unknown>;
  const startedAt = performance.now();
  const records = parsed(format, path);
  for (let from = 0; from < records.length; from += IN_FLIGHT) {
    await Promise.all(records.slice(from, from + IN_FLIGHT).map((record) => publish(record)));
  }
  await mill.drain();
  const seconds = (performance.now() - startedAt) / 1000;
  const done = mill.stats().intake?.done;
  await mill.close();
  if (done !== count) throw new Error(`${done} of ${count} records are handled`);
  return measure(count / seconds);
}

export const ingestFiles: Benchmark = {
  name: "ingest",
  cases: [
    { id: "ndjson", words: "200,000 flights, NDJSON", isQuick: true },
    { id: "json", words: "200,000 flights, a JSON array" },
    { id: "csv", words: "200,000 flights, CSV" },
  ],
  subjects: [
    { name: "millrace ingest", run: ingest },
    { name: "parse, then publish one by one", run: byHand },
  ],
  effort: { full: { rounds: 5, cellMs: 1000 }, quick: { rounds: 1, cellMs: 1000 } },
};
