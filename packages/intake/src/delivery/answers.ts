/**
 * Answers the opener's questions about records; see control.ts for the rings.
 *
 * Questions and records come by different ways. A question may come before this thread has looked
 * at the record, or long after the record's fate is decided. Each question gets one answer all the
 * same.
 *
 * Answers gather during a turn of the thread, and are sent when it has written its counters: who is
 * told of a record finds it counted, and is woken once for many.
 */
import { unpark } from "@millrace/atomics-sync";
import { invariant } from "@millrace/base";
import { sequenceOf } from "@millrace/journal/kernel";
import { EMPTY, FULL, SpscConsumer, SpscProducer } from "@millrace/shared-memory";
import { RangeSet } from "../format/range-set.ts";
import type { Verdict } from "../states/dedupe-window.ts";
import {
  ALL,
  answersPlace,
  BALANCE,
  BELOW,
  DUPLICATE,
  FINISHED,
  FIRST,
  MISMATCH,
  QUESTION,
  QUESTIONS_MAX,
  QUESTIONS_TAKEN_MAX,
  questionsPlace,
  REFUSED,
  RUNNABLE,
  VERDICT,
} from "./control.ts";

/** Histories of dead records that are kept for late questions. */
const HISTORIES_MAX = 1024;
/** Verdicts that nobody has asked for: groups of a `Producer` never do. 100 bytes each. */
const VERDICTS_MAX: number = 2 ** 20;
/** Ranges of expired records that are told apart from finished ones; 16 bytes each. */
const EXPIRED_RANGES_MAX = 1_000_000;
/** Number of ranges that are forgotten at once. */
const EXPIRED_RANGES_FORGOTTEN = 65_536;
const NO_BYTES = new Uint8Array(0);
const ANSWERS = { first: FIRST, duplicate: DUPLICATE, mismatch: MISMATCH, refused: REFUSED } as const;

/** The thread's knowledge of records, for its answers. */
export interface Records {
  /** The last record that was looked at. */
  known(): number;
  isDead(origin: number): boolean;
  isSettled(origin: number): boolean;
}

/** An answer that has no room in the ring. */
export type LongAnswer = { readonly dead: number; readonly history: Uint8Array } | { readonly expired: number };

export class Answers {
  readonly #words: Int32Array;
  readonly #threads: Int32Array;
  readonly #openerThread: number;
  readonly #records: Records;
  readonly #report: (answer: LongAnswer) => void;
  readonly #questions: SpscConsumer;
  readonly #answers: SpscProducer;
  /** Answers for which the ring has no room, until they are sent. */
  #longAnswers: LongAnswer[] = [];
  #isStaged = false;
  readonly #awaited = new Set<number>();
  /** Of records that nobody has asked about yet. */
  readonly #verdicts = new Map<number, Verdict>();
  /** Records that were asked about before they were looked at. */
  readonly #judging = new Set<number>();
  readonly #histories = new Map<number, Uint8Array>();
  /**
   * Origins that expired or were dropped since the opening, the newest of them: settled, and never
   * handled.
   */
  #expired = new RangeSet();
  /** Whether an opener waits until nothing can run. */
  isAllAwaited = false;
  /** The runnable balance that the opener waits for, and how often it has asked. */
  #below = 0;
  #belowAsked = 0;

  constructor(
    words: Int32Array,
    threads: Int32Array,
    openerThread: number,
    records: Records,
    report: (answer: LongAnswer) => void,
  ) {
    this.#words = words;
    this.#threads = threads;
    this.#openerThread = openerThread;
    this.#records = records;
    this.#report = report;
    this.#questions = new SpscConsumer(questionsPlace(words));
    this.#answers = new SpscProducer(answersPlace(words));
  }

  /** Whether a record is awaited. */
  get wantsFinished(): boolean {
    return this.#awaited.size > 0;
  }

  /** Whether an answer waits for what isn't durable yet. */
  get isUrgent(): boolean {
    return this.#awaited.size > 0 || this.isAllAwaited || this.#belowAsked > 0;
  }

  hasQuestions(): boolean {
    return this.#questions.peek() !== EMPTY;
  }

  // ── what becomes of records ───────────────────────────────────────────────────────────────────

  finished(origin: number): void {
    if (this.#awaited.delete(origin)) this.#answer(FINISHED, origin, 0);
  }

  dead(origin: number, history: Uint8Array): void {
    const kept = Uint8Array.from(history);
    if (this.#awaited.delete(origin)) this.#longAnswers.push({ dead: origin, history: kept });
    this.#histories.set(origin, kept);
    if (this.#histories.size > HISTORIES_MAX) {
      const [oldest] = this.#histories.keys();
      this.#histories.delete(oldest as number);
    }
  }

  expired(origin: number): void {
    this.#expired.add(origin);
    if (this.#expired.ranges > EXPIRED_RANGES_MAX) [, this.#expired] = this.#expired.split(EXPIRED_RANGES_FORGOTTEN);
    if (this.#awaited.delete(origin)) this.#longAnswers.push({ expired: origin });
  }

  /** Whether the record has expired, or was dropped, since the opening. */
  hasExpired(origin: number): boolean {
    return this.#expired.has(origin);
  }

  /** A record with a key isn't the first. */
  judged(place: number, verdict: Verdict): void {
    if (this.#judging.delete(place)) this.#answerVerdict(place, verdict);
    else this.#keepVerdict(place, verdict);
  }

  #keepVerdict(place: number, verdict: Verdict): void {
    this.#verdicts.set(place, verdict);
    if (this.#verdicts.size <= VERDICTS_MAX) return;
    const [oldest] = this.#verdicts.keys();
    this.#verdicts.delete(oldest as number);
  }

  /**
   * If a record was asked about too early, was looked at since, and wasn't judged, it is a first
   * one.
   */
  answerFirsts(): void {
    for (const place of this.#judging) {
      if (place > this.#records.known()) continue;
      this.#judging.delete(place);
      this.#answer(FIRST, place, 0);
    }
  }

  /** Nothing can run, which is awaited. */
  allDone(): void {
    this.isAllAwaited = false;
    this.#answer(ALL, 0, 0);
  }

  /** The balances have changed: the opener reads them when it gets the answer. */
  tellBalance(balance: number, runnable: number): void {
    Atomics.store(this.#words, BALANCE, balance);
    Atomics.store(this.#words, RUNNABLE, runnable);
    if (this.#belowAsked === 0 || ((runnable - this.#below) | 0) > 0) return;
    for (; this.#belowAsked > 0; this.#belowAsked -= 1) this.#answer(BELOW, 0, 0);
  }

  // ── questions ─────────────────────────────────────────────────────────────────────────────────

  /**
   * Reads all questions, up to as many as have a place. Returns their number. An opener that gets
   * an answer asks again at once: it must find the place of the question before.
   */
  read(): number {
    let asked = 0;
    for (let word = this.#questions.peek(); word !== EMPTY && asked < QUESTIONS_MAX; word = this.#questions.peek()) {
      const kind = this.#words[word + QUESTION.kind] as number;
      const low = this.#words[word + QUESTION.sequenceLow] as number;
      const sequence = sequenceOf(low, this.#words[word + QUESTION.sequenceHigh] as number);
      this.#questions.advance();
      asked += 1;
      if (asked % QUESTIONS_TAKEN_MAX === 0) this.#questions.release();
      if (kind === ALL) this.isAllAwaited = true;
      else if (kind === BELOW) {
        this.#below = low;
        this.#belowAsked += 1;
      } else if (kind === VERDICT) this.#askedForVerdict(sequence);
      else this.#askedFor(sequence);
    }
    if (asked > 0) this.#questions.release();
    return asked;
  }

  #askedFor(sequence: number): void {
    if (this.#records.isDead(sequence)) {
      this.#longAnswers.push({ dead: sequence, history: this.#histories.get(sequence) ?? NO_BYTES });
    } else if (this.#expired.has(sequence)) this.#longAnswers.push({ expired: sequence });
    else if (this.#records.isSettled(sequence)) this.#answer(FINISHED, sequence, 0);
    else this.#awaited.add(sequence);
  }

  #askedForVerdict(place: number): void {
    const verdict = this.#verdicts.get(place);
    if (verdict !== undefined) {
      this.#verdicts.delete(place);
      this.#answerVerdict(place, verdict);
    } else if (place <= this.#records.known()) this.#answer(FIRST, place, 0);
    else this.#judging.add(place);
  }

  #answerVerdict(place: number, verdict: Verdict): void {
    this.#answer(ANSWERS[verdict.kind], place, verdict.kind === "first" ? 0 : verdict.first);
  }

  #answer(kind: number, sequence: number, first: number): void {
    const word = this.#answers.stage();
    invariant(word !== FULL, "there is room for an answer to every question");
    this.#words[word + QUESTION.kind] = kind;
    this.#words[word + QUESTION.sequenceLow] = sequence | 0;
    this.#words[word + QUESTION.sequenceHigh] = Math.floor(sequence / 2 ** 32);
    this.#words[word + QUESTION.firstLow] = first | 0;
    this.#words[word + QUESTION.firstHigh] = Math.floor(first / 2 ** 32);
    this.#isStaged = true;
  }

  /** The opener gets the answers so far. */
  send(): void {
    for (const answer of this.#longAnswers) this.#report(answer);
    if (this.#longAnswers.length > 0) this.#longAnswers = [];
    if (!this.#isStaged) return;
    this.#isStaged = false;
    this.#answers.publish();
    unpark(this.#threads, this.#openerThread);
  }
}
