/** The option `spans` of `open()`. */
import { boolean, custom, number, optional, resolveOptions, type Rule, type Rules } from "@millrace/base";

export interface SpanOptions {
  /**
   * Of how many calls by `run`, `runMany` and `blocking` a span is made: 0 for none, 1 for all.
   * Records have a span each. Default 0.
   */
  readonly runRatio?: number;
  /**
   * Whether spans tell messages and stacks of errors, which may repeat what a payload says. Default
   * false: they tell codes and names.
   */
  readonly errorMessages?: boolean;
}

const rules = { runRatio: number(0, 1, 0), errorMessages: boolean(false) } satisfies Rules;

export type ResolvedSpanOptions = Required<SpanOptions>;

/** For the option itself, beside other options. */
export const spansRule: Rule<boolean | SpanOptions | undefined> = optional(
  custom(
    "true, false, or an object of options",
    (value): value is boolean | SpanOptions =>
      typeof value === "boolean" || (typeof value === "object" && value !== null && !Array.isArray(value)),
  ),
);

/** Undefined for no spans. Throws `ERR_INVALID_OPTION`. */
export function spanOptions(given: boolean | SpanOptions | undefined): ResolvedSpanOptions | undefined {
  if (given === undefined || given === false) return undefined;
  return resolveOptions("open({ spans })", rules, given === true ? {} : given);
}

/** In the address of the module that machines load for records. */
export const SPANS_PARAMETER = "spans";
