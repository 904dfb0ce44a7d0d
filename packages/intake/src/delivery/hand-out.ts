/** Hands one record to its handler, when nothing is in its way. */
import { FULL } from "@millrace/shared-memory";
import { lastSpan } from "../format/state-records.ts";
import type { TaskHeaderWriter } from "../format/task-header.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { DeliveryCounts } from "./events.ts";
import type { Gates } from "./gates.ts";
import type { HandlerGate } from "./handler-gate.ts";
import type { Hands } from "./hands.ts";
import type { Job } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { KeyLines } from "./key-lines.ts";
import type { Life } from "./life.ts";
import type { Outcomes } from "./outcomes.ts";
import type { Clock, Runner } from "./ports.ts";
import type { Quarantined } from "./quarantined.ts";
import type { Returns } from "./returns.ts";
import type { Suspects } from "./suspects.ts";
import type { Window } from "./window.ts";

const NO_BYTES = new Uint8Array(0);

function wantsResult({ terms }: HandlerGate): boolean {
  return terms.result === "keep" || terms.record === "outcomes";
}

/**
 * The outcome of a record's turn: a handler has it; it waits for a time or a key, or is over; it is
 * suspect, and comes with its group; there is no room now; its handler can't run now.
 */
export type HandedOut = "given" | "taken" | "full" | "heldUp";

export interface HandOutParts {
  readonly runner: Runner;
  readonly clock: Clock;
  readonly states: RecordStates;
  readonly counts: DeliveryCounts;
  readonly gates: Gates;
  readonly hands: Hands;
  readonly window: Window;
  readonly suspects: Suspects;
  readonly quarantined: Quarantined;
  readonly keyLines: KeyLines;
  readonly jobs: Jobs;
  readonly returns: Returns;
  readonly outcomes: Outcomes;
  readonly life: Life;
  readonly taskHeaders: TaskHeaderWriter;
}

export class HandOut {
  readonly #parts: HandOutParts;
  #hasUnpublished = false;

  constructor(parts: HandOutParts) {
    this.#parts = parts;
  }

  /** Decides about a record whose turn has come. */
  handOut(job: Job): HandedOut {
    const { clock, gates, window, life, suspects, keyLines, jobs, returns, outcomes } = this.#parts;
    const { notBeforeMs, expiresAtMs } = job.terms;
    if (notBeforeMs !== undefined || expiresAtMs !== undefined) {
      const wall = clock.wall();
      if (expiresAtMs !== undefined && wall >= expiresAtMs) {
        outcomes.expire(job);
        return "taken";
      }
      if (notBeforeMs !== undefined && wall < notBeforeMs) {
        suspects.waits(job.origin);
        // One that was moved, or is suspect, may stand in line before its time.
        keyLines.giveAway(job);
        returns.at(notBeforeMs, job.origin);
        return "taken";
      }
    }
    const gate = gates.of(job.handler);
    const { now } = gates;
    if (gate.obstacle(now) !== undefined) return "heldUp";
    if (window.left <= 0 || !life.isBegun()) return "full";
    if (!keyLines.take(job)) {
      suspects.waits(job.origin);
      jobs.standsInLine(job);
      return "taken";
    }
    if (!suspects.mayRun(job.origin)) return "taken";
    if (!this.#submit(job, gate, now)) return "full";
    keyLines.running(job);
    gate.given(now);
    return "given";
  }

  #submit(job: Job, gate: HandlerGate, now: number): boolean {
    const { runner, hands, window, counts, quarantined } = this.#parts;
    const header = this.#headerOf(job, gate);
    const { timeoutMs } = gate.terms;
    if (quarantined.needs(job.origin)) {
      quarantined.give(job, gate.name, header, timeoutMs);
      return true;
    }
    const slot = runner.submit(job.handler, job.priority, job.payload, header, timeoutMs !== undefined);
    if (slot === FULL) {
      window.left = 0;
      return false;
    }
    this.#hasUnpublished = true;
    window.left -= 1;
    hands.give(slot, job, now, timeoutMs);
    counts.delivered += 1;
    return true;
  }

  #headerOf(job: Job, gate: HandlerGate): Uint8Array {
    const { origin, timeMs, attempts, terms, key, headers } = job;
    return this.#parts.taskHeaders.write({
      sequence: origin,
      timeMs,
      attempt: attempts + this.#parts.suspects.endsOf(origin) + 1,
      redriven: this.#parts.states.redriven.get(origin) ?? 0,
      resultBytesMax: wantsResult(gate) ? gate.terms.resultBytesMax : 0,
      isRecorded: gate.terms.record === "outcomes",
      key: terms.isOrdered === true ? key : NO_BYTES,
      replayOf: terms.replayOf ?? 0,
      scheduled: terms.scheduled,
      trace: terms.trace ?? "",
      lastSpan: attempts === 0 ? "" : (lastSpan(job.history) ?? ""),
      headers,
    });
  }

  /** Lets the machines see the records that were handed out. */
  publish(): void {
    if (this.#hasUnpublished) this.#parts.runner.publish();
    this.#hasUnpublished = false;
  }
}
