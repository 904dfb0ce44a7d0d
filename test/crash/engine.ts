// The journal's modules as one value. The same checks run against the package and against copies of
// it with a bug.
import { existsSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";

type Modules = {
  checkpoint: typeof import("@millrace/journal/internal/files/checkpoint");
  control: typeof import("@millrace/journal/internal/memory/control");
  format: typeof import("@millrace/journal/internal/files/format");
  journal: typeof import("@millrace/journal/internal/opener/journal");
  keeper: typeof import("@millrace/journal/internal/keeper/keeper");
  limits: typeof import("@millrace/journal/internal/files/limits");
  "log-reader": typeof import("@millrace/journal/internal/read/log-reader");
  lookup: typeof import("@millrace/journal/internal/read/lookup");
  marks: typeof import("@millrace/journal/internal/files/marks");
  opening: typeof import("@millrace/journal/internal/writer/opening");
  producer: typeof import("@millrace/journal/internal/memory/producer");
  records: typeof import("@millrace/journal/internal/files/records");
  scan: typeof import("@millrace/journal/internal/read/scan");
  scrub: typeof import("@millrace/journal/internal/keeper/scrub");
  segments: typeof import("@millrace/journal/internal/files/segments");
  spare: typeof import("@millrace/journal/internal/files/spare");
  stats: typeof import("@millrace/journal/internal/memory/stats");
  writer: typeof import("@millrace/journal/internal/writer/writer");
};

export interface Engine extends Modules {
  /** Where the compiled modules lie. */
  readonly directory: string;
}

/** Where the package's own modules lie. */
export const PACKAGE_DIST: string = fileURLToPath(
  new URL("..", import.meta.resolve("@millrace/journal/internal/files/format")),
);

const PATHS: Readonly<Record<keyof Modules, string>> = {
  checkpoint: "files/checkpoint",
  control: "memory/control",
  format: "files/format",
  journal: "opener/journal",
  keeper: "keeper/keeper",
  limits: "files/limits",
  "log-reader": "read/log-reader",
  lookup: "read/lookup",
  marks: "files/marks",
  opening: "writer/opening",
  producer: "memory/producer",
  records: "files/records",
  scan: "read/scan",
  scrub: "keeper/scrub",
  segments: "files/segments",
  spare: "files/spare",
  stats: "memory/stats",
  writer: "writer/writer",
};

/** The modules in `directory`: the package's own, or a copy. */
export async function loadEngine(directory: string = PACKAGE_DIST): Promise<Engine> {
  const entries = await Promise.all(
    Object.entries(PATHS).map(async ([name, path]) => {
      const file = `${directory}/${path}.js`;
      if (!existsSync(file)) throw new Error(`${directory} has no module ${path}`);
      return [name, await import(pathToFileURL(file).href)] as const;
    }),
  );
  return { ...(Object.fromEntries(entries) as unknown as Modules), directory };
}
