/** Calls of handlers as spans and `node:diagnostics_channel` tell them, where somebody listens. */
import { isHeard, RUN, type Spans, told } from "@millrace/intake";
import { bindHandlers } from "@millrace/scheduler";

type Calls = Readonly<Record<string, (argument: never, options?: never) => Promise<unknown>>>;

/** Reports `calls`; `how` says which kind they are. */
export function watchedCalls<All extends object>(
  how: "run" | "runMany" | "blocking",
  names: readonly string[],
  calls: All,
  spans: Spans | undefined,
): All {
  return bindHandlers(names, (handler) => {
    const call = (calls as Calls)[handler] as Calls[string];
    const countOf = (argument: unknown): number => (how === "runMany" ? lengthOf(argument) : 1);
    const spanned =
      spans === undefined || spans.options.runRatio === 0
        ? call
        : (argument: never, options?: never) =>
            spans.calling(how, handler, countOf(argument), () => call(argument, options));
    return (argument: never, options?: never): Promise<unknown> => {
      if (!isHeard(RUN)) return spanned(argument, options);
      const message = { how, handler, count: countOf(argument) };
      return told(RUN, message, () => spanned(argument, options));
    };
  }) as All;
}

/** -1 for what has no length: an iterator is read once, by the call itself. */
function lengthOf(values: unknown): number {
  const length = (values as { length?: unknown } | null | undefined)?.length;
  return typeof length === "number" ? length : -1;
}
