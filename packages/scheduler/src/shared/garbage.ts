/**
 * Memory that this isolate holds and nobody needs: regions that were dropped, buffers of large
 * values.
 *
 * V8 collects an isolate's garbage when that isolate allocates. One that has handled large values
 * and is idle now would keep them, and a shared buffer stays mapped as long as one isolate holds
 * it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { shrinkBuffers } from "@millrace/codec";

/** Less is not worth the pause of a collection. */
const COLLECT_BYTES: number = 8 * 2 ** 20;
/** After this many ticks it is collected although the thread is at work. */
const BUSY_TICKS_MAX = 10;

export class Garbage {
  /**
   * Bytes of regions that were let go of and of large values, since the last collection; of values
   * alone, at the last tick.
   */
  #bytes = 0;
  #handledBytes = 0;
  #handledBefore = 0;
  #busyTicks = 0;

  /** Nothing refers to a region of this many bytes any more. */
  letGo(bytes: number): void {
    this.#bytes += bytes;
  }

  /** A value of this many bytes was encoded or decoded. */
  handled(bytes: number): void {
    this.#bytes += bytes;
    this.#handledBytes += bytes;
  }

  /** Once a second. */
  tick(): void {
    const isQuiet = this.#handledBytes === this.#handledBefore;
    this.#handledBefore = this.#handledBytes;
    if (this.#bytes < COLLECT_BYTES) return;
    this.#busyTicks += 1;
    if (isQuiet || this.#busyTicks >= BUSY_TICKS_MAX) this.collect();
  }

  /** Collects if that is worth it. */
  collect(): void {
    if (this.#bytes < COLLECT_BYTES) return;
    gc ??= collector();
    // At the next tick again.
    if (gc === undefined) return;
    this.#bytes = 0;
    this.#busyTicks = 0;
    shrinkBuffers();
    gc();
  }
}

let gc: (() => void) | undefined;

/** Contexts that are made to find it, before the next tick has to try. */
const LOOKS_MAX = 10;

/**
 * V8's own function, which it hands out to contexts that are made while its flag is set. The flag
 * is the process's: another thread may take it back in between, and then nothing is found. A thread
 * that has a `gc` leaves the flag: the process may have been started with it. Its `gc` isn't taken,
 * since anybody may have put it there.
 */
function collector(): (() => void) | undefined {
  const mayBeGiven = "gc" in globalThis;
  let found: (() => void) | undefined;
  for (let look = 0; found === undefined && look < LOOKS_MAX; look += 1) {
    setFlagsFromString("--expose-gc");
    found = runInNewContext("globalThis.gc") as typeof found;
    if (!mayBeGiven) setFlagsFromString("--no-expose-gc");
  }
  return found;
}
