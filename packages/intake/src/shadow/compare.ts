/** Whether two ends of a record are the same, and where they differ. */
import { isDeepStrictEqual, types } from "node:util";
import type { ReasonName } from "../format/state-records.ts";
import { type IgnoredPaths, type Path, pathText } from "./paths.ts";

/** A record that a handler has published with the end of its own. */
export interface ShadowPublished {
  readonly handler: string;
  readonly payload: unknown;
  readonly priority: number;
  readonly key: string | undefined;
  readonly idempotencyKey: string | undefined;
  readonly headers: unknown;
}

/** How a record ended, then or now. */
export interface ComparedEnd {
  /** Why it failed; undefined when its handler has returned. */
  readonly reason: ReasonName | undefined;
  /** The result, or the error. */
  readonly value: unknown;
  /** False where the value wasn't recorded. */
  readonly isKnown: boolean;
  readonly published: readonly ShadowPublished[];
  /** Ms; undefined where nobody knows. */
  readonly ranMs: number | undefined;
}

/**
 * "result", "published": both have returned, and left something else. "error": both have failed,
 * with other errors. "fails", "returns": now, and not then. "timeout", "death": now it takes longer
 * than its time, or ends its thread. "missing": there is no such handler now.
 */
export type DifferenceKind = "result" | "published" | "error" | "fails" | "returns" | "timeout" | "death" | "missing";

export interface Difference {
  readonly kind: DifferenceKind;
  /** Where they differ, such as `result.fee`; the first ten places. */
  readonly paths: readonly string[];
}

const PATHS_MAX = 10;
/** Deeper values are compared as a whole. */
const DEPTH_MAX = 100;
/**
 * Parts that were compared already are compared again in other places at most this often in all.
 * Values whose parts point at each other have more ways through them than anybody can walk.
 */
const REPEATS_MAX = 1000;

/** Pairs that were compared. */
class Pairs {
  readonly #seen = new Map<object, Set<object>>();
  #repeats = 0;

  /** Whether to go into the two. */
  add(then: object, now: object): boolean {
    const others = this.#seen.get(then);
    if (others === undefined) this.#seen.set(then, new Set([now]));
    else if (others.has(now)) this.#repeats += 1;
    else others.add(now);
    return this.#repeats <= REPEATS_MAX;
  }
}

/** Undefined for two that are the same. */
export function differenceOf(then: ComparedEnd, now: ComparedEnd, ignored: IgnoredPaths): Difference | undefined {
  const kind = kindOf(then.reason, now.reason);
  if (kind !== undefined) return { kind, paths: [] };
  const found: string[] = [];
  if (now.reason !== undefined) {
    if (then.isKnown) collect(["error"], errorParts(then.value), errorParts(now.value), ignored, found);
    return found.length === 0 ? undefined : { kind: "error", paths: found };
  }
  if (then.isKnown) collect(["result"], then.value, now.value, ignored, found);
  const isResult = found.length > 0;
  collect(["published"], then.published, now.published, ignored, found);
  return found.length === 0 ? undefined : { kind: isResult ? "result" : "published", paths: found };
}

/** The kind of difference that the ways of ending alone show. */
function kindOf(then: ReasonName | undefined, now: ReasonName | undefined): DifferenceKind | undefined {
  if (now === undefined) return then === undefined ? undefined : "returns";
  if (now === "timeout" || now === "death") return wayOf(then) === now ? undefined : now;
  if (then === undefined) return "fails";
  return wayOf(then) === "error" ? undefined : "error";
}

/** Of a dead record it is known why there was no other attempt, and not how the last one ended. */
function wayOf(reason: ReasonName | undefined): "error" | "timeout" | "death" | undefined {
  if (reason === "timeout" || reason === "death") return reason;
  if (reason === "quarantine") return "death";
  return reason === undefined ? undefined : "error";
}

/** A stack names places in files, which change. */
function errorParts(thrown: unknown): unknown {
  if (!types.isNativeError(thrown)) return thrown;
  const { name, message, code } = thrown as Error & { code?: unknown };
  return { name, message, code };
}

/** Adds the places where two values differ. */
function collect(
  path: Path,
  then: unknown,
  now: unknown,
  ignored: IgnoredPaths,
  found: string[],
  pairs: Pairs = new Pairs(),
): void {
  if (found.length >= PATHS_MAX || ignored.has(path)) return;
  const names = path.length < DEPTH_MAX ? stepsOf(then, now) : undefined;
  if (names === undefined) {
    if (!isDeepStrictEqual(then, now)) found.push(pathText(path));
    return;
  }
  if (!pairs.add(then as object, now as object)) return;
  for (const name of names) collect([...path, name], memberOf(then, name), memberOf(now, name), ignored, found, pairs);
}

/** The members of two values of one kind; undefined for what is compared as a whole. */
function stepsOf(then: unknown, now: unknown): Iterable<string | number> | undefined {
  if (Array.isArray(then) && Array.isArray(now)) return Array(Math.max(then.length, now.length)).keys();
  if (isPlain(then) && isPlain(now)) return new Set([...Object.keys(then), ...Object.keys(now)]);
  return undefined;
}

function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

const ABSENT = Symbol("absent");

function memberOf(value: unknown, name: string | number): unknown {
  return Object.hasOwn(value as object, name) ? (value as Record<string | number, unknown>)[name] : ABSENT;
}
