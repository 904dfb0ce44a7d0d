/** What packages above build shared objects of their own on; not for users. */
export { AsyncWaits, type WaitOptions } from "./objects/async-waits.ts";
export { assertMayBlock, block, isServed, type Waited } from "./objects/block.ts";
export { currentScope, runWithin, type WaitScope } from "./threads/blocking.ts";
export { asyncWaits, currentSpace } from "./objects/current.ts";
export { syncError, type SyncErrorCode } from "./errors.ts";
export { Group } from "./objects/group.ts";
export { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "./objects/handle.ts";
export * as kinds from "./objects/kinds.ts";
export { LookAround } from "./threads/look-around.ts";
export { CELL_KIND_WORDS, GIVERS, HEAD, LENGTH, LOST, LOST_ASKS, Monitor, STALE } from "./objects/monitor.ts";
export * from "./objects/node.ts";
export {
  makeScope,
  REASON_WORDS,
  SCOPE_CANCELLED,
  SCOPE_CLOSED,
  SCOPE_MAKER_DIED,
  SCOPE_OVERDUE,
  ScopeCore,
} from "./objects/scope.ts";
export { CELL_KIND, CELL_STATE, SyncSpace, type SpaceShape, type SpaceView } from "./objects/space.ts";
