import { errorFactory, type ErrorFactory, type ErrorTable } from "@millrace/base";

export type CliErrorCode =
  | "ERR_CLI_OUTPUT"
  | "ERR_CLI_USAGE"
  | "ERR_INGEST_CHANGED"
  | "ERR_INGEST_INPUT"
  | "ERR_INGEST_MALFORMED"
  | "ERR_JOURNAL_FOREIGN"
  | "ERR_JOURNAL_MISSING"
  | "ERR_LOAD_VICTIM"
  | "ERR_TRACE_FILE"
  | "ERR_TRACE_NONE";

export const cliErrors: ErrorTable<CliErrorCode> = {
  ERR_CLI_OUTPUT: {
    cause: "The file for the output exists already, or can't be created.",
    cure: "Name a new file in a directory that you may write to.",
  },
  ERR_CLI_USAGE: {
    cause: "The command line has an unknown option, or a value outside its range.",
    cure: "See --help; the message names what is wrong.",
  },
  ERR_INGEST_INPUT: {
    cause: "The input file doesn't exist, can't be read, or has no recognisable format.",
    cure: "Check the path and the permissions, or name the format with --format.",
  },
  ERR_INGEST_MALFORMED: {
    cause: "A line or record of the input can't be parsed.",
    cure: "Correct the line that the message names, or pass --on-error skip. What came before is stored; run again to go on.",
  },
  ERR_INGEST_CHANGED: {
    cause: "A line differs from what was stored under the same source and line number by an earlier run.",
    cure: "If this is another file, give it a name of its own with --source NAME.",
  },
  ERR_JOURNAL_FOREIGN: {
    cause:
      "The journal holds a record or a checkpoint that no intake has written, so nothing tells which records are finished.",
    cure: "Compact only journals of open({ journal }) or ingest. In a journal of your own, use checkpoint() and truncateBefore().",
  },
  ERR_JOURNAL_MISSING: {
    cause: "There is no journal in the directory.",
    cure: "Check the path; a journal has files named log-….wal.",
  },
  ERR_LOAD_VICTIM: {
    cause: "The process under test couldn't start, or ended although nobody killed it.",
    cure: "Run again with --verbose to see what it printed.",
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
