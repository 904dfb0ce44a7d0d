/**
 * The values of a context: encoded once, so that all threads see the same, and decoded where they
 * are asked for.
 */
import { decode, encode } from "@millrace/codec";

/** A key and its encoded value. */
export type ContextValue = readonly [key: string, bytes: Uint8Array];

/** The values of one context and of those above it, the newest last. */
export class Values {
  readonly list: readonly ContextValue[];
  readonly #decoded: Map<string, unknown> = new Map();

  constructor(list: readonly ContextValue[]) {
    this.list = list;
  }

  /** Throws `ERR_VALUE_UNSUPPORTED` for what can't go to another thread. */
  with(key: string, value: unknown): Values {
    return new Values([...this.list, [key, new Uint8Array(encode(value))]]);
  }

  get(key: string): unknown {
    if (this.#decoded.has(key)) return this.#decoded.get(key);
    const found = this.list.findLast(([name]) => name === key);
    const value = found === undefined ? undefined : frozen(decode(found[1]));
    this.#decoded.set(key, value);
    return value;
  }
}

/**
 * Plain objects and arrays are frozen all the way down: a change would be seen in this thread only.
 */
function frozen(value: unknown): unknown {
  const waiting: unknown[] = [value];
  // Ends: a frozen value is not looked at again.
  while (waiting.length > 0) {
    const next = waiting.pop();
    if (typeof next !== "object" || next === null || ArrayBuffer.isView(next) || Object.isFrozen(next)) continue;
    Object.freeze(next);
    waiting.push(...Object.values(next));
  }
  return value;
}
