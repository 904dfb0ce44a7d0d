/**
 * Reading a log that another process may be writing: a fault counts when two looks in a row find
 * the same.
 *
 * Between two looks a batch may be finished, and a segment may be given up and its file used again.
 * Both can look like damage once, never twice in the same place.
 */
import { isMillraceError } from "@millrace/base";
import { journalError } from "../errors.ts";

/**
 * Looks before the log is called too fast to be read; each needs a segment that is given up during
 * the look before.
 */
const LOOKS_MAX = 32;

/**
 * The result of `look` once it finds no fault, or the same faults twice in a row. `faultsOf` names
 * the faults in a result, "" for none. Damage that `look` throws is a fault too. A file that has
 * gone is a reason for another look, and never a fault.
 */
export function lookAgain<T>(look: () => T, faultsOf: (result: T) => string): T {
  return inOneGo(
    lookAgainInSteps(function* () {
      yield;
      return look();
    }, faultsOf),
  );
}

/** As `lookAgain`, with looks that pause wherever they yield. */
export function* lookAgainInSteps<T>(
  look: () => Generator<void, T>,
  faultsOf: (result: T) => string,
): Generator<void, T> {
  let before = "";
  for (let looks = 0; looks < LOOKS_MAX; looks += 1) {
    try {
      const result = yield* look();
      const faults = faultsOf(result);
      if (faults === "" || faults === before) return result;
      before = faults;
    } catch (thrown) {
      const fault = faultOf(thrown);
      if (fault === undefined || (fault !== "" && fault === before)) throw thrown;
      before = fault;
    }
  }
  throw journalError("ERR_JOURNAL_STORAGE", `the log changed during each of ${LOOKS_MAX} readings`, {
    details: { looks: LOOKS_MAX },
  });
}

/** Without pauses. */
export function inOneGo<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * The damage in an error, "" for a file that has gone; undefined for an error that another look
 * doesn't change.
 */
function faultOf(thrown: unknown): string | undefined {
  if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return "";
  if (!isMillraceError(thrown, "ERR_JOURNAL_DAMAGED")) return undefined;
  return `${String(thrown.details.file)}/${String(thrown.details.offset)}`;
}
