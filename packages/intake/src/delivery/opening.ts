/** Rebuilds delivery's memory at an opening from the durable states. */
import { pauseLeftMs } from "../states/retry-table.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Deaths } from "./deaths.ts";
import type { Gates } from "./gates.ts";
import type { Job } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { KeyLines } from "./key-lines.ts";
import type { Clock, Log } from "./ports.ts";
import type { Returns } from "./returns.ts";
import type { Suspects } from "./suspects.ts";
import type { Turns } from "./turns.ts";

export interface OpeningParts {
  readonly log: Log;
  readonly clock: Clock;
  readonly states: RecordStates;
  readonly gates: Gates;
  readonly suspects: Suspects;
  readonly turns: Turns;
  readonly jobs: Jobs;
  readonly deaths: Deaths;
  readonly keyLines: KeyLines;
  readonly returns: Returns;
}

export function rebuild(parts: OpeningParts): void {
  const { log, clock, states, gates, suspects, turns, jobs, deaths, returns } = parts;
  for (const name of states.paused) gates.named(name).isPaused = true;
  takeKeysAgain(parts);
  const wall = clock.wall();
  for (const [origin, retry] of states.retries) {
    const leftMs = pauseLeftMs(retry, wall);
    if (retry.dueMs === Infinity) deaths.wait(origin, gates.of(jobs.at(states.placeOf(origin)).handler).name);
    else if (leftMs > 0 || !suspects.has(origin)) {
      suspects.waits(origin);
      returns.in(leftMs, origin);
    }
  }
  // The records that were copied forward stood before everything that is in the log at its old
  // place.
  for (const origin of movedRecords(parts).toSorted((a, b) => a - b)) returns.wake(origin);
  const first = turns.nextUnsettled(log.firstSequence);
  if (first <= log.known) turns.readFrom(first);
}

/** Records that were moved, and are to be delivered now. */
function movedRecords({ states, suspects }: OpeningParts): number[] {
  return [...states.places.keys()].filter(
    (origin) =>
      !states.isDead(origin) && !states.isSettled(origin) && !states.retries.has(origin) && !suspects.has(origin),
  );
}

/** Dead records that may hold their keys: a million that hold none aren't read. */
function deadHolders({ states, gates }: OpeningParts): number[] {
  const origins: number[] = [];
  for (const [origin, { handler, keyHash }] of states.dead) {
    const isUnsaid = handler === "";
    if (isUnsaid || (keyHash !== 0 && gates.named(handler).terms.holdsKeyWhenDead)) origins.push(origin);
  }
  return origins;
}

/**
 * Records that wait for their retry, that were moved, that are suspect, and some dead ones hold
 * their keys.
 */
function takeKeysAgain(parts: OpeningParts): void {
  const { clock, states, gates, suspects, jobs, keyLines } = parts;
  const holders = [...states.retries.keys(), ...movedRecords(parts), ...suspects.early, ...deadHolders(parts)];
  const places = new Set(holders.map((origin) => states.placeOf(origin)));
  const found: Job[] = [];
  for (const place of [...places].toSorted((left, right) => left - right)) {
    const job = jobs.at(place);
    if (job.keyName !== undefined) found.push(job);
  }
  const wall = clock.wall();
  for (const job of found.toSorted((left, right) => left.origin - right.origin)) {
    const isSkipped = gates.of(job.handler).terms.order === "skip" && states.retries.has(job.origin);
    if (states.isDead(job.origin)) keyLines.enterDead(job);
    // A delayed record takes its key when it is due.
    else if (!isSkipped && (job.terms.notBeforeMs ?? 0) <= wall) keyLines.enter(job);
  }
}
