import { Reactor, ThreadTable } from "@millrace/atomics-sync";
import { Answers } from "@millrace/intake/internal/delivery/answers";
import { controlBytes, QUESTIONS_MAX } from "@millrace/intake/internal/delivery/control";
import { Questions } from "@millrace/intake/internal/publisher/questions";
import { test } from "uvu";
import * as assert from "uvu/assert";

const OPENER = 0;
const DELIVERY = 1;

test("an opener that asks while delivery answers never finds the ring full", () => {
  const words = new SharedArrayBuffer(controlBytes());
  const threads = new Int32Array(ThreadTable.allocate(2));
  const questions = new Questions(words, threads, DELIVERY, new Reactor(threads, OPENER));
  let asked = 0;
  let told = 0;
  const refused = (): void => assert.unreachable("every record is the first");
  const waiter = {
    first: () => (told += 1),
    repeated: refused,
    mismatch: refused,
    refused,
    failed: (error: Error) => {
      throw error;
    },
  };
  const ask = (): void => {
    asked += 1;
    questions.verdict(asked, waiter);
  };
  // Delivery is in the middle of its reading whenever it looks at a record: the opener, a thread of
  // its own, takes the answer before this one, and asks again.
  const goal = 3 * QUESTIONS_MAX;
  const known = (): number => {
    questions.poll();
    if (asked < goal) ask();
    return goal;
  };
  const records = { known, isDead: () => false, isSettled: () => true };
  const answers = new Answers(new Int32Array(words), threads, OPENER, records, () => assert.unreachable("no message"));
  for (let n = 0; n < QUESTIONS_MAX + 10; n += 1) ask();
  for (let turn = 0; told < goal && turn < goal; turn += 1) {
    answers.read();
    answers.send();
    questions.poll();
  }
  assert.is(told, goal);
  assert.not.ok(questions.isExpecting());
});

test.run();
