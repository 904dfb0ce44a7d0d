import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Arena, ArenaView, BLOCK_BYTES_MIN, blockClass, createArena, FULL } from "@millrace/shared-memory";
import { throwsWith } from "../support.ts";

interface Block {
  readonly offset: number;
  readonly sizeClass: number;
  /** What its bytes are filled with. */
  readonly mark: number;
}

/** The first, the last and some bytes between: a block may have a megabyte. */
function probesOf({ offset, sizeClass }: Block): number[] {
  const bytes = 2 ** sizeClass;
  return [0, 1, bytes / 2, bytes - 2, bytes - 1].map((at) => offset + at);
}

function assertMark(bytes: Uint8Array, block: Block): void {
  for (const at of probesOf(block)) assert.is(bytes[at], block.mark, `byte ${at} of the block at ${block.offset}`);
}

function assertDisjoint(blocks: readonly Block[], bytesMax: number): void {
  let end = 0;
  for (const { offset, sizeClass } of blocks.toSorted((left, right) => left.offset - right.offset)) {
    assert.ok(offset >= end, `the block at ${offset} begins behind the one before it`);
    end = offset + 2 ** sizeClass;
  }
  assert.ok(end <= bytesMax, "the last block ends within the arena");
}

const KIB = 1024;
const MIB = 1024 * KIB;

/** Small arenas of small blocks, and large ones that grow several times. */
const scale = fc.constantFrom(
  { bytesMax: 1 * KIB, largest: 512 },
  { bytesMax: 16 * KIB, largest: 4 * KIB },
  { bytesMax: 5 * MIB + 64, largest: 2 * MIB },
);
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("allocate" as const), size: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("free" as const), which: fc.nat() }) },
);

test("live blocks never overlap and keep their content, freed ones are used again, and the end is told as FULL", () => {
  fc.assert(
    fc.property(scale, fc.array(step, { maxLength: 80 }), ({ bytesMax, largest }, steps) => {
      const buffer = createArena(bytesMax);
      const arena = new Arena(buffer);
      const view = new ArenaView(buffer);
      const live: Block[] = [];
      // Offsets that were freed, by class; and what was never used begins here.
      const freed = new Map<number, Set<number>>();
      let unused = 0;
      let mark = 0;
      for (const each of steps) {
        if (each.kind === "allocate") {
          // Sizes of every magnitude alike.
          const sizeClass = blockClass(Math.floor(largest ** each.size));
          const offset = arena.allocate(sizeClass);
          const recycled = freed.get(sizeClass);
          if (recycled !== undefined && recycled.size > 0) {
            assert.ok(recycled.delete(offset), "a freed block of that size is taken before new memory");
          } else if (unused + 2 ** sizeClass <= bytesMax) {
            assert.is.not(offset, FULL);
            unused += 2 ** sizeClass;
          } else {
            assert.is(offset, FULL);
            continue;
          }
          mark = (mark % 255) + 1;
          const block = { offset, sizeClass, mark };
          assert.ok(arena.bytes.length >= offset + 2 ** sizeClass, "the owner sees the whole block");
          for (const at of probesOf(block)) arena.bytes[at] = mark;
          live.push(block);
          assertDisjoint(live, bytesMax);
        } else if (live.length > 0) {
          const [block] = live.splice(each.which % live.length, 1) as [Block];
          assertMark(view.upTo(block.offset + 2 ** block.sizeClass), block);
          arena.free(block.offset, block.sizeClass);
          freed.set(block.sizeClass, (freed.get(block.sizeClass) ?? new Set()).add(block.offset));
        }
        assert.is(
          arena.usedBytes,
          live.reduce((sum, { sizeClass }) => sum + 2 ** sizeClass, 0),
        );
      }
      for (const block of live) {
        assertMark(view.upTo(block.offset + 2 ** block.sizeClass), block);
        assertMark(arena.bytes, block);
      }
    }),
    { numRuns: 500 },
  );
});

test("the class of a size is the smallest power of two that holds it, from 64 bytes", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 30 }), (bytes) => {
      const sizeClass = blockClass(bytes);
      assert.ok(2 ** sizeClass >= Math.max(bytes, BLOCK_BYTES_MIN));
      assert.ok(sizeClass === 6 || 2 ** (sizeClass - 1) < bytes, "no smaller class would do");
    }),
  );
  assert.equal(
    [0, 1, 63, 64, 65, 128, 129, 2 ** 20, 2 ** 20 + 1, 2 ** 30].map(blockClass),
    [6, 6, 6, 6, 7, 7, 8, 20, 21, 30],
  );
});

test("blocks begin at multiples of 64", () => {
  const arena = new Arena(createArena(64 * KIB));
  for (const bytes of [1, 5000, 64, 100, 700]) assert.is(arena.allocate(blockClass(bytes)) % BLOCK_BYTES_MIN, 0);
});

test("an arena takes up little memory before it is used, and grows to its limit and not beyond", () => {
  const limit = 3 * MIB + 64 * KIB;
  const buffer = createArena(limit);
  assert.is(buffer.byteLength, MIB);
  const arena = new Arena(buffer);
  const sizeClass = blockClass(64 * KIB);
  const blocks = limit / (64 * KIB);
  for (let block = 0; block < blocks; block += 1) {
    assert.is(arena.allocate(sizeClass), block * 64 * KIB);
    assert.ok(buffer.byteLength >= (block + 1) * 64 * KIB);
  }
  assert.is(buffer.byteLength, limit);
  assert.is(arena.allocate(sizeClass), FULL);
  assert.is(arena.allocate(blockClass(1)), FULL);
  assert.is(arena.usedBytes, limit);
});

test("an arena that is FULL for a large block still has room for a small one", () => {
  const arena = new Arena(createArena(KIB));
  assert.is(arena.allocate(blockClass(512)), 0);
  assert.is(arena.allocate(blockClass(1024)), FULL);
  assert.is(arena.usedBytes, 512, "a refused block isn't counted");
  assert.is(arena.allocate(blockClass(512)), 512);
});

test("an arena smaller than the first step of growth has exactly its size", () => {
  const buffer = createArena(4 * KIB);
  assert.is(buffer.byteLength, 4 * KIB);
  const arena = new Arena(buffer);
  assert.is(arena.allocate(12), 0);
  assert.is(arena.allocate(6), FULL);
});

test("content survives the growth of the arena, in the owner's new view and in every reader's old one", () => {
  const buffer = createArena(8 * MIB);
  const arena = new Arena(buffer);
  const early = new ArenaView(buffer);
  const first = arena.allocate(blockClass(100));
  arena.bytes.set([1, 2, 3], first);
  const before = early.upTo(first + 100);

  const large = arena.allocate(blockClass(4 * MIB));
  arena.bytes.fill(9, large, large + 4 * MIB);
  assert.equal([...arena.bytes.subarray(first, first + 3)], [1, 2, 3]);
  assert.equal([...before.subarray(first, first + 3)], [1, 2, 3]);

  assert.ok(before.length < large + 4 * MIB, "the reader's view was too short");
  const after = early.upTo(large + 4 * MIB);
  assert.ok(after.length >= large + 4 * MIB);
  assert.is(after[large + 4 * MIB - 1], 9);
  // What the owner writes through its view after the growth is seen through the reader's views from before.
  arena.bytes[first] = 7;
  assert.is(before[first], 7);
});

test("a reader keeps its view as long as that is long enough", () => {
  const buffer = createArena(8 * MIB);
  const arena = new Arena(buffer);
  const view = new ArenaView(buffer);
  const bytes = view.upTo(64);
  arena.allocate(blockClass(2 * MIB));
  assert.is(view.upTo(MIB), bytes);
  assert.is.not(view.upTo(MIB + 1), bytes);
});

test("a reader that asks for more than there is is refused", () => {
  const view = new ArenaView(createArena(MIB));
  assert.is(view.upTo(MIB).length, MIB);
  throwsWith(() => view.upTo(MIB + 1), "ERR_INVARIANT");
});

test("freeing what was never allocated is refused", () => {
  const arena = new Arena(createArena(MIB));
  const offset = arena.allocate(8);
  throwsWith(() => arena.free(offset + 256, 8), "ERR_INVARIANT");
  throwsWith(() => arena.free(offset, 9), "ERR_INVARIANT");
  throwsWith(() => arena.free(-64, 6), "ERR_INVARIANT");
  arena.free(offset, 8);
  assert.is(arena.usedBytes, 0);
});

test("a block beyond any arena is FULL", () => {
  const arena = new Arena(createArena(2 ** 20));
  for (const bytes of [2 ** 30 + 1, 2 ** 31, 2 ** 32, 2 ** 32 + 1, 2 ** 40]) {
    assert.is(arena.allocate(blockClass(bytes)), FULL, String(bytes));
  }
});

test.run();
