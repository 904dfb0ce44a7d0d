/** How fast a counter grows, over the last second or so. */

const SAMPLES_MAX = 5;
/** Shortest time between two samples. */
const SAMPLE_MS = 200;

export class Rate {
  readonly #samples: { readonly atMs: number; readonly count: number }[] = [];

  /** `count` is a number modulo 2^32. It only grows, but for what is counted again. */
  sample(atMs: number, count: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && atMs - last.atMs < SAMPLE_MS) return;
    this.#samples.push({ atMs, count });
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
  }

  /** Per second, from 0. */
  perSecond(atMs: number, count: number): number {
    const [first] = this.#samples;
    if (first === undefined || atMs <= first.atMs) return 0;
    return (Math.max(0, (count - first.count) | 0) * 1000) / (atMs - first.atMs);
  }
}
