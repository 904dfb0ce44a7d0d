/** Views of memory by the names of their classes, and memory that is gone. */

/** Makes a view of each class from bytes with a buffer of their own. */
export const VIEWS: Readonly<Record<string, (bytes: Uint8Array<ArrayBuffer>) => ArrayBufferView>> = {
  Buffer: (bytes) => Buffer.from(bytes.buffer),
  DataView: (bytes) => new DataView(bytes.buffer),
  Int8Array: (bytes) => new Int8Array(bytes.buffer),
  Uint8Array: (bytes) => bytes,
  Uint8ClampedArray: (bytes) => new Uint8ClampedArray(bytes.buffer),
  Int16Array: (bytes) => new Int16Array(bytes.buffer),
  Uint16Array: (bytes) => new Uint16Array(bytes.buffer),
  Int32Array: (bytes) => new Int32Array(bytes.buffer),
  Uint32Array: (bytes) => new Uint32Array(bytes.buffer),
  Float32Array: (bytes) => new Float32Array(bytes.buffer),
  Float64Array: (bytes) => new Float64Array(bytes.buffer),
  BigInt64Array: (bytes) => new BigInt64Array(bytes.buffer),
  BigUint64Array: (bytes) => new BigUint64Array(bytes.buffer),
  ...float16(),
};

/** Node 24 and later have it. */
function float16(): Record<string, (bytes: Uint8Array<ArrayBuffer>) => ArrayBufferView> {
  const { Float16Array: made } = globalThis as { Float16Array?: new (buffer: ArrayBuffer) => ArrayBufferView };
  return made === undefined ? {} : { Float16Array: (bytes) => new made(bytes.buffer) };
}

/** The name under which a view is sent. */
export function nameOfView(view: ArrayBufferView): string {
  if (Buffer.isBuffer(view)) return "Buffer";
  return Object.prototype.toString.call(view).slice("[object ".length, -1);
}

/**
 * Whether the memory was transferred to another thread. It then looks like memory without bytes.
 */
export function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0) return false;
  const { detached } = buffer as { readonly detached?: boolean };
  if (detached !== undefined) return detached;
  try {
    return new Uint8Array(buffer).length > 0;
  } catch {
    // Node 20 has no property for it; a view of detached memory throws.
    return true;
  }
}
