/**
 * Waits that lie on the disk: runs of pairs of due time and origin, f64 each, every run in a file
 * of its own and in the order of its due times. In memory is of each run what comes next, up to
 * 4 KiB.
 *
 * The files hold nothing that the log doesn't say: they are never synced, and an opening removes
 * those of the process before and finds its waits in the log.
 */
import type { Storage } from "@millrace/journal";

const PAIR_BYTES = 16;
/** Pairs of a run that are in memory. */
const PAIRS_READ = 256;

interface Run {
  readonly name: string;
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

  /** `kind` names the files. Removes what an earlier process has left of this kind. */
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
    this.#named += 1;
    const name = `${this.#prefix}${this.#named}.tmp`;
    const run = { name, count: pairs.length / 2, next: 0, pairs: new Float64Array(2 * PAIRS_READ), start: 0 };
    try {
      this.#writeFile(name, new Uint8Array(pairs.buffer, pairs.byteOffset, pairs.byteLength));
    } catch (thrown) {
      if (this.#storage.list().includes(name)) this.#storage.remove(name);
      throw thrown;
    }
    run.pairs.set(pairs.subarray(0, 2 * PAIRS_READ));
    this.#runs.push(run);
    this.#size += run.count;
    this.#findFirst();
  }

  #writeFile(name: string, bytes: Uint8Array): void {
    const file = this.#storage.open(name, "replace");
    try {
      // Ends: each time writes a byte at least, or throws.
      for (let at = 0; at < bytes.length;) at += file.write([bytes.subarray(at)], at);
    } finally {
      file.close();
    }
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
    const file = this.#storage.open(run.name, "read");
    try {
      const bytes = new Uint8Array(run.pairs.buffer);
      const wanted = Math.min(PAIRS_READ, run.count - run.next) * PAIR_BYTES;
      for (let done = 0; done < wanted;) {
        const read = file.read(bytes.subarray(done), wanted - done, run.next * PAIR_BYTES + done);
        if (read === 0) throw new RangeError(`${run.name} is shorter than what was written`);
        done += read;
      }
      run.start = run.next;
    } finally {
      file.close();
    }
  }

  #remove(run: Run): void {
    this.#runs.splice(this.#runs.indexOf(run), 1);
    this.#storage.remove(run.name);
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

  /** Removes the files. One that stays is removed by the next opening. */
  close(): void {
    const names = new Set(this.#storage.list());
    for (const { name } of this.#runs.splice(0)) if (names.has(name)) this.#storage.remove(name);
    this.#size = 0;
    this.#first = undefined;
  }
}
