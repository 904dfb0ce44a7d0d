/**
 * Vector clocks: finds plain accesses to the same word, at least one a write, that no atomic access
 * puts in order.
 *
 * After FastTrack (Flanagan and Freund, 2009). An atomic write releases: it leaves its thread's
 * clock at the word; an atomic read acquires it. A thread's own clock moves on with each release.
 * An atomic and a plain access that aren't ordered are a race as well.
 *
 * Everything that decides about future races is part of the state's hash, as differences from the
 * start.
 */
import { mixA, mixB } from "./hash.ts";

/** Threads that can be told apart. */
export const THREADS_MAX = 8;

const PLAIN_READ = 0;
const PLAIN_WRITE = 1;
const ATOMIC_READ = 2;
const ATOMIC_WRITE = 3;
const RELEASED = 4;
const ROWS = 5;
const STRIDE: number = ROWS * THREADS_MAX;
const SITES: number = RELEASED * THREADS_MAX;

export interface Conflict {
  readonly thread: number;
  readonly site: number;
}

/** Each thread's knowledge of the others. */
export const known: Int32Array = new Int32Array(THREADS_MAX * THREADS_MAX);

/** Hash of all clocks. */
export const clockHash = { a: 0, b: 0 };

/** Threads of this scenario. */
let count = THREADS_MAX;

export function resetClocks(threads: number): void {
  count = threads;
  known.fill(0);
  for (let thread = 0; thread < THREADS_MAX; thread += 1) known[thread * THREADS_MAX + thread] = 1;
  clockHash.a = 0;
  clockHash.b = 0;
}

function moved(key: number, from: number, to: number): void {
  clockHash.a ^= mixA(key, from) ^ mixA(key, to);
  clockHash.b ^= mixB(key, from) ^ mixB(key, to);
}

function raise(thread: number, other: number, value: number): void {
  const at = thread * THREADS_MAX + other;
  const old = known[at] as number;
  if (value <= old) return;
  known[at] = value;
  moved(at, old, value);
}

/** `thread` learns all that `from` knows. */
export function learn(thread: number, from: number): void {
  for (let other = 0; other < count; other += 1) raise(thread, other, known[from * THREADS_MAX + other] as number);
}

/** Everything that `thread` does from now on is later than the steps that it has passed on. */
export function advance(thread: number): void {
  raise(thread, thread, (known[thread * THREADS_MAX + thread] as number) + 1);
}

/** The clocks of the words of one buffer. */
export class Clocks {
  #rows = new Int32Array(0);
  #sites = new Int32Array(0);
  #execution = new Int32Array(0);

  #open(word: number, execution: number): number {
    if (word >= this.#execution.length) this.#grow(word);
    const row = word * STRIDE;
    if (this.#execution[word] !== execution) {
      this.#execution[word] = execution;
      this.#rows.fill(0, row, row + STRIDE);
    }
    return row;
  }

  #grow(word: number): void {
    const size = Math.max(64, 2 ** Math.ceil(Math.log2(word + 1)));
    const grow = (old: Int32Array, stride: number): Int32Array<ArrayBuffer> => {
      const grown = new Int32Array(size * stride);
      grown.set(old);
      return grown;
    };
    this.#rows = grow(this.#rows, STRIDE);
    this.#sites = grow(this.#sites, SITES);
    this.#execution = grow(this.#execution, 1);
  }

  /**
   * Notes the access; the first earlier access that is not ordered before it. `id` names the word
   * for the hash.
   */
  plainRead(id: number, word: number, execution: number, thread: number, site: number): Conflict | undefined {
    const row = this.#open(word, execution);
    this.#note(id, word, row, PLAIN_READ, thread, site);
    return this.#unordered(word, row, PLAIN_WRITE, thread) ?? this.#unordered(word, row, ATOMIC_WRITE, thread);
  }

  plainWrite(id: number, word: number, execution: number, thread: number, site: number): Conflict | undefined {
    const row = this.#open(word, execution);
    this.#note(id, word, row, PLAIN_WRITE, thread, site);
    for (let kind = PLAIN_READ; kind <= ATOMIC_WRITE; kind += 1) {
      const conflict = this.#unordered(word, row, kind, thread);
      if (conflict !== undefined) return conflict;
    }
    return undefined;
  }

  atomicRead(id: number, word: number, execution: number, thread: number, site: number): Conflict | undefined {
    const row = this.#open(word, execution);
    this.#note(id, word, row, ATOMIC_READ, thread, site);
    for (let other = 0; other < count; other += 1) {
      raise(thread, other, this.#rows[row + RELEASED * THREADS_MAX + other] as number);
    }
    return this.#unordered(word, row, PLAIN_WRITE, thread);
  }

  /** `reads`: the operation also acquires, as all but `store` do. */
  atomicWrite(
    id: number,
    word: number,
    execution: number,
    thread: number,
    site: number,
    reads: boolean,
  ): Conflict | undefined {
    const row = this.#open(word, execution);
    const released = row + RELEASED * THREADS_MAX;
    for (let other = 0; other < count; other += 1) {
      if (reads) raise(thread, other, this.#rows[released + other] as number);
      this.#put(id, word, released + other, row, known[thread * THREADS_MAX + other] as number);
    }
    this.#note(id, word, row, ATOMIC_WRITE, thread, site);
    const conflict = this.#unordered(word, row, PLAIN_WRITE, thread) ?? this.#unordered(word, row, PLAIN_READ, thread);
    advance(thread);
    return conflict;
  }

  #note(id: number, word: number, row: number, kind: number, thread: number, site: number): void {
    const cell = row + kind * THREADS_MAX + thread;
    this.#put(id, word, cell, row, known[thread * THREADS_MAX + thread] as number);
    this.#sites[word * SITES + kind * THREADS_MAX + thread] = site;
  }

  #put(id: number, word: number, cell: number, row: number, value: number): void {
    const old = this.#rows[cell] as number;
    if (old === value) return;
    this.#rows[cell] = value;
    moved(Math.imul(id, 0x3c6ef372) + Math.imul(word, STRIDE) + (cell - row) + 1000, old, value);
  }

  #unordered(word: number, row: number, kind: number, thread: number): Conflict | undefined {
    for (let other = 0; other < count; other += 1) {
      if (other === thread) continue;
      const at = this.#rows[row + kind * THREADS_MAX + other] as number;
      if (at !== 0 && at > (known[thread * THREADS_MAX + other] as number)) {
        return { thread: other, site: this.#sites[word * SITES + kind * THREADS_MAX + other] as number };
      }
    }
    return undefined;
  }
}
