/**
 * The outcome of a handler that has returned, on its way from the machine to the delivery thread:
 * the records that it has staged, its result if that is kept or recorded, and how long it ran if
 * that is recorded. It never reaches the disk in this form.
 */
import { decode, encodeThrown } from "@millrace/codec";
import type { RecordParts } from "@millrace/journal/kernel";
import type { EncodedResult } from "./result-record.ts";

/** A record that is published together with the end of the one whose handler staged it. */
export type StagedRecord = Omit<RecordParts, "type" | "flags" | "moved">;

export interface Outcome {
  readonly staged: readonly StagedRecord[];
  /** Undefined where none is kept or recorded. */
  readonly result?: EncodedResult | undefined;
  /** Undefined where nothing is recorded. */
  readonly ranMs?: number | undefined;
}

/** As the codec takes it: lists are shorter than objects. */
type PackedRecord = readonly [number, number, Uint8Array, Uint8Array, Uint8Array];
type PackedOutcome = readonly [
  staged: readonly PackedRecord[],
  result: readonly [boolean, Uint8Array] | null,
  ranMs: number | null,
];

export function packOutcome({ staged, result, ranMs }: Outcome): unknown {
  return [
    staged.map(({ priority, timeMs, header, key, payload }) => [priority, timeMs, header, key, payload] as const),
    result === undefined ? null : [result.isOk, result.bytes],
    ranMs ?? null,
  ] satisfies PackedOutcome;
}

/** Undefined for a handler that has left nothing. */
export function unpackOutcome(value: unknown): Outcome | undefined {
  if (value === undefined) return undefined;
  const [staged, result, ranMs] = value as PackedOutcome;
  return {
    staged: staged.map(([priority, timeMs, header, key, payload]) => ({ priority, timeMs, header, key, payload })),
    result: result === null ? undefined : { isOk: result[0], bytes: result[1] },
    ranMs: ranMs ?? undefined,
  };
}

/** The error of a handler whose attempts are recorded. */
export interface TimedFailure {
  readonly error: unknown;
  readonly ranMs: number | undefined;
}

/** Most bytes of the error on its way. */
const ERROR_BYTES_MAX = 65_536;

export function packFailure({ error, ranMs }: TimedFailure): unknown {
  return [encodeThrown(error, ERROR_BYTES_MAX), ranMs ?? null];
}

/** Of an error that no handler has thrown, that error: machines pack what handlers throw. */
export function unpackFailure(value: unknown): TimedFailure {
  if (!Array.isArray(value)) return { error: value, ranMs: undefined };
  const [bytes, ranMs] = value as [Uint8Array, number | null];
  return { error: decode(Buffer.from(bytes)), ranMs: ranMs ?? undefined };
}
