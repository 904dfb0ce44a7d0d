/** The dead letters of the sources of a run: how many there are, and why. */
import { messageOf } from "@millrace/base";
import type { DeadLetter } from "@millrace/intake";
import type { Millrace } from "@millrace/runtime";

export interface DeadSummary {
  /** Dead since this run began, and all that are kept. */
  readonly dead: number;
  readonly deadKept: number;
  /** The commonest errors first. */
  readonly reasons: readonly DeadReason[];
}

export interface DeadReason {
  readonly error: string;
  readonly count: number;
  /** The first lines of a source that failed with it. */
  readonly lines: readonly number[];
}

/** Most reasons that are reported, and most lines beside each. */
const REASONS_MAX = 5;
const LINES_MAX = 5;
/** Most different errors that are counted apart. */
const ERRORS_MAX = 1000;
const OTHERS = "other errors";
/** Letters in memory at once. */
const PAGE = 500;

export const NONE_DEAD: DeadSummary = Object.freeze({ dead: 0, deadKept: 0, reasons: [] });

/** `sinceMs`: when the run began, ms since 1970. */
export async function deadOf(
  mill: Millrace,
  handler: string,
  sources: ReadonlySet<string>,
  sinceMs: number,
): Promise<DeadSummary> {
  const reasons = new Map<string, { count: number; lines: number[] }>();
  let dead = 0;
  let deadKept = 0;
  let after = 0;
  // Ends: each page begins behind the one before.
  for (;;) {
    const letters = await mill.dead.list({ handler, limit: PAGE, after });
    for (const letter of letters) {
      const { source, line } = (letter.headers ?? {}) as { readonly source?: string; readonly line?: number };
      if (source === undefined || !sources.has(source)) continue;
      deadKept += 1;
      if (letter.diedAtMs >= sinceMs) dead += 1;
      const text = errorOf(letter);
      const error = reasons.has(text) || reasons.size < ERRORS_MAX ? text : OTHERS;
      const reason = reasons.get(error) ?? { count: 0, lines: [] };
      reasons.set(error, reason);
      reason.count += 1;
      if (line !== undefined && reason.lines.length < LINES_MAX) reason.lines.push(line);
    }
    const last = letters.at(-1);
    if (last === undefined || letters.length < PAGE) break;
    after = last.sequence;
  }
  const commonest = [...reasons].toSorted(([, left], [, right]) => right.count - left.count).slice(0, REASONS_MAX);
  return { dead, deadKept, reasons: commonest.map(([error, { count, lines }]) => ({ error, count, lines })) };
}

/** The first line of the last failure. */
function errorOf({ failures, reason }: DeadLetter): string {
  const error = failures.at(-1)?.error;
  if (error === undefined) return reason;
  const name = error instanceof Error && error.name !== "Error" ? `${error.name}: ` : "";
  return `${name}${messageOf(error)}`.split("\n")[0] as string;
}
