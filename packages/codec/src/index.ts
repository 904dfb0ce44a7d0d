export { copyBytes, decode, encode, type EncodedValue, encodeInPlace, shrinkBuffers } from "./codec.ts";
export { crc32 } from "./crc.ts";
export { codecErrors } from "./errors.ts";
