/**
 * What a handler leaves beside the fact that it has returned, on its way from the machine to the
 * delivery thread: the records that it has staged, and its result if that is kept. It never reaches
 * the disk in this form.
 */
import type { RecordParts } from "@millrace/journal/kernel";
import type { EncodedResult } from "./result-record.ts";

/** A record that is published together with the end of the one whose handler staged it. */
export type StagedRecord = Omit<RecordParts, "type" | "flags" | "moved">;

export interface Outcome {
  readonly staged: readonly StagedRecord[];
  /** Undefined where none is kept. */
  readonly result?: EncodedResult | undefined;
}

/** As the codec takes it: lists are shorter than objects. */
type PackedRecord = readonly [number, number, Uint8Array, Uint8Array, Uint8Array];
type PackedOutcome = readonly [staged: readonly PackedRecord[], result: readonly [boolean, Uint8Array] | null];

export function packOutcome({ staged, result }: Outcome): unknown {
  return [
    staged.map(({ priority, timeMs, header, key, payload }) => [priority, timeMs, header, key, payload] as const),
    result === undefined ? null : [result.isOk, result.bytes],
  ] satisfies PackedOutcome;
}

/** Undefined for a handler that has left nothing. */
export function unpackOutcome(value: unknown): Outcome | undefined {
  if (value === undefined) return undefined;
  const [staged, result] = value as PackedOutcome;
  return {
    staged: staged.map(([priority, timeMs, header, key, payload]) => ({ priority, timeMs, header, key, payload })),
    result: result === null ? undefined : { isOk: result[0], bytes: result[1] },
  };
}
