/**
 * Decides whether a value is *plain*: a tree that MessagePack carries without loss through
 * msgpackr's own types.
 *
 * Plain are null, booleans, undefined, numbers but -0, 64-bit bigints, well-formed strings, Date,
 * Uint8Array and Buffer, and arrays without holes and objects without a class made of those, as
 * long as no object appears twice and none is deeper than `DEPTH_MAX`. Every other value that
 * structuredClone takes goes through graph.ts, which refuses the rest.
 */
import { types } from "node:util";

/** Deeper trees take the other path, which doesn't recurse. */
const DEPTH_MAX = 64;
/** Up to this many objects are compared one by one; beyond, a Set is cheaper. */
const LINEAR_MAX = 8;
const BIGINT_MIN: bigint = -(2n ** 63n);
const BIGINT_MAX: bigint = 2n ** 64n - 1n;

const seen: object[] = [];
let seenCount = 0;
let seenMore: Set<object> | undefined;

export function isPlain(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return isPlainPrimitive(value);
  const plain = isPlainObject(value, 0);
  for (let index = 0; index < seenCount && index < LINEAR_MAX; index += 1) seen[index] = NOTHING;
  seenCount = 0;
  seenMore = undefined;
  return plain;
}

/** Keeps the list from holding a user's objects alive. */
const NOTHING: object = {};

function isPlainPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      return value.isWellFormed();
    case "number":
      return value !== 0 || !Object.is(value, -0);
    case "bigint":
      return value >= BIGINT_MIN && value <= BIGINT_MAX;
    case "boolean":
    case "undefined":
      return true;
    default:
      return value === null;
  }
}

function isPlainObject(value: object, depth: number): boolean {
  if (depth > DEPTH_MAX || wasSeen(value)) return false;
  if (Array.isArray(value)) return isPlainArray(value, depth);
  const prototype = Object.getPrototypeOf(value) as unknown;
  if (prototype === Object.prototype) return isPlainRecord(value as Record<string, unknown>, depth);
  if (prototype === Buffer.prototype || prototype === Uint8Array.prototype) return isPrivateView(value);
  return prototype === Date.prototype && isDate(value);
}

function isPlainRecord(value: Record<string, unknown>, depth: number): boolean {
  for (const key in value) {
    // msgpackr looks at `constructor`, renames `__proto__`; a key may also be ill-formed.
    if (key === "constructor" || key === "__proto__" || !key.isWellFormed()) return false;
    const member = value[key];
    if (typeof member === "object" && member !== null ? !isPlainObject(member, depth + 1) : !isPlainPrimitive(member)) {
      return false;
    }
  }
  return true;
}

function isPlainArray(value: readonly unknown[], depth: number): boolean {
  if (Object.getPrototypeOf(value) !== Array.prototype) return false;
  for (let index = 0; index < value.length; index += 1) {
    const member = value[index];
    if (member === undefined && !(index in value)) return false;
    if (typeof member === "object" && member !== null ? !isPlainObject(member, depth + 1) : !isPlainPrimitive(member)) {
      return false;
    }
  }
  return true;
}

/** A real view, and not one of shared memory, which must not be copied behind the user's back. */
function isPrivateView(value: object): boolean {
  return types.isUint8Array(value) && !types.isSharedArrayBuffer(value.buffer);
}

/** A real, valid date without properties of its own. */
function isDate(value: object): boolean {
  try {
    return !Number.isNaN(Date.prototype.getTime.call(value));
  } catch {
    return false;
  }
}

function wasSeen(value: object): boolean {
  if (seenMore !== undefined) {
    if (seenMore.has(value)) return true;
    seenMore.add(value);
    return false;
  }
  for (let index = 0; index < seenCount; index += 1) {
    if (seen[index] === value) return true;
  }
  seen[seenCount] = value;
  seenCount += 1;
  if (seenCount === LINEAR_MAX) seenMore = new Set(seen);
  return false;
}
