/** The run queue's owner takes several entries at once, beside a thief. */
import * as assert from "uvu/assert";
import { EMPTY, RETRY, RunQueue, type RunQueuePlace, runQueueSnapshot, runQueueWords } from "@millrace/shared-memory";
import { type Mutant, NEAR_WRAP, scenario, type Scenario } from "../api.ts";

const CAPACITY = 4;

/** A queue of the owner's and one of the thief's, with counters that are about to wrap. */
function setUp(): RunQueuePlace[] {
  const stride = runQueueWords(CAPACITY);
  const words = new Int32Array(new SharedArrayBuffer(2 * stride * 4));
  return [0, stride].map((base) => {
    words[base] = NEAR_WRAP;
    words[base + 32] = NEAR_WRAP;
    return { words, base, capacity: CAPACITY };
  });
}

function takeMany(queue: RunQueue, most: number, log: unknown[]): void {
  const into = new Int32Array(CAPACITY);
  const count = queue.popMany(into, most);
  assert.ok(count <= most);
  for (let index = 0; index < count; index += 1) log.push(into[index]);
}

function rest(places: readonly RunQueuePlace[]): number[] {
  const into = new Int32Array(CAPACITY);
  return places.flatMap((place) => {
    const count = runQueueSnapshot(place, into);
    return Array.from(into.subarray(0, count));
  });
}

export const scenarios: Scenario[] = [
  scenario({
    name: "run queue: the owner takes two at once beside a thief, every entry once",
    setUp,
    threads: {
      owner(places, log) {
        const queue = new RunQueue(places[0] as RunQueuePlace);
        for (let entry = 1; entry <= 3; entry += 1) assert.ok(queue.push(entry));
        queue.publish();
        takeMany(queue, 2, log);
        // Not published yet: `popMany` does that.
        assert.ok(queue.push(4));
        takeMany(queue, 2, log);
      },
      thief(places, log) {
        const own = new RunQueue(places[1] as RunQueuePlace);
        for (let attempt = 0; attempt < 2; attempt += 1) {
          const entry = own.takeFrom(places[0] as RunQueuePlace, 2, 2);
          if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        }
        own.publish();
      },
    },
    check(places, { logs }) {
      const all = [...(logs["owner"] as number[]), ...(logs["thief"] as number[]), ...rest(places)];
      assert.equal(
        all.toSorted((a, b) => a - b),
        [1, 2, 3, 4],
      );
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "run queue: an owner that dies while it takes two leaves every entry once",
    setUp,
    threads: {
      owner(places, log) {
        const queue = new RunQueue(places[0] as RunQueuePlace);
        for (let entry = 1; entry <= 3; entry += 1) assert.ok(queue.push(entry));
        queue.publish();
        takeMany(queue, 2, log);
        log.push("took");
      },
      thief(places, log) {
        const own = new RunQueue(places[1] as RunQueuePlace);
        const entry = own.takeFrom(places[0] as RunQueuePlace, 2, 2);
        if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        own.publish();
      },
    },
    check(places, { logs, died }) {
      const owned = logs["owner"] as unknown[];
      const all = [...owned, ...(logs["thief"] as number[]), ...rest(places)].filter((each) => each !== "took");
      assert.is(new Set(all).size, all.length, "no entry twice");
      if (died.length === 0) assert.is(all.length, 3);
    },
    kill: ["owner"],
    bounds: { preemptions: 2 },
  }),
];

const FILE = "shared-memory/run-queue";

export const mutants: Mutant[] = [
  {
    breaks: "several entries are taken by a load and a store",
    file: FILE,
    from: "const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + count) | 0);\n            if (seen === head)\n                return count;",
    to: "const seen = Atomics.load(this.#words, this.#base + HEAD);\n            if (seen === head) {\n                Atomics.store(this.#words, this.#base + HEAD, (head + count) | 0);\n                return count;\n            }",
  },
  {
    breaks: "whoever lost the race for several entries keeps them",
    file: FILE,
    from: "if (seen === head)\n                return count;",
    to: "return count;",
  },
];
