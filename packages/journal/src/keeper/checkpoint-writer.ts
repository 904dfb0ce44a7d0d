/**
 * Writes checkpoints, so that one at least is whole at any moment, and two before the log is given
 * up.
 */
import { type Checkpoint, readCheckpoints, writeCheckpoint } from "../files/checkpoint.ts";
import { damaged } from "../read/damage.ts";
import type { Storage } from "../storage/storage.ts";

export class CheckpointWriter {
  readonly #storage: Storage;
  readonly #logId: Buffer;
  #sureGeneration = 0;

  constructor(storage: Storage, logId: Buffer) {
    this.#storage = storage;
    this.#logId = logId;
  }

  /**
   * The generation of the newest checkpoint that is certainly on disk; 0 until this keeper has
   * written one. One of an earlier process may only be in the page cache.
   */
  get sureGeneration(): number {
    return this.#sureGeneration;
  }

  /**
   * Writes a checkpoint; `markedGeneration` is the one that marks name. What the disk has after
   * each step, if the power goes right after it:
   *
   *   the newest written again in its place  the same bytes: nothing has changed
   *   the first one written a first time     it is there, or none
   *   the new one written over the older     it is there, or the newest before it
   *   (the caller) marks name it             from now on an opening without it is refused
   */
  *write(bytes: Uint8Array, from: number, markedGeneration: number): Generator<void, void> {
    const [newest] = readCheckpoints(this.#storage, this.#logId);
    if (newest !== undefined && newest.generation !== this.#sureGeneration) this.#store(newest);
    const checkpoint = {
      generation: (newest?.generation ?? markedGeneration) + 1,
      from,
      timeMs: Date.now(),
      bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length),
    };
    if (newest === undefined) this.#store({ ...checkpoint, generation: checkpoint.generation - 1 });
    yield;
    this.#store(checkpoint);
  }

  /**
   * Both checkpoints, the newer first; one that is the only whole one is written a second time.
   * None where there never was one. Throws `ERR_JOURNAL_DAMAGED` where marks name one and none is
   * there.
   */
  readTwo(markedGeneration: number): Checkpoint[] {
    const checkpoints = readCheckpoints(this.#storage, this.#logId);
    const [newest] = checkpoints;
    if (newest === undefined) {
      if (markedGeneration > 0)
        throw damaged("checkpoint-a", 0, `checkpoint ${markedGeneration}, which marks name, can't be read any more`);
      return checkpoints;
    }
    if (checkpoints.length > 1) return checkpoints;
    const copy = { ...newest, generation: newest.generation - 1 };
    if (newest.generation !== this.#sureGeneration) this.#store(newest);
    writeCheckpoint(this.#storage, this.#logId, copy);
    return [newest, copy];
  }

  #store(checkpoint: Checkpoint): void {
    writeCheckpoint(this.#storage, this.#logId, checkpoint);
    this.#sureGeneration = checkpoint.generation;
  }
}
