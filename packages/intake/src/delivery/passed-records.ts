/**
 * Records that a walk through the log has met on its way to another one, and that will be asked for
 * later: the turns of several keys interleave, so each line goes back a little where another was.
 * To walk back costs the whole segment up to there.
 *
 * What is kept stays until it is asked for, or needs no turn any more; what comes when there is no
 * room isn't kept, because earlier records are asked for sooner.
 */
import { KeptRecord, type LogRecord } from "../format/log-record.ts";

/** Memory of a record beside its bytes, about. */
const RECORD_BYTES = 256;
/** Records that come between two looks for those that need no turn any more. */
const LOOK_EACH = 4096;

export class PassedRecords {
  readonly #bytesMax: number;
  readonly #isOver: (place: number) => boolean;
  readonly #records = new Map<number, KeptRecord>();
  #bytes = 0;
  #sinceLook = 0;

  /** `isOver`: whether the record at a place needs no turn any more. */
  constructor(bytesMax: number, isOver: (place: number) => boolean) {
    this.#bytesMax = bytesMax;
    this.#isOver = isOver;
  }

  /** The record at a place, which isn't kept any longer; undefined when it isn't here. */
  take(place: number): KeptRecord | undefined {
    const record = this.#records.get(place);
    if (record !== undefined) this.#drop(record);
    return record;
  }

  passed(record: LogRecord): void {
    const { sequence } = record;
    if (this.#isOver(sequence) || this.#records.has(sequence)) return;
    this.#sinceLook += 1;
    if (this.#bytes >= this.#bytesMax && this.#sinceLook >= LOOK_EACH) this.#dropOver();
    if (this.#bytes >= this.#bytesMax) return;
    const kept = new KeptRecord(record);
    this.#records.set(sequence, kept);
    this.#bytes += kept.bytes + RECORD_BYTES;
  }

  #dropOver(): void {
    this.#sinceLook = 0;
    for (const [place, record] of this.#records) if (this.#isOver(place)) this.#drop(record);
  }

  #drop(record: KeptRecord): void {
    this.#records.delete(record.sequence);
    this.#bytes -= record.bytes + RECORD_BYTES;
  }
}
