// A directory with an input file and a journal, and `millrace ingest` on it.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryDirectory } from "../support.ts";
import { millrace, type Outcome, type RunOptions } from "./support.ts";

export const handlers: string = fileURLToPath(new URL("../../../test/fixtures/ingest-handlers.mjs", import.meta.url));

export interface Document {
  readonly records: number;
  readonly malformed: number;
  readonly alreadyStored: number;
  readonly published: number;
  readonly acknowledged: number;
  readonly handled: number;
  readonly dead: number;
  readonly deadKept: number;
  readonly unhandled: number;
  readonly interrupted: boolean;
  readonly waiting: number;
  readonly skippedBytes: number;
  readonly skippedLines: number;
  readonly mistakes: readonly { problem: string; count: number; lines: number[] }[];
  readonly deadReasons: readonly { error: string; count: number; lines: number[] }[];
  readonly sources: readonly Record<string, unknown>[];
  readonly signal?: string;
  readonly error?: { code: string; message: string; cure: string; details: Record<string, unknown> };
}

/** A directory with an input file, and the command on it. */
export class Place {
  readonly directory = temporaryDirectory();
  readonly notes = join(this.directory, "notes");
  readonly data = join(this.directory, "data");

  file(name: string, content: string | Buffer): string {
    const path = join(this.directory, name);
    writeFileSync(path, content);
    return path;
  }

  ingest(
    file: string | readonly string[],
    args: readonly string[] = [],
    options: RunOptions = {},
    handler = "note",
  ): Promise<Outcome> {
    const all = [
      "ingest",
      ...[file].flat(),
      "--handler",
      `${handlers}#${handler}`,
      "--dir",
      this.data,
      "--json",
      "--processors",
      "1",
      ...args,
    ];
    return millrace(all, { env: { NOTES: this.notes }, ...options });
  }

  /** The line numbers and values that the handlers got. */
  handled(): [line: number, value: unknown][] {
    if (!existsSync(this.notes)) return [];
    return readFileSync(this.notes, "utf8")
      .split("\n")
      .slice(0, -1)
      .map((text) => {
        const space = text.indexOf(" ");
        return [Number(text.slice(0, space)), JSON.parse(text.slice(space + 1))] as [number, unknown];
      })
      .toSorted(([left], [right]) => left - right) as [number, unknown][];
  }
}
