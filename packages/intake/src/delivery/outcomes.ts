/** Decides about a record that was handed out: it is finished, tried again, or dead. */
import { isMillraceError, type Random } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import type { OutcomeSink } from "@millrace/scheduler";
import type { RecordParts } from "@millrace/journal/kernel";
import { type Outcome, unpackFailure, unpackOutcome } from "../format/outcome.ts";
import { type EncodedResult, encodeResult } from "../format/result-record.ts";
import {
  deadKeyHash,
  encodeDeadHeader,
  encodeExpire,
  encodeFate,
  EXPIRED,
  REASON,
  reasonName,
  withFailure,
} from "../format/state-records.ts";
import { takeMark } from "../format/trace-context.ts";
import type { Deaths } from "./deaths.ts";
import type { Ends } from "./ends.ts";
import type { DeliveryCounts } from "./events.ts";
import type { FailedAttempts } from "./failed-attempts.ts";
import type { Gates } from "./gates.ts";
import type { HandlerGate } from "./handler-gate.ts";
import type { Hands } from "./hands.ts";
import { type Job, recordBytesOf } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import type { KeyLines } from "./key-lines.ts";
import { decide, type HandlerTerms } from "./policy.ts";
import type { Clock, Log, Runner } from "./ports.ts";
import type { Quarantined } from "./quarantined.ts";
import type { Recorder } from "./recorder.ts";
import type { Returns } from "./returns.ts";
import type { StagedAdmission } from "./staged-admission.ts";
import type { StateLog } from "./state-log.ts";
import type { Steady } from "./steady.ts";
import type { Suspects } from "./suspects.ts";
import type { Window } from "./window.ts";

/**
 * A record that has ended its process in quarantine this often, counting all its failures, is dead.
 */
const QUARANTINE_ATTEMPTS = 3;
/** Records that get their room before the other duties get their turn. */
const DEATHS_MAX = 64;
/** When a record is due that has no attempt left. */
const NEVER = Infinity;
const NO_BYTES = new Uint8Array(0);
const NO_RECORDS: readonly RecordParts[] = [];
const NOTHING = (): void => {};

export interface OutcomesParts {
  readonly log: Log;
  readonly runner: Runner;
  readonly clock: Clock;
  readonly steady: Steady;
  readonly random: Random;
  readonly counts: DeliveryCounts;
  readonly stateLog: StateLog;
  readonly gates: Gates;
  readonly hands: Hands;
  readonly window: Window;
  readonly jobs: Jobs;
  readonly suspects: Suspects;
  readonly quarantined: Quarantined;
  readonly failedAttempts: FailedAttempts;
  readonly ends: Ends;
  readonly deaths: Deaths;
  readonly keyLines: KeyLines;
  readonly returns: Returns;
  readonly stagedAdmission: StagedAdmission;
  readonly recorder: Recorder;
}

/** How an attempt failed. */
interface Failed {
  readonly error: unknown;
  /** One of REASON. */
  readonly reason: number;
  readonly ranMs?: number | undefined;
}

/** Attempts that were given up and still run on one thread, at most. */
const ABANDONED_MAX = 256;

export class Outcomes implements OutcomeSink {
  readonly #parts: OutcomesParts;

  constructor(parts: OutcomesParts) {
    this.#parts = parts;
  }

  /** From `Runner.drain`: a handler is done with a record. */
  settled(slot: number): void {
    const { window, hands, runner, stagedAdmission } = this.#parts;
    window.finished();
    const job = hands.takeBack(slot);
    if (job === undefined) return;
    let error: unknown;
    try {
      const value = runner.value(slot);
      if (runner.isOk(slot)) {
        const outcome = unpackOutcome(value);
        error = stagedAdmission.refusalOf(outcome);
        if (error === undefined) {
          this.#succeeded(job, outcome);
          return;
        }
      } else error = value;
    } catch (thrown) {
      // There is no memory to read it.
      error = thrown;
    }
    hands.readBack(slot, job);
    const failure = this.#failureOf(job, error);
    const hasDied = isMillraceError(failure.error, "ERR_MACHINE_DIED");
    this.#failed(job, { ...failure, reason: hasDied ? REASON.death : REASON.error });
  }

  /** Machines pack the error of a handler whose attempts are recorded. */
  #failureOf({ handler }: Job, error: unknown): ReturnType<typeof unpackFailure> {
    const isRecorded = this.#parts.gates.of(handler).terms.record === "outcomes";
    return isRecorded ? unpackFailure(error) : { error, ranMs: undefined };
  }

  /**
   * Takes the end of a record in quarantine. `error` is undefined when its handler has returned;
   * then `outcome` is the handler's outcome.
   */
  leftQuarantine(origin: number, error: unknown, outcome: Outcome | undefined): void {
    const job = this.#parts.quarantined.takeBack(origin);
    if (job === undefined) return;
    const refusal = error === undefined ? this.#parts.stagedAdmission.refusalOf(outcome) : error;
    if (refusal === undefined) {
      this.#succeeded(job, outcome);
      return;
    }
    const failure = this.#failureOf(job, refusal);
    this.#failed(job, { ...failure, reason: quarantineReason(failure.error) });
  }

  /**
   * Ends the attempts whose time is over, and returns their number. Their later results are
   * ignored.
   */
  endOverdue(): number {
    const { gates, hands, clock, runner } = this.#parts;
    // Looking for them costs a walk.
    if (hands.abandoned > 0) this.#endThreads(clock.now());
    if (gates.timed === 0) return 0;
    let ended = 0;
    for (const [slot, job] of hands.overdue(clock.now())) {
      runner.askToStop(slot);
      hands.readBack(slot, job);
      const { timeoutMs } = gates.of(job.handler).terms;
      const error = new Error("the handler took longer than its time limit");
      this.#failed(job, { error, reason: REASON.timeout, ranMs: timeoutMs });
      ended += 1;
    }
    return ended;
  }

  /** Threads that attempts which were given up still block, or of which they have too many. */
  #endThreads(now: number): void {
    const { hands, runner } = this.#parts;
    for (const [machine, count] of hands.lasting(now)) runner.endMachine(machine, count < ABANDONED_MAX);
  }

  #succeeded(job: Job, outcome: Outcome | undefined): void {
    const { gates, counts, suspects, failedAttempts, ends, keyLines, recorder } = this.#parts;
    const gate = gates.of(job.handler);
    gate.succeeded();
    recorder.returned(job, gate, outcome?.result, outcome?.ranMs);
    const records = outcome === undefined ? NO_RECORDS : this.#recordsOf(job, gate, outcome);
    counts.done += 1;
    suspects.survived(job.origin);
    failedAttempts.over(job.origin);
    // The next one of its key comes later: so do the records that it publishes.
    const onWay = job.keyName === undefined ? NOTHING : (): void => keyLines.giveAway(job);
    ends.finished(job.origin, records, onWay);
  }

  /** What becomes durable with the record's end. */
  #recordsOf({ origin }: Job, gate: HandlerGate, { staged, result }: Outcome): readonly RecordParts[] {
    const records: RecordParts[] = staged.map((record) => ({ ...record, type: RECORD_TYPE.data }));
    if (records.length > 0) gate.publishes = true;
    if (result !== undefined && gate.terms.result === "keep") {
      records.push(this.#resultOf(origin, gate.terms, result));
    }
    return records;
  }

  #resultOf(origin: number, { resultKeepMs }: HandlerTerms, result: EncodedResult): RecordParts {
    const timeMs = this.#parts.steady.nowMs();
    const payload = encodeResult({ origin, untilMs: timeMs + resultKeepMs }, result);
    return { type: RECORD_TYPE.result, priority: 0, timeMs, header: NO_BYTES, key: NO_BYTES, payload };
  }

  #failed(job: Job, { error, reason, ranMs }: Failed): void {
    const { suspects, quarantined, clock, steady, gates, random, log, recorder } = this.#parts;
    // Before anybody else sees the error.
    const span = takeMark(error);
    const isLate = reason === REASON.timeout && quarantined.needs(job.origin);
    // One that was ended there hasn't shown that it ends nothing else.
    if (reason === REASON.quarantine || isLate) suspects.waits(job.origin);
    else suspects.survived(job.origin);
    const wallMs = clock.wall();
    const nowMs = steady.nowMs();
    const attempts = job.attempts + 1;
    const firstMs = job.firstMs === 0 ? nowMs : job.firstMs;
    const gate = gates.of(job.handler);
    const fraction = random.fraction();
    const decision =
      reason === REASON.quarantine && attempts >= QUARANTINE_ATTEMPTS
        ? ({ kind: "dead", reason } as const)
        : decide(gate.terms, { attempts, firstFailedMs: firstMs, nowMs, error, reason, fraction });
    const counts = decision.kind === "dead" || decision.counts;
    const why = decision.kind === "retry" && !decision.counts ? decision.reason : reason;
    recorder.failed(job, gate, { error, reason: why, ranMs, isLast: decision.kind === "dead" });
    gate.failed(gates.renew(), counts && attempts === 1);
    if (counts) {
      job.attempts = attempts;
      job.firstMs = firstMs;
      const known = span === undefined ? undefined : { traceparent: span };
      const failure = { attempt: attempts, atMs: wallMs, reason: reasonName(reason), error, ...known };
      job.history = withFailure(job.history, failure, log.payloadBytesMax);
    }
    if (decision.kind === "dead") this.#die(job, decision.reason, wallMs);
    else this.#retryLater(job, decision.waitMs, decision.reason, nowMs);
  }

  /** `nowMs`: by `Steady`. */
  #retryLater(job: Job, waitMs: number, reason: number, nowMs: number): void {
    const { failedAttempts, returns, jobs, counts, keyLines } = this.#parts;
    const { origin, attempts, firstMs, history } = job;
    failedAttempts.failed({ origin, attempts, reason, atMs: nowMs + waitMs, firstMs }, nowMs, history);
    returns.in(waitMs, origin);
    jobs.keep(job);
    counts.retried += 1;
    keyLines.waits(job);
  }

  /**
   * Gives room to records that wait for it among the dead letters. Returns how many have got it.
   */
  letDie(): number {
    const { deaths, jobs, clock } = this.#parts;
    let died = 0;
    for (let origin = deaths.first(); origin !== undefined && died < DEATHS_MAX; origin = deaths.first()) {
      const job = jobs.again(origin);
      if (!this.#dies(job, clock.wall())) {
        jobs.keep(job);
        break;
      }
      died += 1;
    }
    return died;
  }

  #die(job: Job, reason: number, wallMs: number): void {
    job.reason = reason;
    if (!this.#dies(job, wallMs)) this.#waitToDie(job);
  }

  /** False when there is no room for another dead letter. */
  #dies(job: Job, wallMs: number): boolean {
    const { deaths, ends, failedAttempts, gates, stateLog, steady, keyLines } = this.#parts;
    const { origin, attempts, reason } = job;
    const recordBytes = recordBytesOf(job);
    const keyHash = job.keyName === undefined ? 0 : deadKeyHash(job.key);
    const header = encodeDeadHeader({ recordBytes, keyHash, handler: gates.of(job.handler).name });
    const payload = encodeFate(
      { origin, attempts, reason, atMs: wallMs, firstMs: steady.toWall(job.firstMs) },
      job.history,
    );
    const bytes = recordBytes + header.length + payload.length;
    if (!deaths.hasRoom(bytes)) return false;
    deaths.began(origin, bytes);
    ends.began(origin);
    failedAttempts.over(origin);
    stateLog.write(RECORD_TYPE.dead, payload, { header });
    // A caller may wait for this end.
    stateLog.urge();
    keyLines.died(job);
    return true;
  }

  /** It has no attempt left, and becomes a dead letter when there is room: across restarts. */
  #waitToDie(job: Job): void {
    const { deaths, gates, failedAttempts, steady, jobs, keyLines } = this.#parts;
    const { origin, attempts, reason, firstMs, history } = job;
    failedAttempts.failed({ origin, attempts, reason, atMs: NEVER, firstMs }, steady.nowMs(), history);
    deaths.wait(origin, gates.of(job.handler).name);
    jobs.keep(job);
    keyLines.waits(job);
  }

  /** Its time was over before its turn came. */
  expire(job: Job): void {
    const { ends, failedAttempts, stateLog, suspects, keyLines } = this.#parts;
    ends.began(job.origin);
    suspects.survived(job.origin);
    failedAttempts.over(job.origin);
    stateLog.write(RECORD_TYPE.expire, encodeExpire({ kind: EXPIRED, origins: [job.origin], lastDeath: 0 }));
    keyLines.giveAway(job);
  }
}

function quarantineReason(error: unknown): number {
  if (isMillraceError(error, "ERR_QUARANTINE_DIED")) return REASON.quarantine;
  return isMillraceError(error, "ERR_QUARANTINE_TIMEOUT") ? REASON.timeout : REASON.error;
}
