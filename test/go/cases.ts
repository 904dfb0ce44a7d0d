// Helpers for the files with cases.
import { isMillraceError } from "@millrace/base";

/** By the name that the case has in Go, the words of its outcome. */
export type Cases = Readonly<Record<string, () => readonly unknown[] | Promise<readonly unknown[]>>>;

/** Where ours does something else than Go, on purpose. */
export type Differences = Readonly<Record<string, { readonly outcome: readonly unknown[]; readonly because: string }>>;

/** "works", or "fails" where Go panics or ends the program and ours throws an error of Millrace. */
export async function attempt(run: () => unknown): Promise<string> {
  try {
    await run();
    return "works";
  } catch (thrown) {
    if (!isMillraceError(thrown)) throw thrown;
    return "fails";
  }
}

/** Lets everything that can go on in this event loop do so. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}
