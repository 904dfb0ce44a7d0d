import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  EMPTY,
  FULL,
  LINE_WORDS,
  SpscConsumer,
  SpscProducer,
  spscRingLength,
  type SpscRingPlace,
  spscRingSnapshot,
  spscRingWords,
} from "@millrace/shared-memory";
import type { SpscEnd, SpscResult } from "../fixtures/spsc-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { throwsWith } from "../support.ts";

/** The words around a ring, which must not change. */
const GUARD = 0x5ca1ab1e;

/** A ring between two lines of guards, whose counters begin at `start`. */
function ringAt(capacity: number, width: number, start: number): SpscRingPlace {
  const base = LINE_WORDS;
  const end = base + spscRingWords(capacity, width);
  const words = new Int32Array(new SharedArrayBuffer((end + LINE_WORDS) * 4)).fill(GUARD, 0, base).fill(GUARD, end);
  words[base] = start;
  words[base + LINE_WORDS] = start;
  return { words, base, capacity, width };
}

function assertGuards({ words, base, capacity, width }: SpscRingPlace): void {
  const around = [...words.subarray(0, base), ...words.subarray(base + spscRingWords(capacity, width))];
  assert.ok(
    around.length === 2 * LINE_WORDS && around.every((word) => word === GUARD),
    "nothing was written beside the ring",
  );
}

/** Counters just before they wrap at 2^32, before they change sign, and at the start. */
const start = fc.oneof(
  fc.integer({ min: 2 ** 32 - 12, max: 2 ** 32 - 1 }),
  fc.integer({ min: 2 ** 31 - 12, max: 2 ** 31 - 1 }),
  fc.constant(0),
);
const shape = fc.record({ capacity: fc.constantFrom(1, 2, 4, 8), width: fc.integer({ min: 1, max: 4 }), start });
const step = fc.constantFrom(
  "stage" as const,
  "stage" as const,
  "stage" as const,
  "publish" as const,
  "consume" as const,
  "consume" as const,
  "consume" as const,
  "release" as const,
  "replace producer" as const,
  "replace consumer" as const,
);

test("any sequence of operations behaves like an array of at most capacity records", () => {
  fc.assert(
    fc.property(shape, fc.array(step, { minLength: 1, maxLength: 120 }), ({ capacity, width, start: from }, steps) => {
      const place = ringAt(capacity, width, from);
      const { words } = place;
      let producer = new SpscProducer(place);
      let consumer = new SpscConsumer(place);
      // The numbers of all records from the oldest that isn't released; `published` and `consumed`
      // count from there.
      let records: number[] = [];
      let published = 0;
      let consumed = 0;
      let next = 1;
      for (const each of steps) {
        if (each === "stage") {
          const word = producer.stage();
          assert.is(word === FULL, records.length === capacity);
          if (word === FULL) continue;
          for (let index = 0; index < width; index += 1) words[word + index] = next * width + index;
          records.push(next);
          next += 1;
        } else if (each === "publish") {
          producer.publish();
          published = records.length;
        } else if (each === "consume") {
          const word = consumer.peek();
          assert.is(word === EMPTY, consumed === published);
          if (word === EMPTY) continue;
          const record = records[consumed] as number;
          assert.equal(
            [...words.subarray(word, word + width)],
            Array.from({ length: width }, (_, index) => record * width + index),
          );
          assert.is(consumer.peek(), word, "peek shows the same record until advance");
          consumer.advance();
          consumed += 1;
        } else if (each === "release") {
          consumer.release();
          records = records.slice(consumed);
          published -= consumed;
          consumed = 0;
        } else if (each === "replace producer") {
          // Values that were staged and not published die with the producer.
          producer = new SpscProducer(place);
          records = records.slice(0, published);
        } else {
          // Values that were consumed and not released come again.
          consumer = new SpscConsumer(place);
          consumed = 0;
        }
        assert.is(spscRingLength(place), published);
        const firstWords = new Int32Array(capacity);
        assert.is(spscRingSnapshot(place, firstWords), published);
        assert.equal(
          [...firstWords.subarray(0, published)],
          records.slice(0, published).map((record) => record * width),
        );
      }
      assertGuards(place);
    }),
    { numRuns: 2000 },
  );
});

test("a ring whose records were consumed but not released is still full", () => {
  const place = ringAt(2, 1, 0);
  const producer = new SpscProducer(place);
  const consumer = new SpscConsumer(place);
  for (let record = 0; record < 2; record += 1) assert.is.not(producer.stage(), FULL);
  producer.publish();
  assert.is.not(consumer.peek(), EMPTY);
  consumer.advance();
  assert.is(producer.stage(), FULL);
  consumer.release();
  assert.is.not(producer.stage(), FULL);
  assert.is(producer.stage(), FULL);
});

test("the counters lie on lines of their own, and the ring ends on one", () => {
  for (const capacity of [1, 2, 64, 1024]) {
    for (const width of [1, 3, 4]) {
      const wordCount = spscRingWords(capacity, width);
      assert.is(wordCount % LINE_WORDS, 0);
      assert.ok(wordCount >= 2 * LINE_WORDS + capacity * width);
    }
  }
});

test("a capacity that is no power of two is refused", () => {
  for (const capacity of [0, 3, 6, 100, -4]) throwsWith(() => spscRingWords(capacity, 1), "ERR_INVARIANT");
});

for (const [capacity, width] of [
  [1, 1],
  [4, 3],
  [64, 4],
] as const) {
  test(`two threads hand over 200,000 records in order and intact, ${capacity} at a time, ${width} words each`, async () => {
    const records = 200_000;
    // The counters wrap on the way.
    const place = ringAt(capacity, width, 2 ** 32 - 100_000);
    const ends: SpscEnd[] = [
      { role: "producer", place, records, seed: 1 },
      { role: "consumer", place, records, seed: 2 },
    ];
    // The consumer compares every record and fails at the first that is wrong.
    const [produced, consumed] = (await runThreads<SpscResult>("spsc-ends", ends)) as [SpscResult, SpscResult];
    assert.is(produced.records, records);
    assert.is(consumed.records, records);
    assert.is(spscRingLength(place), 0);
    assert.is(new SpscConsumer(place).peek(), EMPTY);
    assertGuards(place);
  });
}

test.run();
