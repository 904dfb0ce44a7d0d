/** What packages above build shared objects of their own on; not for users. */
export { AsyncWaits, type WaitOptions } from "./async-waits.ts";
export { assertMayBlock, block, isServed, type Waited } from "./block.ts";
export { currentScope, runWithin, type WaitScope } from "./blocking.ts";
export { asyncWaits, currentSpace } from "./current.ts";
export { syncError, type SyncErrorCode } from "./errors.ts";
export { Group } from "./group.ts";
export { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "./handle.ts";
export * as kinds from "./kinds.ts";
export { LookAround } from "./look-around.ts";
export { CELL_KIND_WORDS, GIVERS, HEAD, LENGTH, LOST, LOST_ASKS, Monitor, STALE } from "./monitor.ts";
export * from "./node.ts";
export {
  makeScope,
  REASON_WORDS,
  SCOPE_CANCELLED,
  SCOPE_CLOSED,
  SCOPE_MAKER_DIED,
  SCOPE_OVERDUE,
  ScopeCore,
} from "./scope.ts";
export { CELL_KIND, CELL_STATE, SyncSpace, type SpaceShape, type SpaceView } from "./space.ts";
