// How long a thread without work looks for some before it sleeps.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LookAround } from "@millrace/atomics-sync/kernel";

const LONGEST_MS = 0.05;

test("a look that pays stays long, one in vain makes the next half as long", () => {
  const looks = new LookAround(LONGEST_MS, 0);
  assert.is(looks.budgetMs(), LONGEST_MS);
  looks.looked(false);
  assert.is(looks.budgetMs(), LONGEST_MS / 2);
  for (let look = 0; look < 20; look += 1) looks.looked(false);
  assert.is(looks.budgetMs(), LONGEST_MS * 0.04);
  looks.looked(true);
  assert.is(looks.budgetMs(), LONGEST_MS);
});

test("after many looks in vain there is one long one, and what comes of it decides", () => {
  const looks = new LookAround(LONGEST_MS, 0);
  const untilTrial = (): number => {
    let short = 0;
    for (; looks.budgetMs() < LONGEST_MS; short += 1) looks.looked(false);
    return short;
  };
  looks.looked(false);
  assert.is(untilTrial(), 63);
  looks.looked(false);
  assert.is(looks.budgetMs(), LONGEST_MS * 0.04, "it was in vain: short ones again");
  assert.is(untilTrial(), 64);
  looks.looked(true);
  looks.looked(false);
  assert.is(looks.budgetMs(), LONGEST_MS / 2, "it has paid: as in the beginning");
});

test("no look is shorter than the user wants", () => {
  const looks = new LookAround(LONGEST_MS, 1);
  for (let look = 0; look < 200; look += 1) {
    assert.is(looks.budgetMs(), 1);
    looks.looked(look % 7 === 0);
  }
});

test.run();
