/**
 * The byte ring at its edges: filled to the last byte, batches of exactly their limits, empty
 * frames, spans over the end.
 */
import * as assert from "uvu/assert";
import { Parker, ThreadTable, unpark } from "@millrace/atomics-sync";
import { ByteRingProducer, ByteRingReleaser, ByteRingTaker, createByteRing, FULL } from "@millrace/shared-memory";
import { type Mutant, NEAR_WRAP, scenario, type Scenario } from "../api.ts";

const CAPACITY = 32;
const START = NEAR_WRAP - 14;

/** Stages a frame whose first byte is `value`, if it has one; whether there was room. */
function stage(ring: ByteRingProducer, length: number, value: number): boolean {
  const offset = ring.stage(length, false);
  if (offset === FULL) return false;
  if (length > 0) ring.bytes[offset] = value;
  return true;
}

/** The bytes of both spans of the last `take`. */
function spansOf(taker: ByteRingTaker): number[] {
  const bytes: number[] = [];
  for (let at = 0; at < taker.firstBytes; at += 1) bytes.push(taker.bytes[taker.firstOffset + at] as number);
  for (let at = 0; at < taker.secondBytes; at += 1) bytes.push(taker.bytes[at] as number);
  return bytes;
}

export const scenarios: Scenario[] = [
  scenario({
    name: "byte ring: filled to the last byte, and taken up to exact limits",
    setUp: () => ({
      ring: createByteRing(CAPACITY, START),
      /** [0]: whose turn it is. */
      turns: new Int32Array(new SharedArrayBuffer(4)),
    }),
    threads: {
      producer({ ring, turns }) {
        const producer = new ByteRingProducer(ring);
        assert.is(producer.usedBytes(), 0);
        // Frames of 8, 8 and 16 bytes from START, which is a multiple of the capacity.
        assert.ok(
          stage(producer, 4, 1) && stage(producer, 4, 2) && stage(producer, 12, 3),
          "all of the ring is usable",
        );
        assert.not.ok(stage(producer, 0, 0), "full");
        producer.commit();
        assert.is(producer.usedBytes(), CAPACITY);
        Atomics.store(turns, 0, 1);
        Atomics.notify(turns, 0);
        while (Atomics.load(turns, 0) === 1) Atomics.wait(turns, 0, 1);
        assert.ok(stage(producer, 4, 4), "what was released is usable to its last byte");
        assert.not.ok(stage(producer, 4, 5), "and no more");
      },
      taker({ ring, turns }, log) {
        while (Atomics.load(turns, 0) === 0) Atomics.wait(turns, 0, 0);
        const taker = new ByteRingTaker(ring);
        assert.is(taker.take(15, 9), 1, "a second frame of 8 bytes is over the limit of 15");
        assert.is(taker.take(16, 9), 2, "and exactly within 16");
        assert.is(taker.take(CAPACITY, 2), 2, "two frames at most");
        assert.is(taker.take(CAPACITY, 3), 3);
        const spans = spansOf(taker);
        assert.is(spans.length, CAPACITY);
        log.push(spans[4], spans[12], spans[20]);
        assert.is(taker.end, taker.tail());
        taker.finish();
        assert.is(new ByteRingTaker(ring).taken, taker.end);
        const releaser = new ByteRingReleaser(ring);
        assert.ok(releaser.release((START + 8) | 0), "the producer waits for room");
        Atomics.store(turns, 0, 2);
        Atomics.notify(turns, 0);
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["taker"], [1, 2, 3]);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "byte ring: room for exactly one frame is given while its producer falls asleep",
    setUp() {
      const ring = createByteRing(CAPACITY, START);
      const producer = new ByteRingProducer(ring);
      for (let frame = 0; frame < 4; frame += 1) assert.ok(stage(producer, 4, frame));
      producer.commit();
      // The thread `producer` only uses it.
      return { ring, producer, threads: new Int32Array(ThreadTable.allocate(1)) };
    },
    threads: {
      producer({ producer, threads }) {
        const parker = new Parker(threads, 0);
        for (let turn = 0; ; turn += 1) {
          assert.ok(turn < 4, "woken without room");
          parker.prepare();
          if (stage(producer, 4, 4)) break;
          parker.wait(Infinity);
        }
        parker.cancel();
      },
      releaser({ ring, threads }) {
        if (new ByteRingReleaser(ring).release((START + 8) | 0)) unpark(threads, 0);
      },
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "byte ring: empty frames, and spans over the end, while it is released",
    setUp: () => createByteRing(CAPACITY, START),
    threads: {
      producer(ring, log) {
        const producer = new ByteRingProducer(ring);
        for (let value = 1, attempt = 0; value <= 6 && attempt < 12; attempt += 1) {
          // Frames of 16 bytes and of 8, of which every second one is empty.
          if (!stage(producer, value % 3 === 0 ? 12 : value % 2 === 0 ? 0 : 4, value)) continue;
          producer.commit();
          assert.ok(producer.usedBytes() <= CAPACITY);
          log.push(value);
          value += 1;
        }
      },
      taker(ring, log) {
        const taker = new ByteRingTaker(ring);
        const releaser = new ByteRingReleaser(ring);
        for (let attempt = 0; attempt < 8; attempt += 1) {
          const frames = taker.take(24, 2);
          assert.ok(frames <= 2 && taker.spanBytes <= 24);
          if (frames === 0) continue;
          const spans = spansOf(taker);
          assert.is(spans.length, taker.spanBytes);
          // The walk over frames finds the content of the spans.
          let from = 0;
          while (releaser.next(taker.end)) {
            if (releaser.length > 0) assert.is(spans[from + 4], releaser.bytes[releaser.offset]);
            log.push(releaser.length > 0 ? releaser.bytes[releaser.offset] : "empty");
            from += releaser.length === 0 ? 8 : releaser.length + 4;
          }
          assert.is(from, taker.spanBytes);
          taker.finish();
          releaser.release(taker.end);
        }
      },
    },
    check(ring, { logs }) {
      const sent = (logs["producer"] as number[]).map((value) =>
        value % 3 !== 0 && value % 2 === 0 ? "empty" : value,
      );
      const got = logs["taker"] as unknown[];
      assert.equal(got, sent.slice(0, got.length));
      assert.is(new ByteRingTaker(ring).hasFrames(), got.length < sent.length);
    },
    bounds: { preemptions: 3 },
  }),
];

export const mutants: Mutant[] = [
  {
    breaks: "the last byte of the ring can't be used",
    file: "shared-memory/byte-ring",
    from: "this.#releasedSeen = Atomics.load(this.#words, RELEASED);\n            if (((end - this.#releasedSeen) | 0) > this.capacity)\n                return false;",
    to: "this.#releasedSeen = Atomics.load(this.#words, RELEASED);\n            if (((end - this.#releasedSeen) | 0) >= this.capacity)\n                return false;",
  },
  {
    breaks: "a batch takes a frame more than its limit",
    file: "shared-memory/byte-ring",
    from: "frames >= framesMax",
    to: "frames > framesMax",
  },
  {
    breaks: "a batch of exactly its limit isn't taken",
    file: "shared-memory/byte-ring",
    from: "bytes + size > bytesMax",
    to: "bytes + size >= bytesMax",
  },
  {
    breaks: "an empty frame is taken for a skip",
    file: "shared-memory/byte-ring",
    from: "if (word < 0) {\n                position =",
    to: "if (word <= 0) {\n                position =",
  },
];
