/**
 * Compares the records that were sent and acknowledged with those that were handled.
 *
 *   lost        acknowledged and never handled
 *   ghost       handled but never sent, certainly rejected, or altered
 *   duplicate   handled again: legal, delivery is at least once
 *   unpromised  handled and not acknowledged: legal, the process died between storing and answering
 */
import type { LedgerEntry } from "./ledger.ts";

/** The generator's knowledge of a record; the index is the record's id. */
export const STATUS = { unsent: 0, sent: 1, acknowledged: 2, rejected: 3 } as const;

export interface Reconciliation {
  readonly handled: number;
  readonly duplicates: number;
  readonly lost: number;
  readonly ghosts: number;
  readonly unpromised: number;
  /** Some of the lost and of the ghosts, for a closer look. */
  readonly lostIds: readonly number[];
  readonly ghostIds: readonly number[];
}

const EXAMPLES_MAX = 20;

/**
 * `statuses[id]` is one of STATUS; `crcOf` gives the checksum that a record's payload must have.
 */
export function reconcile(
  statuses: Uint8Array,
  entries: readonly LedgerEntry[],
  crcOf: (id: number) => number,
): Reconciliation {
  const seen = new Uint8Array(statuses.length);
  const ghostIds: number[] = [];
  let ghosts = 0;
  let duplicates = 0;
  let handled = 0;
  let unpromised = 0;
  for (const { id, crc } of entries) {
    const status = Number.isInteger(id) && id >= 0 && id < statuses.length ? statuses[id] : STATUS.unsent;
    if (status === STATUS.unsent || status === STATUS.rejected || crc !== crcOf(id)) {
      ghosts += 1;
      if (ghostIds.length < EXAMPLES_MAX) ghostIds.push(id);
    } else if (seen[id] === 1) duplicates += 1;
    else {
      seen[id] = 1;
      handled += 1;
      if (status === STATUS.sent) unpromised += 1;
    }
  }
  const lostIds: number[] = [];
  let lost = 0;
  for (let id = 0; id < statuses.length; id += 1) {
    if (statuses[id] !== STATUS.acknowledged || seen[id] === 1) continue;
    lost += 1;
    if (lostIds.length < EXAMPLES_MAX) lostIds.push(id);
  }
  return { handled, duplicates, lost, ghosts, unpromised, lostIds, ghostIds };
}
