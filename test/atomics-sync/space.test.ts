import { test } from "uvu";
import * as assert from "uvu/assert";
import { ThreadTable } from "@millrace/atomics-sync";
// Internal to the package; only its own tests reach for it.
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";

const SPINS = 10;

function spaceWith(spins: number): SyncSpace {
  const threads = new ThreadTable(ThreadTable.allocate(1));
  return new SyncSpace(SyncSpace.allocate({ cells: 1, chunks: 1, chunkNodes: 1 }, 1), threads, threads.reserve(), {
    spins,
  });
}

const LONGEST = SPINS * 50;

/**
 * Waits that end in sleep, until one is to look for the longest time; how many there were, at most
 * 1000.
 */
function sleepsUntilTrial(space: SyncSpace): number {
  let sleeps = 0;
  while (space.looksBeforeSleep() < LONGEST && sleeps < 1000) {
    space.hasLooked(SPINS, false);
    sleeps += 1;
  }
  return sleeps;
}

test("a thread that nobody answers soon tries a long look only now and then", () => {
  const space = spaceWith(SPINS);
  assert.is(space.looksBeforeSleep(), SPINS);
  const sleeps = sleepsUntilTrial(space);
  assert.ok(sleeps >= 10 && sleeps < 1000, `${sleeps} sleeps`);
  space.hasLooked(LONGEST, false);
  assert.ok(space.looksBeforeSleep() <= SPINS * 2, "in vain: short looks again");
  assert.is(sleepsUntilTrial(space), sleeps, "as long until the next trial");
});

test("a long look that paid is kept up, and shrinks once it doesn't pay any more", () => {
  const space = spaceWith(SPINS);
  sleepsUntilTrial(space);
  space.hasLooked(SPINS * 20, true);
  assert.is(space.looksBeforeSleep(), LONGEST);
  space.hasLooked(1, true);
  assert.is(space.looksBeforeSleep(), LONGEST, "an answer at once changes nothing");
  space.hasLooked(LONGEST, false);
  assert.is(space.looksBeforeSleep(), LONGEST / 2);
});

test("a thread that is not to look never does", () => {
  const space = spaceWith(0);
  for (let sleep = 0; sleep < 1000; sleep += 1) {
    assert.is(space.looksBeforeSleep(), 0);
    space.hasLooked(0, false);
  }
});

test.run();
