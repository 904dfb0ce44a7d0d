/**
 * What the opener asks the delivery thread: is this record done, is everything done. Answers come as promises.
 */
import { unpark, type Reactor, type Source } from "@millrace/atomics-sync";
import { EMPTY, FULL, SpscConsumer, SpscProducer } from "@millrace/shared-memory";
import { sequenceOf } from "@millrace/journal/kernel";
import { ALL, answersPlace, FINISHED, QUESTION, QUESTIONS_MAX, questionsPlace } from "./control.ts";

interface Asker {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Answers handled in one turn of the event loop. */
const ANSWERS_MAX = 4096;

export class Questions implements Source {
  readonly pollMs = 0;
  readonly #words: Int32Array;
  readonly #questions: SpscProducer;
  readonly #answers: SpscConsumer;
  readonly #reactor: Reactor;
  readonly #wakeDelivery: () => void;
  /** Askers by sequence; several may ask for one. */
  readonly #askers = new Map<number, Asker[]>();
  #allAskers: Asker[] = [];
  /** Questions that wait because too many are open. */
  #waiting: number[] = [];
  #open = 0;

  constructor(words: SharedArrayBuffer, threads: Int32Array, deliveryThread: number, reactor: Reactor) {
    this.#words = new Int32Array(words);
    this.#questions = new SpscProducer(questionsPlace(this.#words));
    this.#answers = new SpscConsumer(answersPlace(this.#words));
    this.#reactor = reactor;
    this.#wakeDelivery = () => unpark(threads, deliveryThread);
    reactor.add(this);
  }

  /** Resolves when the record is finished and that is durable; rejects when it is dead. */
  finished(sequence: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const askers = this.#askers.get(sequence);
      if (askers !== undefined) {
        askers.push({ resolve, reject });
        return;
      }
      this.#askers.set(sequence, [{ resolve, reject }]);
      this.#ask(sequence);
    });
  }

  /** Resolves when no record is unfinished, apart from those without a handler. */
  all(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#allAskers.push({ resolve, reject });
      if (this.#allAskers.length === 1) this.#post(ALL, 0);
      this.#reactor.expect();
    });
  }

  /** The record is dead. */
  dead(sequence: number, error: Error): void {
    this.#open -= 1;
    this.#settle(sequence, (asker) => asker.reject(error));
    this.#askWaiting();
    this.#reactor.check();
  }

  /** Nobody will answer any more. */
  abandon(error: Error): void {
    const askers = [...this.#askers.values()].flat().concat(this.#allAskers);
    this.#askers.clear();
    this.#allAskers = [];
    this.#waiting = [];
    for (const asker of askers) asker.reject(error);
    this.#reactor.remove(this);
  }

  poll(): number {
    let answered = 0;
    for (let word = this.#answers.peek(); word !== EMPTY && answered < ANSWERS_MAX; word = this.#answers.peek()) {
      const kind = this.#words[word + QUESTION.kind];
      const low = this.#words[word + QUESTION.sequenceLow] as number;
      const high = this.#words[word + QUESTION.sequenceHigh] as number;
      this.#answers.advance();
      this.#open -= 1;
      answered += 1;
      if (kind === FINISHED) this.#settle(sequenceOf(low, high), (asker) => asker.resolve());
      else this.#settleAll();
    }
    if (answered > 0) {
      this.#answers.release();
      this.#askWaiting();
    }
    return answered;
  }

  isExpecting(): boolean {
    return this.#askers.size > 0 || this.#allAskers.length > 0;
  }

  #settle(sequence: number, tell: (asker: Asker) => void): void {
    const askers = this.#askers.get(sequence) ?? [];
    this.#askers.delete(sequence);
    for (const asker of askers) tell(asker);
  }

  #settleAll(): void {
    const askers = this.#allAskers;
    this.#allAskers = [];
    for (const asker of askers) asker.resolve();
  }

  #ask(sequence: number): void {
    if (this.#open >= QUESTIONS_MAX - 1) this.#waiting.push(sequence);
    else this.#post(FINISHED, sequence);
    this.#reactor.expect();
  }

  #askWaiting(): void {
    const ready = this.#waiting.splice(0, Math.max(0, QUESTIONS_MAX - 1 - this.#open));
    for (const sequence of ready) this.#post(FINISHED, sequence);
  }

  #post(kind: number, sequence: number): void {
    const word = this.#questions.stage();
    if (word === FULL) throw new RangeError("more questions are open than were counted");
    this.#words[word + QUESTION.kind] = kind;
    this.#words[word + QUESTION.sequenceLow] = sequence | 0;
    this.#words[word + QUESTION.sequenceHigh] = Math.floor(sequence / 2 ** 32);
    this.#questions.publish();
    this.#open += 1;
    this.#wakeDelivery();
  }
}
