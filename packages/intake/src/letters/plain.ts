/** Values of any kind as JSON can have them, for people and tools. Nothing throws. */

/** Deeper values are named, not shown: JSON's own readers overflow at some thousand levels. */
const DEPTH_MAX = 100;

/**
 * Whole numbers beyond 2^53, dates, bytes, maps, sets and errors get a readable form; circles and
 * very deep values are named.
 */
export function toPlain(value: unknown): unknown {
  return plain(value, []);
}

function plain(value: unknown, above: object[]): unknown {
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
      return value === null ? null : plainObject(value, above);
    default:
      return value;
  }
}

function plainObject(value: object, above: object[]): unknown {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (ArrayBuffer.isView(value)) return bytesOf(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return bytesOf(new Uint8Array(value));
  if (value instanceof RegExp || value instanceof URL) return String(value);
  if (above.includes(value)) return "[circular]";
  if (above.length >= DEPTH_MAX) return "[deeper]";
  above.push(value);
  try {
    if (Array.isArray(value)) return Array.from(value, (each) => plain(each, above));
    if (value instanceof Set) return Array.from(value, (each) => plain(each, above));
    if (value instanceof Map) return mapOf(value, above);
    if (value instanceof Error) return errorOf(value, above);
    return entriesOf(Object.entries(value), above);
  } finally {
    above.pop();
  }
}

function mapOf(map: Map<unknown, unknown>, above: object[]): unknown {
  const entries = [...map];
  if (entries.every(([key]) => typeof key === "string")) return entriesOf(entries as [string, unknown][], above);
  return entries.map(([key, each]) => [plain(key, above), plain(each, above)]);
}

function errorOf(error: Error, above: object[]): unknown {
  const { name, message, cause } = error;
  const own = Object.entries(error).filter(([key]) => key !== "stack" && key !== "cause");
  const rest = cause === undefined ? own : [...own, ["cause", cause] as [string, unknown]];
  return { name, message, ...entriesOf(rest, above) };
}

/** A member without a value has no place in JSON; `__proto__` stays a member. */
function entriesOf(entries: readonly (readonly [string, unknown])[], above: object[]): object {
  return Object.fromEntries(
    entries.filter(([, each]) => each !== undefined).map(([key, each]) => [key, plain(each, above)]),
  );
}

function bytesOf(bytes: Uint8Array): { readonly base64: string } {
  return { base64: Buffer.from(bytes).toString("base64") };
}
