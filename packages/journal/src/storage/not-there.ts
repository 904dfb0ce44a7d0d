/** ENOTDIR and ELOOP: something else stands where the directory was. */
const NOT_THERE: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

/** Whether a call to the system has failed because its path leads to nothing. */
export function isNotThere(thrown: unknown): boolean {
  return NOT_THERE.has((thrown as NodeJS.ErrnoException).code);
}
