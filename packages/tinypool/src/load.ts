/** Finds the function of a task: in the default export when that is an object, else by name. */
import { isAbsolute } from "node:path";
import { pathToFileURL } from "node:url";

type Handler = (task: unknown) => unknown;

const handlers = new Map<string, Map<string, Handler>>();

/**
 * Loads a module and finds a function of it. Rejects when the module can't be loaded, and resolves
 * with undefined when it has no such function.
 */
export async function findHandler(filename: string, name: string): Promise<Handler | undefined> {
  const specifier = isAbsolute(filename) ? pathToFileURL(filename).href : filename;
  const namespace = (await import(specifier)) as Record<string, unknown>;
  const { default: whole } = namespace;
  // The `module.exports` of a CommonJS module, for one.
  const within = typeof whole === "object" && whole !== null ? (whole as Record<string, unknown>)[name] : undefined;
  const found = (await within) ?? (await namespace[name]);
  if (typeof found !== "function") return undefined;
  const ofFile = handlers.get(filename) ?? new Map<string, Handler>();
  handlers.set(filename, ofFile.set(name, found as Handler));
  return found as Handler;
}

/** The function that a task calls. Rejects when there is none. */
export async function handlerOf(filename: string, name: string): Promise<Handler> {
  const handler = handlers.get(filename)?.get(name) ?? (await findHandler(filename, name));
  if (handler !== undefined) return handler;
  const [called, file] = [name, filename].map((text) => `"${text}"`);
  throw new Error(`No handler function ${called} exported from ${file}`);
}
