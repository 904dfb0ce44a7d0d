// Records that stand in line behind others of their key.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { World } from "./delivery-harness.ts";

const KEYS = 3;
const RECORDS = 60;

/** Counts the records that are read back from the log, from now on. */
function countReads({ log }: World): () => number {
  const walkOf = log.walk.bind(log);
  let reads = 0;
  log.walk = () => {
    const walk = walkOf();
    return {
      ...walk,
      next: () => {
        reads += 1;
        return walk.next();
      },
    };
  };
  return () => reads;
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
  assert.is(reads(), 0);
});

test("where memory has no room for more of them, those that came last are read again", () => {
  const world = new World({ pay: {} }, { jobsBytesMax: 10 * 1200 });
  const reads = countReads(world);
  const begun = runAll(world, RECORDS);
  assert.is(new Set(begun).size, RECORDS);
  // Were the first ones let go of, each would be read again in its turn.
  assert.ok(reads() > 0 && reads() < RECORDS - KEYS, `${reads()} reads`);
});

test("a record that is over before its turn leaves the memory to others", () => {
  const world = new World({ pay: {} }, { jobsBytesMax: 2 * 1200 });
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
  assert.is(reads(), 0);
});

test.run();
