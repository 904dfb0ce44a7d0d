/**
 * A set of whole numbers, kept as sorted ranges that don't touch.
 *
 * Made for sequences that are finished almost in order: adding near the end costs a constant, and a
 * long prefix is one range.
 */
export class RangeSet {
  /** First and last of each range, both included. */
  readonly #firsts: number[] = [];
  readonly #lasts: number[] = [];
  #size = 0;

  /** Number of members. */
  get size(): number {
    return this.#size;
  }

  /** Number of ranges. */
  get ranges(): number {
    return this.#firsts.length;
  }

  /** The range with this index: its first and last member. */
  range(index: number): readonly [first: number, last: number] {
    return [this.#firsts[index] as number, this.#lasts[index] as number];
  }

  has(value: number): boolean {
    const index = this.#lastStartingAtOrBefore(value);
    return index >= 0 && value <= (this.#lasts[index] as number);
  }

  /**
   * The last member of the range that holds `value`, or `value - 1` when it isn't a member: the
   * next gap is right behind.
   */
  endOf(value: number): number {
    const index = this.#lastStartingAtOrBefore(value);
    return index >= 0 && value <= (this.#lasts[index] as number) ? (this.#lasts[index] as number) : value - 1;
  }

  /** Number of members that are at most `value`. */
  countUpTo(value: number): number {
    let count = 0;
    for (let index = 0; index < this.#firsts.length; index += 1) {
      const first = this.#firsts[index] as number;
      if (first > value) break;
      count += Math.min(this.#lasts[index] as number, value) - first + 1;
    }
    return count;
  }

  /** The place of the `count`th number that isn't a member, of those from `first` on. */
  missing(first: number, count: number): number {
    let next = this.endOf(first) + 1;
    let left = count;
    for (let index = this.#lastStartingAtOrBefore(next) + 1; index < this.#firsts.length; index += 1) {
      const gap = (this.#firsts[index] as number) - next;
      if (gap >= left) break;
      left -= gap;
      next = (this.#lasts[index] as number) + 1;
    }
    return next + left - 1;
  }

  add(value: number): void {
    const index = this.#lasts.length - 1;
    if (index < 0 || this.#lasts[index] !== value - 1) {
      this.addRange(value, value);
      return;
    }
    // In order, as nearly all are.
    this.#lasts[index] = value;
    this.#size += 1;
  }

  /** Adds all numbers from `first` to `last`. */
  addRange(first: number, last: number): void {
    if (last < first) return;
    // Ranges from `from` to before `to` touch or overlap the new one and are replaced by it.
    const before = this.#lastStartingAtOrBefore(first);
    const from = before >= 0 && (this.#lasts[before] as number) >= first - 1 ? before : before + 1;
    let to = from;
    while (to < this.#firsts.length && (this.#firsts[to] as number) <= last + 1) to += 1;
    for (let index = from; index < to; index += 1) this.#size -= this.#lengthOf(index);
    if (from === to) {
      this.#size += last - first + 1;
      this.#firsts.splice(from, 0, first);
      this.#lasts.splice(from, 0, last);
      return;
    }
    this.#firsts[from] = Math.min(this.#firsts[from] as number, first);
    this.#lasts[from] = Math.max(this.#lasts[to - 1] as number, last);
    this.#size += this.#lengthOf(from);
    if (to > from + 1) {
      this.#firsts.splice(from + 1, to - from - 1);
      this.#lasts.splice(from + 1, to - from - 1);
    }
  }

  /** Takes one number out. */
  remove(value: number): void {
    const index = this.#lastStartingAtOrBefore(value);
    if (index < 0 || value > (this.#lasts[index] as number)) return;
    const first = this.#firsts[index] as number;
    const last = this.#lasts[index] as number;
    this.#size -= 1;
    if (first === last) {
      this.#firsts.splice(index, 1);
      this.#lasts.splice(index, 1);
    } else if (value === first) this.#firsts[index] = value + 1;
    else if (value === last) this.#lasts[index] = value - 1;
    else {
      this.#lasts[index] = value - 1;
      this.#firsts.splice(index + 1, 0, value + 1);
      this.#lasts.splice(index + 1, 0, last);
    }
  }

  copy(): RangeSet {
    const copy = new RangeSet();
    copy.#size = this.#size;
    for (let index = 0; index < this.#firsts.length; index += 1) {
      copy.#firsts.push(this.#firsts[index] as number);
      copy.#lasts.push(this.#lasts[index] as number);
    }
    return copy;
  }

  /** Its first `count` ranges, and the others. */
  split(count: number): readonly [first: RangeSet, rest: RangeSet] {
    const first = new RangeSet();
    const rest = new RangeSet();
    for (let index = 0; index < this.#firsts.length; index += 1) {
      const part = index < count ? first : rest;
      part.#size += this.#lengthOf(index);
      part.#firsts.push(this.#firsts[index] as number);
      part.#lasts.push(this.#lasts[index] as number);
    }
    return [first, rest];
  }

  #lengthOf(index: number): number {
    return (this.#lasts[index] as number) - (this.#firsts[index] as number) + 1;
  }

  #lastStartingAtOrBefore(value: number): number {
    // Most questions are about the newest range.
    let low = 0;
    let high = this.#firsts.length - 1;
    if (high >= 0 && (this.#firsts[high] as number) <= value) return high;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if ((this.#firsts[middle] as number) <= value) low = middle + 1;
      else high = middle - 1;
    }
    return high;
  }
}
