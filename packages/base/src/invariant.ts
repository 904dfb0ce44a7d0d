import { baseError } from "./errors.ts";

/**
 * Stops the component when a fact that must hold does not. `fact` says what must hold, in words.
 */
export function invariant(condition: boolean, fact: string): asserts condition {
  if (!condition) throw baseError("ERR_INVARIANT", `must hold: ${fact}`);
}
