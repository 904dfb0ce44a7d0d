import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type CliErrorCode =
  | "ERR_CLI_OUTPUT"
  | "ERR_CLI_TEMPORARY"
  | "ERR_CLI_USAGE"
  | "ERR_DEAD_LETTER_MISSING"
  | "ERR_INGEST_CHANGED"
  | "ERR_INGEST_INPUT"
  | "ERR_INGEST_MALFORMED"
  | "ERR_JOURNAL_FOREIGN"
  | "ERR_JOURNAL_MISSING"
  | "ERR_LOAD_VICTIM"
  | "ERR_SERVICE_STOPPED"
  | "ERR_TRACE_FILE"
  | "ERR_TRACE_NONE";

export const cliErrors: ErrorTable<CliErrorCode> = {
  ERR_CLI_OUTPUT: {
    cause: "The output can't be written: its file exists already or can't be created, or its disk is full.",
    cure: "Name a new file, in a directory that you may write to, on a disk with room.",
  },
  ERR_CLI_TEMPORARY: {
    cause: "The directory for temporary files isn't there, can't be written, or has too long a path.",
    cure: "Set TMPDIR to a directory with a short path that you may write to.",
  },
  ERR_CLI_USAGE: {
    cause: "The command line has an unknown option, or a value outside its range.",
    cure: "See --help; the message names the fault.",
  },
  ERR_DEAD_LETTER_MISSING: {
    cause: "The record isn't dead: it never was, or it was redriven or dropped.",
    cure: "`millrace dlq list` shows the dead ones.",
  },
  ERR_INGEST_INPUT: {
    cause: "The input doesn't exist, can't be read, decompressed or decoded, or its format can't be recognised.",
    cure: "Check the path and the permissions, or give the option that the message asks for: --format, --encoding.",
  },
  ERR_INGEST_MALFORMED: {
    cause:
      "A part of the input isn't a record of its format, or reading would alter it. A wrong " +
      "header, and an array that isn't closed, end the run in any case.",
    cure:
      "Correct the place that the message names, or pass --on-error skip. The records before " +
      "it are stored; run the command again to go on.",
  },
  ERR_INGEST_CHANGED: {
    cause: "A record differs from what an earlier run has stored of the same source, or isn't there any more.",
    cure: "If this is another file, give it a name of its own with --source NAME.",
  },
  ERR_JOURNAL_FOREIGN: {
    cause:
      "The journal has a record or a checkpoint that no intake has written, so nothing says " +
      "which records are finished.",
    cure:
      "Compact only journals of open({ journal }) or ingest. In a journal of your own, use " +
      "checkpoint() and truncateBefore().",
  },
  ERR_JOURNAL_MISSING: {
    cause: "There is no journal in the directory.",
    cure: "Check the path; a journal has files named log-….wal.",
  },
  ERR_LOAD_VICTIM: {
    cause: "The process under test couldn't start, or ended by itself.",
    cure: "Run again with --verbose to see its output.",
  },
  ERR_SERVICE_STOPPED: {
    cause:
      "The command needs a running service, and none has this directory open with a control " +
      "socket, or it has ended before it answered.",
    cure: "Start the service, without `control: false`; `millrace journal inspect` reads the directory of a stopped one.",
  },
  ERR_TRACE_FILE: {
    cause: "The file can't be read, is no JSON, or is no trace that Millrace has written.",
    cure: "Give the file that `millrace trace record --out FILE` wrote.",
  },
  ERR_TRACE_NONE: {
    cause: "The program couldn't be started, opened no runtime, or was killed before it could write its trace.",
    cure: "Check that it calls open(). If it never ends by itself, pass --seconds.",
  },
};

export const cliError: ErrorFactory<CliErrorCode> = errorFactory(cliErrors);
