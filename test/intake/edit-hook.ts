// Loaded with --import: edits one compiled module as it is read, for a seeded bug.
import { readFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";

interface Edit {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

type Load = (url: string, context: object) => Promise<{ format: string; source?: unknown; shortCircuit?: boolean }>;

/** Runs on the loader's thread. */
export async function load(
  url: string,
  context: object,
  nextLoad: Load,
): Promise<{ format: string; source?: unknown; shortCircuit?: boolean }> {
  const edit = JSON.parse(process.env["MILLRACE_EDIT"] ?? "{}") as Edit;
  if (!url.endsWith(`/packages/intake/dist/${edit.file}`)) return nextLoad(url, context);
  const parts = readFileSync(fileURLToPath(url), "utf8").split(edit.from);
  if (parts.length !== 2)
    throw new Error(`${edit.file}: ${JSON.stringify(edit.from)} occurs ${parts.length - 1} times`);
  return { format: "module", source: parts.join(edit.to), shortCircuit: true };
}

if (process.env["MILLRACE_EDIT"] !== undefined) register(import.meta.url);
