/** The content of a state record, in fields that people can read: for tools that print a log. */
import { RECORD_TYPE } from "@millrace/journal";
import {
  ackRanges,
  type Control,
  decodeControl,
  decodeDeadHeader,
  decodeExpire,
  decodeFate,
  decodeHistory,
  decodeLease,
  decodeRedrive,
  DROPPED,
  reasonName,
} from "../format/state-records.ts";
import { type AttemptEnd, decodeAttempt, valueOf } from "../format/attempt-record.ts";
import { ENTRY_BYTES } from "../states/dedupe-window.ts";
import { toPlain } from "./plain.ts";

export interface RawRecord {
  readonly type: number;
  readonly header: Buffer;
  readonly payload: Buffer;
}

/** Undefined for records of other types. Throws for bytes that no intake has written. */
export function stateFields({ type, header, payload }: RawRecord): object | undefined {
  switch (type) {
    case RECORD_TYPE.ack: {
      const ranges = ackRanges(payload);
      return { finished: Array.from({ length: ranges.ranges }, (_, index) => ranges.range(index)) };
    }
    case RECORD_TYPE.retry: {
      const { atMs, ...fate } = fateFields(payload);
      return { ...fate, due: Number.isFinite(atMs) ? timeOf(atMs) : "when there is room for dead letters" };
    }
    case RECORD_TYPE.dead: {
      const { atMs, ...fate } = fateFields(payload);
      const { handler } = decodeDeadHeader(header);
      return { ...fate, ...(handler === "" ? {} : { handler }), died: timeOf(atMs) };
    }
    case RECORD_TYPE.redrive: {
      const { handler, ...letters } = decodeRedrive(payload);
      return { ...letters, ...(handler === "" ? {} : { handler }) };
    }
    case RECORD_TYPE.expire: {
      const { kind, origins, lastDeath } = decodeExpire(payload);
      return kind === DROPPED ? { dropped: origins, lastDeath } : { expired: origins };
    }
    case RECORD_TYPE.lease:
      return { handedOutBefore: decodeLease(payload) };
    case RECORD_TYPE.control:
      return { control: controlFields(decodeControl(payload)) };
    case RECORD_TYPE.window:
      return { keys: payload.length / ENTRY_BYTES };
    case RECORD_TYPE.attempt:
      return attemptFields(decodeAttempt(payload));
    case RECORD_TYPE.result:
      // Nothing says what of a result may be seen.
      return { bytes: payload.length };
    default:
      return undefined;
  }
}

/** Nothing says what of a result may be seen. */
function attemptFields(end: AttemptEnd): object {
  const { origin, handler, reason, attempt, isLast, isRefused, ranMs, bytes } = end;
  return {
    record: origin,
    handler,
    attempt,
    ...(ranMs === undefined ? {} : { ranMs }),
    ...(reason === undefined ? {} : { reason, isLast }),
    ...(reason === undefined && !isRefused ? { resultBytes: bytes.length } : { error: toPlain(valueOf(end)) }),
  };
}

/** A schedule's payload is shown when it is published, by the rules of its handler. */
function controlFields(control: Control): unknown {
  if (!("definition" in control)) return toPlain(control);
  const { payload: _payload, headers: _headers, ...definition } = control.definition;
  return toPlain({ ...control, definition });
}

interface FateFields {
  readonly record: number;
  readonly reason: string;
  readonly attempts: number;
  readonly atMs: number;
  readonly failures: readonly object[];
  readonly failuresLeft: number;
}

function fateFields(payload: Buffer): FateFields {
  const { origin, reason, attempts, atMs } = decodeFate(payload);
  const { failures, left } = decodeHistory(payload);
  return {
    record: origin,
    reason: reasonName(reason),
    attempts,
    atMs,
    failures: failures.map(({ attempt, atMs: at, reason: why, error }) => {
      return { attempt, at: timeOf(at), reason: why, error: toPlain(error) };
    }),
    failuresLeft: left,
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
