/**
 * Values as bytes: MessagePack by msgpackr for plain trees, with a short cut for flat objects, and
 * a node list in MessagePack for every other value.
 *
 * Both forms are self-describing. Plain values begin with any byte but 0xC1, which MessagePack
 * never uses; a value that begins with 0xC1 is a node list (graph.ts).
 */
import { Packr, REUSE_BUFFER_MODE, RESET_BUFFER_MODE } from "msgpackr";
import { isMillraceError } from "@millrace/base";
import { codecError } from "./errors.ts";
import { decodeFlat, encodeFlat, FLAT_BYTES_MAX, NOT_FLAT } from "./flat.ts";
import { fromGraph, toGraph } from "./graph.ts";
import { isPlain } from "./plain.ts";

const GRAPH_MARK = 0xc1;

const packr = new Packr({
  useRecords: false,
  moreTypes: true,
  encodeUndefinedAsNil: false,
  copyBuffers: true,
  useToJSON: false,
});

/**
 * msgpackr's result in its mode of reused buffers: the whole buffer, with the range of the value.
 */
type Packed = Buffer & { start: number; end: number };
const PACK_MODE: number = REUSE_BUFFER_MODE | RESET_BUFFER_MODE;

/** The place of the last encoded value: `buffer[start, end)`. Each call changes the same object. */
export interface EncodedValue {
  buffer: Uint8Array;
  start: number;
  end: number;
}

const last: EncodedValue = { buffer: new Uint8Array(0), start: 0, end: 0 };

const flat: Buffer = Buffer.allocUnsafeSlow(FLAT_BYTES_MAX);

/**
 * Encodes a value. The bytes are valid until the next call of `encode` or `encodeInPlace` on this
 * thread. Throws `ERR_VALUE_UNSUPPORTED`.
 */
export function encode(value: unknown): Uint8Array {
  const { buffer, start, end } = encodeInPlace(value);
  return buffer.subarray(start, end);
}

/**
 * As `encode`, without an object for the bytes: for small values it costs as much as the encoding.
 */
export function encodeInPlace(value: unknown): Readonly<EncodedValue> {
  if (typeof value === "object" && value !== null) {
    const length = encodeFlat(value, flat);
    if (length !== NOT_FLAT) {
      last.buffer = flat;
      last.start = 0;
      last.end = length;
      return last;
    }
  }
  if (isPlain(value)) {
    const packed = packr.pack(value, PACK_MODE) as Packed;
    last.buffer = packed;
    last.start = packed.start;
    last.end = packed.end;
    return last;
  }
  const nodes = packr.pack(toGraph(value));
  const marked = Buffer.allocUnsafe(nodes.length + 1);
  marked[0] = GRAPH_MARK;
  marked.set(nodes, 1);
  last.buffer = marked;
  last.start = 0;
  last.end = marked.length;
  return last;
}

/** Up to this many bytes a loop is faster than a view and a call. */
const LOOP_BYTES = 96;

/** Copies `from[start, end)` to `to[offset …)`. */
export function copyBytes(from: Uint8Array, start: number, end: number, to: Uint8Array, offset: number): void {
  if (end - start > LOOP_BYTES) {
    to.set(from.subarray(start, end), offset);
    return;
  }
  for (let index = start; index < end; index += 1) to[offset + index - start] = from[index] as number;
}

/** Enough for most values. */
const SCRATCH_BYTES: number = 64 * 1024;
/** Room for one value: msgpackr reads much faster from private memory that it has seen before. */
let scratch: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/**
 * Decodes the value in `bytes[start, end)`, which may be shared memory that changes after the call.
 * The value holds no reference to `bytes`. Throws `ERR_VALUE_CORRUPT`.
 */
export function decode(bytes: Uint8Array, start = 0, end: number = bytes.length): unknown {
  const length = end - start;
  if (length > scratch.length) scratch = Buffer.allocUnsafeSlow(length * 2);
  copyBytes(bytes, start, end, scratch, 0);
  try {
    const flatValue = length === 0 ? undefined : decodeFlat(scratch, length);
    if (flatValue !== undefined) return flatValue;
    if (scratch[0] !== GRAPH_MARK) return packr.unpack(scratch, length);
    return fromGraph(packr.unpack(scratch, { start: 1, end: length }) as unknown[][]);
  } catch (thrown) {
    if (isMillraceError(thrown)) throw thrown;
    throw codecError("ERR_VALUE_CORRUPT", `${length} bytes are not an encoded value`, { cause: thrown });
  }
}

/**
 * Lets go of the buffers that large values have left behind: the decoder's, the encoder's, and what
 * `encode` returned last.
 */
export function shrinkBuffers(): void {
  last.buffer = flat;
  last.start = 0;
  last.end = 0;
  if (scratch.length > SCRATCH_BYTES) scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  const packed = packr.pack(0, PACK_MODE) as Packed;
  if (packed.length > SCRATCH_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(SCRATCH_BYTES));
  // The decoder refers to what it has read last.
  packr.unpack(packr.pack(0));
}
