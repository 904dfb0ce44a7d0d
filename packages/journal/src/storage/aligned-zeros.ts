/**
 * Zeros in memory that a write past the page cache takes: it has to begin at a multiple of the
 * disk's block. Node.js says of no buffer where it lies; a memory of WebAssembly begins at a page.
 */

/** The parts of `WebAssembly.Memory` that are used here; Node.js's types leave it out. */
interface Pages {
  readonly Memory: new (descriptor: { readonly initial: number; readonly maximum: number }) => {
    readonly buffer: ArrayBuffer;
  };
}

/** Of a page, by WebAssembly's specification. */
const PAGE_BYTES = 65_536;
const PAGES = 16;

let zeros: Uint8Array | undefined;
let isTried = false;

/** 1 MiB of zeros, to be read only; undefined where there is no such memory. */
export function alignedZeros(): Uint8Array | undefined {
  if (isTried) return zeros;
  isTried = true;
  const { WebAssembly: pages } = globalThis as unknown as { readonly WebAssembly?: Pages };
  if (pages === undefined) return undefined;
  try {
    const { buffer } = new pages.Memory({ initial: PAGES, maximum: PAGES });
    zeros = new Uint8Array(buffer, 0, PAGES * PAGE_BYTES);
  } catch (thrown) {
    // It wants several GiB of addresses, which a limit of the process may not leave.
    if (!(thrown instanceof RangeError)) throw thrown;
  }
  return zeros;
}
