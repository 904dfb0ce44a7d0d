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
  readonly #leavesMargin: boolean;
  readonly #file: StorageFile;
  #isClosed = false;
  #done = 0;

  /** Throws the system's error when there is no room, or none beside the margin. */
  constructor(storage: Storage, name: string, bytes: number, leavesMargin: boolean) {
    if (leavesMargin) refuseMargin(storage, bytes, name);
    this.bytes = bytes;
    this.#storage = storage;
    this.#name = name;
    this.#temporary = `${name}.tmp`;
    this.#leavesMargin = leavesMargin;
    if (storage.list().includes(this.#temporary)) storage.remove(this.#temporary);
    this.#file = storage.open(this.#temporary, "create");
  }

  /** Bytes that are still to be written. */
  get left(): number {
    return this.bytes - this.#done;
  }

  /**
   * Writes up to `bytesMax` bytes, at most `STEP_BYTES_MAX`, and returns how many. The file is
   * complete, and has its name, when nothing is left. When it throws, nothing is left of the file.
   */
  step(bytesMax: number): number {
    try {
      // Others may have taken the room since the beginning.
      if (this.#leavesMargin) refuseMargin(this.#storage, this.left, this.#name);
      const length = Math.min(bytesMax, STEP_BYTES_MAX, this.left);
      this.#write(length);
      this.#done += length;
      if (this.left === 0) this.#complete();
      return length;
    } catch (thrown) {
      // Give back what was taken: on a full disk the next try and everybody else has it.
      this.giveUp();
      throw thrown;
    }
  }

  #write(length: number): void {
    if (this.#file.writeZeros?.(this.#done, length) === true) return;
    zeros ??= Buffer.alloc(STEP_BYTES_MAX);
    writeFully(this.#file, [zeros.subarray(0, length)], this.#done);
    this.#file.sync();
  }

  #complete(): void {
    this.#file.sync();
    this.#isClosed = true;
    this.#file.close();
    this.#storage.rename(this.#temporary, this.#name);
    this.#storage.syncDirectory();
  }

  /** Nobody needs the file any more, and it isn't complete. */
  giveUp(): void {
    try {
      if (!this.#isClosed) this.#file.close();
      this.#storage.remove(this.#temporary);
    } catch (thrown) {
      // The next one who makes such a file removes it, or the next opening.
      if ((thrown as NodeJS.ErrnoException).syscall === undefined) throw thrown;
    }
    this.#isClosed = true;
  }
}

/** Asked before a byte is written: other programs never see a disk that is full for a moment. */
function refuseMargin(storage: Storage, bytes: number, name: string): void {
  const { freeBytes, totalBytes } = spaceOf(storage);
  const margin = Math.min(MARGIN_BYTES_MAX, totalBytes * MARGIN_PART);
  if (freeBytes - bytes < margin) throw diskFullError(name, bytes);
}
