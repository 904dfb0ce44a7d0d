// The delivery thread's memory for late questions has a limit.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Answers } from "@millrace/intake/internal/delivery/answers";
import { controlBytes } from "@millrace/intake/internal/delivery/control";

const EXPIRED_RANGES_MAX = 1_000_000;

test("of records that have expired the newest are told apart from finished ones", () => {
  const words = new Int32Array(new SharedArrayBuffer(controlBytes()));
  const records = { known: () => 0, isDead: () => false, isSettled: () => true };
  const answers = new Answers(words, words, 0, records, () => {});
  const last = 2 * (EXPIRED_RANGES_MAX + 1);
  // No two of them are neighbours.
  for (let origin = 2; origin <= last; origin += 2) answers.expired(origin);
  assert.is(answers.hasExpired(2), false);
  assert.is(answers.hasExpired(last), true);
  assert.is(answers.hasExpired(last - 2 * 900_000), true);
  assert.is(answers.hasExpired(last - 1), false);
});

test.run();
