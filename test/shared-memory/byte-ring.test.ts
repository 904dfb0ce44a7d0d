import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  BYTE_RING_CAPACITY_MAX,
  ByteRingProducer,
  ByteRingReleaser,
  ByteRingTaker,
  createByteRing,
  FRAME_ALIGNMENT,
  FRAME_WORD_BYTES,
  frameBytes,
  frameContinues,
  frameLength,
  FULL,
} from "@millrace/shared-memory";
import type { ByteRingEnd, ByteRingResult } from "../fixtures/byte-ring-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { throwsWith } from "../support.ts";

interface Frame {
  readonly number: number;
  readonly length: number;
  readonly continues: boolean;
  /** Where it was put, and the positions that it and a SKIP before it take up; these never wrap. */
  readonly offset: number;
  readonly start: number;
  readonly end: number;
}

function contentOf({ number, length }: { number: number; length: number }): number[] {
  return Array.from({ length }, (_, index) => (number * 37 + index * 11 + 1) & 255);
}

/** A model of a byte ring, with arrays of frames and positions that don't wrap. */
class Model {
  readonly capacity: number;
  staged: Frame[] = [];
  /** Committed and not released; the first `taken` of them were taken. */
  committed: Frame[] = [];
  taken = 0;
  tail: number;
  released: number;

  constructor(capacity: number, start: number) {
    this.capacity = capacity;
    this.tail = start;
    this.released = start;
  }

  get stagedEnd(): number {
    return this.staged.at(-1)?.end ?? this.tail;
  }

  /** Position of the end of what was taken. */
  get takenEnd(): number {
    return this.taken === 0 ? this.released : (this.committed[this.taken - 1] as Frame).end;
  }

  /** The frame that `stage` makes, or undefined when it must be FULL. */
  stage(number: number, length: number, continues: boolean): Frame | undefined {
    const bytes = Math.ceil((FRAME_WORD_BYTES + length) / FRAME_ALIGNMENT) * FRAME_ALIGNMENT;
    const start = this.stagedEnd;
    const place = start % this.capacity;
    const skipped = place + bytes > this.capacity ? this.capacity - place : 0;
    const end = start + skipped + bytes;
    if (end - this.released > this.capacity) return undefined;
    const frame = { number, length, continues, offset: (place + skipped) % this.capacity, start: start + skipped, end };
    this.staged.push(frame);
    return frame;
  }

  commit(): void {
    this.tail = this.stagedEnd;
    this.committed.push(...this.staged);
    this.staged = [];
  }

  /** The most frames in whole groups that lie within the limits. */
  take(bytesMax: number, framesMax: number): Frame[] {
    const waiting = this.committed.slice(this.taken);
    for (let count = Math.min(waiting.length, framesMax); count > 0; count -= 1) {
      const frames = waiting.slice(0, count);
      const isWhole = frames.at(-1)?.continues === false;
      if (isWhole && sizeOf(frames) <= bytesMax) return frames;
    }
    return [];
  }

  release(): Frame[] {
    this.released = this.takenEnd;
    const frames = this.committed.splice(0, this.taken);
    this.taken = 0;
    return frames;
  }
}

function sizeOf(frames: readonly Frame[]): number {
  return frames.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** Checks that the spans of a take hold exactly `frames`, from the first byte to the last. */
function assertSpans(taker: ByteRingTaker, frames: readonly Frame[]): void {
  assert.is(taker.frames, frames.length);
  assert.is(taker.spanBytes, sizeOf(frames));
  assert.is(taker.firstBytes + taker.secondBytes, taker.spanBytes);
  assert.ok(taker.firstOffset + taker.firstBytes <= taker.capacity, "the first span doesn't wrap");
  const bytes = Buffer.concat([
    taker.bytes.subarray(taker.firstOffset, taker.firstOffset + taker.firstBytes),
    taker.bytes.subarray(0, taker.secondBytes),
  ]);
  let offset = 0;
  for (const frame of frames) {
    const word = bytes.readInt32LE(offset);
    assert.is(frameLength(word), frame.length);
    assert.is(frameContinues(word), frame.continues);
    const content = offset + FRAME_WORD_BYTES;
    assert.equal([...bytes.subarray(content, content + frame.length)], contentOf(frame));
    offset += frameBytes(frame.length);
  }
  assert.is(offset, bytes.length);
}

function assertWalk(releaser: ByteRingReleaser, end: number, frames: readonly Frame[]): void {
  for (const frame of frames) {
    assert.ok(releaser.next(end), `frame ${frame.number} is walked over`);
    assert.is(releaser.length, frame.length);
    assert.is(releaser.continues, frame.continues);
    assert.equal([...releaser.bytes.subarray(releaser.offset, releaser.offset + releaser.length)], contentOf(frame));
  }
  assert.not(releaser.next(end), "there is nothing behind the last frame");
}

/** Multiples of 8 just before positions wrap at 2^32, before they change sign, and at the start. */
const start = fc
  .tuple(fc.constantFrom(0, 2 ** 31, 2 ** 32), fc.nat({ max: 40 }))
  .map(([at, before]) => Math.max(0, at - 8 * before));

const shape = fc.record({ capacity: fc.constantFrom(16, 32, 64, 128), start });
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant("stage" as const), length: fc.nat({ max: 60 }), continues: fc.boolean() }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("commit" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("rollback" as const, "replace producer" as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("take" as const, "take" as const, "look" as const),
      bytesMax: fc.oneof(fc.nat({ max: 140 }), fc.constant(Infinity)),
      framesMax: fc.oneof(fc.nat({ max: 6 }), fc.constant(Infinity)),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("walk and release" as const, "release" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("replace taker" as const, "replace releaser" as const) }) },
);

test("any sequence of operations behaves like arrays of frames", () => {
  fc.assert(
    fc.property(shape, fc.array(step, { minLength: 1, maxLength: 120 }), ({ capacity, start: from }, steps) => {
      const ring = createByteRing(capacity, from);
      const model = new Model(capacity, from);
      let producer = new ByteRingProducer(ring);
      let taker = new ByteRingTaker(ring);
      let releaser = new ByteRingReleaser(ring);
      let next = 0;
      for (const each of steps) {
        if (each.kind === "stage") {
          const length = each.length % (capacity / 2 - FRAME_WORD_BYTES + 1);
          const expected = model.stage(next, length, each.continues);
          const offset = producer.stage(length, each.continues);
          assert.is(offset, expected === undefined ? FULL : expected.offset + FRAME_WORD_BYTES);
          if (expected === undefined) continue;
          producer.bytes.set(contentOf(expected), offset);
          next += 1;
        } else if (each.kind === "commit") {
          producer.commit();
          model.commit();
        } else if (each.kind === "rollback") {
          producer.rollback();
          model.staged = [];
        } else if (each.kind === "take" || each.kind === "look") {
          const expected = model.take(each.bytesMax, each.framesMax);
          assert.is(taker.take(each.bytesMax, each.framesMax), expected.length);
          assertSpans(taker, expected);
          // A consumer that only looks finds the same frames again.
          if (each.kind === "look") continue;
          taker.finish();
          model.taken += expected.length;
          assert.is(taker.end, model.takenEnd | 0);
        } else if (each.kind === "walk and release") {
          const end = model.takenEnd | 0;
          assertWalk(releaser, end, model.release());
          releaser.release(end);
        } else if (each.kind === "release") {
          releaser.release(model.takenEnd | 0);
          model.release();
        } else if (each.kind === "replace producer") {
          // Staged frames die with the producer.
          producer = new ByteRingProducer(ring);
          model.staged = [];
        } else if (each.kind === "replace taker") {
          taker = new ByteRingTaker(ring);
        } else {
          releaser = new ByteRingReleaser(ring);
        }
        assert.is(producer.committed, model.tail | 0);
        assert.is(producer.usedBytes(), model.tail - model.released);
        assert.is(taker.tail(), model.tail | 0);
        assert.is(taker.taken, model.takenEnd | 0);
        assert.is(taker.hasFrames(), model.committed.length > model.taken);
      }
      // Nothing was overwritten before its space was released.
      const end = model.tail | 0;
      assertWalk(new ByteRingReleaser(ring), end, model.committed);
    }),
    { numRuns: 5000 },
  );
});

test("a frame of half the ring always fits into an empty ring, wherever that stands", () => {
  for (const capacity of [16, 64, 256]) {
    for (let from = 2 ** 32 - 2 * capacity; from < 2 ** 32; from += FRAME_ALIGNMENT) {
      const producer = new ByteRingProducer(createByteRing(capacity, from));
      assert.is.not(producer.stage(capacity / 2 - FRAME_WORD_BYTES, false), FULL, `${capacity} bytes at ${from}`);
    }
  }
});

test("a frame of more than half the ring is refused", () => {
  for (const capacity of [16, 64, 256]) {
    const producer = new ByteRingProducer(createByteRing(capacity));
    throwsWith(() => producer.stage(capacity / 2 - FRAME_WORD_BYTES + 1, false), "ERR_INVARIANT");
    assert.is(producer.stage(capacity / 2 - FRAME_WORD_BYTES, false), FRAME_WORD_BYTES, "and left nothing behind");
  }
});

test("a group whose end isn't committed yet isn't taken, and is taken whole afterwards", () => {
  const ring = createByteRing(128);
  const producer = new ByteRingProducer(ring);
  const taker = new ByteRingTaker(ring);
  producer.stage(4, false);
  producer.stage(4, true);
  producer.stage(4, true);
  producer.commit();
  assert.is(taker.take(Infinity, Infinity), 1);
  taker.finish();
  assert.ok(taker.hasFrames());
  assert.is(taker.take(Infinity, Infinity), 0);
  assert.is(taker.spanBytes, 0);
  producer.stage(4, false);
  producer.commit();
  assert.is(taker.take(Infinity, Infinity), 3);
});

test("a group that is larger than the limits isn't taken, nor anything behind it", () => {
  const ring = createByteRing(128);
  const producer = new ByteRingProducer(ring);
  const taker = new ByteRingTaker(ring);
  producer.stage(4, true);
  producer.stage(12, false);
  producer.stage(0, false);
  producer.commit();
  assert.is(taker.take(23, Infinity), 0);
  assert.is(taker.take(Infinity, 1), 0);
  assert.is(taker.take(24, 2), 2);
  assert.is(taker.spanBytes, 24);
});

test("what was taken but not released can't be overwritten", () => {
  const ring = createByteRing(32);
  const producer = new ByteRingProducer(ring);
  const taker = new ByteRingTaker(ring);
  for (let frame = 0; frame < 4; frame += 1) assert.is.not(producer.stage(4, false), FULL);
  producer.commit();
  taker.take(Infinity, Infinity);
  taker.finish();
  assert.is(producer.stage(0, false), FULL);
  new ByteRingReleaser(ring).release(taker.end);
  assert.is.not(producer.stage(0, false), FULL);
});

test("frames begin at multiples of 8 and have room for their content", () => {
  fc.assert(
    fc.property(fc.nat({ max: BYTE_RING_CAPACITY_MAX / 2 }), (length) => {
      const bytes = frameBytes(length);
      assert.is(bytes % FRAME_ALIGNMENT, 0);
      assert.ok(bytes >= length + FRAME_WORD_BYTES && bytes < length + FRAME_WORD_BYTES + FRAME_ALIGNMENT);
    }),
  );
});

test("a capacity that is no power of two or too large is refused", () => {
  for (const capacity of [0, 24, 100, -64, BYTE_RING_CAPACITY_MAX * 2]) {
    throwsWith(() => createByteRing(capacity), "ERR_INVARIANT");
  }
});

/**
 * Runs the parties of one ring as threads; taker and releaser fail at the first frame that is
 * missing, broken or out of order.
 */
async function assertConserved(capacity: number, frames: number, roles: ByteRingEnd["role"][]): Promise<void> {
  // The positions wrap on the way.
  const ring = createByteRing(capacity, 2 ** 32 - 2 ** 20);
  const ends = roles.map((role, index): ByteRingEnd => ({ role, ring, frames, seed: index + 1 }));
  const results = await runThreads<ByteRingResult>("byte-ring-ends", ends);
  assert.is(results.length, roles.length);
  results.forEach((result, index) => {
    assert.is(result.frames, frames, `the ${String(roles[index])}`);
  });
  const taker = new ByteRingTaker(ring);
  assert.not(taker.hasFrames());
  assert.is(new ByteRingProducer(ring).usedBytes(), 0);
  assert.ok(taker.tail() >= 0, "the positions wrapped on the way");
}

test("two threads hand over 120,000 frames in order through a ring of 64 bytes", () =>
  assertConserved(64, 120_000, ["producer", "taker and releaser"]));

test("two threads hand over 120,000 frames in order and intact through a ring of 1 KiB", () =>
  assertConserved(1024, 120_000, ["producer", "taker and releaser"]));

test("a third thread that releases sees every frame before it is overwritten", () =>
  assertConserved(1024, 100_000, ["producer", "taker", "releaser"]));

test.run();
