/** The heap of channels' values: no block belongs to two, whoever frees it, and a death loses at most the block in flight. */
import * as assert from "uvu/assert";
import { createSharedHeap, FULL, SharedHeap } from "@millrace/shared-memory";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

interface Shared {
  readonly heaps: readonly SharedHeap[];
  /** [0…] blocks on their way from one thread to another, 0 for none. */
  readonly mail: Int32Array;
}

/** Pages of 1 KiB. */
function setUp(pages: number): Shared {
  const memory = createSharedHeap(pages * 1024, 10);
  const heaps = [0, 1, 2].map((thread) => new SharedHeap(memory, thread));
  return { heaps, mail: new Int32Array(new SharedArrayBuffer(16)) };
}

function heapOf({ heaps }: Shared, thread: number): SharedHeap {
  return heaps[thread] as SharedHeap;
}

/** Allocates, fills, and sends to whoever takes. */
function give(shared: Shared, thread: number, count: number, log: unknown[]): void {
  const heap = heapOf(shared, thread);
  for (let index = 0; index < count; index += 1) {
    const block = heap.allocate(64);
    if (block === FULL) return;
    log.push(block);
    const words = heap.wordsOf(block, 1);
    words[block * 16] = block;
    Atomics.store(shared.mail, index, block);
  }
}

/** Frees what was sent, as far as it has come. */
function free(shared: Shared, thread: number, count: number): void {
  const heap = heapOf(shared, thread);
  for (let index = 0; index < count; index += 1) {
    const block = Atomics.exchange(shared.mail, index, 0);
    if (block === 0) continue;
    assert.is(heap.wordsOf(block, 1)[block * 16], block, "nobody else has written into it");
    heap.free(block);
  }
}

export const scenarios: Scenario[] = [
  scenario({
    name: "heap: one allocates, another frees",
    setUp: () => setUp(5),
    threads: {
      giver: (shared, log) => give(shared, 0, 3, log),
      taker: (shared) => free(shared, 1, 3),
    },
    check(shared) {
      free(shared, 2, 3);
      assert.is(heapOf(shared, 2).usedBytes(), 0);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "heap: two threads want the same pages",
    setUp: () => setUp(5),
    threads: {
      one(shared, log) {
        for (const bytes of [64, 600, 2000]) log.push(heapOf(shared, 0).allocate(bytes));
      },
      two(shared, log) {
        for (const bytes of [2000, 64, 600]) log.push(heapOf(shared, 1).allocate(bytes));
      },
    },
    check(shared, { logs }) {
      const blocks = [...(logs["one"] as number[]), ...(logs["two"] as number[])].filter((block) => block !== FULL);
      assert.is(new Set(blocks).size, blocks.length, "no block belongs to two");
      for (const block of blocks) heapOf(shared, 2).free(block);
      assert.is(heapOf(shared, 2).usedBytes(), 0, "runs that came to nothing are given back");
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "heap: a thread dies anywhere, and its pages go to others",
    setUp: () => setUp(2),
    threads: {
      victim: (shared, log) => give(shared, 0, 2, log),
      heir(shared, log) {
        const died = join("victim");
        const heap = heapOf(shared, 1);
        if (died) heap.releaseThread(0);
        // There is one page: it is either empty and serves any size, or has blocks of the victim in it and serves theirs.
        let block = heap.allocate(300);
        if (block === FULL) block = heap.allocate(64);
        log.push(died ? block : 0);
        if (block !== FULL) heap.free(block);
      },
      taker: (shared) => free(shared, 2, 2),
    },
    kill: ["victim"],
    check(shared, { logs, died }) {
      free(shared, 2, 2);
      if (died.length > 0) assert.is.not((logs["heir"] as number[])[0], FULL);
      assert.ok(heapOf(shared, 2).usedBytes() <= 64 * died.length);
    },
    bounds: { preemptions: 2 },
  }),
];

const file = "shared-memory/shared-heap";

export const mutants: Mutant[] = [
  {
    breaks: "a block is taken without an atomic",
    file,
    from: "Atomics.or(this.#control, word, 1 << bit);",
    to: "this.#control[word] |= 1 << bit;",
  },
  {
    breaks: "a block is freed without an atomic",
    file,
    from: "const seen = Atomics.and(this.#control, page * CONTROL_WORDS + USED + (block >> 5), ~bit);",
    to: "const seen = Atomics.load(this.#control, page * CONTROL_WORDS + USED + (block >> 5)); Atomics.store(this.#control, page * CONTROL_WORDS + USED + (block >> 5), seen & ~bit);",
  },
  {
    breaks: "a page is taken by a store",
    file,
    from: "if (Atomics.compareExchange(this.#control, page * CONTROL_WORDS + OWNER, seen, taken) !== seen)\n                continue;",
    to: "Atomics.store(this.#control, page * CONTROL_WORDS + OWNER, taken);",
  },
  {
    breaks: "a page of a run is taken by a store",
    file,
    from: "if (Atomics.compareExchange(this.#control, owner, 0, part) !== 0)\n                break;",
    to: "Atomics.store(this.#control, owner, part);",
  },
  {
    breaks: "a run that comes to nothing is kept",
    file,
    from: "for (let page = 0; page < taken; page += 1) {",
    to: "for (let page = 0; page < 0; page += 1) {",
  },
  {
    breaks: "the pages of the dead are kept",
    file,
    from: "Atomics.store(this.#control, owner, this.#isEmpty(page) ? 0 : seen & ~OWNER_MASK);",
    to: ";",
  },
  {
    breaks: "the pages of the dead are called empty",
    file,
    from: "this.#isEmpty(page) ? 0 : seen & ~OWNER_MASK",
    to: "0",
  },
];
