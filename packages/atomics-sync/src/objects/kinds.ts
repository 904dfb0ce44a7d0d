/** The kinds of cells: the number in KIND, and whether STATE names an owner (cell.ts). */
export { GONE, PIPE_ENDS } from "./cell.ts";

export const MUTEX = 1;
export const PERMITS = 2;
export const COND = 3;
export const WAIT_GROUP = 4;
export const BARRIER = 5;
export const CHANNEL = 6;
export const PIPE = 7;

export function isOwned(kind: number): boolean {
  return kind === MUTEX;
}
