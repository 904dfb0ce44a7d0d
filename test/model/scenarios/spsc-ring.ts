/** The ring between one producer and one consumer. */
import * as assert from "uvu/assert";
import {
  EMPTY,
  FULL,
  SpscConsumer,
  SpscProducer,
  type SpscRingPlace,
  spscRingLength,
  spscRingSnapshot,
  spscRingWords,
} from "@millrace/shared-memory";
import { join, type Mutant, NEAR_WRAP, scenario, type Scenario } from "../api.ts";

const CAPACITY = 2;
const ITEMS = 4;

/** A ring whose counters are about to wrap. */
function ringNearWrap(width: number): SpscRingPlace {
  const words = new Int32Array(new SharedArrayBuffer(spscRingWords(CAPACITY, width) * 4));
  words[0] = NEAR_WRAP;
  words[32] = NEAR_WRAP;
  return { words, base: 0, capacity: CAPACITY, width };
}

/** Sends 1, 2, … in as many attempts; how many it sent. */
function produce(place: SpscRingPlace, items: number, attempts: number): number {
  const ring = new SpscProducer(place);
  let sent = 0;
  for (let attempt = 0; attempt < attempts && sent < items; attempt += 1) {
    const word = ring.stage();
    if (word === FULL) continue;
    place.words[word] = sent + 1;
    place.words[word + 1] = -sent - 1;
    ring.publish();
    sent += 1;
  }
  return sent;
}

function consume(place: SpscRingPlace, log: unknown[], attempts: number): void {
  const ring = new SpscConsumer(place);
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const word = ring.peek();
    if (word === EMPTY) continue;
    log.push(place.words[word]);
    assert.is(place.words[word + 1], -(place.words[word] as number), "a record is whole");
    ring.advance();
    ring.release();
  }
}

/** The values that are left in the ring. */
function rest(place: SpscRingPlace): number[] {
  const into = new Int32Array(CAPACITY);
  const count = spscRingSnapshot(place, into);
  assert.is(count, spscRingLength(place));
  return [...into.subarray(0, count)];
}

export const scenarios: Scenario[] = [
  scenario({
    name: "spsc ring: one by one, over the wrap",
    setUp: () => ringNearWrap(2),
    threads: {
      producer: (place) => produce(place, ITEMS, ITEMS + 2),
      consumer: (place, log) => consume(place, log, ITEMS + 2),
    },
    check(place, { results, logs }) {
      // Every value that was sent is received in order, but for those still in the ring.
      const all = [...(logs["consumer"] as number[]), ...rest(place)];
      assert.equal(all, [1, 2, 3, 4].slice(0, results["producer"] as number));
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "spsc ring: a producer that dies leaves whole records, and another one goes on",
    setUp: () => ringNearWrap(2),
    threads: {
      producer: (place) => produce(place, 2, 2),
      successor(place) {
        join("producer");
        // Values that were staged and not published are gone.
        produce(place, 2, 2);
      },
      consumer: (place, log) => consume(place, log, 6),
    },
    check(place, { logs }) {
      const all = [...(logs["consumer"] as number[]), ...rest(place)];
      const expected = [
        [1, 2],
        [1, 1, 2],
        [1, 2, 1, 2],
        [1, 2, 1],
        [1, 1],
      ];
      assert.ok(
        expected.some((each) => String(each) === String(all)),
        String(all),
      );
    },
    kill: ["producer"],
    bounds: { preemptions: 2 },
  }),
];

const FILE = "shared-memory/spsc-ring";

export const mutants: Mutant[] = [
  {
    breaks: "a record is published before it is filled",
    file: FILE,
    from: "this.#tail = (tail + 1) | 0;\n        return",
    to: "this.#tail = (tail + 1) | 0;\n        this.publish();\n        return",
  },
  {
    breaks: "the producer doesn't look whether there is room",
    file: FILE,
    from: "return FULL;",
    to: "return this.#base + RECORDS + (tail & (this.#capacity - 1)) * this.#width;",
  },
  {
    breaks: "one record too many fits",
    file: FILE,
    from: "this.#headSeen = (this.#tail - place.capacity) | 0;",
    to: "this.#headSeen = this.#tail | 0;",
  },
  {
    breaks: "HEAD is seen ahead of what was released",
    file: FILE,
    from: "this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);",
    to: "this.#headSeen = (Atomics.load(this.#words, this.#base + HEAD) + 1) | 0;",
  },
  {
    breaks: "TAIL is published by a plain store",
    file: FILE,
    from: "Atomics.store(this.#words, this.#base + TAIL, this.#tail);",
    to: "this.#words[this.#base + TAIL] = this.#tail;",
  },
  {
    breaks: "TAIL is read by a plain load",
    file: FILE,
    from: "this.#tailSeen = Atomics.load(this.#words, this.#base + TAIL);",
    to: "this.#tailSeen = this.#words[this.#base + TAIL];",
  },
  {
    breaks: "HEAD is released by a plain store",
    file: FILE,
    from: "Atomics.store(this.#words, this.#base + HEAD, this.#head);",
    to: "this.#words[this.#base + HEAD] = this.#head;",
  },
  {
    breaks: "space is given back before the record was read",
    file: FILE,
    from: "return EMPTY;\n        }\n        return this.#base",
    to: "return EMPTY;\n        }\n        Atomics.store(this.#words, this.#base + HEAD, (this.#head + 1) | 0);\n        return this.#base",
  },
  {
    breaks: "differences of counters don't wrap",
    file: FILE,
    from: "this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);\n            if (((tail - this.#headSeen) | 0) >= this.#capacity)",
    to: "this.#headSeen = Atomics.load(this.#words, this.#base + HEAD);\n            if (tail - this.#headSeen >= this.#capacity)",
  },
  {
    breaks: "a record isn't stepped past",
    file: FILE,
    from: "this.#head = (this.#head + 1) | 0;",
    to: "this.#head = this.#head | 0;",
  },
];
