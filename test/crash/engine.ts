// The journal's modules as one value, so that the same checks run against the package and against copies of it with a bug.
import { readdirSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

type Modules = {
  checkpoint: typeof import("@millrace/journal/internal/checkpoint");
  control: typeof import("@millrace/journal/internal/control");
  format: typeof import("@millrace/journal/internal/format");
  journal: typeof import("@millrace/journal/internal/journal");
  keeper: typeof import("@millrace/journal/internal/keeper");
  "log-reader": typeof import("@millrace/journal/internal/log-reader");
  marks: typeof import("@millrace/journal/internal/marks");
  opening: typeof import("@millrace/journal/internal/opening");
  producer: typeof import("@millrace/journal/internal/producer");
  scan: typeof import("@millrace/journal/internal/scan");
  spare: typeof import("@millrace/journal/internal/spare");
  stats: typeof import("@millrace/journal/internal/stats");
  writer: typeof import("@millrace/journal/internal/writer");
};

export interface Engine extends Modules {
  /** Where the compiled modules lie. */
  readonly directory: string;
}

/** Where the package's own modules lie. */
export const PACKAGE_DIST: string = fileURLToPath(
  new URL(".", import.meta.resolve("@millrace/journal/internal/format")),
);

const NAMES = [
  "checkpoint",
  "control",
  "format",
  "journal",
  "keeper",
  "log-reader",
  "marks",
  "opening",
  "producer",
  "scan",
  "spare",
  "stats",
  "writer",
] as const;

/** The modules in `directory`: the package's own, or a copy. */
export async function loadEngine(directory: string = PACKAGE_DIST): Promise<Engine> {
  const files = readdirSync(directory);
  const entries = await Promise.all(
    NAMES.map(async (name) => {
      if (!files.includes(`${name}.js`)) throw new Error(`${directory} has no module ${name}`);
      return [name, await import(pathToFileURL(`${directory}/${name}.js`).href)] as const;
    }),
  );
  return { ...(Object.fromEntries(entries) as unknown as Modules), directory };
}
