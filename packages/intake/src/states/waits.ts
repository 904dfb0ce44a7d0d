/**
 * Records that wait for a time: a binary heap in typed arrays, the earliest first. 16 bytes a
 * record.
 */
const CAPACITY_MIN = 256;

export class Waits {
  #due: Float64Array = new Float64Array(CAPACITY_MIN);
  #origins: Float64Array = new Float64Array(CAPACITY_MIN);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** When the next one is due; Infinity when none waits. */
  get nextDueMs(): number {
    return this.#size === 0 ? Infinity : (this.#due[0] as number);
  }

  add(dueMs: number, origin: number): void {
    if (this.#size === this.#due.length) this.#grow();
    let index = this.#size;
    this.#size += 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if ((this.#due[parent] as number) <= dueMs) break;
      this.#move(parent, index);
      index = parent;
    }
    this.#put(index, dueMs, origin);
  }

  /** Takes the earliest out and returns its origin. Only when there is one. */
  take(): number {
    const origin = this.#origins[0] as number;
    this.#size -= 1;
    const dueMs = this.#due[this.#size] as number;
    const last = this.#origins[this.#size] as number;
    let index = 0;
    for (;;) {
      const left = 2 * index + 1;
      if (left >= this.#size) break;
      const right = left + 1;
      const isRightFirst = right < this.#size && (this.#due[right] as number) < (this.#due[left] as number);
      const child = isRightFirst ? right : left;
      if (dueMs <= (this.#due[child] as number)) break;
      this.#move(child, index);
      index = child;
    }
    if (this.#size > 0) this.#put(index, dueMs, last);
    return origin;
  }

  #put(index: number, dueMs: number, origin: number): void {
    this.#due[index] = dueMs;
    this.#origins[index] = origin;
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#due[from] as number, this.#origins[from] as number);
  }

  #grow(): void {
    const due = new Float64Array(this.#due.length * 2);
    const origins = new Float64Array(this.#due.length * 2);
    due.set(this.#due);
    origins.set(this.#origins);
    this.#due = due;
    this.#origins = origins;
  }
}
