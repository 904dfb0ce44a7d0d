/**
 * Entry of the `millrace` command: runs a command line, and reports what is wrong with it in the
 * style of all errors.
 */
import { CommanderError } from "commander";
import { cliError } from "./errors.ts";
import { buildProgram } from "./program.ts";
import { bearClosedPipes } from "./terminal/closed-pipes.ts";
import { EXIT, exitCodeOf } from "./terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "./terminal/reporter.ts";
import { signals } from "./terminal/signals.ts";
import { checkHelp, namedCommand, usageError } from "./usage-error.ts";

/** Runs the command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = buildProgram((code) => (exitCode = code));
  const named = namedCommand(program, argv);
  const reporter = new Reporter({ ...reporterOptionsOf(argv), command: named.path });
  bearClosedPipes((cause) => {
    // There is no place for a document.
    reporter.beginDocument();
    reporter.error(cliError("ERR_CLI_OUTPUT", `stdout can't be written: ${cause.message}`, { cause }));
  });
  printWarnings(reporter);
  signals.ready(() => reporter.interrupted(signals.received));
  try {
    checkHelp(named);
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) {
      reporter.error(thrown);
      return exitCodeOf(thrown);
    }
    if (thrown.exitCode === 0) return EXIT.ok;
    // Help that was printed for want of a command has said it all.
    if (thrown.code !== "commander.help") reporter.error(usageError(thrown, named));
    return EXIT.usage;
  }
}

/**
 * Before the options are parsed, and when they can't be. Behind "--" they belong to another
 * program.
 */
function reporterOptionsOf(argv: readonly string[]): ReporterOptions {
  const end = argv.indexOf("--");
  const own = end < 0 ? argv : argv.slice(0, end);
  return { json: own.includes("--json"), quiet: own.includes("--quiet"), verbose: own.includes("--verbose") };
}

/** Warnings of the process, such as of a doubtful file system, in the command's own style. */
function printWarnings(reporter: Reporter): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ message }) => reporter.message(`millrace: warning: ${message}`));
}
