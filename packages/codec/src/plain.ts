/**
 * Decides whether a value is *plain*: a tree that MessagePack carries without loss through
 * msgpackr's own types.
 *
 * Plain are null, booleans, undefined, numbers but -0, 64-bit bigints, well-formed strings, Date,
 * Uint8Array and Buffer, and arrays without holes and objects without a class made of those, as
 * long as no object appears twice, none is deeper than `DEPTH_MAX`, and none has more than
 * `MEMBERS_MAX` members. Every other value that structuredClone takes goes through graph-writer.ts,
 * which refuses the rest.
 */
import { types } from "node:util";
import { isLongForeign, LONG_TEXT } from "./text.ts";
import { isDetached } from "./views.ts";

/** Deeper trees take the other path, which doesn't recurse. */
const DEPTH_MAX = 64;
/** msgpackr counts the members of an object in 16 bits. */
const MEMBERS_MAX = 2 ** 16 - 1;
/** Up to this many objects are compared one by one; beyond, a Set is cheaper. */
const LINEAR_MAX = 8;
const BIGINT_MIN: bigint = -(2n ** 63n);
const BIGINT_MAX: bigint = 2n ** 64n - 1n;

const seen: object[] = [];
let seenCount = 0;
let seenMore: Set<object> | undefined;

/** Long foreign texts of the value, in their order. */
const NO_TEXTS: string[] = [];
let foreign: string[] = NO_TEXTS;

/** Whether the value is plain. Adds its long foreign texts (text.ts) to `texts`. */
export function isPlain(value: unknown, texts: string[]): boolean {
  foreign = texts;
  try {
    if (typeof value !== "object" || value === null) return isPlainPrimitive(value);
    return isPlainObject(value, 0);
  } finally {
    for (let index = 0; index < seenCount && index < LINEAR_MAX; index += 1) seen[index] = NOTHING;
    seenCount = 0;
    seenMore = undefined;
    foreign = NO_TEXTS;
  }
}

/** Keeps the list from holding a user's objects alive. */
const NOTHING: object = {};

function isPlainPrimitive(value: unknown): boolean {
  switch (typeof value) {
    case "string":
      if (value.length < LONG_TEXT) return value.isWellFormed();
      // Code units needn't be well-formed.
      if (isLongForeign(value)) foreign.push(value);
      return true;
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
  let members = 0;
  for (const key in value) {
    members += 1;
    // msgpackr looks at `constructor`, renames `__proto__`; a key may also be ill-formed.
    if (key === "constructor" || key === "__proto__" || !key.isWellFormed()) return false;
    const member = value[key];
    if (typeof member === "object" && member !== null ? !isPlainObject(member, depth + 1) : !isPlainPrimitive(member)) {
      return false;
    }
  }
  return members <= MEMBERS_MAX;
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

/**
 * A real view of memory that is there and isn't shared: shared memory must not be copied behind the
 * user's back, and memory that was transferred looks empty.
 */
function isPrivateView(value: object): boolean {
  return types.isUint8Array(value) && !types.isSharedArrayBuffer(value.buffer) && !isDetached(value.buffer);
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
