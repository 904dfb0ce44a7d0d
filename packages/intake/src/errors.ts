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
      "The intake is full (details.cause: ring, unfinished, disk or stopped), and the publish " +
      "doesn't wait, or has waited for timeoutMs. The record isn't stored.",
    cure:
      "Publish again after details.retryAfterMs, or more slowly: details.ratePerSecond is the " +
      "rate at which the intake drains now.",
  },
  ERR_CONTROL_PROTOCOL: {
    cause: "The control socket got a line that isn't a request: no JSON, of another version, or too long.",
    cure: "Use the `millrace` command of the service's version.",
  },
  ERR_CONTROL_SOCKET: {
    cause:
      "The control socket can't be made or used: its path is too long for this system, the " +
      "file system has no sockets, another user owns it, or its process has ended.",
    cure:
      "Put the journal into a directory with a shorter path, or work as the user that runs " +
      "the service. The service itself runs without the socket; `control: false` makes none.",
  },
  ERR_DEAD_LETTERS_FULL: {
    cause:
      "A record of this handler has failed for the last time, and the dead letters already " +
      "take as many bytes as `dead.bytesMax` allows. The new record isn't stored.",
    cure:
      "Look at the letters with mill.dead or `millrace dlq`, and redrive or drop some. Then " +
      "the waiting records become dead letters, and the handler takes publishes again.",
  },
  ERR_PRODUCERS_FULL: {
    cause:
      "A record names a producer that the intake doesn't know, and it already knows " +
      "producersMax of them. The record isn't stored.",
    cure:
      "Drop producers that won't come back (mill.producers.drop), or raise producersMax. The " +
      "intake forgets none by itself.",
  },
  ERR_RECORD_DEAD: {
    cause:
      "A record has failed for the last time: its attempts or its time are used up, or its " +
      "error allows no further attempt.",
    cure: "`cause` is the last error. The record is a dead letter now: see mill.dead.",
  },
  ERR_REPLAY_RANGE: {
    cause:
      "The range of a replay has records that are no longer in the journal, or that aren't " +
      "durable yet. Nothing was published.",
    cure:
      "`details` says which records there are: ask for those. To have more next time, let " +
      "`retain` keep finished records for longer.",
  },
  ERR_RESULT_EXPIRED: {
    cause:
      "A record is done, and its result isn't kept: the handler keeps none, its time " +
      "(resultKeepMs) is over, or there were more than a million newer ones.",
    cure: 'Give the handler the option `result: "keep"`, read the result earlier, or raise resultKeepMs.',
  },
  ERR_RESULT_TOO_LARGE: {
    cause: "The record is done, but its result is larger than resultBytesMax and wasn't kept.",
    cure: "Return less, a reference for instance, or raise resultBytesMax.",
  },
  ERR_RESULT_UNSUPPORTED: {
    cause: "The record is done, but its result can't be stored and wasn't kept: it is a function, or has one in it.",
    cure: "Return plain data. The message names the part at fault.",
  },
  ERR_STAGE_TOO_LARGE: {
    cause:
      "context.publish got a record that is too large, or more records than one atomic group " +
      "may have. The group is stored together with the end of the handler's own record.",
    cure:
      "Publish less from one record, or split its work into several records first. `details` " +
      "has the limits, which follow from recordBytesMax, batchBytesMax and ringBytes.",
  },
  ERR_RECORD_EXPIRED: {
    cause: "A record's time (ttlMs, expiresAt) was over before a handler got it, or a command has dropped it.",
    cure: "Publish the record again if you still want it handled.",
  },
  ERR_IDEMPOTENCY_MISMATCH: {
    cause: "An idempotency key was used before for another payload, within the window of `dedupe`.",
    cure:
      "Use each key for one payload only; details.sequence is the record that has this key. " +
      "The new record isn't handled.",
  },
  ERR_DELIVERY_DIED: {
    cause: "The delivery thread ended: a bug, or out of memory. The journal takes no more records.",
    cure: "Restart the process: it then delivers every acknowledged record. Report the cause if it isn't memory.",
  },
  ERR_RECORD_UNREADABLE: {
    cause: "A record or a checkpoint of the journal has bytes that no version of the intake writes.",
    cure:
      "If another program has written into this journal, give the intake a directory of its " +
      "own. Otherwise report it.",
  },
  ERR_SPANS_UNAVAILABLE: {
    cause: "open() got the option `spans`, and Millrace can't find the package @opentelemetry/api.",
    cure: "Install @opentelemetry/api 1.9 or later beside millrace, or leave the option out.",
  },
  ERR_SCHEDULE_REFUSED: {
    cause: "A schedule can't be stored: there are 1000 others, or its payload and headers are too large for a record.",
    cure: "Remove schedules with unschedule(), or let the payload name a file or row that the handler reads.",
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
