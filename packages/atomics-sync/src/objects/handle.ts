/**
 * Handles: a shared object as a plain value that may go to another thread, through workerData,
 * postMessage or a task's argument.
 */
import { syncError } from "../errors.ts";
import { CELL_KIND } from "./cell.ts";
import type { SyncSpace } from "./space.ts";

/**
 * A plain value; `from` of the object's class makes the object of it again, in any thread of the
 * process.
 */
export interface SyncHandle {
  /** The class, such as "Mutex". */
  readonly type: string;
  /** The process; the place in it; the number of objects that had been in that place before. */
  readonly space: number;
  readonly cell: number;
  readonly generation: number;
}

/** The handle of the object in `cell`, which exists. */
export function handleOf(space: SyncSpace, type: string, cell: number): SyncHandle {
  return { type, space: space.id, cell, generation: Atomics.load(space.words, cell + CELL_KIND) };
}

/**
 * The cell that a handle means. Throws `ERR_SYNC_HANDLE`, or `ERR_SYNC_CLOSED` when its object was
 * closed.
 */
export function cellOf(space: SyncSpace, type: string, handle: SyncHandle): number {
  if (typeof handle !== "object" || handle === null || handle.type !== type || handle.space !== space.id) {
    const found =
      typeof handle === "object" && handle !== null ? `${handle.type} of process ${handle.space}` : typeof handle;
    throw syncError("ERR_SYNC_HANDLE", `expected the handle of a ${type} of this process, got ${found}`);
  }
  assertOpen(space, handle);
  return handle.cell;
}

/** Throws `ERR_SYNC_CLOSED` when the object of the handle was closed. */
export function assertOpen(space: SyncSpace, handle: SyncHandle): void {
  if (!isOpen(space, handle)) throw wasClosed(handle);
}

/** The error of a user of an object that was closed. */
export function wasClosed(handle: SyncHandle): Error {
  return syncError("ERR_SYNC_CLOSED", `this ${handle.type} was closed`);
}

export function isOpen(space: SyncSpace, handle: SyncHandle): boolean {
  return Atomics.load(space.words, handle.cell + CELL_KIND) === handle.generation;
}
