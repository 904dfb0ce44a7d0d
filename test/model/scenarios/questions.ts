/**
 * Questions of the intake's opener to the delivery thread: each gets its answer, in an event loop
 * that sleeps.
 */
import * as assert from "uvu/assert";
import { Parker, Reactor, ThreadTable, unpark } from "@millrace/atomics-sync";
import { Answers } from "@millrace/intake/internal/delivery/answers";
import { controlBytes } from "@millrace/intake/internal/delivery/control";
import { Questions } from "@millrace/intake/internal/publisher/questions";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const OPENER = 0;
const DELIVERY = 1;

interface Shared {
  readonly words: SharedArrayBuffer;
  readonly threads: SharedArrayBuffer;
  /** The last record that is there for delivery to look at. */
  readonly news: SharedArrayBuffer;
}

function setUp(): Shared {
  const news = new SharedArrayBuffer(4);
  return { words: new SharedArrayBuffer(controlBytes()), threads: ThreadTable.allocate(2), news };
}

function questionsOf({ words, threads }: Shared): Questions {
  const reactor = new Reactor(new Int32Array(threads), OPENER);
  return new Questions(words, new Int32Array(threads), DELIVERY, reactor);
}

/** Takes turns as the delivery thread does: for so many questions, and records up to `last`. */
function answer(shared: Shared, count: number, last: number): void {
  const words = new Int32Array(shared.words);
  const threads = new Int32Array(shared.threads);
  const news = new Int32Array(shared.news);
  let known = 0;
  const records = { known: () => known, isDead: () => false, isSettled: () => true };
  const answers = new Answers(words, threads, OPENER, records, () => assert.unreachable("all answers fit the ring"));
  const parker = new Parker(threads, DELIVERY);
  let read = 0;
  for (let turn = 0; read < count || known < last; turn += 1) {
    assert.ok(turn < 16, "woken without a question");
    parker.prepare();
    if (!answers.hasQuestions() && Atomics.load(news, 0) === known) parker.wait(Infinity);
    else parker.cancel();
    for (; known < Atomics.load(news, 0); known += 1) {
      if (known + 1 === REPEATED) answers.judged(REPEATED, { kind: "duplicate", first: 1 });
    }
    answers.answerFirsts();
    if (answers.isAllAwaited) answers.allDone();
    read += answers.read();
    answers.send();
  }
  answers.answerFirsts();
  if (answers.isAllAwaited) answers.allDone();
  answers.send();
}

/** As `answer`, and says after each record how many are unfinished. One waits for its time. */
function answerBelow(shared: Shared, count: number, last: number): void {
  const words = new Int32Array(shared.words);
  const threads = new Int32Array(shared.threads);
  const news = new Int32Array(shared.news);
  const records = { known: () => 0, isDead: () => false, isSettled: () => true };
  const answers = new Answers(words, threads, OPENER, records, () => assert.unreachable("all answers fit the ring"));
  const parker = new Parker(threads, DELIVERY);
  let finished = 0;
  let read = 0;
  for (let turn = 0; read < count || finished < last; turn += 1) {
    assert.ok(turn < 16, "woken without a question");
    parker.prepare();
    if (!answers.hasQuestions() && Atomics.load(news, 0) === finished) parker.wait(Infinity);
    else parker.cancel();
    finished = Atomics.load(news, 0);
    answers.tellBalance(1 - finished, -finished);
    read += answers.read();
    answers.send();
  }
  answers.tellBalance(1 - finished, -finished);
  answers.send();
}

/** The record that isn't the first with its key. */
const REPEATED = 2;

export const scenarios: Scenario[] = [
  scenario({
    name: "questions: of two askers of one record and one of all, each is told",
    setUp,
    threads: {
      async opener(shared, log) {
        const questions = questionsOf(shared);
        // Above 2^32, so that both words of a sequence count.
        const sequence = 2 ** 32 + 5;
        const told = [questions.finished(sequence), questions.finished(sequence), questions.all()];
        for (const each of told) {
          await each;
          log.push("told");
        }
        assert.not.ok(questions.isExpecting());
      },
      delivery: (shared) => answer(shared, 2, 0),
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
      async opener(shared, log) {
        const questions = questionsOf(shared);
        await questions.finished(1);
        log.push(1);
        await questions.finished(2);
        log.push(2);
      },
      delivery: (shared) => answer(shared, 2, 0),
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], [1, 2]);
    },
    tickMs: 1,
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "questions: who asks before the record was looked at is told whether it is the first",
    setUp,
    threads: {
      async opener(shared, log) {
        const questions = questionsOf(shared);
        const verdict = (sequence: number): Promise<string> =>
          new Promise((resolve, reject) => {
            questions.verdict(sequence, {
              first: () => resolve("first"),
              repeated: (first) => resolve(`as ${first}`),
              mismatch: () => resolve("mismatch"),
              refused: () => resolve("refused"),
              failed: reject,
            });
          });
        for (const told of [verdict(1), verdict(REPEATED)]) log.push(await told);
      },
      delivery: (shared) => answer(shared, 2, REPEATED),
      writer({ news, threads }) {
        for (const place of [1, REPEATED]) {
          Atomics.store(new Int32Array(news), 0, place);
          unpark(new Int32Array(threads), DELIVERY);
        }
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], ["first", "as 1"]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "questions: who waits for fewer unfinished records is told, also after a second thought",
    setUp,
    threads: {
      async opener(shared, log) {
        const questions = questionsOf(shared);
        // A disk that refuses records makes the first wish one that never comes true.
        questions.below(-5);
        await new Promise<void>((resolve) => {
          let told = 0;
          questions.onBelow = () => {
            told += 1;
            if (told === 2) resolve();
          };
          questions.below(-2);
        });
        log.push(questions.balance, questions.runnableBalance);
        assert.not.ok(questions.isExpecting());
      },
      delivery: (shared) => answerBelow(shared, 2, 2),
      writer({ news, threads }) {
        for (const finished of [1, 2]) {
          Atomics.store(new Int32Array(news), 0, finished);
          unpark(new Int32Array(threads), DELIVERY);
        }
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["opener"], [-1, -2]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
];

const FILE = "intake/publisher/questions";
const ANSWERS = "intake/delivery/answers";

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
  {
    breaks: "who asks before a first record was looked at is forgotten",
    file: ANSWERS,
    from: "if (place > this.#records.known())\n                continue;",
    to: "continue;",
  },
  {
    breaks: "who asks before a record was looked at is told that it is the first",
    file: ANSWERS,
    from: "else if (place <= this.#records.known())",
    to: "else if (true)",
  },
  {
    breaks: "a verdict that comes before the question is forgotten",
    file: ANSWERS,
    from: "this.#verdicts.set(place, verdict);",
    to: "void verdict;",
  },
  {
    breaks: "an answer wakes nobody",
    file: ANSWERS,
    from: "unpark(this.#threads, this.#openerThread);",
    to: "",
  },
  {
    breaks: "an answer to a late question isn't sent",
    file: ANSWERS,
    from: "else if (this.#records.isSettled(sequence))\n            this.#answer(FINISHED, sequence, 0);",
    to: "else if (this.#records.isSettled(sequence)) { this.#answer(FINISHED, sequence, 0); this.#isStaged = false; }",
  },
  {
    breaks: "who is told that unfinished records are fewer reads an older number",
    file: ANSWERS,
    from: "Atomics.store(this.#words, BALANCE, balance);",
    to: "",
  },
  {
    breaks: "who is told that unfinished records are fewer reads an older number of those that can run",
    file: ANSWERS,
    from: "Atomics.store(this.#words, RUNNABLE, runnable);",
    to: "",
  },
  {
    breaks: "who waits for fewer unfinished records is told too early",
    file: ANSWERS,
    from: "((runnable - this.#below) | 0) > 0",
    to: "false",
  },
  {
    breaks: "the second wish of who waits for fewer unfinished records is forgotten",
    file: ANSWERS,
    from: "this.#below = low;",
    to: "if (this.#belowAsked === 0) this.#below = low;",
  },
  {
    breaks: "of two wishes for fewer unfinished records one stays open",
    file: ANSWERS,
    from: "for (; this.#belowAsked > 0; this.#belowAsked -= 1)",
    to: "for (; this.#belowAsked > 0; this.#belowAsked = 0)",
  },
];
