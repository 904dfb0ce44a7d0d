/**
 * Frames of different sizes through a ring of 32 bytes whose positions are about to wrap, with both
 * ends asleep when they can't go on.
 */
import * as assert from "uvu/assert";
import { Parker, ThreadTable, unpark } from "@millrace/atomics-sync";
import { ByteRingProducer, ByteRingReleaser, ByteRingTaker, createByteRing, FULL } from "@millrace/shared-memory";
import { type Mutant, NEAR_WRAP, scenario, type Scenario } from "../api.ts";

const PRODUCER = 0;
const TAKER = 1;
const RELEASER = 2;

interface Shared {
  readonly ring: SharedArrayBuffer;
  readonly threads: Int32Array;
  /** 0: position up to which the third party may release. */
  readonly done: Int32Array;
}

/**
 * Bytes of content, and whether the next frame belongs to the same group. With frames of 8 and 16
 * bytes the third and the fifth don't fit before the end, so that both a gap of 8 bytes and one of
 * the whole rest are skipped.
 */
interface Frame {
  readonly bytes: number;
  readonly continues: boolean;
}

const START = NEAR_WRAP - 14;

function setUp(): Shared {
  const done = new Int32Array(new SharedArrayBuffer(4));
  done[0] = START;
  return { ring: createByteRing(32, START), threads: new Int32Array(ThreadTable.allocate(3)), done };
}

/** Stages a group; false when there is no room now. */
function stageGroup(ring: ByteRingProducer, frames: readonly Frame[], first: number): boolean {
  for (let index = 0; index < frames.length; index += 1) {
    const { bytes, continues } = frames[index] as Frame;
    const offset = ring.stage(bytes, continues);
    if (offset === FULL) {
      ring.rollback();
      return false;
    }
    ring.bytes[offset] = first + index;
    ring.bytes[offset + bytes - 1] = first + index;
  }
  return true;
}

function produce({ ring, threads }: Shared, groups: readonly (readonly Frame[])[]): void {
  const producer = new ByteRingProducer(ring);
  const parker = new Parker(threads, PRODUCER);
  let next = 1;
  for (let group = 0; group < groups.length; group += 1) {
    const frames = groups[group] as readonly Frame[];
    for (let attempt = 0; ; attempt += 1) {
      assert.ok(attempt < 8, "woken without room");
      parker.prepare();
      if (stageGroup(producer, frames, next)) {
        parker.cancel();
        break;
      }
      parker.wait(Infinity);
    }
    producer.commit();
    unpark(threads, TAKER);
    next += frames.length;
  }
}

/** Sleeps until frames wait. */
function awaitFrames(taker: ByteRingTaker, parker: Parker): void {
  for (let attempt = 0; !taker.hasFrames(); attempt += 1) {
    assert.ok(attempt < 8, "woken without frames");
    parker.prepare();
    if (taker.hasFrames()) parker.cancel();
    else parker.wait(Infinity);
  }
}

/** Steps over the frames up to `end` and writes their first and last bytes into the log. */
function walk(releaser: ByteRingReleaser, end: number, log: unknown[]): void {
  while (releaser.next(end)) {
    log.push(releaser.bytes[releaser.offset]);
    assert.is(releaser.bytes[releaser.offset + releaser.length - 1], log.at(-1), "a frame lies in one piece");
  }
}

const one = (bytes: number): Frame[] => [{ bytes, continues: false }];
/** 8 bytes, 16, 16 (of which none fits before the end), 8. */
const SINGLES: Frame[][] = [one(4), one(12), one(12), one(4), one(4)];
/** The group of two wraps. */
const GROUPS: Frame[][] = [
  one(4),
  [
    { bytes: 4, continues: true },
    { bytes: 4, continues: false },
  ],
  one(4),
  [
    { bytes: 4, continues: true },
    { bytes: 4, continues: false },
  ],
];

export const scenarios: Scenario[] = [
  scenario({
    name: "byte ring: frames of two sizes, over the end and over the wrap",
    setUp,
    threads: {
      producer: (shared) => produce(shared, SINGLES),
      taker({ ring, threads }, log) {
        const taker = new ByteRingTaker(ring);
        const releaser = new ByteRingReleaser(ring);
        const parker = new Parker(threads, TAKER);
        for (let taken = 0; taken < SINGLES.length; taken += taker.frames) {
          awaitFrames(taker, parker);
          assert.ok(taker.take(32, 2) > 0);
          assert.is(taker.spanBytes, taker.firstBytes + taker.secondBytes);
          walk(releaser, taker.end, log);
          taker.finish();
          if (releaser.release(taker.end)) unpark(threads, PRODUCER);
        }
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["taker"], [1, 2, 3, 4, 5]);
    },
    bounds: { preemptions: 2 },
    deep: { preemptions: 4 },
  }),
  scenario({
    name: "byte ring: groups are taken whole, the space is released by a third party",
    setUp,
    threads: {
      producer: (shared) => produce(shared, GROUPS),
      taker({ ring, threads, done }, log) {
        const taker = new ByteRingTaker(ring);
        const parker = new Parker(threads, TAKER);
        for (let taken = 0; taken < 6; taken += taker.frames) {
          awaitFrames(taker, parker);
          // A group of two doesn't fit behind a single frame.
          assert.ok(taker.take(32, 2) > 0);
          log.push(taker.frames);
          log.push(taker.bytes[taker.firstBytes > 0 ? taker.firstOffset + 4 : 4]);
          taker.finish();
          Atomics.store(done, 0, taker.end);
          unpark(threads, RELEASER);
        }
      },
      releaser({ ring, threads, done }, log) {
        const releaser = new ByteRingReleaser(ring);
        const parker = new Parker(threads, RELEASER);
        let position = START;
        for (let attempt = 0; attempt < 16 && log.length < 6; attempt += 1) {
          const end = Atomics.load(done, 0);
          if (end !== position) {
            walk(releaser, end, log);
            position = end;
            if (releaser.release(end)) unpark(threads, PRODUCER);
            continue;
          }
          parker.prepare();
          if (Atomics.load(done, 0) !== position) parker.cancel();
          else parker.wait(Infinity);
        }
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["releaser"], [1, 2, 3, 4, 5, 6]);
      const taken = logs["taker"] as number[];
      for (let index = 0; index < taken.length; index += 2) {
        const first = taken[index + 1] as number;
        assert.ok([1, 2, 4, 5].includes(first), "each take begins with a group");
      }
    },
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario({
    name: "byte ring: a producer that dies leaves whole groups",
    setUp,
    threads: {
      producer(shared) {
        const producer = new ByteRingProducer(shared.ring);
        let next = 1;
        for (let group = 0; group < 2; group += 1) {
          const frames = GROUPS[group] as Frame[];
          if (stageGroup(producer, frames, next)) producer.commit();
          next += frames.length;
        }
      },
      taker({ ring }, log) {
        const taker = new ByteRingTaker(ring);
        for (let attempt = 0; attempt < 3; attempt += 1) {
          log.push(taker.take(32, 8));
          taker.finish();
        }
      },
    },
    check({ ring }, { logs }) {
      const taken = (logs["taker"] as number[]).reduce((sum, frames) => sum + frames, 0);
      const rest = new ByteRingTaker(ring).take(32, 8);
      assert.ok([0, 1, 3].includes(taken + rest), `${taken} + ${rest} frames`);
    },
    kill: ["producer"],
    bounds: { preemptions: 2 },
  }),
];

const FILE = "shared-memory/byte-ring";

export const mutants: Mutant[] = [
  {
    breaks: "a frame is committed as soon as it is staged",
    file: FILE,
    from: "this.#staged = (this.#staged + needed) | 0;",
    to: "this.#staged = (this.#staged + needed) | 0;\n        this.commit();",
  },
  {
    breaks: "TAIL is stored by a plain store",
    file: FILE,
    from: "Atomics.store(this.#words, TAIL, this.#staged);",
    to: "this.#words[TAIL] = this.#staged;",
  },
  {
    breaks: "the producer doesn't look again after it has asked for room",
    file: FILE,
    from: "this.#wantsRoom = true;\n            this.#releasedSeen = Atomics.load(this.#words, RELEASED);",
    to: "this.#wantsRoom = true;",
  },
  {
    breaks: "the producer doesn't ask for room",
    file: FILE,
    from: "Atomics.store(this.#words, WANTED, 1);",
    to: "",
  },
  {
    breaks: "the releaser looks who waits before it has released",
    file: FILE,
    from: "Atomics.store(this.#words, RELEASED, end);\n        return Atomics.load(this.#words, WANTED) !== 0;",
    to: "const wanted = Atomics.load(this.#words, WANTED);\n        Atomics.store(this.#words, RELEASED, end);\n        return wanted !== 0;",
  },
  {
    breaks: "one byte too many fits",
    file: FILE,
    from: "if (((end - this.#releasedSeen) | 0) <= this.capacity)",
    to: "if (((end - this.#releasedSeen) | 0) <= this.capacity + 8)",
  },
  {
    breaks: "the gap at the end isn't counted",
    file: FILE,
    from: "size <= untilEnd ? size : untilEnd + size",
    to: "size",
  },
  {
    breaks: "the gap at the end isn't marked",
    file: FILE,
    from: "this.#words[(FRAMES_OFFSET + start) >> 2] = SKIP;",
    to: "",
  },
  {
    breaks: "half a group is taken",
    file: FILE,
    from: "if (!frameContinues(word))",
    to: "if (true)",
  },
  {
    breaks: "frames that were rolled back stay",
    file: FILE,
    from: "this.#staged = this.#committed;\n    }\n    /** Bytes that are committed",
    to: "}\n    /** Bytes that are committed",
  },
  {
    breaks: "room is compared without the wrap",
    file: FILE,
    from: "this.#releasedSeen = Atomics.load(this.#words, RELEASED);\n        if (((end - this.#releasedSeen) | 0) > this.capacity) {",
    to: "this.#releasedSeen = Atomics.load(this.#words, RELEASED);\n        if (end - this.#releasedSeen > this.capacity) {",
  },
  {
    breaks: "the taker compares positions instead of their difference",
    file: FILE,
    from: "while (position !== tail) {",
    to: "while (position < tail) {",
  },
];
