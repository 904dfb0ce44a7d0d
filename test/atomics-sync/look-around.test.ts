// How long a thread without work looks for some before it sleeps.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LookAround } from "@millrace/atomics-sync/kernel";

const LONGEST_MS = 0.05;

test("a look that pays makes the next twice as long, one in vain half as long", () => {
  const looks = new LookAround(LONGEST_MS, 0);
  assert.is(looks.budget(), LONGEST_MS);
  looks.looked(false);
  assert.is(looks.budget(), LONGEST_MS / 2);
  for (let look = 0; look < 20; look += 1) looks.looked(false);
  assert.is(looks.budget(), LONGEST_MS * 0.04);
  for (const longer of [0.08, 0.16, 0.32, 0.64, 1, 1]) {
    looks.looked(true);
    assert.is(looks.budget(), LONGEST_MS * longer);
  }
});

/** The looks' average length where one in `every` pays. */
function averageMs(every: number): number {
  const looks = new LookAround(LONGEST_MS, 0);
  let sum = 0;
  for (let look = 1; look <= 1000; look += 1) {
    sum += looks.budget();
    looks.looked(look % every === 0);
  }
  return sum / 1000;
}

test("looks that mostly are in vain get short, and stay long where most of them pay", () => {
  assert.ok(averageMs(3) < LONGEST_MS * 0.1);
  const looks = new LookAround(LONGEST_MS, 0);
  for (let look = 1; look <= 1000; look += 1) {
    looks.looked(look % 3 !== 0);
    assert.ok(looks.budget() >= LONGEST_MS / 2);
  }
});

test("after many looks in vain there is one long one, and what comes of it decides", () => {
  const looks = new LookAround(LONGEST_MS, 0);
  const untilTrial = (): number => {
    let short = 0;
    for (; looks.budget() < LONGEST_MS; short += 1) looks.looked(false);
    return short;
  };
  looks.looked(false);
  assert.is(untilTrial(), 63);
  looks.looked(false);
  assert.is(looks.budget(), LONGEST_MS * 0.04, "it was in vain: short ones again");
  assert.is(untilTrial(), 64);
  looks.looked(true);
  looks.looked(false);
  assert.is(looks.budget(), LONGEST_MS / 2, "it has paid: as in the beginning");
});

test("no look is shorter than the user wants", () => {
  const looks = new LookAround(LONGEST_MS, 1);
  for (let look = 0; look < 200; look += 1) {
    assert.is(looks.budget(), 1);
    looks.looked(look % 7 === 0);
  }
});

test.run();
