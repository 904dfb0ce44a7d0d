export {
  copyBytes,
  copyOf,
  decode,
  encode,
  type EncodedValue,
  encodeCopy,
  encodeInPlace,
  encodeThrown,
  encodeThrownInPlace,
  JSON_HEAD,
  shrinkBuffers,
} from "./codec.ts";
export { isDetached } from "./views.ts";
export { crc32 } from "./crc.ts";
export { DEPTH_MAX, INCOMPLETE, isExact, JsonText, MISTAKE, shown, spaceEnd, textOf } from "./json-text.ts";
export { codecErrors } from "./errors.ts";
