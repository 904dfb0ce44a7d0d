/** Records whose turn comes again: at a time, or at once. */
import type { Storage } from "@millrace/journal";
import type { RecordStates } from "../states/record-states.ts";
import { WaitRuns } from "../states/wait-runs.ts";
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
  /** Where waits lie that the memory has no room for; without it they all stay in memory. */
  readonly scratch: Storage | undefined;
  /** Number of waits of each kind that the memory has room for. */
  readonly waitsMemoryMax: number | undefined;
}

export class Returns {
  readonly #parts: ReturnsParts;
  /** Until an instant of the wall clock: they follow it when it is set. */
  readonly #delays: Waits;
  /** For a while, by the clock that only grows: setting the other one changes nothing. */
  readonly #pauses: Waits;

  constructor(parts: ReturnsParts) {
    this.#parts = parts;
    const { scratch, waitsMemoryMax } = parts;
    const waitsOf = (kind: string): Waits =>
      new Waits(scratch === undefined ? undefined : new WaitRuns(scratch, kind), waitsMemoryMax);
    this.#delays = waitsOf("delays");
    this.#pauses = waitsOf("pauses");
  }

  /** Records that wait for a time. */
  get waiting(): number {
    return this.#delays.size + this.#pauses.size;
  }

  /** Of those, the ones that wait for their first time. */
  get delayed(): number {
    return this.#delays.size;
  }

  /** When the next one is due, by the clock that only grows; Infinity when none waits. */
  get nextDueMs(): number {
    const { clock } = this.#parts;
    const delayedMs = this.#delays.nextDueMs;
    return Math.min(this.#pauses.nextDueMs, delayedMs === Infinity ? Infinity : clock.now() + delayedMs - clock.wall());
  }

  /** Of those, how many lie on the disk. */
  get spilled(): number {
    return this.#delays.spilled + this.#pauses.spilled;
  }

  /** Removes what lies on the disk: the next opening finds it in the log. */
  close(): void {
    this.#delays.close();
    this.#pauses.close();
  }

  /** The record's turn comes again in `waitMs` ms. */
  in(waitMs: number, origin: number): void {
    this.#pauses.add(this.#parts.clock.now() + waitMs, origin);
  }

  /** The record's turn comes again at this time, ms since 1970. */
  at(dueMs: number, origin: number): void {
    this.#delays.add(dueMs, origin);
  }

  /** Takes those whose time has come, and returns their number. */
  wakeDue(): number {
    const { clock } = this.#parts;
    return this.#wake(this.#pauses, clock.now()) + this.#wake(this.#delays, clock.wall());
  }

  #wake(waits: Waits, now: number): number {
    let woken = 0;
    for (; waits.nextDueMs <= now && woken < WAKE_MAX; woken += 1) this.wake(waits.take());
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
