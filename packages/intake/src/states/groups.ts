/**
 * Atomic groups, as the log has them: records that became durable together.
 *
 *   of a publisher   records of data alone (`publishMany`): one member that can't be taken, because
 *                    its idempotency key belongs to another payload, refuses all of them; two
 *                    payloads under one key in one group are refused before they are stored
 *   an outcome       what a handler has staged, with the ACK of the record that it handled: a
 *                    member with a known key is dropped, and the others stand
 *
 * Whether a group is refused is known at its last member, so that its members are kept until then.
 * A group never spans batches: a reader of whole batches reads whole groups.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { KeptRecord, type LogRecord } from "../format/log-record.ts";
import { handlerName, isIdempotent, termsOf } from "../format/record-header.ts";
import type { DedupeWindow } from "./dedupe-window.ts";

/** A record's place in its group. */
export interface Group {
  /** It came with the ACK of the record whose handler staged it: no publisher waits for it. */
  readonly isOutcome: boolean;
  /** No member is handled. */
  readonly isRefused: boolean;
}

export const ALONE: Group = Object.freeze({ isOutcome: false, isRefused: false });
const OUTCOME: Group = Object.freeze({ isOutcome: true, isRefused: false });
const REFUSED: Group = Object.freeze({ isOutcome: false, isRefused: true });

export class GroupReader {
  readonly #window: DedupeWindow;
  readonly #hold: (record: LogRecord) => LogRecord;
  #members: LogRecord[] = [];

  /** `hold`: the record with bytes that stay until its group is visited. Default: a copy. */
  constructor(window: DedupeWindow, hold = (record: LogRecord): LogRecord => new KeptRecord(record)) {
    this.#window = window;
    this.#hold = hold;
  }

  /** Visits a record of the log at once, or a group when its last member is there. */
  take(record: LogRecord, visit: (record: LogRecord, group: Group) => void): void {
    if (!record.continues && this.#members.length === 0) {
      visit(record, ALONE);
      return;
    }
    this.#members.push(this.#hold(record));
    if (record.continues) return;
    const members = this.#members;
    this.#members = [];
    const group = this.#groupOf(members);
    for (const member of members) visit(member, group);
  }

  #groupOf(members: readonly LogRecord[]): Group {
    if (members.some(({ type }) => type === RECORD_TYPE.ack)) return OUTCOME;
    return members.some((member) => this.#isMismatch(member)) ? REFUSED : ALONE;
  }

  #isMismatch(record: LogRecord): boolean {
    const header = record.header();
    if (record.type !== RECORD_TYPE.data || record.replaces !== 0 || !isIdempotent(header)) return false;
    const { idempotency } = termsOf(header);
    if (idempotency === undefined) return false;
    return this.#window.recall(handlerName(header), idempotency, record.sequence).kind === "mismatch";
  }
}
