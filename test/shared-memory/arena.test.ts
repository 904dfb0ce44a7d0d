import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  Arena,
  ARENA_WORDS,
  ArenaView,
  blockBytes,
  firstRegionBytes,
  forgetArena,
  GIVE_BACK_TICKS,
  initArenaTable,
  makeRegion,
  MAPPED,
  offsetOf,
  REFUSED,
} from "@millrace/shared-memory";
import { throwsWith } from "../support.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const FIRST_REGION_BYTES = firstRegionBytes(Infinity);

/**
 * An arena, a reader of it, and the buffers between them; the system gives at most `bytesMax`
 * beyond the first region.
 */
function arenaOf(bytesMax = Infinity) {
  const table = new Int32Array(new SharedArrayBuffer(ARENA_WORDS * 4));
  initArenaTable(table, 0);
  const first = makeRegion(FIRST_REGION_BYTES) as SharedArrayBuffer;
  const sent = new Map<string, SharedArrayBuffer>();
  const create = (index: number, number: number, bytes: number) => {
    assert.is(table[index], number, "the number is stored before the buffer is sent");
    assert.not(sent.has(`${index}:${number}`), "no two buffers have the same number");
    if ((table[MAPPED] as number) * KIB + bytes > bytesMax) return undefined;
    const buffer = makeRegion(bytes) as SharedArrayBuffer;
    sent.set(`${index}:${number}`, buffer);
    return buffer;
  };
  const find = (index: number, number: number) => sent.get(`${index}:${number}`) as SharedArrayBuffer;
  const newOwner = () => new Arena(table, 0, first, create);
  return { table, arena: newOwner(), newOwner, view: new ArenaView(table, 0, first, find) };
}

interface Block {
  readonly reference: number;
  readonly bytes: number;
  /** The byte that fills it. */
  readonly mark: number;
}

/** The first, the last and some bytes between: a block may have megabytes. */
function probesOf({ reference, bytes }: Block): number[] {
  return [0, bytes >> 1, bytes - 1].map((at) => offsetOf(reference) + at);
}

function fill(bytes: Uint8Array, block: Block): void {
  for (const at of probesOf(block)) bytes[at] = block.mark;
}

function assertFilled(bytes: Uint8Array, block: Block): void {
  for (const at of probesOf(block)) assert.is(bytes[at], block.mark, `byte ${at} of block ${block.reference}`);
}

function assertDisjoint(blocks: readonly Block[]): void {
  let end = 0;
  let region = 0;
  for (const { reference, bytes } of blocks.toSorted((left, right) => left.reference - right.reference)) {
    if (reference >> 24 !== region) end = 0;
    region = reference >> 24;
    assert.ok(offsetOf(reference) >= end, `block ${reference} begins behind the one before it`);
    end = offsetOf(reference) + bytes;
  }
}

const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("allocate" as const), size: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("free" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("freeAll" as const), which: fc.nat({ max: 3 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("tick" as const), which: fc.nat({ max: 5 }) }) },
);

test("live blocks never overlap, whatever is split, merged and given back", () => {
  fc.assert(
    fc.property(fc.constantFrom(100, 5000, 300_000, 3 * MIB), fc.array(step, { maxLength: 120 }), (largest, steps) => {
      const { arena, view, table } = arenaOf();
      let live: Block[] = [];
      let mark = 0;
      const release = (block: Block): void => {
        assertFilled(view.bytesOf(block.reference), block);
        assert.is(arena.free(block.reference), block.bytes);
      };
      for (const each of steps) {
        if (each.kind === "allocate") {
          // Sizes of every magnitude alike.
          const bytes = Math.floor(largest ** each.size);
          mark = (mark % 255) + 1;
          const block = { reference: arena.allocate(bytes), bytes: blockBytes(bytes), mark };
          assert.ok(block.reference > 0);
          fill(arena.bytesOf(block.reference), block);
          live.push(block);
          assertDisjoint(live);
        } else if (each.kind === "tick") {
          for (let tick = 0; tick < each.which; tick += 1) arena.tick();
          view.letGo();
        } else if (each.kind === "freeAll") {
          for (const block of live.filter((_, index) => index % 4 >= each.which)) release(block);
          live = live.filter((_, index) => index % 4 < each.which);
        } else if (live.length > 0) {
          release(live.splice(each.which % live.length, 1)[0] as Block);
        }
        assert.is(
          arena.usedBytes,
          live.reduce((sum, { bytes }) => sum + bytes, 0),
        );
        assert.is(arena.mappedBytes, FIRST_REGION_BYTES + (table[MAPPED] as number) * KIB);
      }
      for (const block of live) release(block);
      for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
      assert.is(arena.mappedBytes, FIRST_REGION_BYTES, "everything is given back");
      assert.is(arena.allocate(FIRST_REGION_BYTES) >> 24, 1, "what was split is one again");
    }),
    { numRuns: 400 },
  );
});

test("a block has the next power of two up to 4 KiB, and whole pages beyond", () => {
  const sizes = [0, 1, 64, 65, 128, 129, 4095, 4096, 4097, 8193, MIB, MIB + 1, 2 ** 30];
  assert.equal(sizes.map(blockBytes), [64, 64, 64, 128, 128, 256, 4096, 4096, 8192, 12_288, MIB, MIB + 4096, 2 ** 30]);
});

test("a burst of one size leaves room for every other", () => {
  const limit = 32 * MIB;
  const { arena } = arenaOf(limit);
  for (const bytes of [600_000, 64, 4096, 5000, 100_000, 3 * MIB, 20 * MIB, 1]) {
    const blocks: number[] = [];
    for (let block = arena.allocate(bytes); block !== REFUSED; block = arena.allocate(bytes)) blocks.push(block);
    assert.ok(blocks.length > 0, `${bytes} bytes`);
    for (const block of blocks) arena.free(block);
    assert.is(arena.usedBytes, 0);
    // Every mapped region is empty: it goes at once, when other sizes have not been needed for a
    // while.
    for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
  }
});

test("a block fits into what others leave, or into a new region", () => {
  const { arena } = arenaOf();
  const blocks = Array.from({ length: 200 }, () => arena.allocate(600_000));
  // One block of each region stays.
  const kept = new Map<number, number>();
  for (const block of blocks) {
    if (kept.has(block >> 24)) arena.free(block);
    else kept.set(block >> 24, block);
  }
  const before = arena.mappedBytes;
  const large = arena.allocate(200 * MIB);
  assert.ok(large > 0);
  assert.ok(arena.mappedBytes - before <= 201 * MIB, "no more than it needs");
});

test("mapped memory stays within a fifth of what is in use, in few regions", () => {
  const { arena } = arenaOf();
  for (let block = 0; block < 4000; block += 1) arena.allocate(70_000);
  assert.ok(arena.mappedBytes < arena.usedBytes * 1.2, `${arena.mappedBytes} for ${arena.usedBytes}`);
});

test("regions that are not needed any more are dropped, also around blocks that stay", () => {
  const { arena, table, view } = arenaOf();
  const small = arena.allocate(100);
  const burst = Array.from({ length: 300 }, () => arena.allocate(500_000));
  const last = burst.pop() as number;
  for (const block of burst) arena.free(block);
  for (let tick = 0; tick < GIVE_BACK_TICKS; tick += 1) arena.tick();
  assert.ok(arena.mappedBytes > 100 * MIB, "it may be needed again at once");
  arena.tick();
  const region = arena.bytesOf(last).length;
  assert.ok(arena.mappedBytes <= FIRST_REGION_BYTES + region, "only the region of the last block stays");
  arena.allocate(100);
  arena.free(last);
  arena.free(small);
  for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
  assert.is(arena.mappedBytes, FIRST_REGION_BYTES);
  assert.is(table[MAPPED], 0);
  view.letGo();
});

test("a region that was to be given back serves again when it is needed", () => {
  const { arena, view } = arenaOf();
  const blocks = Array.from({ length: 60 }, () => arena.allocate(MIB));
  const kept = blocks.filter((_, index) => index % 5 === 0);
  for (const block of blocks) if (!kept.includes(block)) arena.free(block);
  for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
  const before = arena.mappedBytes;
  assert.ok(before < 60 * MIB);
  for (let block = 0; block < kept.length; block += 1) assert.ok(arena.allocate(MIB / 4) > 0);
  assert.is(arena.mappedBytes, before, "the free parts of regions that stay are used first");
  for (const block of kept) view.bytesOf(block);
});

test("a reader learns of a new region under an old index, and lets go of a dropped one", () => {
  const { arena, view } = arenaOf();
  const round = (mark: number): void => {
    const block = { reference: arena.allocate(10 * MIB), bytes: 10 * MIB, mark };
    fill(arena.bytesOf(block.reference), block);
    assertFilled(view.bytesOf(block.reference), block);
    arena.free(block.reference);
    for (let tick = 0; tick <= GIVE_BACK_TICKS; tick += 1) arena.tick();
    if (mark % 2 === 0) view.letGo();
  };
  for (let mark = 1; mark < 6; mark += 1) round(mark);
});

test("an owner that dies is followed by one that begins anew, with numbers of its own", () => {
  const { arena, newOwner, table, view } = arenaOf();
  view.bytesOf(arena.allocate(5 * MIB));
  const odd = [...table].filter((word, index) => index > 1 && index < 128 && (word & 1) === 1).length;
  assert.is(odd, 1);
  forgetArena(table, 0);
  assert.ok([...table].every((word, index) => index < 2 || index > 127 || (word & 1) === 0));
  const heir = newOwner();
  const block = { reference: heir.allocate(5 * MIB), bytes: 5 * MIB, mark: 9 };
  fill(heir.bytesOf(block.reference), block);
  assertFilled(view.bytesOf(block.reference), block);
});

test("an owner that died before its buffer leaves a number that isn't used again", () => {
  const { newOwner, table } = arenaOf();
  table[2] = 7;
  assert.ok(newOwner().allocate(5 * MIB) > 0);
  assert.is(table[2], 9);
});

test("when the system refuses, what is there still serves", () => {
  const { arena } = arenaOf(3 * MIB);
  assert.is(arena.allocate(4 * MIB), REFUSED);
  const block = arena.allocate(3 * MIB);
  assert.ok(block > 0);
  assert.is(arena.allocate(2 * MIB), REFUSED);
  assert.ok(arena.allocate(500_000) > 0);
  arena.free(block);
  assert.ok(arena.allocate(2 * MIB) > 0);
});

test("a block of a gibibyte fits exactly", () => {
  const { arena } = arenaOf();
  const block = arena.allocate(2 ** 30);
  assert.is(offsetOf(block), 0);
  assert.is(arena.bytesOf(block).length, 2 ** 30);
});

test("freeing what is not in use is refused", () => {
  const { arena } = arenaOf();
  for (const bytes of [100, 100_000]) {
    const block = arena.allocate(bytes);
    arena.free(block);
    throwsWith(() => arena.free(block), "ERR_INVARIANT");
  }
  throwsWith(() => arena.free(77 << 24), "ERR_INVARIANT");
  assert.is(arena.usedBytes, 0);
});

test.run();
