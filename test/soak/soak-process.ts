// The soak, in a process of its own: argv are the seed, the duration of the rounds in ms, and the
// form.
import { until } from "../support.ts";
import { soak } from "./soak.ts";

/**
 * The long form is held to thirty seconds; the short one waits for as long as this machine needs.
 */
const IDLE_MS = 30_000;
const SHORT_IDLE_MS = 50_000;

const [seed, durationMs, form] = process.argv.slice(2) as [string, string, string];

function idle(isBack: () => boolean): Promise<void> {
  if (form === "long") return new Promise((resolve) => setTimeout(resolve, IDLE_MS));
  // Whether it is back is asserted afterwards, with what was measured.
  return until(isBack, "memory comes back", SHORT_IDLE_MS).catch(() => {});
}

console.log(await soak({ seed: Number(seed), durationMs: Number(durationMs), idle }));
