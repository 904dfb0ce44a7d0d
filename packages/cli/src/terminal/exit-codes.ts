import { isMillraceError } from "@millrace/base";

/** How the command ends, for scripts and CI. Every --help lists these codes. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  /** Acknowledged data is lost, or a journal is damaged. */
  dataLost: 3,
  /** A target that was asked for was missed. */
  targetMissed: 4,
  /** The run proves nothing: the generator was too slow, or the event under test never happened. */
  runInvalid: 5,
  hungUp: 129,
  interrupted: 130,
  terminated: 143,
} as const;

export const EXIT_HELP = `
Exit codes:
  0 ok   1 failure   2 usage   3 acknowledged data lost or journal damaged
  4 target missed   5 run invalid   129, 130, 143 SIGHUP, SIGINT, SIGTERM`;

/** The exit code for an error that ends the command. */
export function exitCodeOf(thrown: unknown): number {
  if (isMillraceError(thrown, "ERR_JOURNAL_DAMAGED")) return EXIT.dataLost;
  const usage = ["ERR_CLI_USAGE", "ERR_INVALID_OPTION", "ERR_HANDLER_UNKNOWN"];
  return isMillraceError(thrown) && usage.includes(thrown.code) ? EXIT.usage : EXIT.failure;
}
