import { journalError } from "../errors.ts";
import { isDiskFull } from "./storage.ts";

/** The journal's error for an error of the system. It returns any other error as it is. */
export function storageError(directory: string, thrown: unknown): unknown {
  const { code, syscall } = thrown as NodeJS.ErrnoException;
  if (syscall === undefined) return thrown;
  const isFull = isDiskFull(thrown);
  return journalError(
    isFull ? "ERR_JOURNAL_FULL" : "ERR_JOURNAL_STORAGE",
    `${directory} ${isFull ? "has no room" : "can't be used"}: ${(thrown as Error).message}`,
    { cause: thrown, details: { directory, errno: code } },
  );
}
