/**
 * Schedules as the log knows them: what CONTROL records define, and up to which due time each has
 * its records.
 *
 * A record that a schedule publishes names the schedule and its due time. Reading it moves the
 * schedule on: record and progress are one and the same, so that no crash can separate them. A
 * second record for a due time that has passed is a duplicate, whoever wrote it.
 */
import { type DefinedSchedule, haveSameTimes, type ScheduleDefinition, type Scheduled } from "../format/schedule.ts";

export interface ScheduleState {
  readonly definition: ScheduleDefinition;
  readonly isDeclared: boolean;
  /** Due times up to here aren't its own; those of `everyMs` are counted from here. */
  readonly sinceMs: number;
  /** The due time of its newest record; 0 before the first. */
  readonly lastDueMs: number;
  /** Due times that passed without a record. */
  readonly missed: number;
}

/** A schedule in a snapshot. */
export type SavedSchedule = ScheduleState & { readonly name: string };

export class ScheduleStates {
  readonly #schedules = new Map<string, ScheduleState>();

  get size(): number {
    return this.#schedules.size;
  }

  get(name: string): ScheduleState | undefined {
    return this.#schedules.get(name);
  }

  entries(): IterableIterator<[string, ScheduleState]> {
    return this.#schedules.entries();
  }

  /** When the times of a schedule change, it begins anew: what it missed before isn't made up. */
  defined({ name, definition, isDeclared, atMs }: DefinedSchedule): void {
    const known = this.#schedules.get(name);
    const sinceMs = known !== undefined && haveSameTimes(known.definition, definition) ? known.sinceMs : atMs;
    const { lastDueMs, missed } = known ?? { lastDueMs: 0, missed: 0 };
    this.#schedules.set(name, { definition, isDeclared, sinceMs, lastDueMs, missed });
  }

  removed(name: string): void {
    this.#schedules.delete(name);
  }

  /**
   * Takes note of a record that a schedule has published: whether it is the first of its due time.
   */
  judge({ name, dueMs, missed }: Scheduled): boolean {
    const known = this.#schedules.get(name);
    // Its schedule may have been removed since.
    if (known === undefined) return true;
    if (dueMs <= known.lastDueMs) return false;
    this.#schedules.set(name, { ...known, lastDueMs: dueMs, missed: known.missed + missed });
    return true;
  }

  save(): SavedSchedule[] {
    return Array.from(this.#schedules, ([name, state]) => ({ name, ...state }));
  }

  restore(saved: readonly SavedSchedule[]): void {
    for (const { name, ...state } of saved) this.#schedules.set(name, state);
  }
}
