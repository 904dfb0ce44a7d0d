/**
 * Room on the stack: a step that must not be broken off halfway looks for it before its first write.
 *
 * A stack overflow is an exception that a user may catch and go on after. JavaScript can't ask how much
 * is left, but a call whose arguments don't fit throws before it does anything.
 */

/** Arguments that take 8 KB: more than the calls of any step need. */
const ROOM: undefined[] = Array.from({ length: 1024 });
/** 64 KB: the first time that a function is called, it is compiled on the same stack. */
const ROOM_TO_COMPILE: undefined[] = Array.from({ length: 8192 });
/** After that many steps at an object the functions that it needs are compiled. */
const COLD_STEPS = 32;

const nothing = (): void => {};

/** Looks for room before the steps at one object. */
export class StackGuard {
  #steps = 0;

  /** Throws a RangeError where too little is left for a step; then nothing has happened. */
  assertRoom(): void {
    if (this.#steps < COLD_STEPS) {
      this.#steps += 1;
      Reflect.apply(nothing, undefined, ROOM_TO_COMPILE);
    } else Reflect.apply(nothing, undefined, ROOM);
  }
}

/** Whether an exception says that the stack was full: then a step may have been broken off anywhere. */
export function isOverflow(thrown: unknown): boolean {
  return thrown instanceof RangeError;
}
