/** A reader's end of an arena; any thread. Layout and order of the words: region-table.ts. */
import { invariant } from "@millrace/base";
import { FIRST_REGION, REGION_INDEX_MAX, regionOf } from "./region-table.ts";

/** The buffer of a region; its message has come or is on its way. */
export type FindRegion = (index: number, number: number) => SharedArrayBuffer;

export class ArenaView {
  readonly #table: Int32Array;
  readonly #at: number;
  readonly #find: FindRegion;
  /** Numbers of the regions that `#views` show. */
  readonly #numbers = new Int32Array(REGION_INDEX_MAX + 1);
  readonly #views: (Uint8Array | undefined)[] = [];

  /** `table[at…]` is the arena's table, `first` its first region. */
  constructor(table: Int32Array, at: number, first: SharedArrayBuffer, find: FindRegion) {
    this.#table = table;
    this.#at = at;
    this.#find = find;
    this.#numbers[FIRST_REGION] = 1;
    this.#views[FIRST_REGION] = new Uint8Array(first, 0, first.byteLength);
  }

  /** The region of a block in use. */
  bytesOf(reference: number): Uint8Array {
    const index = regionOf(reference);
    // A plain load: the block was published after the number was stored.
    const number = this.#table[this.#at + index] as number;
    if (this.#numbers[index] === number) return this.#views[index] as Uint8Array;
    return this.#renew(index, number);
  }

  #renew(index: number, number: number): Uint8Array {
    invariant((number & 1) === 1, "a block in use lies in a region");
    const buffer = this.#find(index, number);
    const view = new Uint8Array(buffer, 0, buffer.byteLength);
    this.#views[index] = view;
    this.#numbers[index] = number;
    return view;
  }

  /** No block is read any more: lets go of all regions but the first. */
  end(): void {
    this.#views.length = FIRST_REGION + 1;
    this.#numbers.fill(0, FIRST_REGION + 1);
  }

  /** Lets go of regions that the owner has dropped. */
  letGo(): void {
    for (let index = FIRST_REGION + 1; index < this.#views.length; index += 1) {
      if (this.#views[index] === undefined) continue;
      if (Atomics.load(this.#table, this.#at + index) === this.#numbers[index]) continue;
      this.#views[index] = undefined;
      this.#numbers[index] = 0;
    }
  }
}
