/** The error for acknowledged data that is missing or altered. */
import { journalError } from "../errors.ts";

/**
 * `ERR_JOURNAL_DAMAGED`: what is wrong in `file` at `offset`; `details` names the sequences, where
 * they are known.
 */
export function damaged(file: string, offset: number, what: string, details: Record<string, unknown> = {}): Error {
  return journalError("ERR_JOURNAL_DAMAGED", `${file} at offset ${offset}: ${what}`, {
    details: { file, offset, ...details },
  });
}
