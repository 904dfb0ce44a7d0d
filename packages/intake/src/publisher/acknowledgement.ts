/**
 * A published record: waits for its sequence, and where it has a key for the verdict, then is the
 * acknowledgement.
 */
import type { MillraceError } from "@millrace/base";
import { type AppendWaiter, journalError } from "@millrace/journal/kernel";
import { intakeError } from "../errors.ts";
import type { Questions, VerdictWaiter } from "./questions.ts";

/** A record is durable. */
export interface Acknowledgement<Result = unknown> {
  /** The record's number in the journal: unique, growing. Of a duplicate, the first one's. */
  readonly sequence: number;
  /** Whether another record with the same key, or the same producer's sequence, came first. */
  readonly duplicate: boolean;
  /**
   * Resolves when the handler has finished and this is durable too. Rejects with `ERR_RECORD_DEAD`
   * after the last attempt, with `ERR_RECORD_EXPIRED` when nobody will handle it any more. Delivery
   * is asked for it only when it is read.
   */
  readonly done: Promise<void>;
  /**
   * The handler's result, if the handler has `result: "keep"`; for a duplicate, the result for the
   * first record. Rejects as `done` does, and with `ERR_RESULT_EXPIRED`, `ERR_RESULT_TOO_LARGE`,
   * `ERR_RESULT_UNSUPPORTED`. Delivery is asked for it only when it is read.
   */
  readonly result: Promise<Result>;
}

/** `member`: its number in a `publishMany`. */
function mismatchError(first: number, member: number | undefined): MillraceError {
  const of = member === undefined ? "" : `of member ${member} `;
  const text = `the idempotency key ${of}was used for another payload by record ${first}`;
  return intakeError("ERR_IDEMPOTENCY_MISMATCH", text, {
    details: { sequence: first, ...(member === undefined ? undefined : { member }) },
  });
}

function undecided(cause: Error, sequence: number): MillraceError {
  const text = `record ${sequence} is stored, but the intake ended before it was known to be the first with its key`;
  return journalError("ERR_JOURNAL_UNCERTAIN", text, { cause, details: { sequence } });
}

type Resolve = (acknowledgement: Acknowledgement) => void;
type Reject = (error: unknown) => void;

export class Published implements AppendWaiter, Acknowledgement, VerdictWaiter {
  sequence = 0;
  duplicate = false;
  readonly #questions: Questions;
  readonly #isJudged: boolean;
  /** Told when the record isn't stored. */
  readonly #refused: (count: number) => void;
  readonly #resolve: Resolve;
  readonly #reject: Reject;
  readonly #member: number | undefined;
  #done: Promise<void> | undefined;
  #result: Promise<unknown> | undefined;

  /** `member`: its number in a `publishMany`. */
  constructor(
    questions: Questions,
    isJudged: boolean,
    refused: (count: number) => void,
    resolve: Resolve,
    reject: Reject,
    member?: number,
  ) {
    this.#member = member;
    this.#questions = questions;
    this.#isJudged = isJudged;
    this.#refused = refused;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  get done(): Promise<void> {
    this.#done ??= this.#questions.finished(this.sequence);
    return this.#done;
  }

  get result(): Promise<unknown> {
    this.#result ??= this.#questions.readResult(this.sequence);
    return this.#result;
  }

  durable(sequence: number): void {
    this.sequence = sequence;
    if (this.#isJudged) this.#questions.verdict(sequence, this);
    else this.#resolve(this);
  }

  first(): void {
    this.#resolve(this);
  }

  repeated(first: number): void {
    this.duplicate = true;
    // A producer's sequence doesn't say which record had it: this one is settled, and stands for
    // it.
    if (first > 0) this.sequence = first;
    this.#resolve(this);
  }

  mismatch(first: number): void {
    this.#reject(mismatchError(first, this.#member));
  }

  refused(): void {
    // Its group rejects with the error of the other record.
    this.#resolve(this);
  }

  failed(error: MillraceError | Error): void {
    if (this.sequence === 0) this.#refused(1);
    // Before it is durable the journal says what is known of it. Then only the verdict is missing.
    this.#reject(this.sequence === 0 ? error : undecided(error, this.sequence));
  }
}
