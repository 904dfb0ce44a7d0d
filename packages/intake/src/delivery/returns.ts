/** Records whose turn comes again: at a time, or at once. */
import type { RecordStates } from "../states/record-states.ts";
import { Waits } from "../states/waits.ts";
import type { Jobs } from "./jobs.ts";
import type { Lane } from "./lane.ts";
import type { Clock } from "./ports.ts";
import type { Turns } from "./turns.ts";

/** Woken before the other duties get their turn. */
const WAKE_MAX = 512;

export interface ReturnsParts {
  readonly clock: Clock;
  readonly states: RecordStates;
  readonly jobs: Jobs;
  readonly turns: Turns;
}

export class Returns {
  readonly #parts: ReturnsParts;
  readonly #waits = new Waits();

  constructor(parts: ReturnsParts) {
    this.#parts = parts;
  }

  /** Records that wait for a time. */
  get waiting(): number {
    return this.#waits.size;
  }

  /** When the next one is due, by the clock that only grows; Infinity when none waits. */
  get nextDueMs(): number {
    return this.#waits.nextDueMs;
  }

  /** The record's turn comes again in so many ms. */
  in(waitMs: number, origin: number): void {
    this.#waits.add(this.#parts.clock.now() + waitMs, origin);
  }

  /** Those whose time has come; how many. */
  wakeDue(): number {
    const now = this.#parts.clock.now();
    let woken = 0;
    for (; this.#waits.nextDueMs <= now && woken < WAKE_MAX; woken += 1) this.wake(this.#waits.take());
    return woken;
  }

  /**
   * The record goes to the end of those whose turn has come again. Returns the lane where it waits;
   * undefined when it needs no turn.
   */
  wake(origin: number): Lane | undefined {
    const { states, jobs, turns } = this.#parts;
    if (states.isDead(origin) || states.isSettled(origin)) return undefined;
    const job = jobs.again(origin);
    jobs.keep(job);
    const lane = turns.laneOf(job.handler, job.priority);
    turns.makeReady(lane, origin);
    return lane;
  }
}
