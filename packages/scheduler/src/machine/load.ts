/**
 * The work under way on a machine's thread: handlers on its stack, joins among them, and tasks
 * whose promises wait for its event loop.
 */
import type { Parent } from "../handler/parent.ts";

export class Load {
  /** Handlers on the stack. */
  running = 0;
  /** Joins on the stack. */
  joinDepth = 0;
  /** Async tasks that are pending on this thread. */
  pendingAsync = 0;
  /** Those among them that wait for tasks that they have submitted. */
  #waitingForChildren = 0;
  /**
   * Pending tasks that the outermost handler can't be waiting for: those from before its call, and
   * calls from outside that its joins ran.
   */
  #pendingBefore = 0;

  /** Whether a handler is on the stack. */
  get isRunning(): boolean {
    return this.running > 0;
  }

  /** Pending tasks that can go on by themselves: no child of theirs has to run first. */
  get selfGoing(): number {
    return this.pendingAsync - this.#waitingForChildren;
  }

  /**
   * Whether a join may be waiting for something that needs this thread's event loop: that join
   * began it here.
   */
  get hasOwnPending(): boolean {
    return this.pendingAsync > this.#pendingBefore;
  }

  handlerBegins(): void {
    if (this.running === 0 && this.joinDepth === 0) this.#pendingBefore = this.pendingAsync;
    this.running += 1;
  }

  handlerEnds(): void {
    this.running -= 1;
  }

  joinBegins(): void {
    // From an async handler that goes on: it is pending itself, and so may be what it has spawned.
    if (this.running === 0 && this.joinDepth === 0) this.#pendingBefore = 0;
    this.joinDepth += 1;
  }

  joinEnds(): void {
    this.joinDepth -= 1;
  }

  /**
   * An async task is pending from now on. `parent`: the task, where its handler can submit others.
   */
  pendingBegins(parent: Parent | undefined, isFromOutside: boolean): void {
    this.pendingAsync += 1;
    if (isFromOutside && this.joinDepth > 0) this.#pendingBefore += 1;
    if (parent === undefined) return;
    parent.isPending = true;
    if (parent.children > 0) this.#waitingForChildren += 1;
  }

  pendingEnds(parent: Parent | undefined): void {
    this.pendingAsync -= 1;
    if (parent === undefined) return;
    parent.isPending = false;
    if (parent.children > 0) this.#waitingForChildren -= 1;
  }

  /** A task that `parent` has submitted is under way. */
  childBegins(parent: Parent): void {
    parent.children += 1;
    if (parent.isPending && parent.children === 1) this.#waitingForChildren += 1;
  }

  childEnds(parent: Parent): void {
    parent.children -= 1;
    if (parent.isPending && parent.children === 0) this.#waitingForChildren -= 1;
  }
}
