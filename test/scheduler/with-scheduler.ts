// A scheduler for one test: opened with the defaults of its file, closed whatever happens.
import * as assert from "uvu/assert";
import { Scheduler, type SchedulerOptions } from "@millrace/scheduler";

type Body<Handlers> = (scheduler: Scheduler<Handlers>) => Promise<void>;
type Check<Handlers> = (scheduler: Scheduler<Handlers>) => void | Promise<void>;

/** No task lost its queue entry. */
export function nothingSwept(scheduler: Pick<Scheduler, "stats">): void {
  assert.is(scheduler.stats().sweptTasks, 0, "no task had to be found by the safety net");
}

/** The body has ended every call that it made. */
function isQuiet(scheduler: Pick<Scheduler, "stats">): void {
  nothingSwept(scheduler);
  assert.is(scheduler.stats().outstanding, 0, "every call is over");
}

/** `check` holds at the end of each test. Where one fails, what is stuck isn't waited for. */
export function schedulersOf<Handlers>(
  defaults: SchedulerOptions,
  check: Check<Handlers> = isQuiet,
): (options: Partial<SchedulerOptions>, body: Body<Handlers>) => Promise<void> {
  return async (options, body) => {
    const scheduler = await Scheduler.open<Handlers>({ ...defaults, ...options });
    try {
      await body(scheduler);
      await check(scheduler);
      await scheduler.close();
    } finally {
      await scheduler.terminate();
    }
  };
}
