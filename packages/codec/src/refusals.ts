/** Objects that can't be sent as part of an error, and the approximate size of an object. */
import { EventEmitter } from "node:events";
import { types } from "node:util";
import { isError } from "./error-parts.ts";
import { isDetached, nameOfView, VIEWS } from "./views.ts";

/** About the bytes of an entry of a list, and of an object without its members. */
const ENTRY_BYTES = 9;
const OBJECT_BYTES = 16;

/** The reason why an object can't be sent; undefined if it can. Never throws. */
export function refusalOf(object: object): string | undefined {
  try {
    return refusal(object);
  } catch {
    // A proxy, a getter.
    return "an object that throws when it is read";
  }
}

function refusal(object: object): string | undefined {
  if (types.isProxy(object)) Object.keys(object);
  if (isError(object) || Array.isArray(object)) return undefined;
  if (types.isMap(object) || types.isSet(object) || types.isDate(object) || types.isRegExp(object)) return undefined;
  if (ArrayBuffer.isView(object)) return refusalOfView(object);
  if (types.isArrayBuffer(object)) return isDetached(object) ? "a detached buffer" : undefined;
  if (types.isBoxedPrimitive(object)) return types.isSymbolObject(object) ? "a symbol" : undefined;
  // Sockets, streams, ports, timers: what they show of themselves is of no use in another thread,
  // and leads to half of the program's objects.
  if (object instanceof EventEmitter || object instanceof EventTarget || isHandle(object)) return nameOf(object);
  const isPlain = Object.prototype.toString.call(object) === "[object Object]";
  return isPlain || Object.keys(object).length > 0 ? undefined : nameOf(object);
}

function refusalOfView(view: ArrayBufferView): string | undefined {
  if (types.isSharedArrayBuffer(view.buffer)) return "shared memory";
  if (isDetached(view.buffer)) return "a view of a detached buffer";
  const name = nameOfView(view);
  return name in VIEWS ? undefined : `a ${name}`;
}

/** Whether it keeps an event loop alive, or may. */
function isHandle(object: object): boolean {
  const { ref, unref } = object as { readonly ref?: unknown; readonly unref?: unknown };
  return typeof ref === "function" && typeof unref === "function";
}

/** The class of an object, for a text. */
export function nameOf(object: object): string {
  const { constructor } = object as { readonly constructor?: { readonly name?: unknown } };
  const name = constructor?.name;
  return `a ${typeof name === "string" ? name : Object.prototype.toString.call(object)}`;
}

/**
 * About the bytes of the object without those of objects within it. Its texts are counted apart.
 */
export function sizeOf(object: object): number {
  if (Array.isArray(object)) return OBJECT_BYTES + object.length * ENTRY_BYTES;
  if (types.isMap(object)) return OBJECT_BYTES + object.size * 2 * ENTRY_BYTES;
  if (types.isSet(object)) return OBJECT_BYTES + object.size * ENTRY_BYTES;
  if (ArrayBuffer.isView(object) || types.isArrayBuffer(object)) return OBJECT_BYTES + object.byteLength;
  return OBJECT_BYTES + Object.keys(object).length * 2 * ENTRY_BYTES;
}
