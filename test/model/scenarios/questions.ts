/**
 * What the intake's opener asks the delivery thread: every question is answered, to an event loop
 * that sleeps.
 */
import * as assert from "uvu/assert";
import { Parker, Reactor, ThreadTable, unpark } from "@millrace/atomics-sync";
import { answersPlace, controlBytes, QUESTION, questionsPlace } from "@millrace/intake/internal/delivery/control";
import { Questions } from "@millrace/intake/internal/publisher/questions";
import { EMPTY, FULL, SpscConsumer, SpscProducer } from "@millrace/shared-memory";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const OPENER = 0;
const DELIVERY = 1;

interface Shared {
  readonly words: SharedArrayBuffer;
  readonly threads: SharedArrayBuffer;
}

function setUp(): Shared {
  return { words: new SharedArrayBuffer(controlBytes()), threads: ThreadTable.allocate(2) };
}

/**
 * Answers so many questions, one at a time, as the delivery thread does it at once when a record is
 * finished.
 */
function answer({ words, threads }: Shared, count: number): void {
  const memory = new Int32Array(words);
  const parkers = new Int32Array(threads);
  const questions = new SpscConsumer(questionsPlace(memory));
  const answers = new SpscProducer(answersPlace(memory));
  const parker = new Parker(parkers, DELIVERY);
  let answered = 0;
  for (let turn = 0; answered < count; turn += 1) {
    assert.ok(turn < 8, "woken without a question");
    parker.prepare();
    if (questions.peek() === EMPTY) parker.wait(Infinity);
    else parker.cancel();
    for (let word = questions.peek(); word !== EMPTY; word = questions.peek()) {
      const to = answers.stage();
      assert.not.equal(to, FULL);
      for (const field of [QUESTION.kind, QUESTION.sequenceLow, QUESTION.sequenceHigh]) {
        memory[to + field] = memory[word + field] as number;
      }
      questions.advance();
      questions.release();
      answers.publish();
      answered += 1;
    }
    unpark(parkers, OPENER);
  }
}

export const scenarios: Scenario[] = [
  scenario({
    name: "questions: of two askers of one record and one of all, each is told",
    setUp,
    threads: {
      async opener({ words, threads }, log) {
        const reactor = new Reactor(new Int32Array(threads), OPENER);
        const questions = new Questions(words, new Int32Array(threads), DELIVERY, reactor);
        // Above 2^32, so that both words of a sequence count.
        const sequence = 2 ** 32 + 5;
        const told = [questions.finished(sequence), questions.finished(sequence), questions.all()];
        for (const each of told) {
          await each;
          log.push("told");
        }
        assert.not.ok(questions.isExpecting());
      },
      delivery: (shared) => answer(shared, 2),
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], ["told", "told", "told"]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "questions: a second question while the first one is answered",
    setUp,
    threads: {
      async opener({ words, threads }, log) {
        const reactor = new Reactor(new Int32Array(threads), OPENER);
        const questions = new Questions(words, new Int32Array(threads), DELIVERY, reactor);
        await questions.finished(1);
        log.push(1);
        await questions.finished(2);
        log.push(2);
      },
      delivery: (shared) => answer(shared, 2),
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], [1, 2]);
    },
    tickMs: 1,
    bounds: { preemptions: 3 },
  }),
];

const FILE = "intake/publisher/questions";

export const mutants: Mutant[] = [
  {
    breaks: "a question wakes nobody",
    file: FILE,
    from: "this.#open += 1;\n        this.#wakeDelivery();",
    to: "this.#open += 1;",
  },
  {
    breaks: "a question is visible before its sequence",
    file: FILE,
    from: "this.#words[word + QUESTION.kind] = kind;",
    to: "this.#words[word + QUESTION.kind] = kind; this.#questions.publish();",
  },
  {
    breaks: "an asker's event loop isn't told to expect the answer",
    file: FILE,
    from: "this.#post(kind, sequence);\n        this.#reactor.expect();",
    to: "this.#post(kind, sequence);",
  },
  {
    breaks: "the second asker of a record is forgotten",
    file: FILE,
    from: "askers.push({ resolve, reject });",
    to: "",
  },
];
