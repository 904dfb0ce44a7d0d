/** The parts on which packages above build shared objects of their own; not for users. */
export { AsyncWaits } from "./objects/async-waits.ts";
export { assertMayBlock, block, isServed, type Waited } from "./objects/block.ts";
export { currentScope, runWithin, type WaitScope } from "./threads/blocking.ts";
export { asyncWaits, currentSpace } from "./objects/current.ts";
/** Loaded so that the threads of a package above are watched, too. */
export { watchThread } from "./objects/watch.ts";
export { syncError, type SyncErrorCode } from "./errors.ts";
export { SelectGroup } from "./objects/select-group.ts";
export { assertOpen, cellOf, handleOf, isOpen, type SyncHandle } from "./objects/handle.ts";
export * as kinds from "./objects/kinds.ts";
export { LookAround } from "./threads/look-around.ts";
export { isOverflow, StackGuard } from "./threads/stack.ts";
export { CELL_KIND, CELL_KIND_WORDS, CELL_STATE, GIVERS, HEAD, LENGTH } from "./objects/cell.ts";
export { Monitor } from "./objects/monitor.ts";
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
export {
  type BlockOptions,
  milliseconds,
  timeLimit,
  type WaitLimits,
  waitOptions,
  type WaitOptions,
} from "./objects/wait-options.ts";
export { SyncSpace, type SpaceShape, type SpaceView } from "./objects/space.ts";
