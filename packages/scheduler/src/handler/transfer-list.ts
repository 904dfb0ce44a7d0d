/** What may stand in a `transferList`, checked before anything is moved. */
import { types } from "node:util";
import { errorFactory } from "@millrace/base";
import { codecErrors } from "@millrace/codec";
import { schedulerError } from "../errors.ts";

/** A copy of the list. Throws `ERR_TRANSFER_REFUSED` for what can't be moved. */
export function checkedTransferList(list: readonly object[]): object[] {
  const checked = [...list];
  const seen = new Set<unknown>();
  checked.forEach((entry: unknown, index) => {
    const reason = seen.has(entry) ? "is listed twice" : reasonAgainst(entry);
    if (reason !== undefined) throw refused(`transferList[${index}] ${reason}`, { index });
    seen.add(entry);
  });
  return checked;
}

/** Ports and other things with a handle are checked by structured clone itself. */
function reasonAgainst(entry: unknown): string | undefined {
  if (typeof entry !== "object" || entry === null) return `is ${entry === null ? "null" : `a ${typeof entry}`}`;
  if (ArrayBuffer.isView(entry)) return "is a view: list its buffer";
  if (types.isSharedArrayBuffer(entry)) return "is shared memory, which isn't moved: leave it out";
  // Node 20 would move it, and fail in the thread that gets it.
  if (types.isArrayBuffer(entry) && isDetached(entry)) return "is detached: it was moved before";
  return undefined;
}

function isDetached(buffer: ArrayBuffer): boolean {
  if (buffer.byteLength > 0) return false;
  try {
    return new Uint8Array(buffer).length > 0;
  } catch {
    return true;
  }
}

/** What structured clone threw, with a code; its message says it all. The error of a getter of the value stays as it is. */
export function cloneRefusal(thrown: unknown): unknown {
  if (!(thrown instanceof Error)) return thrown;
  const code = String((thrown as { readonly code?: unknown }).code);
  const isClones = thrown.name === "DataCloneError" || code.startsWith("ERR_");
  if (!isClones) return thrown;
  // Node's errors about the list all name the transfer.
  if (/transfer/i.test(thrown.message)) return refused(thrown.message, {});
  return thrown.name === "DataCloneError" ? codecError("ERR_VALUE_UNSUPPORTED", thrown.message) : thrown;
}

const codecError = errorFactory(codecErrors);

function refused(message: string, details: Readonly<Record<string, unknown>>): Error {
  return schedulerError("ERR_TRANSFER_REFUSED", message, { details });
}
