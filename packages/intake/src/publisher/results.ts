/** Results that are kept: found by the delivery thread, read from the journal. */
import { baseError, type MillraceError } from "@millrace/base";
import type { Journal } from "@millrace/journal";
import { intakeError } from "../errors.ts";
import { resultIn } from "../format/result-record.ts";
import type { KeptResult } from "../states/results.ts";

export interface ResultsHost {
  readonly journal: Journal;
  /** As `Acknowledgement.done`. */
  finished(sequence: number): Promise<void>;
  /** The time as `Steady` tells it. */
  steadyMs(): number;
  /** Where the result of a finished record lies. */
  find(sequence: number): Promise<KeptResult | undefined>;
}

/** A result may be copied forward between two looks, hardly twice. */
const LOOKS_MAX = 10;

/** The handler's result for this record; see `Intake.result`. */
export async function readResult(host: ResultsHost, sequence: number): Promise<unknown> {
  const { durableSequence } = host.journal.stats();
  if (!Number.isSafeInteger(sequence) || sequence < 1 || sequence > durableSequence) {
    throw baseError("ERR_INVALID_OPTION", `result: there is no record ${String(sequence)}`, {
      details: { name: "sequence", value: sequence, allowed: `a sequence up to ${durableSequence}` },
    });
  }
  await host.finished(sequence);
  for (let look = 0; look < LOOKS_MAX; look += 1) {
    // One after the other: each depends on the one before.
    // oxlint-disable-next-line no-await-in-loop
    const kept = await host.find(sequence);
    if (kept === undefined || kept.untilMs <= host.steadyMs()) break;
    // oxlint-disable-next-line no-await-in-loop
    const record = await host.journal.get(kept.place);
    if (record !== undefined) return resultIn(record.payload);
  }
  throw expired(sequence);
}

function expired(sequence: number): MillraceError {
  return intakeError("ERR_RESULT_EXPIRED", `no result of record ${sequence} is kept: its time is over, or none was`, {
    details: { sequence },
  });
}
