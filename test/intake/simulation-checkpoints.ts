/** The oracle of checkpoints: what they say, and which segments are given up after them. */
import { isDeepStrictEqual } from "node:util";
import type { Checkpoint } from "@millrace/intake/internal/delivery/housekeeping";
import { readStates } from "@millrace/intake/internal/snapshot/read-states";
import { encodeStates } from "@millrace/intake/internal/snapshot/snapshot";
import { SEGMENT_BYTES, SEGMENT_RECORDS } from "./simulation-conditions.ts";
import type { SimContext } from "./simulation-context.ts";
import { SimLog } from "./simulation-disk.ts";
import type { KnownRecords } from "./simulation-known.ts";
import { LIMITS, type SimProcess } from "./simulation-process.ts";
import { PRODUCER } from "./simulation-publisher.ts";

export class CheckpointOracle {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #known: KnownRecords;

  constructor(context: SimContext, process: SimProcess, known: KnownRecords) {
    this.#context = context;
    this.#process = process;
    this.#known = known;
  }

  /** A snapshot says what the log says: from the checkpoint before it, or from the beginning. */
  checkStates(checkpoint: Checkpoint): void {
    const { disk, random } = this.#context;
    const older = disk.checkpoints.at(-1);
    const log = new SimLog(disk, random);
    log.known = checkpoint.from - 1;
    const again = readStates(log, older && { bytes: Buffer.from(older.bytes), from: older.from }, LIMITS);
    const left = Buffer.from(encodeStates(again));
    if (!left.equals(Buffer.from(checkpoint.bytes))) {
      this.#context.broken(`the states of a checkpoint from ${checkpoint.from} aren't what the log says`);
    }
    // Most keys stand in WINDOW records, and not in the checkpoint.
    const keys = this.#process.delivery.states.window.encode(0, Infinity);
    if (!keys.equals(again.window.encode(0, Infinity))) {
      this.#context.broken(`keys of records before ${checkpoint.from} are forgotten`);
    }
    const sums = again.producers.get(PRODUCER)?.content.sums ?? new Uint32Array(0);
    if (!isDeepStrictEqual(sums, this.#known.contentBefore(checkpoint.from).sums)) {
      this.#context.broken(`what the producer has said before ${checkpoint.from} isn't remembered`);
    }
  }

  /** Checks that the segments given up, from `first` on, were old enough, or beyond the bytes. */
  checkRetained(first: number): void {
    const { clock, conditions, disk } = this.#context;
    const { forMs, bytesMax } = conditions.retain;
    for (let base = first; base < disk.firstSequence; base += SEGMENT_RECORDS) {
      const end = disk.begun.get(base + SEGMENT_RECORDS);
      // A clock that is set between two processes may make it older than it is.
      const isYoung = !conditions.isClockSet && clock.now() - (end?.atMs ?? Infinity) < forMs;
      const segments = Math.floor((disk.last - base + 1) / SEGMENT_RECORDS) + 1;
      if (isYoung && segments * SEGMENT_BYTES <= bytesMax) {
        this.#context.broken(`the segment from ${base} on was given up, and was to be kept`);
      }
    }
  }
}
