/**
 * The opener's questions to the delivery thread: is this record done, is it the first with its key,
 * can nothing run any more. Answers come as promises.
 */
import { unpark, type Reactor, type Source } from "@millrace/atomics-sync";
import { EMPTY, FULL, SpscConsumer, SpscProducer } from "@millrace/shared-memory";
import { sequenceOf } from "@millrace/journal/kernel";
import {
  ALL,
  answersPlace,
  BELOW,
  DUPLICATE,
  FINISHED,
  MISMATCH,
  QUESTION,
  QUESTIONS_OPEN_MAX,
  questionsPlace,
  REFUSED,
  VERDICT,
  BALANCE,
  RUNNABLE,
} from "../delivery/control.ts";

interface Asker {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Gets the verdict about a record with a key. */
export interface VerdictWaiter {
  first(): void;
  /** Another record came first; its sequence, 0 where only a producer's sequence says so. */
  repeated(first: number): void;
  mismatch(first: number): void;
  /** It isn't handled, because another record of its group isn't taken. */
  refused(): void;
  failed(error: Error): void;
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
  readonly #verdicts = new Map<number, VerdictWaiter>();
  #allAskers: Asker[] = [];
  /** Questions that wait because too many are open: kind and sequence. */
  #waiting: (readonly [kind: number, sequence: number])[] = [];
  #open = 0;
  #belowAsked = 0;
  /** Called when the balance that was asked for is reached. */
  onBelow: () => void = () => {};
  /** Set once nobody answers any more: the error for later questions. */
  #over: Error | undefined;

  constructor(words: SharedArrayBuffer, threads: Int32Array, deliveryThread: number, reactor: Reactor) {
    this.#words = new Int32Array(words);
    this.#questions = new SpscProducer(questionsPlace(this.#words));
    this.#answers = new SpscConsumer(answersPlace(this.#words));
    this.#reactor = reactor;
    this.#wakeDelivery = () => unpark(threads, deliveryThread);
    reactor.add(this);
  }

  /** Reads the result of a record; set by the intake. */
  readResult: (sequence: number) => Promise<unknown> = () => Promise.reject(new TypeError("nobody reads results"));

  /** Resolves when the record is finished and that is durable; rejects when it never will be. */
  finished(sequence: number): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      const askers = this.#askers.get(sequence);
      if (askers !== undefined) {
        askers.push({ resolve, reject });
        return;
      }
      this.#askers.set(sequence, [{ resolve, reject }]);
      this.#ask(FINISHED, sequence);
    });
  }

  /** Asks whether a durable record with a key is the first one. */
  verdict(sequence: number, waiter: VerdictWaiter): void {
    if (this.#over !== undefined) {
      waiter.failed(this.#over);
      return;
    }
    this.#verdicts.set(sequence, waiter);
    this.#ask(VERDICT, sequence);
  }

  /**
   * Resolves when no record can run: the records that are left wait for a time, a handler or a
   * command.
   */
  all(): Promise<void> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    return new Promise((resolve, reject) => {
      this.#allAskers.push({ resolve, reject });
      if (this.#allAskers.length === 1) this.#ask(ALL, 0);
    });
  }

  /** Unfinished records less those taken out of the opener's data ring; modulo 2^32. */
  get balance(): number {
    return Atomics.load(this.#words, BALANCE);
  }

  /** As `balance`, without records that wait for something else than the end of others. */
  get runnableBalance(): number {
    return Atomics.load(this.#words, RUNNABLE);
  }

  /** Asks to be told when the runnable balance is at most this; see `onBelow`. */
  below(balance: number): void {
    if (this.#over !== undefined) return;
    this.#belowAsked += 1;
    this.#ask(BELOW, balance >>> 0);
  }

  /** The record will never be finished. */
  lost(sequence: number, error: Error): void {
    this.#open -= 1;
    this.#settle(sequence, (asker) => asker.reject(error));
    this.#askWaiting();
    this.#reactor.check();
  }

  /** Nobody will answer any more: those who have asked get `error`, later ones `later`. */
  abandon(error: Error, later: Error = error): void {
    this.#over ??= later;
    const askers = [...this.#askers.values()].flat().concat(this.#allAskers);
    const waiters = [...this.#verdicts.values()];
    this.#askers.clear();
    this.#verdicts.clear();
    this.#allAskers = [];
    this.#waiting = [];
    this.#belowAsked = 0;
    for (const asker of askers) asker.reject(error);
    for (const waiter of waiters) waiter.failed(error);
    this.#reactor.remove(this);
  }

  poll(): number {
    let answered = 0;
    for (let word = this.#answers.peek(); word !== EMPTY && answered < ANSWERS_MAX; word = this.#answers.peek()) {
      const kind = this.#words[word + QUESTION.kind] as number;
      const sequence = this.#number(word, QUESTION.sequenceLow);
      const first = this.#number(word, QUESTION.firstLow);
      this.#answers.advance();
      this.#open -= 1;
      answered += 1;
      if (kind === FINISHED) this.#settle(sequence, (asker) => asker.resolve());
      else if (kind === ALL) this.#settleAll();
      else if (kind === BELOW) {
        this.#belowAsked -= 1;
        this.onBelow();
      } else this.#settleVerdict(kind, sequence, first);
    }
    if (answered > 0) {
      this.#answers.release();
      this.#askWaiting();
    }
    return answered;
  }

  isExpecting(): boolean {
    return this.#askers.size > 0 || this.#allAskers.length > 0 || this.#verdicts.size > 0 || this.#belowAsked > 0;
  }

  #number(word: number, low: number): number {
    return sequenceOf(this.#words[word + low] as number, this.#words[word + low + 1] as number);
  }

  #settle(sequence: number, tell: (asker: Asker) => void): void {
    const askers = this.#askers.get(sequence) ?? [];
    this.#askers.delete(sequence);
    for (const asker of askers) tell(asker);
  }

  #settleVerdict(kind: number, sequence: number, first: number): void {
    const waiter = this.#verdicts.get(sequence);
    this.#verdicts.delete(sequence);
    if (kind === DUPLICATE) waiter?.repeated(first);
    else if (kind === MISMATCH) waiter?.mismatch(first);
    else if (kind === REFUSED) waiter?.refused();
    else waiter?.first();
  }

  #settleAll(): void {
    const askers = this.#allAskers;
    this.#allAskers = [];
    for (const asker of askers) asker.resolve();
  }

  #ask(kind: number, sequence: number): void {
    if (this.#open >= QUESTIONS_OPEN_MAX) this.#waiting.push([kind, sequence]);
    else this.#post(kind, sequence);
    this.#reactor.expect();
  }

  #askWaiting(): void {
    const ready = this.#waiting.splice(0, Math.max(0, QUESTIONS_OPEN_MAX - this.#open));
    for (const [kind, sequence] of ready) this.#post(kind, sequence);
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
