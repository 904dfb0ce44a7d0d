/**
 * The story of one record, attempt by attempt. Reads the journal from the record's place on, since
 * the tables in memory keep only its last state.
 */
import { checkArgument, integer, resolveOptions, type Rules, setImmediate } from "@millrace/base";
import { type Journal, type JournalRecord, RECORD_TYPE } from "@millrace/journal";
import {
  ackRanges,
  decodeExpire,
  decodeFate,
  decodeHistory,
  decodeRedrive,
  DROPPED,
  type Failure,
  type ReasonName,
  reasonName,
} from "../format/state-records.ts";
import { toPlain } from "./plain.ts";

/** Times are ISO 8601. */
export type TimelineEvent =
  | { readonly kind: "published" | "done" | "expired" | "dropped"; readonly at: string }
  /** An attempt failed. */
  | {
      readonly kind: "failed";
      readonly at: string;
      readonly attempt: number;
      readonly reason: ReasonName;
      /** The error as JSON can have it, with `name` and `message`. */
      readonly error: unknown;
    }
  /** It waits; undefined: until there is room for dead letters. */
  | { readonly kind: "waits"; readonly at: string; readonly dueAt: string | undefined }
  | { readonly kind: "dead"; readonly at: string; readonly reason: ReasonName; readonly attempts: number }
  /** It was a dead letter and got another turn, from this handler. */
  | { readonly kind: "redriven"; readonly at: string; readonly handler: string | undefined }
  /** It was written again, so that older segments could be deleted. */
  | { readonly kind: "copied"; readonly at: string };

export interface Timeline {
  readonly events: readonly TimelineEvent[];
  /** False when `recordsMax` ended the reading: more may have happened. */
  readonly isComplete: boolean;
}

export interface TimelineOptions {
  /** Records of the journal that are read at most. 1 to 10^7, default 200,000. */
  readonly recordsMax?: number;
}

const rules = { recordsMax: integer(1, 10_000_000, 200_000) } satisfies Rules;
/** Records that are read before the event loop gets its turn. */
const RECORDS_PER_TURN = 1024;

/**
 * Undefined when no record of a handler has this sequence, or it was given up. Throws
 * `ERR_INVALID_OPTION`, `ERR_JOURNAL_DAMAGED`.
 */
export async function timelineOf(
  journal: Pick<Journal, "get" | "read">,
  sequence: number,
  given: TimelineOptions = {},
): Promise<Timeline | undefined> {
  checkArgument("journal.timeline", "the sequence", integer(1, Number.MAX_SAFE_INTEGER), sequence);
  const { recordsMax } = resolveOptions("journal.timeline", rules, given);
  const record = await journal.get(sequence);
  if (record === undefined || record.type !== RECORD_TYPE.data || record.origin !== sequence) return undefined;
  const story = new Story(sequence);
  let read = 0;
  for await (const each of journal.read({ from: sequence })) {
    story.read(each);
    if (story.isOver) break;
    read += 1;
    if (read >= recordsMax) return { events: story.events, isComplete: false };
    if (read % RECORDS_PER_TURN === 0) await new Promise<void>((resolve) => void setImmediate(resolve));
  }
  return { events: story.events, isComplete: true };
}

class Story {
  readonly events: TimelineEvent[] = [];
  /** Nothing more can happen to the record. */
  isOver = false;
  readonly #origin: number;
  #isDead = false;
  /** Of the newest copy. */
  #place: number;
  /** Failures that several records tell of, by attempt and time. */
  readonly #told = new Set<string>();

  constructor(origin: number) {
    this.#origin = origin;
    this.#place = origin;
  }

  read(record: JournalRecord): void {
    const { payload } = record;
    const at = timeOf(record.timeMs);
    switch (record.type) {
      case RECORD_TYPE.data:
        if (record.origin === this.#origin) this.#stored(record, at);
        break;
      case RECORD_TYPE.ack:
        if (ackRanges(payload).has(this.#place)) this.#end({ kind: "done", at });
        break;
      case RECORD_TYPE.retry:
      case RECORD_TYPE.dead:
        if (decodeFate(payload).origin === this.#origin) this.#failed(record, at);
        break;
      case RECORD_TYPE.redrive: {
        const { origins, handler } = decodeRedrive(payload);
        // The command doesn't mean a record that isn't dead any more.
        if (!this.#isDead || !origins.includes(this.#origin)) break;
        this.#isDead = false;
        this.events.push({ kind: "redriven", at, handler: handler === "" ? undefined : handler });
        break;
      }
      case RECORD_TYPE.expire: {
        const { kind, origins } = decodeExpire(payload);
        const isMeant = this.#isDead === (kind === DROPPED) && origins.includes(this.#origin);
        if (isMeant) this.#end({ kind: kind === DROPPED ? "dropped" : "expired", at });
        break;
      }
      default:
        break;
    }
  }

  #stored({ sequence }: JournalRecord, at: string): void {
    this.#place = sequence;
    this.events.push({ kind: sequence === this.#origin ? "published" : "copied", at });
  }

  #failed({ type, payload }: JournalRecord, at: string): void {
    const { reason, attempts, atMs } = decodeFate(payload);
    for (const failure of decodeHistory(payload).failures) this.#tell(failure);
    if (type === RECORD_TYPE.dead) {
      // The copy of a letter says nothing new.
      if (this.#isDead) return;
      this.#isDead = true;
      this.events.push({ kind: "dead", at, reason: reasonName(reason), attempts });
      return;
    }
    this.events.push({ kind: "waits", at, dueAt: Number.isFinite(atMs) ? timeOf(atMs) : undefined });
  }

  #tell({ attempt, atMs, reason, error }: Failure): void {
    const name = `${attempt} ${atMs}`;
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.events.push({ kind: "failed", at: timeOf(atMs), attempt, reason, error: toPlain(error) });
  }

  #end(event: TimelineEvent): void {
    this.events.push(event);
    this.isOver = true;
  }
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
