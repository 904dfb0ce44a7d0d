/**
 * Named counters in shared memory: one thread writes them by plain stores, any thread reads them.
 *
 * A counter is a 64-bit float, exact up to 2^53. A reader may see the value before the last one.
 */

/** Where each counter lies, from the list of their names, so that no two share a place. */
export type CounterPlaces<Name extends string> = Readonly<Record<Name, number>>;

export function counterPlaces<Name extends string>(names: readonly Name[]): CounterPlaces<Name> {
  return Object.fromEntries(names.map((name, index) => [name, index])) as Record<Name, number>;
}

/** Number of bytes that the counters take: whole pairs of cache lines. */
export function countersBytes<Name extends string>(places: CounterPlaces<Name>): number {
  return Math.ceil((Object.keys(places).length * Float64Array.BYTES_PER_ELEMENT) / 128) * 128;
}

export class Counters<Name extends string> {
  readonly #places: CounterPlaces<Name>;
  /** For `cells[places.name] += n` on a hot path, where the name must be known to the compiler. */
  readonly cells: Float64Array;

  /** Over `buffer` from its beginning; by default over memory of its own. */
  constructor(places: CounterPlaces<Name>, buffer: SharedArrayBuffer = new SharedArrayBuffer(countersBytes(places))) {
    this.#places = places;
    this.cells = new Float64Array(buffer, 0, Object.keys(places).length);
  }

  get(name: Name): number {
    return this.cells[this.#places[name]] as number;
  }

  set(name: Name, value: number): void {
    this.cells[this.#places[name]] = value;
  }

  add(name: Name, amount = 1): void {
    this.set(name, this.get(name) + amount);
  }

  read(): Record<Name, number> {
    const names = Object.keys(this.#places) as Name[];
    return Object.fromEntries(names.map((name) => [name, this.get(name)])) as Record<Name, number>;
  }
}
