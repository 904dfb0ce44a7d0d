/** The run queue: its owner pushes and pops, others take from its head. */
import * as assert from "uvu/assert";
import {
  EMPTY,
  RETRY,
  RunQueue,
  runQueueLength,
  type RunQueuePlace,
  runQueueSnapshot,
  runQueueWords,
} from "@millrace/shared-memory";
import { type Mutant, NEAR_WRAP, scenario, type Scenario } from "../api.ts";
import { STALE_ENTRY } from "../fixtures/races.ts";

/** Words between the starts of two queues in the same memory. */
const STRIDE = 128;

function queues(capacity: number, count: number): RunQueuePlace[] {
  const words = new Int32Array(new SharedArrayBuffer(STRIDE * count * 4));
  assert.ok(runQueueWords(capacity) <= STRIDE);
  const places: RunQueuePlace[] = [];
  for (let index = 0; index < count; index += 1) {
    const base = index * STRIDE;
    words[base] = NEAR_WRAP;
    words[base + 32] = NEAR_WRAP;
    places.push({ words, base, capacity });
  }
  return places;
}

/** All that is left in the queues. */
function rest(places: readonly RunQueuePlace[]): number[] {
  const entries: number[] = [];
  const into = new Int32Array(16);
  for (let index = 0; index < places.length; index += 1) {
    const count = runQueueSnapshot(places[index] as RunQueuePlace, into);
    for (let entry = 0; entry < count; entry += 1) entries.push(into[entry] as number);
  }
  return entries;
}

function sorted(...lists: readonly (readonly unknown[])[]): number[] {
  return (lists.flat() as number[]).toSorted((a, b) => a - b);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "run queue: owner and a thief, every entry once",
    setUp: () => queues(2, 2),
    threads: {
      owner(places, log) {
        const queue = new RunQueue(places[0] as RunQueuePlace);
        for (let entry = 1; entry <= 5; entry += 1) {
          if (!queue.push(entry)) {
            const taken = queue.pop();
            if (taken !== EMPTY) log.push(taken);
            if (!queue.push(entry)) log.push(entry);
          }
          queue.publish();
        }
        const taken = queue.pop();
        if (taken !== EMPTY) log.push(taken);
      },
      thief(places, log) {
        const own = new RunQueue(places[1] as RunQueuePlace);
        for (let attempt = 0; attempt < 2; attempt += 1) {
          const entry = own.takeFrom(places[0] as RunQueuePlace, 2, 2);
          if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        }
        const moved = own.pop();
        if (moved !== EMPTY) log.push(moved);
      },
    },
    check(places, { logs }) {
      assert.equal(sorted(logs["owner"] as number[], logs["thief"] as number[], rest(places)), [1, 2, 3, 4, 5]);
    },
    races: [STALE_ENTRY],
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "run queue: two thieves that also take from each other",
    setUp: () => queues(4, 3),
    threads: {
      owner(places, log) {
        const queue = new RunQueue(places[0] as RunQueuePlace);
        for (let entry = 1; entry <= 4; entry += 1) queue.push(entry);
        queue.publish();
        const taken = queue.pop();
        if (taken !== EMPTY) log.push(taken);
      },
      first(places, log) {
        const own = new RunQueue(places[1] as RunQueuePlace);
        const entry = own.takeFrom(places[0] as RunQueuePlace, 2, 4);
        if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        const taken = own.pop();
        if (taken !== EMPTY) log.push(taken);
      },
      second(places, log) {
        const own = new RunQueue(places[2] as RunQueuePlace);
        for (let victim = 1; victim >= 0; victim -= 1) {
          const entry = own.takeFrom(places[victim] as RunQueuePlace, 1, 4);
          if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        }
      },
    },
    check(places, { logs }) {
      const lists = [logs["owner"], logs["first"], logs["second"]] as number[][];
      assert.equal(sorted(...lists, rest(places)), [1, 2, 3, 4]);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "run queue: entries that aren't published yet, and a thief with little room",
    setUp: () => [...queues(4, 1), ...queues(2, 1)],
    threads: {
      owner(places, log) {
        const queue = new RunQueue(places[0] as RunQueuePlace);
        for (let entry = 1; entry <= 4; entry += 1) queue.push(entry);
        log.push(queue.pop());
        queue.push(5);
        log.push(queue.pop());
      },
      thief(places, log) {
        const own = new RunQueue(places[1] as RunQueuePlace);
        own.push(6);
        const entry = own.takeFrom(places[0] as RunQueuePlace, 1, 4);
        if (entry !== EMPTY && entry !== RETRY) log.push(entry);
        assert.ok(runQueueLength(places[0] as RunQueuePlace) >= 0, "HEAD never passes TAIL");
        assert.ok(own.length() <= 2);
        own.publish();
      },
    },
    check(places, { logs }) {
      const taken = [...(logs["owner"] as number[]), ...(logs["thief"] as number[])].filter((entry) => entry !== EMPTY);
      assert.equal(sorted(taken, rest(places)), [1, 2, 3, 4, 5, 6]);
    },
    races: [STALE_ENTRY],
    bounds: { preemptions: 3 },
  }),
];

const FILE = "shared-memory/run-queue";

export const mutants: Mutant[] = [
  {
    breaks: "the owner pops without a compare-and-swap",
    file: FILE,
    from: "const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + 1) | 0);",
    to: "const seen = head;\n            Atomics.store(this.#words, this.#base + HEAD, (head + 1) | 0);",
  },
  {
    breaks: "a thief doesn't look whether its exchange of HEAD succeeded",
    file: FILE,
    from: "if (Atomics.compareExchange(victim.words, victim.base + HEAD, head, (head + count) | 0) !== head) {",
    to: "if (Atomics.compareExchange(victim.words, victim.base + HEAD, head, (head + count) | 0) === -99) {",
  },
  {
    breaks: "a thief that lost keeps what it copied",
    file: FILE,
    from: "this.#tail = tail;\n            return RETRY;",
    to: "return RETRY;",
  },
  {
    breaks: "a thief moves HEAD before it has copied",
    file: FILE,
    from: "const tail = this.#tail;\n        const first =",
    to: "const tail = this.#tail;\n        if (Atomics.compareExchange(victim.words, victim.base + HEAD, head, (head + 1) | 0) !== head)\n            return RETRY;\n        if (count === 1)\n            return victim.words[victim.base + ENTRIES + (head & (victim.capacity - 1))];\n        const first =",
  },
  {
    breaks: "the owner pushes into a full queue",
    file: FILE,
    from: "if (((tail - this.#headSeen) | 0) >= this.#capacity)\n                return false;",
    to: "",
  },
  {
    breaks: "room is compared without the wrap",
    file: FILE,
    from: "if (((tail - this.#headSeen) | 0) >= this.#capacity)\n                return false;",
    to: "if (tail - this.#headSeen >= this.#capacity)\n                return false;",
  },
  {
    breaks: "TAIL is stored by a plain store",
    file: FILE,
    from: "Atomics.store(this.#words, this.#base + TAIL, this.#tail);",
    to: "this.#words[this.#base + TAIL] = this.#tail;",
  },
  {
    breaks: "TAIL is stored before the entries are there",
    file: FILE,
    from: "this.#words[this.#base + ENTRIES + (tail & (this.#capacity - 1))] = entry;\n        this.#tail = (tail + 1) | 0;",
    to: "this.#tail = (tail + 1) | 0;\n        this.publish();\n        this.#words[this.#base + ENTRIES + (tail & (this.#capacity - 1))] = entry;",
  },
  {
    breaks: "the owner compares HEAD with what it has not published",
    file: FILE,
    from: "// HEAD never passes TAIL: others take their difference.\n        if (this.#published !== this.#tail)\n            this.publish();",
    to: "",
  },
  {
    breaks: "a popped entry is read after HEAD has moved",
    file: FILE,
    from: "const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + 1) | 0);\n            if (seen === head)\n                return entry;",
    to: "const seen = Atomics.compareExchange(this.#words, this.#base + HEAD, head, (head + 1) | 0);\n            if (seen === head)\n                return this.#words[this.#base + ENTRIES + ((head + 1) & (this.#capacity - 1))];",
  },
  {
    breaks: "a thief takes more than it has room for",
    file: FILE,
    from: "Math.min(Math.ceil(waiting / parts), most, room + 1)",
    to: "Math.min(Math.ceil(waiting / parts), most)",
  },
  {
    breaks: "a thief moves HEAD by one too many",
    file: FILE,
    from: "(head + count) | 0) !== head)",
    to: "(head + count + 1) | 0) !== head)",
  },
  {
    breaks: "a thief doesn't publish what it took",
    file: FILE,
    from: "if (count > 1)\n            this.publish();",
    to: "",
  },
];
