/**
 * `context.publish`: records that a handler publishes together with the end of its own.
 *
 * Each call checks and encodes its record, and puts it aside. When the handler has returned, the
 * outcome of the task carries them to the delivery thread, which writes them and the ACK as one
 * atomic group. When the attempt fails, or its thread ends, they are gone with it. A call that
 * waited until its record is durable would wait for the end of the handler that waits.
 * `context.publishNow` can be awaited: the opening thread publishes at once, by its own ring.
 *
 * What a group takes is known here, so that too much of it is refused by the call that stages it.
 */
import { encodeCopy } from "@millrace/codec";
import type { StageHost, TaskStage } from "@millrace/scheduler";
import { intakeError } from "../errors.ts";
import type { StagedRecord } from "../format/outcome.ts";
import { prepare, type PublishedNow, type RecordOptions } from "../format/publication.ts";
import { unpackTrace } from "../format/trace-context.ts";
import { encodeHandler } from "../format/record-header.ts";
import { STAGED_RECORD_BYTES, type StageLimits } from "../format/task-header.ts";

/** Records of an atomic group, less the ACK and a kept result. */
const STAGED_RECORDS_MAX = 65_534;
/** The journal has 16 bits for the length of a header. */
const HEADER_BYTES_MAX: number = 2 ** 16 - 1;

export class Stage implements TaskStage {
  readonly #limits: StageLimits;
  readonly #records: StagedRecord[] = [];
  readonly #trace: () => string | undefined;
  #bytes = 0;
  readonly publish: object;
  readonly publishNow: object;

  /** `trace`: where the trace goes on of a record that names none, as a record keeps it. */
  constructor(limits: StageLimits, host: StageHost, trace: () => string | undefined) {
    this.#limits = limits;
    this.#trace = trace;
    this.publish = host.bind((name) => {
      const header = encodeHandler(name);
      return (value: unknown, options?: RecordOptions): void => {
        host.mustRun("publish");
        this.#add(name, prepare(name, header, value, this.#traced(options), true).parts);
      };
    });
    this.publishNow = host.bind((name) => async (value: unknown, options?: RecordOptions) => {
      host.mustRun("publishNow");
      return await host.ask([name, encodeCopy(value), this.#traced(options)] satisfies PublishedNow);
    });
  }

  get records(): readonly StagedRecord[] {
    return this.#records;
  }

  #traced(options: RecordOptions | undefined): RecordOptions | undefined {
    if (options !== undefined && (typeof options !== "object" || options?.traceparent !== undefined)) return options;
    const trace = this.#trace();
    return trace === undefined ? options : { ...options, ...unpackTrace(trace) };
  }

  #add(handler: string, record: StagedRecord): void {
    const { recordBytesMax, groupBytesMax } = this.#limits;
    const bytes = record.header.length + record.key.length + record.payload.length;
    if (bytes > recordBytesMax || record.header.length > HEADER_BYTES_MAX) {
      throw tooLarge(`a record for ${handler} of ${bytes} bytes`, { bytes, recordBytesMax });
    }
    const all = this.#bytes + bytes + STAGED_RECORD_BYTES;
    const records = this.#records.length + 1;
    if (all > groupBytesMax || records > STAGED_RECORDS_MAX) {
      const details = { bytes: all, groupBytesMax, records, recordsMax: STAGED_RECORDS_MAX };
      throw tooLarge(`a group of ${records} records and ${all} bytes`, details);
    }
    this.#records.push(record);
    this.#bytes = all;
  }
}

function tooLarge(what: string, details: Readonly<Record<string, number>>): Error {
  const limits = Object.entries(details).filter(([name]) => name.endsWith("Max"));
  return intakeError(
    "ERR_STAGE_TOO_LARGE",
    `${what} is over the limit (${limits.map(([name, limit]) => `${name} ${limit}`).join(", ")})`,
    { details },
  );
}
