/**
 * Queues the tasks again whose queue entry is lost. A correct scheduler loses none; the search
 * costs a pass over the task table, so it waits until nothing has moved for some looks.
 */
import type { Calls } from "../calls/calls.ts";
import type { Supervisor } from "./supervisor.ts";
import type { Watchdog } from "./watchdog.ts";

/** Looks without progress before a search. */
const QUIET_LOOKS = 3;

export class LostTasks {
  readonly #supervisor: Supervisor;
  readonly #calls: Calls;
  readonly #watchdog: Watchdog;
  #settledAtLastLook = -1;
  #quietLooks = 0;
  #found = 0;

  constructor(supervisor: Supervisor, calls: Calls, watchdog: Watchdog) {
    this.#supervisor = supervisor;
    this.#calls = calls;
    this.#watchdog = watchdog;
  }

  /** Number of lost tasks that were found so far. */
  get found(): number {
    return this.#found;
  }

  /** Once a second. */
  look(): void {
    const settled = this.#supervisor.stats().reduce((sum, machine) => {
      const { ok, failed } = machine.read();
      return sum + ok + failed;
    }, 0);
    const isQuiet = this.#calls.outstanding > 0 && settled === this.#settledAtLastLook && !this.#watchdog.isAnyStuck;
    this.#settledAtLastLook = settled;
    this.#quietLooks = isQuiet ? this.#quietLooks + 1 : 0;
    // A machine that the system hasn't let run for a while may hold private entries.
    if (this.#quietLooks < QUIET_LOOKS) return;
    this.#quietLooks = 0;
    this.#found += this.#supervisor.sweep();
  }
}
