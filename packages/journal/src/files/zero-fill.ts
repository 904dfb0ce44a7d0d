/**
 * A file of zeros in the making, step by step, so that its maker has time for other duties and for
 * a pace of its own. It has its name only when it is complete and durable.
 *
 * Zeros go past the page cache where the system allows that: they cost a third of the processor
 * time, no memory, and one sync at the end. Elsewhere each step is synced at once, because one long
 * sync would hold up the syncs of the log on the same disk.
 */
import { diskFullError, spaceOf, type Storage, type StorageFile, writeFully } from "../storage/storage.ts";

/** The largest step. */
export const STEP_BYTES_MAX: number = 2 ** 20;
/** Files of zeros leave this part of the disk to other programs, up to a limit in bytes. */
const MARGIN_PART: number = 1 / 64;
const MARGIN_BYTES_MAX: number = 64 * 2 ** 20;

let zeros: Buffer | undefined;

export class ZeroFill {
  readonly bytes: number;
  readonly #storage: Storage;
  readonly #name: string;
  readonly #temporary: string;
  readonly #file: StorageFile;
  #done = 0;

  /** Throws the system's error when there is no room, or none beside the margin. */
  constructor(storage: Storage, name: string, bytes: number, leavesMargin: boolean) {
    if (leavesMargin) refuseMargin(storage, bytes, name);
    this.bytes = bytes;
    this.#storage = storage;
    this.#name = name;
    this.#temporary = `${name}.tmp`;
    if (storage.list().includes(this.#temporary)) storage.remove(this.#temporary);
    this.#file = storage.open(this.#temporary, "create");
  }

  get left(): number {
    return this.bytes - this.#done;
  }

  /**
   * Writes up to `bytesMax` bytes, at most `STEP_BYTES_MAX`; whether the file is complete. When it
   * throws, nothing is left of the file.
   */
  step(bytesMax: number): boolean {
    try {
      const length = Math.min(bytesMax, STEP_BYTES_MAX, this.left);
      if (this.#file.writeZeros?.(this.#done, length) !== true) {
        zeros ??= Buffer.alloc(STEP_BYTES_MAX);
        writeFully(this.#file, [zeros.subarray(0, length)], this.#done);
        this.#file.sync();
      }
      this.#done += length;
      if (this.left > 0) return false;
      this.#file.sync();
    } catch (thrown) {
      // Give back what was taken: on a full disk the next try and everybody else has it.
      this.giveUp();
      throw thrown;
    }
    this.#file.close();
    this.#storage.rename(this.#temporary, this.#name);
    this.#storage.syncDirectory();
    return true;
  }

  /** Nobody needs the file any more, and it isn't complete. */
  giveUp(): void {
    this.#file.close();
    try {
      this.#storage.remove(this.#temporary);
    } catch (thrown) {
      // The next one who makes such a file removes it, or the next opening.
      if ((thrown as NodeJS.ErrnoException).syscall === undefined) throw thrown;
    }
  }
}

/** Asked before the first byte: other programs never see a disk that is full for a moment. */
function refuseMargin(storage: Storage, bytes: number, name: string): void {
  const { freeBytes, totalBytes } = spaceOf(storage);
  const margin = Math.min(MARGIN_BYTES_MAX, totalBytes * MARGIN_PART);
  if (freeBytes - bytes < margin) throw diskFullError(name, bytes);
}
