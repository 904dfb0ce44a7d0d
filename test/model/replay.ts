/** Runs one schedule again and tells what happens in it, line by line. */
import type { Scenario } from "./api.ts";
import { Execution, GO, KILL, KINDS, TIMEOUT, TIMEOUT_ASYNC } from "./execute.ts";
import { begin, type Limits } from "./explore.ts";
import type { Loaded } from "./load.ts";
import { JOIN, LOOP, opName, START } from "./operations.ts";
import { decodeSchedule } from "./schedule.ts";
import { describeSite } from "./sites.ts";
import { type Memory, type Thread, type Violation, world } from "./world.ts";

export interface Replay {
  readonly lines: readonly string[];
  readonly failure: Violation | undefined;
}

export function replay(loaded: Loaded, scenario: Scenario, limits: Limits, schedule: string, wraps: boolean): Replay {
  begin(loaded);
  const execution = new Execution(scenario, { ...limits, wraps, checksRaces: true });
  const lines: string[] = [];
  const width = Math.max(...world.threads.map((thread) => thread.name.length), 4);
  const say = (thread: Thread, what: string, site: number): void => {
    const { where, line } = site > 0 ? describeSite(site) : { where: "", line: "" };
    lines.push(`${thread.name.padEnd(width)}  ${what.padEnd(34)} ${where.padEnd(30)} ${line}`.trimEnd());
  };
  world.onAccess = (op: number, site: number, memory: Memory, word: number, value: unknown): void => {
    say(world.thread, `${opName(op)} ${memory.id % 4096}[${word}] ${shown(value)}`, site);
  };
  try {
    for (const choice of decodeSchedule(schedule)) {
      if (world.failure !== undefined) break;
      const thread = world.threads[Math.floor(choice / KINDS)] as Thread;
      announce(thread, choice % KINDS, say);
      execution.step(choice);
    }
    if (world.failure === undefined) {
      const choices: number[] = [];
      execution.choices(choices, Infinity);
      if (choices.every((choice) => choice % KINDS === KILL)) execution.finish();
      else lines.push("… the schedule ends here; threads could go on");
    }
  } finally {
    world.onAccess = undefined;
  }
  for (const thread of world.threads) {
    if (thread.log.length > 0) lines.push(`log of ${thread.name}: ${thread.log.map(shown).join(" ")}`);
  }
  return { lines, failure: world.failure };
}

function announce(thread: Thread, kind: number, say: (thread: Thread, what: string, site: number) => void): void {
  if (kind === KILL) say(thread, "dies before", thread.site);
  else if (kind === TIMEOUT) say(thread, "time runs out", thread.site);
  else if (kind === TIMEOUT_ASYNC) say(thread, "time of a waitAsync runs out", 0);
  else if (thread.op === START || thread.op === LOOP) say(thread, opName(thread.op), 0);
  else if (thread.op === JOIN) say(thread, `sees the end of ${(thread.first as Thread).name}`, 0);
  else if (kind === GO && thread.status !== 0) say(thread, "comes back from its wait", thread.site);
}

function shown(value: unknown): string {
  if (typeof value === "object" && value !== null)
    return "async" in value && value.async === true ? "waits" : JSON.stringify(value);
  return String(value);
}
