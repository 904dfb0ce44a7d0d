import { type Journal, RECORD_TYPE } from "@millrace/journal";

/** Which records are still in the journal, whatever has become of them. */
export interface Retained {
  /** The first sequence that is still there; one more than `toSequence` when there is none. */
  readonly fromSequence: number;
  /** When the first record that is still there was published, ms since 1970; undefined without. */
  readonly fromMs: number | undefined;
  /** The last one that is durable. */
  readonly toSequence: number;
}

/** What finished records there are: see the option `retain`. Throws `ERR_JOURNAL_DAMAGED`. */
export async function retained(journal: Journal): Promise<Retained> {
  // Nothing is given up before the reading has left.
  for await (const record of journal.read()) {
    if (record.type !== RECORD_TYPE.data || record.origin !== record.sequence) continue;
    return { fromSequence: journal.firstSequence, fromMs: record.timeMs, toSequence: journal.durableSequence };
  }
  const { firstSequence: fromSequence, durableSequence: toSequence } = journal;
  return { fromSequence, fromMs: undefined, toSequence };
}
