/**
 * Memory that this isolate holds and nobody needs: regions that were dropped, buffers of large values.
 *
 * V8 collects an isolate's garbage when that isolate allocates. One that has handled large values and
 * is idle now would keep them, and a shared buffer stays mapped as long as one isolate holds it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { shrinkBuffers } from "@millrace/codec";

/** Less is not worth the pause of a collection. */
const COLLECT_BYTES: number = 8 * 2 ** 20;
/** After so many ticks regions are collected although the thread is at work. */
const HELD_TICKS_MAX = 10;

interface LetGo {
  readonly ref: WeakRef<SharedArrayBuffer>;
  readonly bytes: number;
}

export class Garbage {
  readonly #letGo: LetGo[] = [];
  /** Bytes of large values since the last collection, and at the last tick. */
  #litterBytes = 0;
  #litterBefore = 0;
  #heldTicks = 0;

  /** A region of this thread was dropped; nothing refers to it but garbage. */
  hasLetGo(buffer: SharedArrayBuffer): void {
    this.#letGo.push({ ref: new WeakRef(buffer), bytes: buffer.byteLength });
  }

  /** A value of `bytes` bytes was encoded or decoded. */
  handled(bytes: number): void {
    this.#litterBytes += bytes;
  }

  /** Once a second. */
  tick(): void {
    const heldBytes = this.#heldBytes();
    this.#heldTicks = heldBytes >= COLLECT_BYTES ? this.#heldTicks + 1 : 0;
    const isQuiet = this.#litterBytes === this.#litterBefore;
    this.#litterBefore = this.#litterBytes;
    if (!isQuiet && this.#heldTicks < HELD_TICKS_MAX) return;
    if (heldBytes + this.#litterBytes < COLLECT_BYTES) return;
    shrinkBuffers();
    this.#litterBytes = 0;
    this.#litterBefore = 0;
    this.#heldTicks = 0;
    // Later: a WeakRef keeps what it was asked for until this job ends.
    setImmediate(collect).unref();
  }

  #heldBytes(): number {
    let bytes = 0;
    for (let index = this.#letGo.length - 1; index >= 0; index -= 1) {
      const { ref, bytes: length } = this.#letGo[index] as LetGo;
      if (ref.deref() === undefined) this.#letGo.splice(index, 1);
      else bytes += length;
    }
    return bytes;
  }
}

let gc: (() => void) | undefined;

function collect(): void {
  gc ??= collector();
  gc();
}

/** V8's own function, which it hands out to contexts that are made while this flag is set. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  const found = runInNewContext("gc") as () => void;
  setFlagsFromString("--no-expose-gc");
  return found;
}
