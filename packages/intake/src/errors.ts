import { errorFactory, type ErrorFactory, type ErrorTable, type MillraceError } from "@millrace/base";

export type IntakeErrorCode =
  | "ERR_CONTROL_PROTOCOL"
  | "ERR_CONTROL_SOCKET"
  | "ERR_DEAD_LETTERS_FULL"
  | "ERR_DELIVERY_DIED"
  | "ERR_IDEMPOTENCY_MISMATCH"
  | "ERR_RECORD_EXPIRED"
  | "ERR_INTAKE_ABSENT"
  | "ERR_INTAKE_CLOSED"
  | "ERR_INTAKE_FULL"
  | "ERR_PRODUCERS_FULL"
  | "ERR_RECORD_DEAD"
  | "ERR_REPLAY_RANGE"
  | "ERR_RESULT_EXPIRED"
  | "ERR_RESULT_TOO_LARGE"
  | "ERR_RESULT_UNSUPPORTED"
  | "ERR_STAGE_TOO_LARGE"
  | "ERR_RECORD_UNREADABLE"
  | "ERR_SPANS_UNAVAILABLE"
  | "ERR_SCHEDULE_REFUSED";

export const intakeErrors: ErrorTable<IntakeErrorCode> = {
  ERR_INTAKE_ABSENT: {
    cause: "publish or drain was called on a runtime that was opened without a journal.",
    cure: "Pass `journal: { directory }` to open().",
  },
  ERR_INTAKE_CLOSED: {
    cause: "A record was published after close(), or the intake closed before the record was done.",
    cure: "Publish before you close; a record that was acknowledged is delivered after the next opening.",
  },
  ERR_INTAKE_FULL: {
    cause:
      "The intake's level is \"reject\" (details.cause: ring, unfinished or disk), and the publish doesn't wait, or has waited for timeoutMs. The record isn't stored.",
    cure: "Publish again after details.retryAfterMs, or more slowly: details.ratePerSecond is what drains now.",
  },
  ERR_CONTROL_PROTOCOL: {
    cause: "What came through the control socket isn't a request: no JSON, of another version, or too long.",
    cure: "Use the `millrace` command of the version that the service has.",
  },
  ERR_CONTROL_SOCKET: {
    cause:
      "The control socket can't be made or used: its path is too long for this system, the file system has no sockets, the user is another one, or its process has ended.",
    cure: "Put the journal into a directory with a shorter path, or work as the user that runs the service. The service itself runs without the socket; `control: false` asks for none.",
  },
  ERR_DEAD_LETTERS_FULL: {
    cause:
      "A record of this handler has failed for the last time, and the dead letters take as many bytes as `dead.bytesMax` allows. The publish isn't stored.",
    cure: "Look at the letters with mill.dead or `millrace dlq`, and redrive or drop some. The records that wait then become dead letters, and publishes are taken again.",
  },
  ERR_PRODUCERS_FULL: {
    cause: "A record names a producer that the intake doesn't know, and it knows producersMax. It isn't stored.",
    cure: "Drop producers that won't come back (mill.producers.drop), or raise producersMax. None is forgotten by itself.",
  },
  ERR_RECORD_DEAD: {
    cause: "A record's handler failed at every one of attemptsMax attempts.",
    cure: "The cause holds the last error; the record is still in the journal, marked as dead.",
  },
  ERR_REPLAY_RANGE: {
    cause: "A replay names records that were given up already, or that aren't durable yet. Nothing of it is published.",
    cure: "details says which are there: ask for those. To have more the next time, let `retain` keep finished records for longer.",
  },
  ERR_RESULT_EXPIRED: {
    cause:
      "A record is done, and no result of it is kept: its handler keeps none, its time (resultKeepMs) is over, or there were more than a million.",
    cure: 'Give the handler the option `result: "keep"`, ask earlier, or let it keep results longer.',
  },
  ERR_RESULT_TOO_LARGE: {
    cause: "The record is done, but what its handler returned is larger than resultBytesMax, so it wasn't kept.",
    cure: "Return less, a reference for instance, or raise resultBytesMax.",
  },
  ERR_RESULT_UNSUPPORTED: {
    cause:
      "The record is done, but what its handler returned can't be stored, so it wasn't kept: a function, or a value with one.",
    cure: "Return data. The message says which part it is.",
  },
  ERR_STAGE_TOO_LARGE: {
    cause:
      "context.publish was given a record that is too large, or more records than one atomic group takes: they are stored together with the end of the handler's own record.",
    cure: "Publish less from one record: cut its work into several records first. details names the limits, which follow from recordBytesMax, batchBytesMax and ringBytes.",
  },
  ERR_RECORD_EXPIRED: {
    cause: "A record's time (ttlMs, expiresAt) was over before it could be handled, or it was dropped by command.",
    cure: "Publish it again if it is still wanted.",
  },
  ERR_IDEMPOTENCY_MISMATCH: {
    cause: "An idempotency key was used before for another payload, within the window of `dedupe`.",
    cure: "Use a key that belongs to one payload; details.sequence is the record that has it. The new one isn't handled.",
  },
  ERR_DELIVERY_DIED: {
    cause: "The delivery thread ended: a bug, or out of memory. The journal takes no more records.",
    cure: "Start the process again: everything that was acknowledged is delivered then. Report the cause if it isn't memory.",
  },
  ERR_RECORD_UNREADABLE: {
    cause: "A record or a checkpoint of the journal has bytes that no version of the intake writes.",
    cure: "Another program has written into this journal: give the intake a directory of its own. If not, report it.",
  },
  ERR_SPANS_UNAVAILABLE: {
    cause: "open() was given `spans`, and the package @opentelemetry/api isn't installed where Millrace finds it.",
    cure: "Install @opentelemetry/api 1.9 or later beside millrace, or leave the option out.",
  },
  ERR_SCHEDULE_REFUSED: {
    cause: "A schedule can't be kept: there are 1000 others, or payload and headers are larger than a record may be.",
    cure: "Remove schedules with unschedule(), or let the payload name what the handler then reads.",
  },
};

export const intakeError: ErrorFactory<IntakeErrorCode> = errorFactory(intakeErrors);

/** A record of this producer isn't taken. */
export function producersFull(producer: string, producersMax: number): MillraceError {
  return intakeError("ERR_PRODUCERS_FULL", `${producer} would be one producer more than ${producersMax}`, {
    details: { producer, producersMax },
  });
}

/** A record for this handler isn't taken: one that can't die must not be. */
export function deadLettersFull(handler: string, deadBytes: number, deadWaiting: number): MillraceError {
  return intakeError("ERR_DEAD_LETTERS_FULL", `${handler} takes no record: there is no room for its dead letters`, {
    details: { handler, deadBytes, deadWaiting },
  });
}
