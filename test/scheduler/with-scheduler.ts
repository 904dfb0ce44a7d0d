// A scheduler for one test: opened with the defaults of its file, closed whatever happens.
import * as assert from "uvu/assert";
import { Scheduler, type SchedulerOptions } from "@millrace/scheduler";

type Body<Handlers> = (scheduler: Scheduler<Handlers>) => Promise<void>;

/** Of a test whose body has ended every call that it made. */
export function schedulersOf<Handlers>(
  defaults: SchedulerOptions,
): (options: Partial<SchedulerOptions>, body: Body<Handlers>) => Promise<void> {
  return async (options, body) => {
    const scheduler = await Scheduler.open<Handlers>({ ...defaults, ...options });
    try {
      await body(scheduler);
      assert.is(scheduler.stats().sweptTasks, 0, "no task had to be found by the safety net");
      assert.is(scheduler.stats().outstanding, 0, "every call is over");
    } finally {
      await scheduler.close();
    }
  };
}
