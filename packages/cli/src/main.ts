/**
 * Entry of the `millrace` command: runs a command line, and reports what is wrong with it in the
 * style of all errors.
 */
import { nearest } from "@millrace/base";
import { type Command, CommanderError } from "commander";
import { cliError } from "./errors.ts";
import { buildProgram } from "./program.ts";
import { bearClosedPipes } from "./terminal/closed-pipes.ts";
import { EXIT, exitCodeOf } from "./terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "./terminal/reporter.ts";
import { signals } from "./terminal/signals.ts";

/** Runs the command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const reporter = new Reporter(reporterOptionsOf(argv));
  bearClosedPipes();
  printWarnings(reporter);
  signals.ready(() => reporter.interrupted(signals.received));
  let exitCode: number = EXIT.ok;
  try {
    const program = buildProgram((code) => (exitCode = code));
    mustKnowWhatHelpIsFor(program, argv);
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) {
      reporter.error(thrown);
      return exitCodeOf(thrown);
    }
    if (thrown.exitCode === 0) return EXIT.ok;
    // Help that was printed for want of a command has said it all.
    if (thrown.code !== "commander.help") reporter.error(usageError(thrown));
    return EXIT.usage;
  }
}

/** Commander says nothing about `help` for a command that isn't there. */
function mustKnowWhatHelpIsFor(program: Command, argv: readonly string[]): void {
  let command = program;
  for (const [index, word] of argv.entries()) {
    if (word.startsWith("-")) continue;
    const names = command.commands.flatMap((each) => [each.name(), ...each.aliases()]);
    const asked = argv[index + 1];
    if (
      word === "help" &&
      asked !== undefined &&
      !asked.startsWith("-") &&
      asked !== "help" &&
      !names.includes(asked)
    ) {
      const near = nearest(asked, names);
      const hint = near === undefined ? "" : ` (Did you mean ${near}?)`;
      throw cliError("ERR_CLI_USAGE", `unknown command '${asked}'${hint}`);
    }
    const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word));
    if (next === undefined) return;
    command = next;
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

/** Commander's own errors begin with "error: ", and suggest on a line of its own. */
function usageError({ message }: CommanderError): Error {
  return cliError("ERR_CLI_USAGE", message.replace(/^error: /, "").replaceAll("\n", " "));
}

/** Warnings of the process, such as of a doubtful file system, in the command's own style. */
function printWarnings(reporter: Reporter): void {
  process.removeAllListeners("warning");
  process.on("warning", ({ message }) => reporter.message(`millrace: warning: ${message}`));
}
