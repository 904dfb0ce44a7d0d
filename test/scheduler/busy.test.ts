// The time that machines count as busy.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { SchedulerOptions } from "@millrace/scheduler";
import { handlersUrl } from "../support.ts";
import { schedulersOf } from "./with-scheduler.ts";

interface Handlers {
  spin(ms: number): number;
}
const options: SchedulerOptions = { handlers: handlersUrl, processors: 1 };
const withScheduler = schedulersOf<Handlers>(options);

test("the shortest tasks make a machine busy as well, a few at a time", () =>
  withScheduler({}, async (scheduler) => {
    const busyMs = (): number => scheduler.stats().machines.reduce((sum, machine) => sum + machine.busyMs, 0);
    const bursts = async (count: number): Promise<void> => {
      for (let burst = 0; burst < count; burst += 1) {
        await Promise.all(Array.from({ length: 8 }, () => scheduler.run.spin(0)));
        // It sleeps in between.
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    };
    // It learns that they are short, and looks at the clock after 64 of them.
    await bursts(400);
    const before = busyMs();
    const begun = performance.now();
    await bursts(100);
    const grown = busyMs() - before;
    assert.ok(grown > 0.1, `${grown} ms of 800 tasks`);
    assert.ok(grown <= performance.now() - begun, `${grown} ms`);
  }));

test("a machine that waits isn't busy", () =>
  withScheduler({}, async (scheduler) => {
    const busyMs = (): number => scheduler.stats().machines.reduce((sum, machine) => sum + machine.busyMs, 0);
    await scheduler.run.spin(1);
    // Its last stretch is counted when it sleeps.
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = busyMs();
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.is(busyMs(), before);
  }));

test.run();
