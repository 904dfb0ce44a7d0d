/**
 * The errors of a reader for bytes that it doesn't know. It skips nothing unknown: a record of a
 * newer build may change the meaning of everything else.
 */
import type { MillraceError } from "@millrace/base";
import { journalError } from "@millrace/journal/kernel";
import { intakeError } from "../errors.ts";

/** Versions count up by one; a larger number was never a version. */
const VERSIONS_MAX = 16;

/**
 * For `what` of a version that isn't `known`, the newest: `ERR_JOURNAL_VERSION` when a newer build
 * can have written it, otherwise `ERR_RECORD_UNREADABLE`.
 */
export function unknownVersion(what: string, version: number, known: number): MillraceError {
  const message = `${what} has version ${version}, and this build reads versions up to ${known}`;
  if (version > known && version <= VERSIONS_MAX) return newer(message, { version, known });
  return intakeError("ERR_RECORD_UNREADABLE", message, { details: { version, known } });
}

/** `ERR_JOURNAL_VERSION`, for a part that only a newer build can have written. */
export function newer(message: string, details: Readonly<Record<string, unknown>>): MillraceError {
  return journalError("ERR_JOURNAL_VERSION", message, { details });
}
