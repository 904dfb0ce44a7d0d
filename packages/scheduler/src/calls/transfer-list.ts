/** Checks the objects of a `transferList` before anything is moved. */
import { types } from "node:util";
import { errorFactory } from "@millrace/base";
import { codecErrors, isDetached } from "@millrace/codec";
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

/** Up to this many bytes two copies take less time than a message and its answer. */
const COPIED_BYTES_MAX: number = 1024 * 1024;

/**
 * Whether the value is one buffer, or the view of a whole one, that is listed alone. It is then
 * copied through shared memory and detached here: for the handler that is the same as a message,
 * and the task can begin before this thread's event loop turns.
 */
export function isCopiedInstead(value: unknown, list: readonly object[]): boolean {
  const [buffer] = list;
  if (list.length !== 1 || !types.isArrayBuffer(buffer) || buffer.byteLength > COPIED_BYTES_MAX) return false;
  // Bytes don't carry that a buffer can grow.
  if ((buffer as { readonly resizable?: boolean }).resizable === true) return false;
  const isWhole = types.isUint8Array(value) && value.buffer === buffer && value.byteLength === buffer.byteLength;
  return value === buffer || isWhole;
}

/** Takes what is listed away from this thread. Throws as structured clone does, with a code. */
export function detach(list: readonly object[]): void {
  try {
    structuredClone(undefined, { transfer: list as never });
  } catch (thrown) {
    throw cloneRefusal(thrown);
  }
}

/**
 * The error of structured clone, with a code; its message says it all. An error from a getter of
 * the value stays as it is.
 */
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
