/** Ends of a range of records, as people type them. */
import { cliError } from "../errors.ts";
import { timeMs } from "../terminal/units.ts";

/** A sequence, a time in ms since 1970, or the word. */
export type End = { readonly sequence: number } | { readonly ms: number } | "checkpoint";

/** Throws `ERR_CLI_USAGE`. */
export function endOf(option: string, takesCheckpoint: boolean): (text: string) => End {
  return (text) => {
    if (takesCheckpoint && text === "checkpoint") return "checkpoint";
    if (/^\d+$/.test(text) && Number.isSafeInteger(Number(text))) return { sequence: Number(text) };
    const ms = timeMs(text);
    if (ms !== undefined) return { ms };
    const word = takesCheckpoint ? ", checkpoint" : "";
    throw cliError(
      "ERR_CLI_USAGE",
      `${option} must be a sequence${word}, or a time such as 2026-01-31T12:00:00Z, not "${text}"`,
    );
  };
}

/** The options of a replay that stand for two ends; those of time without dates, for JSON. */
export function endMembers({ from, to }: { readonly from?: End; readonly to?: End }): Record<string, unknown> {
  return { ...endMember("from", from), ...endMember("to", to) };
}

function endMember(name: string, end: End | undefined): Record<string, unknown> {
  if (end === undefined) return {};
  if (end === "checkpoint") return { [name]: end };
  return "ms" in end ? { [`${name}Ms`]: end.ms } : { [name]: end.sequence };
}

/** The members that have a value. */
export function given(members: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}
