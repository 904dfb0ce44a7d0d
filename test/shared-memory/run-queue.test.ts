import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  EMPTY,
  LINE_WORDS,
  RETRY,
  RunQueue,
  runQueueLength,
  type RunQueuePlace,
  runQueueSnapshot,
  runQueueWords,
} from "@millrace/shared-memory";
import type { RunQueueEnd, RunQueueResult } from "../fixtures/run-queue-ends.ts";
import { runThreads } from "../fixtures/threads.ts";
import { throwsWith } from "../support.ts";

const GUARD = 0x5ca1ab1e;

/** A queue between two lines of guards, whose counters begin at `start`. */
function queueAt(capacity: number, start = 0): RunQueuePlace {
  const base = LINE_WORDS;
  const end = base + runQueueWords(capacity);
  const words = new Int32Array(new SharedArrayBuffer((end + LINE_WORDS) * 4)).fill(GUARD, 0, base).fill(GUARD, end);
  words[base] = start;
  words[base + LINE_WORDS] = start;
  return { words, base, capacity };
}

function assertGuards({ words, base, capacity }: RunQueuePlace): void {
  const around = [...words.subarray(0, base), ...words.subarray(base + runQueueWords(capacity))];
  assert.ok(
    around.length === 2 * LINE_WORDS && around.every((word) => word === GUARD),
    "nothing was written beside the queue",
  );
}

/** The entries at `place` that everybody can see. */
function waitingAt(place: RunQueuePlace): number[] {
  const into = new Int32Array(place.capacity);
  return [...into.subarray(0, runQueueSnapshot(place, into))];
}

function filled(place: RunQueuePlace, entries: readonly number[]): RunQueue {
  const queue = new RunQueue(place);
  for (const entry of entries) assert.ok(queue.push(entry));
  queue.publish();
  return queue;
}

/** Calls `meanwhile` in the midst of `run`: just before its next use of this atomic operation. */
function interrupted<Result>(operation: "load" | "compareExchange", meanwhile: () => void, run: () => Result): Result {
  const original = Atomics[operation] as (...values: unknown[]) => number;
  const atomics = Atomics as unknown as Record<string, unknown>;
  let isInterrupted = false;
  atomics[operation] = (...values: unknown[]): number => {
    atomics[operation] = original;
    isInterrupted = true;
    // A load has been done already when the others get their turn.
    if (operation === "compareExchange") meanwhile();
    const result = original.apply(Atomics, values);
    if (operation === "load") meanwhile();
    return result;
  };
  try {
    return run();
  } finally {
    atomics[operation] = original;
    assert.ok(isInterrupted, `${operation} was used`);
  }
}

/** A queue as arrays. */
class Model {
  readonly capacity: number;
  waiting: number[] = [];
  unpublished: number[] = [];

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.waiting.length + this.unpublished.length;
  }

  push(entry: number): boolean {
    if (this.length === this.capacity) return false;
    this.unpublished.push(entry);
    return true;
  }

  publish(): void {
    this.waiting.push(...this.unpublished);
    this.unpublished = [];
  }

  takeFrom(victim: Model, parts: number, most: number): number {
    const room = this.capacity - this.length;
    const share = victim.waiting.splice(0, Math.min(Math.ceil(victim.waiting.length / parts), most, room + 1));
    const first = share.shift();
    if (first === undefined) return EMPTY;
    if (share.length > 0) {
      this.unpublished.push(...share);
      this.publish();
    }
    return first;
  }
}

const start = fc.oneof(
  fc.integer({ min: 2 ** 32 - 12, max: 2 ** 32 - 1 }),
  fc.integer({ min: 2 ** 31 - 12, max: 2 ** 31 - 1 }),
  fc.constant(0),
);
const shapes = fc.array(fc.record({ capacity: fc.constantFrom(1, 2, 4, 8, 64), start }), {
  minLength: 3,
  maxLength: 3,
});
const who = fc.nat({ max: 2 });
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("push" as const), who, times: fc.integer({ min: 1, max: 5 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom("publish" as const, "pop" as const, "pop" as const), who }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("takeFrom" as const),
      who,
      other: fc.constantFrom(1, 2),
      parts: fc.integer({ min: 1, max: 4 }),
      most: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("replace owner" as const), who }) },
);

test("any sequence of operations on three queues behaves like arrays", () => {
  fc.assert(
    fc.property(shapes, fc.array(step, { minLength: 1, maxLength: 100 }), (three, steps) => {
      const places = three.map((each) => queueAt(each.capacity, each.start));
      const queues = places.map((place) => new RunQueue(place));
      const models = three.map(({ capacity }) => new Model(capacity));
      let next = 0;
      for (const each of steps) {
        const queue = queues[each.who] as RunQueue;
        const model = models[each.who] as Model;
        if (each.kind === "push") {
          for (let time = 0; time < each.times; time += 1) {
            assert.is(queue.push(next), model.push(next));
            next += 1;
          }
        } else if (each.kind === "publish") {
          queue.publish();
          model.publish();
        } else if (each.kind === "pop") {
          // Owners take back only what they have published.
          queue.publish();
          model.publish();
          assert.is(queue.pop(), model.waiting.shift() ?? EMPTY);
        } else if (each.kind === "takeFrom") {
          const victim = (each.who + each.other) % 3;
          const lengthBefore = model.length;
          const expected = model.takeFrom(models[victim] as Model, each.parts, each.most);
          assert.is(queue.takeFrom(places[victim] as RunQueuePlace, each.parts, each.most), expected);
          if (expected !== EMPTY) assert.is(queue.moved, model.length - lengthBefore);
        } else {
          // Entries that were pushed and not published die with the owner.
          queues[each.who] = new RunQueue(places[each.who] as RunQueuePlace);
          model.unpublished = [];
        }
        places.forEach((place, index) => {
          assert.equal(waitingAt(place), (models[index] as Model).waiting);
          assert.is(runQueueLength(place), (models[index] as Model).waiting.length);
          assert.is((queues[index] as RunQueue).length(), (models[index] as Model).length);
        });
      }
      places.forEach(assertGuards);
    }),
    { numRuns: 2000 },
  );
});

test("an entry is any 32-bit number that is no status, and comes back as it was", () => {
  const place = queueAt(4);
  const queue = filled(place, [0, 1, 2 ** 31 - 1, -(2 ** 31)]);
  assert.equal([queue.pop(), queue.pop(), queue.pop(), queue.pop()], [0, 1, 2 ** 31 - 1, -(2 ** 31)]);
  assert.is(queue.pop(), EMPTY);
});

test("nobody sees an entry before it is published", () => {
  const place = queueAt(4);
  const owner = new RunQueue(place);
  const thief = new RunQueue(queueAt(4));
  assert.ok(owner.push(7));
  assert.is(thief.takeFrom(place, 1, 4), EMPTY);
  assert.is(runQueueLength(place), 0);
  owner.publish();
  assert.is(runQueueLength(place), 1);
  assert.is(thief.takeFrom(place, 1, 4), 7);
});

test("a full queue still takes one entry from another, for its owner to run at once", () => {
  const place = queueAt(4);
  filled(place, [1, 2, 3, 4]);
  const thiefPlace = queueAt(2);
  const thief = filled(thiefPlace, [8, 9]);
  assert.is(thief.takeFrom(place, 1, 4), 1);
  assert.equal(waitingAt(place), [2, 3, 4]);
  assert.equal(waitingAt(thiefPlace), [8, 9]);
});

test("a snapshot into a smaller array takes the oldest entries", () => {
  const place = queueAt(8, 2 ** 32 - 2);
  filled(place, [1, 2, 3, 4, 5]);
  const into = new Int32Array(3);
  assert.is(runQueueSnapshot(place, into), 3);
  assert.equal([...into], [1, 2, 3]);
});

test("an overtaken thief gets RETRY, and takes nothing", () => {
  const place = queueAt(8);
  filled(place, [1, 2, 3, 4, 5, 6]);
  const thiefPlace = queueAt(8);
  const thief = filled(thiefPlace, [10]);
  const other = new RunQueue(queueAt(8));
  let othersEntry = EMPTY;
  const outcome = interrupted(
    "compareExchange",
    () => (othersEntry = other.takeFrom(place, 6, 1)),
    () => thief.takeFrom(place, 1, 4),
  );
  assert.is(outcome, RETRY);
  assert.is(othersEntry, 1);
  assert.equal(waitingAt(place), [2, 3, 4, 5, 6]);
  assert.equal(waitingAt(thiefPlace), [10]);
  assert.is(thief.length(), 1);
  // The same call succeeds at once, and what it takes lies behind what was there.
  assert.is(thief.takeFrom(place, 1, 4), 2);
  assert.equal(waitingAt(thiefPlace), [10, 3, 4, 5]);
});

test("a thief whose entries the owner has taken and overwritten meanwhile gets RETRY", () => {
  const place = queueAt(4);
  const owner = filled(place, [1, 2, 3, 4]);
  const thiefPlace = queueAt(4);
  const thief = new RunQueue(thiefPlace);
  const ownersEntries: number[] = [];
  const outcome = interrupted(
    "compareExchange",
    () => {
      for (let entry = 5; entry <= 8; entry += 1) {
        ownersEntries.push(owner.pop());
        assert.ok(owner.push(entry));
      }
      owner.publish();
    },
    () => thief.takeFrom(place, 1, 4),
  );
  assert.is(outcome, RETRY);
  assert.equal(ownersEntries, [1, 2, 3, 4]);
  assert.equal(waitingAt(place), [5, 6, 7, 8]);
  assert.equal(waitingAt(thiefPlace), []);
});

test("a thief that sees head and tail of different times gets RETRY", () => {
  const place = queueAt(2);
  const owner = filled(place, [1, 2]);
  const thief = new RunQueue(queueAt(2));
  const outcome = interrupted(
    "load",
    () => {
      // The thief has read HEAD. When it reads TAIL, that is more than a lap ahead.
      assert.equal([owner.pop(), owner.pop()], [1, 2]);
      assert.ok(owner.push(3) && owner.push(4));
      owner.publish();
    },
    () => thief.takeFrom(place, 1, 2),
  );
  assert.is(outcome, RETRY);
  assert.equal(waitingAt(place), [3, 4]);
});

test("an owner that is overtaken by a thief pops the entry behind", () => {
  const place = queueAt(4);
  const owner = filled(place, [1, 2, 3]);
  const thief = new RunQueue(queueAt(4));
  let thiefsEntry = EMPTY;
  const popped = interrupted(
    "compareExchange",
    () => (thiefsEntry = thief.takeFrom(place, 3, 1)),
    () => owner.pop(),
  );
  assert.is(thiefsEntry, 1);
  assert.is(popped, 2);
  assert.equal(waitingAt(place), [3]);
});

test("an owner whose last entry a thief takes in the midst of pop gets EMPTY", () => {
  const place = queueAt(4);
  const owner = filled(place, [1]);
  const thief = new RunQueue(queueAt(4));
  let thiefsEntry = EMPTY;
  const popped = interrupted(
    "compareExchange",
    () => (thiefsEntry = thief.takeFrom(place, 1, 1)),
    () => owner.pop(),
  );
  assert.is(thiefsEntry, 1);
  assert.is(popped, EMPTY);
});

test("a capacity that is no power of two is refused", () => {
  for (const capacity of [0, 3, 100, -4]) throwsWith(() => runQueueWords(capacity), "ERR_INVARIANT");
});

for (const capacity of [2, 16]) {
  test(`an owner and two thieves take every entry exactly once, through queues of ${capacity}`, async () => {
    const entriesMin = 150_000;
    const entriesEach = 1000;
    // The counters wrap on the way.
    const places = [0, 1, 2].map(() => queueAt(capacity, 2 ** 32 - 500));
    const [begun, done, takenBy, seen] = [1, 1, 3, 2_000_000].map(
      (words) => new Int32Array(new SharedArrayBuffer(words * 4)),
    ) as [Int32Array, Int32Array, Int32Array, Int32Array];
    const ends = places.map((_, thread): RunQueueEnd => ({
      thread,
      places,
      begun,
      done,
      takenBy,
      seen,
      entriesMin,
      entriesEach,
    }));
    const results = await runThreads<RunQueueResult>("run-queue-ends", ends);

    const pushed = results[0]?.pushed ?? 0;
    assert.ok(pushed >= entriesMin);
    const lost = seen.subarray(0, pushed).filter((times) => times === 0).length;
    const twice = seen.subarray(0, pushed).filter((times) => times > 1).length;
    const neverPushed = seen.subarray(pushed).filter((times) => times > 0).length;
    assert.equal({ lost, twice, neverPushed }, { lost: 0, twice: 0, neverPushed: 0 });
    assert.is(
      results.reduce((sum, { taken }) => sum + taken, 0),
      pushed,
    );
    for (const { strangers } of results) assert.is(strangers, 0);
    for (const { taken } of results.slice(1)) assert.ok(taken >= entriesEach, "both thieves took part");
    for (const place of places) {
      assert.is(runQueueLength(place), 0);
      assertGuards(place);
    }
  });
}

test.run();
