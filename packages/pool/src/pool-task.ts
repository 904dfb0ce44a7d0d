/**
 * The handlers of a `Pool`: the module of its scheduler is this one, with the pool's `filename` and
 * `name` in the query of its URL.
 *
 * A task runs the module's export of that name, or that property of its default export; "default"
 * is also a CommonJS module that is a function itself. The first task that needs a module loads it;
 * if that fails, the task rejects.
 */
import { pathToFileURL } from "node:url";
import type { TaskContext } from "@millrace/scheduler";
import { poolError } from "./errors.ts";

type TaskFunction = (task: unknown) => unknown;

/** A task of another module or name than the pool's own. */
export interface NamedTask {
  readonly filename: string;
  readonly name: string;
  readonly value: unknown;
}

const parameters: URLSearchParams = new URL(import.meta.url).searchParams;
const ownFilename: string | null = parameters.get("filename");
const ownName: string = parameters.get("name") ?? "default";

/** piscina's marks on what `move()` returns. */
const TRANSFERABLE: symbol = Symbol.for("Piscina.transferable");
const VALUE: symbol = Symbol.for("Piscina.valueOf");

/** By file and name. Without a limit: there are as many as the program names. */
const functions = new Map<string, TaskFunction>();
let own: TaskFunction | undefined;

/** A task of the pool's own function. */
export function task(value: unknown, context: TaskContext): unknown {
  if (own !== undefined) return finish(own(value), context);
  return load(ownFilename as string, ownName).then((loaded) => {
    own = loaded;
    return finish(loaded(value), context);
  });
}

export function namedTask({ filename, name, value }: NamedTask, context: TaskContext): unknown {
  const known = functions.get(keyOf(filename, name));
  if (known !== undefined) return finish(known(value), context);
  return load(filename, name).then((loaded) => finish(loaded(value), context));
}

function finish(result: unknown, context: TaskContext): unknown {
  if (typeof result !== "object" || result === null) return result;
  if (result instanceof Promise) return result.then((value: unknown) => finish(value, context));
  if (!(TRANSFERABLE in result && VALUE in result)) return result;
  const { [TRANSFERABLE]: moved, [VALUE]: value } = result as Record<symbol, unknown>;
  return context.transfer(value, [moved].flat() as object[]);
}

function keyOf(filename: string, name: string): string {
  return `${filename}\n${name}`;
}

async function load(filename: string, name: string): Promise<TaskFunction> {
  const url = filename.includes("://") ? filename : pathToFileURL(filename).href;
  const namespace = (await import(url)) as Record<string, unknown>;
  // CommonJS exports lie in `default`; a module that TypeScript has compiled to CommonJS has
  // another `default` there.
  const inner = namespace.default as Record<string, unknown> | undefined;
  const found = [namespace[name], inner?.[name]].find((each) => typeof each === "function");
  if (found === undefined) {
    throw poolError("ERR_POOL_TASK", `${filename} exports no function "${name}"`, { details: { filename, name } });
  }
  functions.set(keyOf(filename, name), found as TaskFunction);
  return found as TaskFunction;
}
