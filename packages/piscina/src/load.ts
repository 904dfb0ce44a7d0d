/**
 * Finds the function of a task: the export `name` of a module, or the value that this export
 * promises.
 *
 * A module is loaded by `require` first. So the hooks of tsx, ts-node and swc-node work, and paths
 * without an extension, and folders. A module that only `import` can load is imported.
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

type Handler = (task: unknown) => unknown;

const load = createRequire(__filename);

/** Handlers by file and name. */
const handlers = new Map<string, Map<string, Handler>>();

/** The mark of compilers on an ES module that they have made into CommonJS. */
const ES_MODULE = "__esModule";

/** `module.exports` as `import` shows it: unless it was an ES module, it is the default. */
function exportOf(exports: unknown, name: string): unknown {
  const isEsModule = (exports as { [ES_MODULE]?: boolean } | undefined)?.[ES_MODULE] === true || isNamespace(exports);
  if (name === "default" && !isEsModule) return exports;
  return (exports as Record<string, unknown> | null | undefined)?.[name];
}

const isNamespace = (exports: unknown): boolean =>
  typeof exports === "object" &&
  exports !== null &&
  (exports as { [Symbol.toStringTag]?: string })[Symbol.toStringTag] === "Module";

/** Errors of a loader: another one may do better. The module's own would come again. */
const isLoadError = (error: unknown): boolean =>
  error instanceof SyntaxError || typeof (error as { code?: unknown } | null)?.code === "string";

/** An error of `import` that says only that it looks for files in another way than `require`. */
const LOOKS_ELSEWHERE = new Set(["ERR_UNSUPPORTED_DIR_IMPORT", "ERR_MODULE_NOT_FOUND", "ERR_UNKNOWN_FILE_EXTENSION"]);

interface Attempt {
  readonly value?: unknown;
  readonly error?: unknown;
}

async function byRequire(filename: string, name: string): Promise<Attempt> {
  try {
    return { value: await exportOf(load(filename), name) };
  } catch (error) {
    if (!isLoadError(error)) throw error;
    return { error };
  }
}

async function byImport(filename: string, name: string, before: Attempt): Promise<unknown> {
  try {
    const url = pathToFileURL(filename).href;
    const namespace = (await import(url)) as Record<string, unknown>;
    return await namespace[name];
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === undefined || !LOOKS_ELSEWHERE.has(code)) throw error;
    // `require` had the file, without such an export; or its error is the one that matters.
    if (before.error === undefined) return undefined;
    throw before.error;
  }
}

/** Resolves with undefined without such a function. Rejects when the module can't be loaded. */
export async function findHandler(filename: string, name: string): Promise<Handler | undefined> {
  const required = await byRequire(filename, name);
  const found = typeof required.value === "function" ? required.value : await byImport(filename, name, required);
  if (typeof found !== "function") return undefined;
  const ofFile = handlers.get(filename) ?? new Map<string, Handler>();
  handlers.set(filename, ofFile.set(name, found as Handler));
  return found as Handler;
}

/** A handler that was found before. */
export const knownHandler = (filename: string, name: string): Handler | undefined => handlers.get(filename)?.get(name);
