/**
 * The heap of channels' values: no block belongs to two, whoever frees it, and a death loses at
 * most the block in flight.
 */
import * as assert from "uvu/assert";
import { createSharedHeap, FULL, SharedHeap } from "@millrace/shared-memory";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

interface Shared {
  readonly heaps: readonly SharedHeap[];
  /** [0…] blocks on their way from one thread to another, 0 for none. */
  readonly mail: Int32Array;
  /** Blocks that were allocated before the threads begin. */
  readonly blocks: readonly number[];
}

/** Pages of 1 KiB. */
function setUp(pages: number, allocate: (heaps: readonly SharedHeap[]) => number[] = () => []): Shared {
  const memory = createSharedHeap(pages * 1024, 10);
  const heaps = [0, 1, 2].map((thread) => new SharedHeap(memory, thread));
  return { heaps, mail: new Int32Array(new SharedArrayBuffer(16)), blocks: allocate(heaps) };
}

function heapOf({ heaps }: Shared, thread: number): SharedHeap {
  return heaps[thread] as SharedHeap;
}

/** Allocates blocks, fills them, and sends them. */
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

/** Frees the blocks that have come. */
function free(shared: Shared, thread: number, count: number): void {
  const heap = heapOf(shared, thread);
  for (let index = 0; index < count; index += 1) {
    const block = Atomics.exchange(shared.mail, index, 0);
    if (block === 0) continue;
    assert.is(heap.wordsOf(block, 1)[block * 16], block, "nobody else has written into it");
    heap.free(block);
  }
}

const HALF = 512;
const PAGE = 1024;
const PAGES_2: number = 2 * PAGE;
const PAGES_3: number = 3 * PAGE;

/** Writes a block's reference into it. */
function mark(heap: SharedHeap, block: number): number {
  if (block !== FULL) heap.wordsOf(block, 1)[block * 16] = block;
  return block;
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
        // There is one page: it is either empty and serves any size, or has blocks of the victim in
        // it and serves theirs.
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
  scenario({
    name: "heap: a thread dies while it takes or frees a run",
    setUp: () => setUp(5),
    threads: {
      victim(shared, log) {
        const heap = heapOf(shared, 0);
        const run = heap.allocate(PAGES_2);
        log.push(run);
        if (run !== FULL) heap.free(run);
      },
      heir(shared, log) {
        const heap = heapOf(shared, 1);
        if (join("victim")) heap.releaseThread(0);
        const used = heap.usedBytes();
        log.push(used);
        log.push(heap.allocate(used === 0 ? PAGES_3 : PAGE));
      },
    },
    kill: ["victim"],
    check(_shared, { logs, died }) {
      const [used, block] = logs["heir"] as [number, number];
      assert.ok(used === 0 || (died.length > 0 && used === PAGES_2), `${used} bytes are lost`);
      assert.is.not(block, FULL, "all other pages serve again");
    },
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "heap: the run of a dead thread stays in use, and any thread frees it",
    setUp: () => setUp(6, ([dead, heap]) => [dead?.allocate(PAGES_2) as number, heap?.allocate(PAGE) as number]),
    threads: {
      undertaker: (shared) => heapOf(shared, 2).releaseThread(0),
      freer: (shared) => heapOf(shared, 1).free(shared.blocks[0] as number),
      taker(shared, log) {
        log.push(heapOf(shared, 0).allocate(PAGE));
      },
    },
    check(shared, { logs }) {
      const heap = heapOf(shared, 2);
      const [block] = logs["taker"] as [number];
      assert.is(heap.usedBytes(), block === FULL ? PAGE : PAGES_2);
      if (block !== FULL) heap.free(block);
      heap.free(shared.blocks[1] as number);
      assert.is(heap.usedBytes(), 0);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "heap: a run is freed while its pages are wanted",
    setUp: () => setUp(5, ([heap]) => [heap?.allocate(PAGES_3) as number]),
    threads: {
      freer: (shared) => heapOf(shared, 0).free(shared.blocks[0] as number),
      one(shared, log) {
        log.push(heapOf(shared, 1).allocate(PAGE), heapOf(shared, 1).allocate(PAGES_2));
      },
    },
    check(shared, { logs }) {
      const heap = heapOf(shared, 2);
      const [small, large] = logs["one"] as [number, number];
      assert.is(heap.usedBytes(), (small === FULL ? 0 : PAGE) + (large === FULL ? 0 : PAGES_2));
      for (const block of [small, large]) if (block !== FULL) heap.free(block);
      assert.is(heap.usedBytes(), 0);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "heap: a thread dies while it frees a run of another, and a third takes the pages",
    setUp: () => setUp(5, (heaps) => [heaps[2]?.allocate(PAGES_3) as number]),
    threads: {
      victim: (shared) => heapOf(shared, 0).free(shared.blocks[0] as number),
      taker(shared, log) {
        log.push(heapOf(shared, 1).allocate(PAGE));
      },
      undertaker(shared) {
        if (join("victim")) heapOf(shared, 2).releaseThread(0);
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      const heap = heapOf(shared, 2);
      const [block] = logs["taker"] as [number];
      const used = heap.usedBytes() - (block === FULL ? 0 : PAGE);
      assert.ok(used === 0 || used === PAGES_3, `${used} bytes beside the taker's`);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "heap: a page of a dead thread that another one has filled meanwhile",
    setUp: () =>
      setUp(4, (heaps) => {
        const block = heaps[2]?.allocate(HALF) as number;
        heaps[2]?.releaseThread(2);
        return [block];
      }),
    threads: {
      one(shared, log) {
        log.push(heapOf(shared, 0).allocate(HALF));
      },
      two(shared, log) {
        log.push(heapOf(shared, 1).allocate(HALF));
      },
      undertaker(shared) {
        join("two");
        heapOf(shared, 2).releaseThread(1);
      },
    },
    check(shared, { logs }) {
      const blocks = [...shared.blocks, ...(logs["one"] as number[]), ...(logs["two"] as number[])];
      assert.not(blocks.includes(FULL), "there is another page");
      assert.is(new Set(blocks).size, 3, "no block belongs to two");
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "heap: a thread gives back an empty page while another frees in its pages and a third wants one",
    setUp: () => setUp(5, ([heap]) => Array.from({ length: 6 }, () => heap?.allocate(HALF) as number)),
    threads: {
      owner(shared, log) {
        const heap = heapOf(shared, 0);
        for (let index = 0; index < 2; index += 1) log.push(mark(heap, heap.allocate(HALF)));
      },
      freer(shared) {
        for (const block of shared.blocks.slice(0, 3)) heapOf(shared, 1).free(block);
      },
      taker(shared, log) {
        const heap = heapOf(shared, 2);
        log.push(mark(heap, heap.allocate(PAGE)));
      },
    },
    check(shared, { logs }) {
      const heap = heapOf(shared, 2);
      const taken = [...(logs["owner"] as number[]), ...(logs["taker"] as number[])].filter((block) => block !== FULL);
      for (const block of taken) assert.is(heap.wordsOf(block, 1)[block * 16], block, "nothing else wrote there");
      for (const block of [...taken, ...shared.blocks.slice(3)]) heap.free(block);
      assert.is(heap.usedBytes(), 0);
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
    breaks: "a page that another thread has filled meanwhile is taken for one with room",
    by: "has filled meanwhile",
    file,
    from: "if (seen === 0 || !this.#isFull(page, sizeClass)) {",
    to: "{",
  },
  {
    breaks: "a page is given back with blocks in it",
    by: "gives back an empty page",
    file,
    from: "if (own.length < 3 || !this.#isEmpty(own[1]))",
    to: "if (own.length < 3)",
  },
  {
    breaks: "the first page of a run is free before its length was read",
    by: "its pages are wanted",
    file,
    from: "const run = first * CONTROL_WORDS + RUN;",
    to: "const run = first * CONTROL_WORDS + RUN;\n        Atomics.store(this.#control, first * CONTROL_WORDS + OWNER, 0);",
  },
  {
    breaks: "the first page of a run is free before the others",
    by: "its pages are wanted",
    file,
    from: "for (let page = Atomics.load(this.#control, run) - 1; page > 0; page -= 1) {",
    to: "const pages = Atomics.load(this.#control, run);\n        Atomics.store(this.#control, first * CONTROL_WORDS + OWNER, 0);\n        for (let page = pages - 1; page > 0; page -= 1) {",
  },
  {
    breaks: "the pages of a run that a dead thread was taking are kept",
    by: "takes or frees a run",
    file,
    from: "Atomics.compareExchange(this.#control, owner, seen, 0);",
    to: ";",
  },
  {
    breaks: "the pages of a run that a dead thread has taken are freed with the thread",
    by: "stays in use",
    file,
    from: "else if (page >= runEnd) {",
    to: "else {",
  },
  {
    breaks: "a page of a run that was freed meanwhile is taken from its new owner",
    by: "stays in use",
    file,
    from: "Atomics.compareExchange(this.#control, owner, seen, 0);",
    to: "Atomics.store(this.#control, owner, 0);",
  },
  {
    breaks: "a run that a dead thread was freeing is kept",
    by: "takes or frees a run",
    file,
    from: "if (isOfDead)\n                    this.#endFreeing(page);",
    to: "",
  },
  {
    breaks: "a thread that frees a run doesn't say so",
    by: "takes or frees a run",
    file,
    from: "const freeing = (FREEING_CLASS << CLASS_SHIFT) | this.#owner;",
    to: "const freeing = inUse;",
  },
  {
    breaks: "a page of a run is free before the run is shorter",
    by: "a third takes the pages",
    file,
    from: "Atomics.store(this.#control, run, page);\n            Atomics.store(this.#control, owner, 0);",
    to: "Atomics.store(this.#control, owner, 0);\n            Atomics.store(this.#control, run, page);",
  },
  {
    breaks: "a page that leaves a run doesn't name the thread that frees it",
    by: "a third takes the pages",
    file,
    from: "Atomics.store(this.#control, owner, (PART_CLASS << CLASS_SHIFT) | this.#owner);",
    to: "",
  },
  {
    breaks: "the pages of the dead are called empty",
    file,
    from: "this.#isEmpty(page) ? 0 : seen & ~OWNER_MASK",
    to: "0",
  },
];
