// Records that stand in line behind others of their key.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { World } from "./delivery-harness.ts";

const KEYS = 3;
const RECORDS = 60;

/** Counts what is read back from the log from now on: records, and ways back to earlier ones. */
function countReads({ log }: World): { records: number; waysBack: number } {
  const walkOf = log.walk.bind(log);
  const counts = { records: 0, waysBack: 0 };
  log.walk = () => {
    const walk = walkOf();
    return {
      ...walk,
      seek: (place) => {
        counts.waysBack += 1;
        walk.seek(place);
      },
      next: () => {
        counts.records += 1;
        return walk.next();
      },
    };
  };
  return counts;
}

/** Publishes to each key in turn; each record ends as soon as it is in hand. Returns the order. */
function runAll(world: World, records: number): number[] {
  const before = world.begun.length;
  for (let n = 0; n < records; n += 1) world.publish("pay", `key ${n % KEYS}`);
  for (let ended = before; ended < before + records;) {
    world.turn();
    const inHand = world.begun.slice(ended);
    assert.ok(inHand.length > 0, `${ended - before} of ${records} records have ended`);
    for (const origin of inHand) world.end(origin);
    ended += inHand.length;
  }
  return world.begun.slice(before);
}

test("records behind others of their key come back out of memory, in order", () => {
  const world = new World({ pay: {} });
  const reads = countReads(world);
  const begun = runAll(world, RECORDS);
  assert.equal(
    begun,
    Array.from({ length: RECORDS }, (_, index) => index + 1),
  );
  assert.equal(reads, { records: 0, waysBack: 0 });
});

/** Memory for about so many jobs, a quarter of it for records that are met on the way. */
const roomFor = (jobs: number): { jobsBytesMax: number } => ({ jobsBytesMax: jobs * 1200 });

test("where memory has no room for more of them, those that came last are read again", () => {
  const world = new World({ pay: {} }, roomFor(20));
  const reads = countReads(world);
  const begun = runAll(world, RECORDS);
  assert.is(new Set(begun).size, RECORDS);
  // Were the first ones let go of, each would be read again in its turn.
  assert.ok(reads.records > 0 && reads.records < RECORDS - KEYS, `${reads.records} reads`);
});

test("lines that go on by turns are read from front to back", () => {
  const world = new World({ pay: {} }, roomFor(10));
  const reads = countReads(world);
  for (let n = 0; n < 20; n += 1) for (const key of ["a", "b"]) world.publish("pay", key);
  world.turn();
  // Five of the one, then five of the other: each time back to where the other line was.
  for (let first = 1; first <= 40; first += 10) {
    for (const line of [first + 1, first]) {
      for (let origin = line; origin < first + 10; origin += 2) {
        assert.ok(world.isInHand(origin), `record ${origin}`);
        world.end(origin);
        world.turn();
      }
    }
  }
  assert.is(world.begun.length, 40);
  assert.ok(reads.records > 20, "memory doesn't hold all of them");
  // To the first one that memory has no room for, and once more to the other line.
  assert.is(reads.waysBack, 2);
});

test("a record that is over before its turn leaves the memory to others", () => {
  const world = new World({ pay: {} }, roomFor(3));
  world.publish("pay", "key");
  const expiresAtMs = world.wall + 1000;
  world.publish("pay", "key", { expiresAtMs });
  world.publish("pay", "key", { expiresAtMs });
  world.turn();
  world.advance(2000);
  world.end(1);
  world.turn();
  const reads = countReads(world);
  runAll(world, 2);
  assert.is(reads.records, 0);
});

test.run();
