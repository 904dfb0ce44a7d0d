/**
 * How long a machine runs tasks without a turn of its event loop, by a clock that is seldom read: a
 * reading costs as much as a small task.
 */

/** Longest stretch of tasks without a turn of the event loop. */
const TURN_MS = 5;
/** The clock is read about this often. */
const CLOCK_MS = 0.2;
const CLOCK_TASKS_MAX = 64;
/** With at least this many tasks per reading, tasks count as short. */
const SHORT_TASKS = 16;

export class TurnClock {
  #turnEndsAt = 0;
  #readAt = 0;
  #tasksUntilReading = 0;
  #tasksPerReading = 1;
  /** Between the last two readings. */
  elapsedMs = 0;

  start(): void {
    this.#readAt = performance.now();
    this.#turnEndsAt = this.#readAt + TURN_MS;
    this.#tasksUntilReading = this.#tasksPerReading;
  }

  /** After every task; true when it is time to read the clock. */
  isDue(): boolean {
    this.#tasksUntilReading -= 1;
    return this.#tasksUntilReading <= 0;
  }

  /** Reads the clock. Returns whether the turn is over. */
  read(): boolean {
    const now = performance.now();
    this.elapsedMs = now - this.#readAt;
    const taskMs = Math.max(this.elapsedMs / this.#tasksPerReading, CLOCK_MS / CLOCK_TASKS_MAX);
    this.#readAt = now;
    this.#tasksPerReading = Math.max(1, Math.floor(CLOCK_MS / taskMs));
    this.#tasksUntilReading = this.#tasksPerReading;
    return now >= this.#turnEndsAt;
  }

  /** Time that tasks have taken since the last reading, ms: for the end of a turn. */
  unreadMs(): number {
    return this.#tasksUntilReading === this.#tasksPerReading ? 0 : performance.now() - this.#readAt;
  }

  /** Whether tasks take so little time that several are taken from the queue at once. */
  get areTasksShort(): boolean {
    return this.#tasksPerReading >= SHORT_TASKS;
  }
}
