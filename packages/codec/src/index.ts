export {
  copyBytes,
  decode,
  encode,
  type EncodedValue,
  encodeInPlace,
  encodeThrown,
  encodeThrownInPlace,
  shrinkBuffers,
} from "./codec.ts";
export { crc32 } from "./crc.ts";
export { codecErrors } from "./errors.ts";
