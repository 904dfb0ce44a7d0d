import type { Journal } from "@millrace/journal";
import { firstTimeMs } from "../replay/recorded.ts";

/** The records that are still in the journal, finished or not. */
export interface Retained {
  /** The first sequence that is still there; one more than `toSequence` when there is none. */
  readonly fromSequence: number;
  /** When the first record that is still there was published, ms since 1970; undefined without. */
  readonly fromMs: number | undefined;
  /** The last one that is durable. */
  readonly toSequence: number;
}

/**
 * The range of finished records that are kept: see the option `retain`. Throws
 * `ERR_JOURNAL_DAMAGED`.
 */
export async function retained(journal: Journal): Promise<Retained> {
  const fromMs = await firstTimeMs(journal);
  const { firstSequence: fromSequence, durableSequence: toSequence } = journal;
  return { fromSequence, fromMs, toSequence };
}
