/**
 * A line of state in the period that `MILLRACE_SCHEDTRACE=1000` gives, ms; as Go's
 * GODEBUG=schedtrace=1000.
 */
import { performance } from "@millrace/base";
import { countBits, maskWords, runQueueLength } from "@millrace/shared-memory";
import { PRIORITIES } from "../shared/priorities.ts";
import type { Shared } from "../shared/shared.ts";

/** The period in ms that the environment asks for; undefined when it doesn't. */
export function schedTraceMs(environment: NodeJS.ProcessEnv): number | undefined {
  const ms = Number(environment.MILLRACE_SCHEDTRACE);
  return Number.isFinite(ms) && ms >= 1 ? ms : undefined;
}

/**
 * `SCHED 1002ms: processors=2 idle=1 machines=3 spare=1 blocked=0 outstanding=12 outbox=[0 4 0] queues=[7 0]`
 */
export function schedTraceLine(shared: Shared, startedAt: number, machines: number, outstanding: number): string {
  const { words, layout, memory } = shared;
  const masks = maskWords(memory.machines);
  const queues = Array.from(
    { length: memory.processors },
    (_, processor) => runQueueLength(shared.runQueue(processor)) + runQueueLength(shared.overflow(processor)),
  );
  const outboxes = Array.from({ length: PRIORITIES }, (_, priority) => {
    let length = 0;
    for (let outsider = 0; outsider < memory.outsiders; outsider += 1) {
      length += runQueueLength(shared.outbox(outsider, priority));
    }
    return length;
  });
  const parts = [
    `processors=${memory.processors}`,
    `idle=${shared.idleSet().countSleepers()}`,
    `machines=${machines}`,
    `spare=${countBits(words, layout.spares, masks)}`,
    `blocked=${shared.processors().countBlocked()}`,
    `outstanding=${outstanding}`,
    `outbox=[${outboxes.join(" ")}]`,
    `queues=[${queues.join(" ")}]`,
  ];
  return `SCHED ${Math.round(performance.now() - startedAt)}ms: ${parts.join(" ")}`;
}
