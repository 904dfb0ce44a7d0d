/** Finds the format of an input, and the splitter for it. */
import { cliError } from "../errors.ts";
import { CsvSplitter } from "./csv.ts";
import { JsonArraySplitter } from "./json-array.ts";
import { NdjsonSplitter } from "./ndjson.ts";
import type { RecordSink, Splitter, SplitterOptions } from "./splitter.ts";

export const FORMATS = ["ndjson", "json", "csv"] as const;
export type Format = (typeof FORMATS)[number];

const SPLITTERS: Readonly<Record<Format, new (sink: RecordSink, options: SplitterOptions) => Splitter>> = {
  ndjson: NdjsonSplitter,
  json: JsonArraySplitter,
  csv: CsvSplitter,
};

export function splitterOf(format: Format, sink: RecordSink, options: SplitterOptions): Splitter {
  return new SPLITTERS[format](sink, options);
}

/** By the ending of the name, also before that of a compression, or by the first character. */
export function formatOf(path: string, first: Buffer): Format {
  const ending = /\.(ndjson|jsonl|csv|tsv)(\.(gz|gzip|zst|zstd|br))?$/i.exec(path)?.[1]?.toLowerCase();
  if (ending !== undefined) return ending === "csv" || ending === "tsv" ? "csv" : "ndjson";
  const character = first.toString("utf8", 0, 1024).trimStart()[0];
  if (character === "[") return "json";
  if (character === "{" || character === undefined) return "ndjson";
  throw cliError("ERR_INGEST_INPUT", `${path}: the format can't be told; pass --format ${FORMATS.join("|")}`, {
    details: { path },
  });
}
