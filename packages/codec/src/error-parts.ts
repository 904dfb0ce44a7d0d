/**
 * Takes an error apart: the class of JavaScript or Node that it stems from, the name of its own
 * class, the hidden (not enumerable) members, and the others.
 *
 * Reads by `[[Get]]`, so that `code` and `name` arrive that a class has as getters over private
 * fields. An error may be any object: one of a library that inherits from Error in the old way
 * isn't a native error, a DOMException of Node 20 neither, and a proxy may throw at each access.
 */
import { types } from "node:util";
import { isMillraceError } from "@millrace/base";

/** Classes that are the same in every thread. */
const ERROR_BASES: ReadonlySet<string> = new Set([
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
  "AggregateError",
  "DOMException",
  "MillraceError",
]);

/** Longer names of classes are cut: they become names of classes where the error arrives. */
const CLASS_NAME_MAX = 100;

export interface ErrorParts {
  readonly base: string;
  /** Empty when the error is of the class `base` itself. */
  readonly className: string;
  readonly hidden: readonly string[];
  readonly visible: readonly string[];
  readonly symbols: readonly symbol[];
}

export function isError(object: object): boolean {
  return types.isNativeError(object) || object instanceof Error || object instanceof DOMException;
}

export function partsOfError(error: object): ErrorParts {
  const { base, className } = classesOf(error);
  const hidden = HIDDEN_MEMBERS.filter((key) => hasMember(error, key));
  if (attempt(() => (error as Error).name) !== base) hidden.unshift("name");
  const keys = attempt(() => Object.keys(error)) ?? [];
  // A class may have it as a getter.
  const code = attempt(() => (error as { readonly code?: unknown }).code);
  const hasHiddenCode = (typeof code === "string" || typeof code === "number") && !keys.includes("code");
  if (hasHiddenCode && base !== "DOMException") hidden.push("code");
  return {
    base,
    className: className === base ? "" : className.slice(0, CLASS_NAME_MAX),
    hidden,
    visible: keys.filter((key) => key !== "name" && !hidden.includes(key)),
    symbols: attempt(() => Object.getOwnPropertySymbols(error).filter((key) => isEnumerable(error, key))) ?? [],
  };
}

const HIDDEN_MEMBERS: readonly string[] = ["message", "stack", "cause", "errors"];

/** Own, or inherited with a value: a prototype has an empty message. */
function hasMember(error: object, key: string): boolean {
  const isOwn = attempt(() => Object.hasOwn(error, key)) ?? false;
  const value = attempt(() => (error as Record<string, unknown>)[key]);
  return isOwn || (value !== undefined && value !== "");
}

function isEnumerable(object: object, key: symbol): boolean {
  return Object.getOwnPropertyDescriptor(object, key)?.enumerable === true;
}

/**
 * By the names along the chain of prototypes: an error of another realm (node:vm) has other
 * classes.
 */
function classesOf(error: object): { readonly base: string; readonly className: string } {
  let className = "";
  if (attempt(() => isMillraceError(error)) === true) return { base: "MillraceError", className: "" };
  for (
    let at = prototypeOf(error), steps = 0;
    at !== null && steps < PROTOTYPES_MAX;
    at = prototypeOf(at), steps += 1
  ) {
    const name = classNameOf(at);
    if (className === "") className = name;
    if (ERROR_BASES.has(name)) return { base: name, className };
  }
  return { base: "Error", className };
}

/** A proxy may have prototypes without end. */
const PROTOTYPES_MAX = 100;

function prototypeOf(object: object): object | null {
  return attempt(() => Object.getPrototypeOf(object) as object | null) ?? null;
}

function classNameOf(prototype: object | null): string {
  const name = attempt(() =>
    prototype !== null && Object.hasOwn(prototype, "constructor")
      ? (prototype.constructor as { name?: unknown }).name
      : "",
  );
  return typeof name === "string" ? name : "";
}

/** The result of `read`; undefined if it throws, as a getter or a proxy may. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
