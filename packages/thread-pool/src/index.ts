export { Mailbox } from "./mailbox.ts";
export { type Moved, Mover, type MoveSymbols, type Parcel } from "./movable.ts";
export { LinkedQueue } from "./linked-queue.ts";
export { bareError, serve, type ServeOptions, type Response, type Waiting } from "./serve.ts";
export {
  type AbortSignalAny,
  type AbortSignalEventEmitter,
  type AbortSignalEventTarget,
  isAborted,
  onAbort,
  reasonOf,
} from "./signal.ts";
export { type Failure, PoolTask, type TaskCallback, type TaskOptions, type TransferList } from "./task.ts";
export { isTaskQueue, rejectWaiting } from "./task-queue.ts";
export { PoolWorker, TIMEOUT_MAX, WorkerSet } from "./worker.ts";
