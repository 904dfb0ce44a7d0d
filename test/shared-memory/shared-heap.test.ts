import { test } from "uvu";
import * as assert from "uvu/assert";
import { createSharedHeap, FULL, SharedHeap } from "@millrace/shared-memory";
import { seededRandom } from "@millrace/base";

const PAGE = 65_536;

test("blocks are as long as asked for, don't overlap, and every thread sees them", () => {
  const buffer = createSharedHeap(64 * PAGE);
  const [one, other] = [new SharedHeap(buffer, 0), new SharedHeap(buffer, 1)];
  const blocks: { readonly reference: number; readonly bytes: number }[] = [];
  for (const bytes of [1, 64, 65, 1000, 32_768, 32_769, PAGE, 3 * PAGE + 1]) {
    for (const heap of [one, other]) {
      const reference = heap.allocate(bytes);
      assert.ok(reference > 0);
      heap.bytesOf(reference, bytes).fill(blocks.length, reference * 64, reference * 64 + bytes);
      blocks.push({ reference, bytes });
    }
  }
  for (const [index, { reference, bytes }] of blocks.entries()) {
    const view = one.bytesOf(reference, bytes).subarray(reference * 64, reference * 64 + bytes);
    assert.ok(view.every((byte) => byte === index));
    other.free(reference);
  }
  assert.is(one.usedBytes(), 0);
});

test("a full heap says so, and has room again when something was freed by whomever", () => {
  const buffer = createSharedHeap(10 * PAGE);
  const [one, other] = [new SharedHeap(buffer, 0), new SharedHeap(buffer, 1)];
  const blocks: number[] = [];
  for (let block = one.allocate(4096); block !== FULL; block = one.allocate(4096)) blocks.push(block);
  assert.is(blocks.length % 16, 0);
  assert.is(one.allocate(PAGE), FULL);
  assert.is(other.allocate(64), FULL, "every page belongs to a thread");
  other.free(blocks[blocks.length >> 1] as number);
  assert.is(one.allocate(4096), blocks[blocks.length >> 1]);
  assert.is(one.allocate(4096), FULL);
});

test("freeing twice is found out", () => {
  const heap = new SharedHeap(createSharedHeap(8 * PAGE), 0);
  const block = heap.allocate(100);
  heap.free(block);
  assert.throws(() => heap.free(block), /was in use/);
});

test("others take over what a dead thread had, with the blocks still in use", () => {
  const buffer = createSharedHeap(3 * PAGE);
  const [dead, heir] = [new SharedHeap(buffer, 0), new SharedHeap(buffer, 1)];
  const kept = dead.allocate(32_768);
  dead.free(dead.allocate(64));
  assert.is(heir.allocate(32_768), FULL);
  heir.releaseThread(0);
  const page = heir.allocate(64);
  assert.ok(page > 0, "an empty page serves any size");
  const beside = heir.allocate(32_768);
  assert.ok(beside > 0 && beside !== kept, "one with blocks in it serves their size");
  assert.is(heir.allocate(32_768), FULL);
  heir.free(kept);
  assert.is(heir.allocate(32_768), kept);
});

test("a burst of values doesn't keep its memory for ever", () => {
  const buffer = createSharedHeap(40 * PAGE);
  const [heap, other] = [new SharedHeap(buffer, 0), new SharedHeap(buffer, 1)];
  const burst: number[] = [];
  for (let block = heap.allocate(1024); block !== FULL; block = heap.allocate(1024)) burst.push(block);
  for (const block of burst) heap.free(block);
  assert.is(other.allocate(30 * PAGE), FULL);
  for (let round = 0; round < burst.length * 2; round += 1) heap.free(heap.allocate(1024));
  const blocks = Array.from({ length: burst.length }, () => heap.allocate(1024));
  for (const block of blocks) heap.free(block);
  for (let round = 0; round < 10_000; round += 1) {
    const some = Array.from({ length: 100 }, () => heap.allocate(1024));
    for (const block of some) heap.free(block);
  }
  assert.ok(other.allocate(20 * PAGE) > 0);
});

test("empty pages of small blocks serve a large one when no other page is free", () => {
  const heap = new SharedHeap(createSharedHeap(20 * PAGE), 0);
  const burst: number[] = [];
  for (const bytes of [64, 1024, 32_768]) {
    for (let count = 0; count < 5; count += 1) {
      for (let block = 0; block < PAGE / bytes; block += 1) burst.push(heap.allocate(bytes));
    }
  }
  assert.is(heap.allocate(10 * PAGE), FULL);
  for (const block of burst) heap.free(block);
  assert.ok(heap.allocate(10 * PAGE) > 0);
});

test("random blocks from several threads, freed by any of them, never overlap", () => {
  const seed = 20_261_124;
  const random = seededRandom(seed);
  const buffer = createSharedHeap(60 * PAGE);
  const heaps = [0, 1, 2].map((thread) => new SharedHeap(buffer, thread));
  const live = new Map<number, number>();
  for (let step = 0; step < 50_000; step += 1) {
    const heap = heaps[random.below(3)] as SharedHeap;
    if (random.below(100) < 52) {
      const bytes = 1 + random.below(random.below(50) === 0 ? 3 * PAGE : 2000);
      const reference = heap.allocate(bytes);
      if (reference === FULL) continue;
      assert.not(live.has(reference), `seed ${seed}`);
      heap.wordsOf(reference, 1)[reference * 16] = step;
      live.set(reference, step);
    } else if (live.size > 0) {
      const [reference, written] = live.entries().next().value as [number, number];
      assert.is(heap.wordsOf(reference, 1)[reference * 16], written, `seed ${seed}`);
      live.delete(reference);
      heap.free(reference);
    }
  }
  for (const reference of live.keys()) (heaps[0] as SharedHeap).free(reference);
  assert.is((heaps[0] as SharedHeap).usedBytes(), 0);
});

test.run();
