/** Hands each report of the delivery thread to the part of the opener that it concerns. */
import { encodeThrown } from "@millrace/codec";
import type { Quarantine } from "@millrace/pool";
import { intakeError } from "../errors.ts";
import { lastError } from "../format/state-records.ts";
import type { Admission } from "./admission.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { DeliveryClient, OpenReport } from "./delivery-client.ts";
import type { Events } from "./events.ts";
import type { Producers } from "./producers.ts";
import type { Publisher } from "./publisher.ts";
import type { Questions } from "./questions.ts";

/** Ends a thread that attempts hold which delivery has given up. */
export type EndMachine = (machine: number, ifBlocked: boolean) => void;

export interface ReportReaders {
  readonly questions: Questions;
  readonly events: Events;
  readonly admission: Admission;
  readonly checkpoints: Checkpoints;
  readonly producers: Producers;
  readonly publisher: Publisher;
  readonly quarantine: Quarantine;
  readonly delivery: DeliveryClient;
  readonly endMachine: EndMachine;
}

export function handOn(report: OpenReport, readers: ReportReaders): void {
  const { questions, events, admission, checkpoints } = readers;
  if ("dead" in report) {
    const { dead: sequence, history } = report;
    const failure = { cause: lastError(history), details: { sequence } };
    questions.lost(
      sequence,
      intakeError("ERR_RECORD_DEAD", `record ${sequence} has failed for the last time`, failure),
    );
  } else if ("expired" in report) {
    const { expired: sequence } = report;
    const text = `record ${sequence} expired, or was dropped`;
    questions.lost(sequence, intakeError("ERR_RECORD_EXPIRED", text, { details: { sequence } }));
  } else if ("died" in report) for (const death of report.died) events.emit("dead", death);
  else if ("event" in report) events.told(report.event);
  else if ("fullHandlers" in report) admission.full(report.fullHandlers);
  else if ("stoppedHandlers" in report) readers.publisher.stopped(report.stoppedHandlers);
  else if ("producer" in report) readers.producers.admitted(report.producer);
  else if ("endMachine" in report) readers.endMachine(report.endMachine, report.ifBlocked);
  else if ("withoutRoomSeconds" in report) readers.delivery.onWithoutRoom(report.withoutRoomSeconds);
  else if ("groupsGivenUp" in report) readers.delivery.onGroupsGivenUp(report.groupsGivenUp);
  else if ("checkpoint" in report) checkpoints.begin(report.checkpoint);
  else void handleInQuarantine(report, readers);
}

/** Handles a record in a process of its own, and tells delivery what became of it. */
async function handleInQuarantine(
  report: Extract<OpenReport, { readonly quarantine: number }>,
  { quarantine, delivery }: ReportReaders,
): Promise<void> {
  const { quarantine: quarantined, handler, header, payload, timeoutMs } = report;
  let error: Uint8Array | undefined;
  let outcome: unknown;
  try {
    outcome = await quarantine.call({ handler, header, argument: payload, timeoutMs });
  } catch (thrown) {
    error = encodeThrown(thrown);
  }
  delivery.order({ quarantined, error, outcome });
}
