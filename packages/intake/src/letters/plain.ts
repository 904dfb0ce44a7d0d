/** Values of any kind as JSON can have them, for people and tools. Nothing throws. */

/** Deeper values are named, not shown: JSON's own readers overflow at some thousand levels. */
const DEPTH_MAX = 100;
/**
 * A part that stands in several places is written out in each, up to this many such parts: thirty
 * objects that each hold the next one twice would be a billion.
 */
const REPEATS_MAX = 1000;

interface Walk {
  readonly above: object[];
  readonly seen: Set<object>;
  repeats: number;
}

/**
 * Whole numbers beyond 2^53, dates, bytes, maps, sets and errors get a readable form; circles,
 * very deep values, and parts that stand in very many places are named.
 */
export function toPlain(value: unknown): unknown {
  return plain(value, { above: [], seen: new Set(), repeats: 0 });
}

function plain(value: unknown, walk: Walk): unknown {
  switch (typeof value) {
    case "bigint":
      return String(value);
    case "undefined":
      return null;
    case "function":
    case "symbol":
      return String(value);
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "object":
      return value === null ? null : plainObject(value, walk);
    default:
      return value;
  }
}

function plainObject(value: object, walk: Walk): unknown {
  const { above, seen } = walk;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (ArrayBuffer.isView(value)) return bytesOf(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return bytesOf(new Uint8Array(value));
  if (value instanceof RegExp || value instanceof URL) return String(value);
  if (above.includes(value)) return "[circular]";
  if (above.length >= DEPTH_MAX) return "[deeper]";
  if (seen.has(value) && (walk.repeats += 1) > REPEATS_MAX) return "[seen before]";
  seen.add(value);
  above.push(value);
  try {
    if (Array.isArray(value)) return Array.from(value, (each) => plain(each, walk));
    if (value instanceof Set) return Array.from(value, (each) => plain(each, walk));
    if (value instanceof Map) return mapOf(value, walk);
    if (value instanceof Error) return errorOf(value, walk);
    return entriesOf(Object.entries(value), walk);
  } finally {
    above.pop();
  }
}

function mapOf(map: Map<unknown, unknown>, walk: Walk): unknown {
  const entries = [...map];
  if (entries.every(([key]) => typeof key === "string")) return entriesOf(entries as [string, unknown][], walk);
  return entries.map(([key, each]) => [plain(key, walk), plain(each, walk)]);
}

function errorOf(error: Error, walk: Walk): unknown {
  const { name, message, cause } = error;
  const own = Object.entries(error).filter(([key]) => key !== "stack" && key !== "cause");
  const rest = cause === undefined ? own : [...own, ["cause", cause] as [string, unknown]];
  return { name, message, ...entriesOf(rest, walk) };
}

/** A member without a value has no place in JSON; `__proto__` stays a member. */
function entriesOf(entries: readonly (readonly [string, unknown])[], walk: Walk): object {
  return Object.fromEntries(
    entries.filter(([, each]) => each !== undefined).map(([key, each]) => [key, plain(each, walk)]),
  );
}

function bytesOf(bytes: Uint8Array): { readonly base64: string } {
  return { base64: Buffer.from(bytes).toString("base64") };
}
