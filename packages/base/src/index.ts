export { onAbort } from "./abort.ts";
export {
  baseError,
  baseErrors,
  errorFactory,
  isMillraceError,
  messageOf,
  MillraceError,
  type ErrorEntry,
  type ErrorExtras,
  type ErrorFactory,
  type ErrorTable,
} from "./errors.ts";
export { invariant } from "./invariant.ts";
export {
  abortSignal,
  boolean,
  callback,
  checkArgument,
  custom,
  integer,
  list,
  nearest,
  number,
  oneOf,
  optional,
  optionsObject,
  path,
  powerOfTwo,
  resolveOptions,
  text,
  type Resolved,
  type Rule,
  type Rules,
} from "./options.ts";
export { type Random, seededRandom } from "./random.ts";
export { readU64, writeU64 } from "./u64.ts";
export {
  clearInterval,
  clearTimeout,
  performance,
  queueMicrotask,
  setImmediate,
  setInterval,
  setTimeout,
} from "./real-time.ts";
export { withoutContext } from "./without-context.ts";
export { inheritableFlags, inheritableFlagsOfProcess, startThread } from "./worker-thread.ts";
export { checkRuntime } from "./check-runtime.ts";
export { workerUrl } from "./worker-url.ts";
