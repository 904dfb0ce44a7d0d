/**
 * A filter over the dead letters, carried out by the delivery thread piece by piece, so that a
 * million of them hold up no record for more than about a millisecond.
 */
import type { DeadQuery } from "../states/dead-table.ts";
import type { RecordStates } from "../states/record-states.ts";

/** Letters looked at by one command. */
const ROWS_MAX = 16_384;

/** One piece of a scan, and where the next one goes on. */
export interface DeadPiece {
  /** Rows of `COLUMN`, in the order of dying. */
  readonly rows: Float64Array;
  /** The last death that was looked at; undefined at the end. */
  readonly behind: number | undefined;
}

/** The columns of a row. */
export const COLUMN = {
  /** Sequence of the record. */
  origin: 0,
  /** Place of the record, of its DEAD record. */
  dataPlace: 1,
  place: 2,
  /** Number of the death. */
  death: 3,
  /** 0 when only the record can tell whether the filter is meant. */
  isSure: 4,
} as const;
export const COLUMNS = 5;

export function scanDead(states: RecordStates, query: DeadQuery, behind: number): DeadPiece {
  const rows: number[] = [];
  const next = states.dead.scan(query, behind, ROWS_MAX, (origin, place, death, isSure) => {
    rows.push(origin, states.placeOf(origin), place, death, isSure ? 1 : 0);
  });
  return { rows: Float64Array.from(rows), behind: next };
}

/** The row of one letter; no row when the record isn't dead. */
export function findDead(states: RecordStates, origin: number): DeadPiece {
  const dead = states.dead.get(origin);
  if (dead === undefined) return { rows: new Float64Array(0), behind: undefined };
  return { rows: Float64Array.of(origin, states.placeOf(origin), dead.place, dead.death, 1), behind: undefined };
}
