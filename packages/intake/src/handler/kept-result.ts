/**
 * Makes a kept result: a handler's return value, encoded, or the reason why that isn't possible.
 */
import { messageOf } from "@millrace/base";
import { encode, encodeThrown } from "@millrace/codec";
import { intakeError } from "../errors.ts";
import { REFUSAL_BYTES_MAX } from "../format/task-header.ts";
import type { EncodedResult } from "../format/result-record.ts";

/** Never throws: the record is done, whatever its handler has returned. */
export function keptResult(result: unknown, bytesMax: number): EncodedResult {
  let bytes: Uint8Array;
  try {
    bytes = encode(result);
  } catch (cause) {
    // The cause is left out where there is no room for it.
    const text = `the handler has returned what can't be kept: ${messageOf(cause)}`;
    return refusal(intakeError("ERR_RESULT_UNSUPPORTED", text, { cause }));
  }
  if (bytes.length <= bytesMax) return { isOk: true, bytes: Uint8Array.from(bytes) };
  const details = { bytes: bytes.length, resultBytesMax: bytesMax };
  const text = `the handler has returned ${bytes.length} bytes, and resultBytesMax is ${bytesMax}`;
  return refusal(intakeError("ERR_RESULT_TOO_LARGE", text, { details }));
}

function refusal(error: Error): EncodedResult {
  return { isOk: false, bytes: encodeThrown(error, REFUSAL_BYTES_MAX) };
}
