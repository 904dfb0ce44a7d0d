/** `millrace dlq` and `millrace intake`, as --help shows them. */
import { type Command, Option } from "commander";
import { cliError } from "../errors.ts";
import { EXIT_HELP } from "../terminal/exit-codes.ts";
import type { ReporterOptions } from "../terminal/reporter.ts";
import { positiveNumber, timeMs, wholeNumber } from "../terminal/units.ts";
import {
  drop,
  type DoOptions,
  type ExportCommandOptions,
  exportLetters,
  type FilterOptions,
  list,
  pause,
  redrive,
  type RedriveCommandOptions,
  resume,
  show,
  status,
} from "./commands.ts";

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

const REASONS = ["error", "timeout", "death", "refused", "exhausted", "quarantine"];
const DIRECTORY = "directory of the journal; a service may have it open";

/** A time as text, in ms since 1970. Throws `ERR_CLI_USAGE`. */
function timeOf(option: string): (text: string) => number {
  return (text) => {
    const ms = timeMs(text);
    if (ms !== undefined) return ms;
    throw cliError("ERR_CLI_USAGE", `${option} must be a time such as 2026-01-31T12:00:00Z, not "${text}"`);
  };
}

function filters(command: Command): Command {
  return command
    .option("--handler <name>", "of this handler")
    .addOption(new Option("--reason <reason>", "died for this reason").choices(REASONS))
    .option("--from <time>", "died at this time or later", timeOf("--from"))
    .option("--to <time>", "died before this time", timeOf("--to"))
    .option("--key <key>", "with this order key")
    .option("--text <text>", "with this text in the payload or the last error")
    .option("--after <sequence>", "behind this record", wholeNumber("--after", 0, Number.MAX_SAFE_INTEGER))
    .option("--limit <n>", "at most this many", wholeNumber("--limit", 1, 2 ** 31));
}

export function addDlq(program: Command, common: (command: Command) => Command, run: Runner): void {
  const dlq = program
    .command("dlq")
    .description("look at dead letters, redrive them, drop them: of a running service, or of a stopped one")
    .exitOverride();
  const each = (name: string): Command => common(dlq.command(name)).argument("<dir>", DIRECTORY);
  filters(each("list"))
    .description("a line for each letter; with --json one document")
    .addHelpText("after", `\nExample:\n  millrace dlq list ./data --handler settle --text timeout\n${EXIT_HELP}`)
    .action(run((dir: string, options: FilterOptions) => list(dir, options)));
  each("show")
    .description("payload, headers and errors of one letter, as JSON; exit code 1 when it isn't there")
    .argument("<sequence>", "of the record", wholeNumber("<sequence>", 1, Number.MAX_SAFE_INTEGER))
    .addHelpText("after", `\nExample:\n  millrace dlq show ./data 4711\n${EXIT_HELP}`)
    .action(run((dir: string, sequence: number, options: ReporterOptions) => show(dir, sequence, options)));
  filters(each("redrive"))
    .description("give letters another turn, each once; of a stopped service, at its next start")
    .option("--all", "every letter")
    .option("--dry-run", "only count them")
    .option("--to-handler <name>", "another handler (default: the one in which they died)")
    .option("--rate <n>", "at most this many a second", positiveNumber("--rate", 1e9, 0.001))
    .addHelpText(
      "after",
      `\nExamples:\n  millrace dlq redrive ./data --handler settle --dry-run\n  millrace dlq redrive ./data --handler settle --rate 100\n${EXIT_HELP}`,
    )
    .action(run((dir: string, options: RedriveCommandOptions) => redrive(dir, options)));
  filters(each("drop"))
    .description("give letters up for good; their bytes leave the disk with their segment, or by journal compact")
    .option("--all", "every letter")
    .option("--dry-run", "only count them")
    .addHelpText("after", `\nExample:\n  millrace dlq drop ./data --to 2026-01-01T00:00:00Z\n${EXIT_HELP}`)
    .action(run((dir: string, options: DoOptions) => drop(dir, options)));
  filters(each("export"))
    .description("write letters into a new file, a line of JSON each, redacted; only its owner may read it")
    .requiredOption("--output <file>", "a file that isn't there yet (required)")
    .addHelpText("after", `\nExample:\n  millrace dlq export ./data --output letters.ndjson\n${EXIT_HELP}`)
    .action(run((dir: string, options: ExportCommandOptions) => exportLetters(dir, options)));
}

export function addIntake(program: Command, common: (command: Command) => Command, run: Runner): void {
  const intake = program.command("intake").description("command a service, through its control socket").exitOverride();
  const each = (name: string): Command => common(intake.command(name)).argument("<dir>", DIRECTORY);
  each("status")
    .description("figures and health of a running service, as JSON")
    .addHelpText("after", `\nExample:\n  millrace intake status ./data --json\n${EXIT_HELP}`)
    .action(run((dir: string, options: ReporterOptions) => status(dir, options)));
  each("pause")
    .description("begin no record of a handler until it is resumed, across restarts")
    .argument("<handler>", "its name")
    .addHelpText("after", `\nExample:\n  millrace intake pause ./data settle\n${EXIT_HELP}`)
    .action(run((dir: string, handler: string, options: ReporterOptions) => pause(dir, handler, options)));
  each("resume")
    .description("begin its records again")
    .argument("<handler>", "its name")
    .addHelpText("after", `\nExample:\n  millrace intake resume ./data settle\n${EXIT_HELP}`)
    .action(run((dir: string, handler: string, options: ReporterOptions) => resume(dir, handler, options)));
}
