/**
 * Waits that lie on the disk: runs of pairs of due time and origin, f64 each, every run in a file
 * of its own and in the order of its due times. In memory is of each run what comes next, up to
 * 4 KiB.
 *
 * The files hold nothing that the log doesn't say: they are never synced, and an opening finds its
 * waits in the log. So a file loses its name as soon as it is there: nobody can remove it from
 * under the process, and nothing of it is left behind.
 */
import type { Storage, StorageFile } from "@millrace/journal";

const PAIR_BYTES = 16;
/** Pairs of a run that are in memory. */
const PAIRS_READ = 256;

interface Run {
  readonly file: StorageFile;
  readonly count: number;
  /** Pairs before this one were taken. */
  next: number;
  /** Some pairs of the run, the first one at `start`. */
  readonly pairs: Float64Array;
  start: number;
}

export class WaitRuns {
  readonly #storage: Storage;
  readonly #prefix: string;
  readonly #runs: Run[] = [];
  #named = 0;
  #size = 0;
  /** The run whose pair is due first. */
  #first: Run | undefined;

  /** `kind` names the files. Removes what an earlier build, or a crash, has left of this kind. */
  constructor(storage: Storage, kind: string) {
    this.#storage = storage;
    this.#prefix = `waits-${kind}-`;
    for (const name of storage.list()) {
      if (name.startsWith(this.#prefix) && name.endsWith(".tmp")) storage.remove(name);
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Infinity without any. */
  get nextDueMs(): number {
    const run = this.#first;
    return run === undefined ? Infinity : (run.pairs[2 * (run.next - run.start)] as number);
  }

  /**
   * Writes a run of pairs that are in order; at least one. Throws what the storage throws, and then
   * nothing is written.
   */
  write(pairs: Float64Array): void {
    const file = this.#openFile();
    const run = { file, count: pairs.length / 2, next: 0, pairs: new Float64Array(2 * PAIRS_READ), start: 0 };
    try {
      const bytes = new Uint8Array(pairs.buffer, pairs.byteOffset, pairs.byteLength);
      // Ends: each time writes a byte at least, or throws.
      for (let at = 0; at < bytes.length;) at += file.write([bytes.subarray(at)], at);
    } catch (thrown) {
      file.close();
      throw thrown;
    }
    run.pairs.set(pairs.subarray(0, 2 * PAIRS_READ));
    this.#runs.push(run);
    this.#size += run.count;
    this.#findFirst();
  }

  /** A file without a name. */
  #openFile(): StorageFile {
    this.#named += 1;
    const name = `${this.#prefix}${this.#named}.tmp`;
    const file = this.#storage.open(name, "replace");
    try {
      this.#storage.remove(name);
    } catch (thrown) {
      // Somebody may have been faster.
      if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") {
        file.close();
        throw thrown;
      }
    }
    return file;
  }

  /** Takes the earliest out and returns its origin. Only when there is one. */
  take(): number {
    const run = this.#first as Run;
    const origin = run.pairs[2 * (run.next - run.start) + 1] as number;
    run.next += 1;
    this.#size -= 1;
    if (run.next === run.count) this.#remove(run);
    else if (run.next === run.start + PAIRS_READ) this.#read(run);
    this.#findFirst();
    return origin;
  }

  #read(run: Run): void {
    const bytes = new Uint8Array(run.pairs.buffer);
    const wanted = Math.min(PAIRS_READ, run.count - run.next) * PAIR_BYTES;
    for (let done = 0; done < wanted;) {
      const read = run.file.read(bytes.subarray(done), wanted - done, run.next * PAIR_BYTES + done);
      if (read === 0) throw new RangeError("a run of waits is shorter than what was written");
      done += read;
    }
    run.start = run.next;
  }

  #remove(run: Run): void {
    this.#runs.splice(this.#runs.indexOf(run), 1);
    run.file.close();
  }

  #findFirst(): void {
    let first: Run | undefined;
    let firstMs = Infinity;
    for (const run of this.#runs) {
      const dueMs = run.pairs[2 * (run.next - run.start)] as number;
      if (dueMs < firstMs || first === undefined) [first, firstMs] = [run, dueMs];
    }
    this.#first = first;
  }

  /** The files are gone. */
  close(): void {
    for (const { file } of this.#runs.splice(0)) file.close();
    this.#size = 0;
    this.#first = undefined;
  }
}
