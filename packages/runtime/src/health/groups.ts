/** The three questions that an orchestrator asks, and what of a runtime's health answers each. */
import type { HealthCode, MillraceHealth } from "./health.ts";

/**
 * "live": would a new process help? "ready": should it get work now? "started": may the other two
 * be asked?
 */
export type HealthGroup = "live" | "ready" | "started";

export const HEALTH_GROUPS: readonly HealthGroup[] = ["live", "ready", "started"];

/**
 * Faults that a new process heals. A stuck or full disk isn't one of them: restarts in a loop would
 * only make it worse. Nor is a close: a process must not be killed while it drains.
 */
const HEALED_BY_RESTART: ReadonlySet<HealthCode> = new Set([
  "THREADS_DEAD",
  "DELIVERY_DEAD",
  "JOURNAL_POISONED",
  "DIRECTORY_GONE",
]);

/** Whether a reason of this kind makes the group's answer no. Nothing degraded does. */
export function isAgainst(group: HealthGroup, { code, status }: MillraceHealth["reasons"][number]): boolean {
  if (status === "degraded" || group === "started") return false;
  return group === "ready" || HEALED_BY_RESTART.has(code);
}

export function isUp(group: HealthGroup, { reasons }: MillraceHealth): boolean {
  return !reasons.some((reason) => isAgainst(group, reason));
}
