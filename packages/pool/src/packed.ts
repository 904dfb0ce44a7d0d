/**
 * Values on their way to and from a thread of the blocking pool. They are encoded as for `run`, so
 * that both return the same (a Buffer stays a Buffer, an error keeps its code). A value that only
 * structured clone carries (shared memory, ports in a transfer list) goes as it is.
 */
import { decode, encode, encodeThrown } from "@millrace/codec";
import { isMillraceError } from "@millrace/base";

export type Packed = { readonly bytes: Uint8Array<ArrayBuffer> } | { readonly value: unknown };

/**
 * The value as it is now. Throws `ERR_VALUE_UNSUPPORTED` with the path to the part that can't go.
 */
export function pack(value: unknown): Packed {
  if (typeof value !== "object" || value === null) {
    if (typeof value === "number" || typeof value === "boolean" || value === undefined || value === null)
      return { value };
  }
  try {
    return { bytes: new Uint8Array(encode(value)) };
  } catch (thrown) {
    if (!isMillraceError(thrown, "ERR_VALUE_UNSUPPORTED")) throw thrown;
    try {
      return { value: structuredClone(value) };
    } catch {
      throw thrown;
    }
  }
}

/** A thrown value, with everything of it that can be sent. */
export function packThrown(thrown: unknown): Packed {
  return { bytes: encodeThrown(thrown) };
}

export function unpack(packed: Packed): unknown {
  return "bytes" in packed ? decode(packed.bytes) : packed.value;
}

/** The memory to move instead of copying it. */
export function buffersOf(packed: Packed): ArrayBuffer[] {
  return "bytes" in packed ? [packed.bytes.buffer] : [];
}
