/** Golden intakes: directories as an earlier build has left them. See fixtures/intakes. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { temporaryDirectory } from "../support.ts";

/** The promise of the earlier build about a record. */
export interface GoldenRecord {
  readonly sequence: number;
  readonly handler: string;
  readonly n: number;
  /** `waiting`: for its retry. `paused`: for its handler. */
  readonly state: "finished" | "unfinished" | "dead" | "waiting" | "paused";
  readonly headers: unknown;
}

export interface Golden {
  readonly name: string;
  readonly records: readonly GoldenRecord[];
  readonly files: Readonly<Record<string, string>>;
}

// The files lie beside the source, not beside the compiled test.
const ROOT = fileURLToPath(new URL("../../../test/fixtures/intakes", import.meta.url));

export function goldens(format: string): Golden[] {
  return readdirSync(join(ROOT, format)).map((file) => {
    const packed = readFileSync(join(ROOT, format, file));
    const { records, files } = JSON.parse(brotliDecompressSync(packed).toString()) as Omit<Golden, "name">;
    return { name: `${format}/${file.replace(/\.br$/, "")}`, records, files };
  });
}

export function golden(name: string): Golden {
  return goldens(name.split("/")[0] as string).find((each) => each.name === name) as Golden;
}

/** A directory of its own with these files. */
export function unpack({ files }: Golden): string {
  const directory = join(temporaryDirectory(), "journal");
  mkdirSync(directory);
  for (const [file, base64] of Object.entries(files)) {
    writeFileSync(join(directory, file), Buffer.from(base64, "base64"));
  }
  return directory;
}
