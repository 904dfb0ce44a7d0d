/**
 * Handlers: the functions that a module exports, known by their names.
 *
 * Every machine loads the module for itself; the order of the sorted names is the number by which a
 * task names its handler.
 */
import { pathToFileURL } from "node:url";
import {
  checkArgument,
  clearTimeout,
  custom,
  messageOf,
  type MillraceError,
  nearest,
  setTimeout,
} from "@millrace/base";
import type { Handler } from "./context.ts";
import { schedulerError } from "../errors.ts";
import { HANDLERS_MAX } from "../shared/task-table.ts";

/** Two letters at least: a path of Windows begins with one and a colon. */
const URL_SCHEME = /^([a-z][a-z\d+.-]+:\/\/|(data|node|file):)/i;

/** A module as `open()` takes it, as the text of a URL. */
export function moduleUrl(module: URL | string): string {
  if (module instanceof URL) return module.href;
  return URL_SCHEME.test(module) ? module : pathToFileURL(module).href;
}

/** A handler as a machine keeps it. */
export interface HandlerEntry {
  readonly name: string;
  readonly call: Handler;
  /** Whether it may look at its second argument; making a context costs as much as a small task. */
  readonly takesContext: boolean;
  /** Whether it has returned a promise. */
  isAsync: boolean;
}

/** `instead`: what is called in its place, and takes a context. */
export function handlerEntry(name: string, handler: Handler, instead: Handler = handler): HandlerEntry {
  const isAsync = handler.constructor.name === "AsyncFunction";
  return { name, call: instead, takesContext: instead !== handler || takesContext(handler), isAsync };
}

/** False only for a function that certainly can't see a second argument, judged by its text. */
function takesContext(call: Handler): boolean {
  if (call.length > 1) return true;
  const text = Function.prototype.toString.call(call);
  const parameters = text.slice(0, text.indexOf(")") + 1);
  return (
    !/^(async\s+)?(function\b[^(]*|[\w$]+\s*)?\(?[\w$\s]*\)/.test(parameters) ||
    /\barguments\b|\beval\b|\[native code\]/.test(text)
  );
}

/**
 * Functions among a module's exports, sorted by name. A default export that is a function or an
 * object of functions counts where nothing else does (CommonJS). TypeScript sources load where Node
 * strips types (22.18, 23.6 and later). Throws `ERR_HANDLER_MODULE`.
 */
export async function loadHandlers(url: string): Promise<LoadedHandlers> {
  const namespace = await importModule(url);
  const exported = functionsOf(namespace);
  const fallback = namespace.default;
  const isFallback = exported.every(([name]) => isHook(name)) && typeof fallback === "object" && fallback !== null;
  if (isFallback) exported.push(...functionsOf(fallback as Record<string, unknown>));
  const handlers = exported.filter(([name]) => !isHook(name));
  if (handlers.length === 0)
    throw schedulerError("ERR_HANDLER_MODULE", `${url} exports no function that is a handler`, { details: { url } });
  if (handlers.length > HANDLERS_MAX) {
    throw schedulerError("ERR_HANDLER_MODULE", `${url} exports more than ${HANDLERS_MAX} functions`, {
      details: { url },
    });
  }
  const hooks = new Map(exported.filter(([name]) => isHook(name)));
  return {
    handlers: new Map(handlers.toSorted(([left], [right]) => (left < right ? -1 : 1))),
    initialize: hooks.get("initialize") as Hook | undefined,
    teardown: hooks.get("teardown") as Hook | undefined,
  };
}

/** Exports of these names are no handlers: each machine calls them, first and last. */
const HOOKS: ReadonlySet<string> = new Set(["initialize", "teardown"]);

function isHook(name: string): boolean {
  return HOOKS.has(name);
}

export type Hook = (machine: { readonly machine: number }) => unknown;

export interface LoadedHandlers {
  readonly handlers: Map<string, Handler>;
  readonly initialize: Hook | undefined;
  readonly teardown: Hook | undefined;
}

/**
 * As `loadHandlers`, with the module's `initialize`, and within a time; for threads and processes
 * that nobody watches while they start. `machine`: the number that `initialize` gets.
 */
export async function loadWithin(url: string, machine: number, startTimeoutMs: number): Promise<LoadedHandlers> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(tooLate(url, startTimeoutMs)), startTimeoutMs);
  });
  const loading = async (): Promise<LoadedHandlers> => {
    const loaded = await loadHandlers(url);
    await loaded.initialize?.({ machine });
    return loaded;
  };
  try {
    return await Promise.race([loading(), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The module has not loaded, or its `initialize` has not returned. */
export function tooLate(url: string, startTimeoutMs: number): MillraceError {
  return schedulerError("ERR_HANDLER_MODULE", `${url} was not loaded within ${startTimeoutMs} ms`, {
    details: { url, startTimeoutMs },
  });
}

async function importModule(url: string): Promise<Record<string, unknown>> {
  try {
    return (await import(url)) as Record<string, unknown>;
  } catch (cause) {
    const code = (cause as { code?: unknown } | null | undefined)?.code;
    const hint =
      code === "ERR_UNKNOWN_FILE_EXTENSION" && /\.[cm]?ts$/.test(url)
        ? `; Node.js ${process.versions.node} loads no TypeScript in a thread by itself: see docs/test-runners.md`
        : "";
    throw schedulerError("ERR_HANDLER_MODULE", `${url} could not be loaded: ${messageOf(cause)}${hint}`, {
      cause,
      details: { url },
    });
  }
}

function functionsOf(exports: Record<string, unknown>): [string, Handler][] {
  return Object.entries(exports).filter((entry): entry is [string, Handler] => typeof entry[1] === "function");
}

/**
 * One function per handler, on an object that refuses every other name with `ERR_HANDLER_UNKNOWN`.
 */
export function bindHandlers(names: readonly string[], bind: (name: string, number: number) => unknown): object {
  // Known names are own properties; only a wrong name reaches the proxy behind them.
  const unknown = new Proxy(Object.freeze({}), {
    get: (_, name) => {
      if (typeof name === "symbol" || name === "then") return undefined;
      throw unknownHandler(name, names);
    },
  });
  const bound = Object.create(unknown) as object;
  // Defined, not assigned: a handler may be called `__proto__`.
  names.forEach((name, number) => Object.defineProperty(bound, name, { value: bind(name, number), enumerable: true }));
  return Object.freeze(bound);
}

/** The number of a handler. Throws `ERR_HANDLER_UNKNOWN`. */
export function handlerNumber(name: string, names: readonly string[]): number {
  const number = names.indexOf(name);
  if (number >= 0) return number;
  throw unknownHandler(name, names);
}

const anyText = custom("a text", (value): value is string => typeof value === "string");

/** `ERR_HANDLER_UNKNOWN`; `ERR_INVALID_OPTION` for a name that is no text. */
export function unknownHandler(given: unknown, names: readonly string[]): Error {
  const name = checkArgument("handlers", "a name", anyText, given);
  const near = nearest(name, names);
  const hint = near === undefined ? `there are ${names.join(", ")}` : `did you mean "${near}"?`;
  return schedulerError("ERR_HANDLER_UNKNOWN", `no handler is called "${name}"; ${hint}`, { details: { name, names } });
}
