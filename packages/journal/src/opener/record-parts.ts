/** Makes the parts of a record from a user's append. */
import { encode } from "@millrace/codec";
import { RECORD_HEADER_VALUE, RECORD_VALUE } from "../files/format.ts";
import { type AppendOptions, resolveAppendOptions } from "./options.ts";
import type { RecordParts } from "../memory/producer.ts";

const NO_BYTES = new Uint8Array(0);

/**
 * Stores bytes as they are, anything else as a value of the codec. Throws `ERR_INVALID_OPTION`,
 * `ERR_VALUE_UNSUPPORTED`.
 */
export function partsOf(payload: unknown, given: AppendOptions | undefined): RecordParts {
  const { key, headers, type, priority } = resolveAppendOptions(given);
  const isValue = !(payload instanceof Uint8Array);
  const isHeaderValue = headers !== undefined && !(headers instanceof Uint8Array);
  return {
    type,
    priority,
    timeMs: Date.now(),
    header:
      headers === undefined ? NO_BYTES : isHeaderValue ? Uint8Array.from(encode(headers)) : (headers as Uint8Array),
    key: key === undefined ? NO_BYTES : keyBytes(key),
    payload: isValue ? Uint8Array.from(encode(payload)) : payload,
    flags: (isValue ? RECORD_VALUE : 0) | (isHeaderValue ? RECORD_HEADER_VALUE : 0),
  };
}

export function keyBytes(key: Uint8Array | string): Uint8Array {
  return typeof key === "string" ? Buffer.from(key) : key;
}
