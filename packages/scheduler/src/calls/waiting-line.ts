/**
 * Calls that wait on this thread's heap for a slot of the task table: a line per priority, served
 * from the front.
 */
import type { CallOptions } from "./call-options.ts";
import type { CallOwner } from "./call-owner.ts";
import { PRIORITIES, PRIORITY } from "../shared/priorities.ts";

/** One call that waits, with its argument as it was at the call. */
export interface WaitingCall {
  readonly owner: CallOwner;
  readonly place: number;
  readonly handler: number;
  readonly options: CallOptions;
  /** The encoded argument; undefined where `value` is the argument itself, or `parcel` holds it. */
  readonly bytes: Uint8Array | undefined;
  readonly value: unknown;
  /** The ticket of the parcel that holds the argument; -1 without. */
  readonly parcel: number;
}

/**
 * Served entries are cut off a long line at the earliest when they are this many, so that a cut
 * costs a constant per entry.
 */
const CUT_MIN = 1024;

interface Line {
  /** Undefined where a call was served. */
  readonly calls: (WaitingCall | undefined)[];
  /** The first call that wasn't served. */
  from: number;
}

export class WaitingLine {
  readonly #lines: readonly Line[] = Array.from({ length: PRIORITIES }, () => ({ calls: [], from: 0 }));
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Whether a call of high priority waits. */
  get isUrgent(): boolean {
    return (this.#lines[PRIORITY.high] as Line).calls.length > 0;
  }

  add(call: WaitingCall): void {
    (this.#lines[call.options.priority] as Line).calls.push(call);
    this.#length += 1;
  }

  /**
   * Offers the calls to `submit`, high priority first, until it returns false; the call at hand
   * then stays in the line.
   */
  serve(submit: (call: WaitingCall) => boolean): void {
    for (const line of this.#lines) if (!this.#serveLine(line, submit)) return;
  }

  /** Empties the line and returns what was in it. */
  clear(): WaitingCall[] {
    const left: WaitingCall[] = [];
    for (const line of this.#lines) {
      for (const call of line.calls.splice(0)) if (call !== undefined) left.push(call);
      line.from = 0;
    }
    this.#length = 0;
    return left;
  }

  /** False when a call found no slot. */
  #serveLine(line: Line, submit: (call: WaitingCall) => boolean): boolean {
    const { calls } = line;
    let hasRoom = true;
    // Ends: every turn takes a call off the line or stops.
    while (line.from < calls.length) {
      hasRoom = submit(calls[line.from] as WaitingCall);
      if (!hasRoom) break;
      calls[line.from] = undefined;
      line.from += 1;
      this.#length -= 1;
    }
    if (line.from > CUT_MIN ? line.from * 2 > calls.length : line.from === calls.length) {
      calls.splice(0, line.from);
      line.from = 0;
    }
    return hasRoom;
  }
}
