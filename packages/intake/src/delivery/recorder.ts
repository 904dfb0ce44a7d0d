/**
 * Writes down how attempts end, for handlers whose option `record` asks for it.
 *
 * The ATTEMPT record goes into the ring before the one that the end leads to. So whenever an ACK,
 * RETRY or DEAD record is durable, the end that it follows from is durable too. After a crash in
 * between, the record of a recorded attempt may be handled again. While the disk is full nothing is
 * recorded: the room is for the records that end others.
 */
import { encode, encodeThrown } from "@millrace/codec";
import type { EncodedResult } from "../format/result-record.ts";
import { type AttemptHead, ATTEMPT_HEAD_BYTES_MAX, encodeAttempt } from "../format/attempt-record.ts";
import { reasonName } from "../format/state-records.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { HandlerGate } from "./handler-gate.ts";
import type { Job } from "./job.ts";
import type { Log } from "./ports.ts";
import type { StateLog } from "./state-log.ts";

/** Most bytes of an error, as in a dead letter. */
const ERROR_BYTES_MAX = 4096;

export interface RecorderParts {
  readonly log: Log;
  readonly states: RecordStates;
  readonly stateLog: StateLog;
}

/** How an attempt ended that has failed. */
export interface FailedEnd {
  readonly error: unknown;
  /** One of REASON. */
  readonly reason: number;
  readonly ranMs: number | undefined;
  /** The record is dead. */
  readonly isLast: boolean;
}

export class Recorder {
  readonly #parts: RecorderParts;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
  }

  /** `result`: undefined for a handler that has returned nothing. */
  returned(job: Job, gate: HandlerGate, result: EncodedResult | undefined, ranMs: number | undefined): void {
    if (gate.terms.record !== "outcomes") return;
    const bytes = result?.bytes ?? Uint8Array.from(encode(undefined));
    const isRefused = result !== undefined && !result.isOk;
    this.#write({ ...this.#headOf(job, gate), reason: undefined, isLast: true, isRefused, ranMs }, bytes);
  }

  failed(job: Job, gate: HandlerGate, { error, reason, ranMs, isLast }: FailedEnd): void {
    if (gate.terms.record !== "outcomes") return;
    const bytesMax = Math.min(ERROR_BYTES_MAX, this.#parts.log.payloadBytesMax - ATTEMPT_HEAD_BYTES_MAX);
    const head = { ...this.#headOf(job, gate), reason: reasonName(reason), isLast, isRefused: false, ranMs };
    this.#write(head, encodeThrown(error, bytesMax));
  }

  #headOf(job: Job, { name }: HandlerGate): AttemptOf {
    const redriven = this.#parts.states.redriven.get(job.origin) ?? 0;
    return { origin: job.origin, handler: name, attempt: job.attempts + 1, redriven };
  }

  #write(head: AttemptHead, bytes: Uint8Array): void {
    this.#parts.stateLog.record(encodeAttempt({ ...head, bytes }));
  }
}

type AttemptOf = Pick<AttemptHead, "origin" | "handler" | "attempt" | "redriven">;
