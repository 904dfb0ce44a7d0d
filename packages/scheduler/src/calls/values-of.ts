/**
 * The values of a list as it is at the call: what happens to the list afterwards doesn't matter.
 */
import { schedulerError } from "../errors.ts";

/**
 * `owner` names the call, for the message. Throws `ERR_LIST_UNSUPPORTED`, and what the list throws
 * while it is read.
 */
export function valuesOf(owner: string, list: unknown): unknown[] {
  if (Array.isArray(list)) return copyOf(list);
  if (isIterable(list)) return [...list];
  const hint = isAsyncIterable(list) ? "; collect what an async iterable yields first" : "";
  throw schedulerError("ERR_LIST_UNSUPPORTED", `${owner}: the list must be iterable, not ${kindOf(list)}${hint}`, {
    details: { owner, kind: kindOf(list) },
  });
}

/**
 * By index: `slice` keeps the class and the holes of a list, and the iterator takes three times as
 * long.
 */
function copyOf(list: readonly unknown[]): unknown[] {
  const { length } = list;
  const values: unknown[] = [];
  for (let index = 0; index < length; index += 1) values.push(list[index]);
  return values;
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return value !== null && value !== undefined && typeof (value as Iterable<unknown>)[Symbol.iterator] === "function";
}

function isAsyncIterable(value: unknown): boolean {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as AsyncIterable<unknown>)[Symbol.asyncIterator] === "function"
  );
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
  return tag === "Object" ? "an object" : `an object (${tag})`;
}
