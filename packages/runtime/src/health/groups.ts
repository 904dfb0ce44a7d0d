/** The three questions that an orchestrator asks, and what of a runtime's health answers each. */
import type { HealthCode, MillraceHealth } from "./health.ts";

/**
 * "live": would a new process help? "ready": should it get work now? "started": may the other two
 * be asked?
 */
export type HealthGroup = "live" | "ready" | "started";

export const HEALTH_GROUPS: readonly HealthGroup[] = ["live", "ready", "started"];

/**
 * What another process heals. A stuck or full disk isn't among it: a restart in a loop would only
 * add to it. Nor is a close: to be killed while it drains is what it must not be.
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
