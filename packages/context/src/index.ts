export {
  background,
  Context,
  type ContextHandle,
  Scope,
  withCancel,
  withDeadline,
  withTimeout,
  withValue,
} from "./context.ts";
export { type ContextErrorCode, contextErrors } from "./errors.ts";
export type { ContextValue } from "./values.ts";
