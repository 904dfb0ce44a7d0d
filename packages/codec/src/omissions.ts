/** The paths of the parts of an error that were left out. */

/** An error with thousands of functions needs no list of them. */
const PATHS_MAX = 100;

export class Omissions {
  readonly #paths: string[] = [];
  #more = 0;

  /** `path` begins with a dot or a bracket. */
  add(path: () => string): void {
    if (this.#paths.length < PATHS_MAX) this.#paths.push(path().replace(/^\./, ""));
    else this.#more += 1;
  }

  list(): string[] {
    return this.#more === 0 ? this.#paths : [...this.#paths, `… and ${this.#more} more`];
  }
}
