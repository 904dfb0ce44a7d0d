/**
 * Options: one readonly object, checked once. An unknown key is refused with the nearest known one.
 *
 * A rule has a default and knows what it allows. `resolveOptions` applies a table of rules to the
 * object that the user gave.
 */
import { closest, distance } from "fastest-levenshtein";
import { baseError } from "./errors.ts";

export interface Rule<T> {
  /** Used when the key is absent or undefined. */
  readonly fallback: () => T;
  /** True when `value` may be used as it is. */
  readonly accepts: (value: unknown) => boolean;
  /** The allowed values in words. */
  readonly allowed: string;
}

export type Rules = Readonly<Record<string, Rule<unknown>>>;
export type Resolved<R extends Rules> = {
  readonly [K in keyof R]: R[K] extends Rule<infer T> ? T : never;
};

function defaulting<T>(value: T | (() => T)): () => T {
  return typeof value === "function" ? (value as () => T) : () => value;
}

/** A whole number in `[min, max]`. Required unless a default is given. */
export function integer(min: number, max: number, fallback: number | (() => number) = required): Rule<number> {
  return {
    fallback: defaulting(fallback),
    accepts: (value) => Number.isInteger(value) && (value as number) >= min && (value as number) <= max,
    allowed: `a whole number from ${min} to ${max}`,
  };
}

/** A finite number in `[min, max]`. */
export function number(min: number, max: number, fallback: number | (() => number) = required): Rule<number> {
  return {
    fallback: defaulting(fallback),
    accepts: (value) => Number.isFinite(value) && (value as number) >= min && (value as number) <= max,
    allowed: `a number from ${min} to ${max}`,
  };
}

/** A power of two in `[min, max]`. */
export function powerOfTwo(min: number, max: number, fallback: number): Rule<number> {
  return {
    fallback: () => fallback,
    accepts: (value) =>
      Number.isInteger(value) &&
      (value as number) >= min &&
      (value as number) <= max &&
      Number.isInteger(Math.log2(value as number)),
    allowed: `a power of two from ${min} to ${max}`,
  };
}

export function boolean(fallback: boolean): Rule<boolean> {
  return { fallback: () => fallback, accepts: (value) => typeof value === "boolean", allowed: "true or false" };
}

export function oneOf<const T extends string>(values: readonly T[], fallback: T): Rule<T> {
  return {
    fallback: () => fallback,
    accepts: (value) => (values as readonly unknown[]).includes(value),
    allowed: `one of ${values.map((value) => JSON.stringify(value)).join(", ")}`,
  };
}

/** A text that is not empty. Required unless a default is given. */
export function text(fallback?: string): Rule<string> {
  return {
    fallback: () => fallback ?? required(),
    accepts: (value) => typeof value === "string" && value.length > 0,
    allowed: "a text that is not empty",
  };
}

/** The path of a file or a directory. Required. */
export function path(): Rule<string> {
  return custom(
    "a path that is not empty and has no NUL",
    (value): value is string => typeof value === "string" && value.length > 0 && !value.includes("\0"),
  );
}

export function callback<T extends (...parameters: never[]) => unknown>(): Rule<T> {
  return custom("a function", (value): value is T => typeof value === "function");
}

/** Options within options: resolve them with rules of their own. */
export function optionsObject<T extends object>(): Rule<T> {
  return custom(OBJECT, (value): value is T => isOptionsObject(value));
}

export function list<T>(): Rule<readonly T[]> {
  return custom("a list", (value): value is readonly T[] => Array.isArray(value));
}

/** Also one of another realm: test runners give their tests globals of their own. */
export function abortSignal(): Rule<AbortSignal> {
  return custom(
    "an AbortSignal",
    (value): value is AbortSignal => Object.prototype.toString.call(value) === "[object AbortSignal]",
  );
}

/** Anything that `accepts` takes, described by `allowed`; `fallback` where it may be left out. */
export function custom<T>(
  allowed: string,
  accepts: (value: unknown) => value is T,
  fallback: () => T = required,
): Rule<T> {
  return { fallback, accepts, allowed };
}

/** Takes what `rule` takes, and also its absence. */
export function optional<T>(rule: Rule<T>): Rule<T | undefined> {
  return { fallback: () => undefined, accepts: rule.accepts, allowed: rule.allowed };
}

const REQUIRED: unique symbol = Symbol("required");
function required(): never {
  throw REQUIRED;
}

/**
 * Checks `given` against `rules` and fills in the defaults. `owner` names the call that takes the
 * options, for the message. Throws `ERR_INVALID_OPTION` with name, value and allowed range in
 * `details`.
 */
export function resolveOptions<R extends Rules>(owner: string, rules: R, given: object = {}): Resolved<R> {
  if (!isOptionsObject(given)) throw notAnObject(owner, given);
  // Loops over names instead of lists of names: some options are resolved once per call.
  for (const name in given) {
    if (!Object.hasOwn(rules, name)) throw unknownName(owner, name, given, Object.keys(rules));
  }
  const resolved: Record<string, unknown> = {};
  for (const name in rules) {
    const rule = rules[name] as Rule<unknown>;
    const value = (given as Record<string, unknown>)[name];
    resolved[name] = value === undefined ? fallbackOf(owner, name, rule) : checked(owner, name, rule, value);
  }
  return resolved as Resolved<R>;
}

function fallbackOf(owner: string, name: string, rule: Rule<unknown>): unknown {
  try {
    return rule.fallback();
  } catch (thrown) {
    if (thrown !== REQUIRED) throw thrown;
    throw baseError("ERR_INVALID_OPTION", `${owner}: option "${name}" is required: ${rule.allowed}`, {
      details: { owner, name, allowed: rule.allowed },
    });
  }
}

function checked(owner: string, name: string, rule: Rule<unknown>, value: unknown): unknown {
  if (rule.accepts(value)) return value;
  throw baseError("ERR_INVALID_OPTION", `${owner}: option "${name}" must be ${rule.allowed}, not ${describe(value)}`, {
    details: { owner, name, value, allowed: rule.allowed },
  });
}

/**
 * One argument that is no option. Throws `ERR_INVALID_OPTION`: `${owner}: ${name} must be …`.
 */
export function checkArgument<T>(owner: string, name: string, rule: Rule<T>, value: unknown): T {
  if (rule.accepts(value)) return value as T;
  throw baseError("ERR_INVALID_OPTION", `${owner}: ${name} must be ${rule.allowed}, not ${describe(value)}`, {
    details: { owner, name, value, allowed: rule.allowed },
  });
}

function unknownName(owner: string, name: string, given: object, known: readonly string[]): Error {
  const near = nearest(name, known);
  const hint = near === undefined ? `known are ${known.join(", ")}` : `did you mean "${near}"?`;
  // Without running a getter of the user's for it.
  const value: unknown = Object.getOwnPropertyDescriptor(given, name)?.value;
  return baseError("ERR_INVALID_OPTION", `${owner}: unknown option "${name}"; ${hint}`, {
    details: { owner, name, value, allowed: `one of the options ${known.join(", ")}`, known },
  });
}

const OBJECT = "an object with options";

/**
 * False for what carries no options and was given by mistake: a list, a date, a signal, a map, a
 * number.
 */
function isOptionsObject(value: unknown): value is object {
  return Object.prototype.toString.call(value) === "[object Object]";
}

function notAnObject(owner: string, value: unknown): Error {
  return baseError("ERR_INVALID_OPTION", `${owner}: the options must be ${OBJECT}, not ${describe(value)}`, {
    details: { owner, name: "options", value, allowed: OBJECT },
  });
}

/** A name of at least this length stands for the one candidate that begins with it. */
const PREFIX_MIN = 3;

/**
 * The candidate that a misspelt or shortened `name` most likely meant; undefined when none is near.
 */
export function nearest(name: string, candidates: readonly string[]): string | undefined {
  if (candidates.length === 0) return undefined;
  const lowered = name.toLowerCase();
  const same = candidates.find((candidate) => candidate.toLowerCase() === lowered);
  if (same !== undefined) return same;
  const best = closest(name, candidates);
  if (distance(name, best) <= Math.max(2, name.length / 3)) return best;
  const longer = candidates.filter((candidate) => candidate.toLowerCase().startsWith(lowered));
  return name.length >= PREFIX_MIN && longer.length === 1 ? longer[0] : undefined;
}

function describe(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  if (typeof value === "object" && value !== null) return `an object (${value.constructor?.name ?? "no prototype"})`;
  return typeof value === "bigint" ? `${value}n` : String(value);
}
