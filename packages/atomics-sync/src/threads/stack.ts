/**
 * Room on the stack: a step that must not be broken off halfway looks for it before its first
 * write.
 *
 * A stack overflow is an exception that a user may catch and go on after. JavaScript can't ask how
 * much is left, but a call whose arguments don't fit throws before it does anything.
 */

/** Arguments that take 8 KB: more than the calls of any step need. */
const ROOM: undefined[] = Array.from({ length: 1024 });
/** 64 KB: the first time that a function is called, it is compiled on the same stack. */
const ROOM_TO_COMPILE: undefined[] = Array.from({ length: 8192 });
/** After that many steps at an object the functions that it needs are compiled … */
const COLD_STEPS = 32;
/** … and after that many they are optimised: most calls of a step are in one frame then. */
const WARM_STEPS = 2000;

const nothing = (): void => {};

/** Looks for room before the steps at one object. */
export class StackGuard {
  #steps = 0;

  /**
   * The same for a step of a fraction of a microsecond, which is repeated often: not once it is
   * optimised, because the look would take longer than the step.
   */
  assertRoomUntilWarm(): void {
    if (this.#steps < WARM_STEPS) this.assertRoom();
  }

  /** Throws a RangeError where too little is left for a step; then nothing has happened. */
  assertRoom(): void {
    const isCold = this.#steps < COLD_STEPS;
    if (this.#steps < WARM_STEPS) this.#steps += 1;
    Reflect.apply(nothing, undefined, isCold ? ROOM_TO_COMPILE : ROOM);
  }
}

/**
 * Whether an exception says that the stack was full: then a step may have been broken off anywhere.
 */
export function isOverflow(thrown: unknown): boolean {
  return thrown instanceof RangeError;
}
