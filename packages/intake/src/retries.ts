/** Records that wait for another attempt, by time. */

/** A copy of what must be delivered again. */
export interface WaitingRecord {
  readonly sequence: number;
  /** Attempts so far. */
  readonly attempts: number;
  readonly handler: number;
  readonly priority: number;
  readonly timeMs: number;
  /** The publisher's headers, encoded. */
  readonly headers: Uint8Array;
  readonly payload: Uint8Array;
}

interface Entry {
  readonly dueMs: number;
  readonly record: WaitingRecord;
}

/** A binary heap, the earliest first. */
export class RetryQueue {
  readonly #heap: Entry[] = [];
  #bytes = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** Bytes of all payloads and headers that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When the next one is due; Infinity when none waits. */
  get nextDueMs(): number {
    return this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  add(dueMs: number, record: WaitingRecord): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push({ dueMs, record });
    this.#bytes += record.headers.length + record.payload.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if ((heap[parent] as Entry).dueMs <= (heap[index] as Entry).dueMs) return;
      this.#swap(parent, index);
      index = parent;
    }
  }

  /** The earliest record. */
  peek(): WaitingRecord {
    return (this.#heap[0] as Entry).record;
  }

  /** Takes the earliest record out. */
  remove(): void {
    const heap = this.#heap;
    const { record } = heap[0] as Entry;
    this.#bytes -= record.headers.length + record.payload.length;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    heap[0] = last;
    this.#sink();
  }

  #sink(): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= heap.length) return;
      const right = left + 1;
      const isRightFirst = right < heap.length && (heap[right] as Entry).dueMs < (heap[left] as Entry).dueMs;
      const child = isRightFirst ? right : left;
      if ((heap[index] as Entry).dueMs <= (heap[child] as Entry).dueMs) return;
      this.#swap(index, child);
      index = child;
    }
  }

  #swap(left: number, right: number): void {
    const entry = this.#heap[left] as Entry;
    this.#heap[left] = this.#heap[right] as Entry;
    this.#heap[right] = entry;
  }
}

/** Time until the attempt after `attempts` failed ones: full jitter, `random(0, min(max, base × 2^(attempts - 1)))`, as AWS
 * recommends ("Exponential Backoff And Jitter", 2015). */
export function backoffMs(attempts: number, baseMs: number, maxMs: number, fraction: number): number {
  return fraction * Math.min(maxMs, baseMs * 2 ** (attempts - 1));
}
