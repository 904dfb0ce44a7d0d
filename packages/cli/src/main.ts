/**
 * The `millrace` command.
 */
import { availableParallelism } from "node:os";
import { TRACE_RECORDS_DEFAULT, TRACE_RECORDS_MAX } from "millrace";
import { Command, CommanderError, Option } from "commander";
import { EXIT, EXIT_HELP } from "./terminal/exit-codes.ts";
import { exitCodeOf, ingest, type IngestOptions } from "./ingest/command.ts";
import { FORMATS } from "./ingest/sources.ts";
import { compact, gaps, repair, type RepairOptions } from "./journal/care.ts";
import { inspect, verify } from "./journal/commands.ts";
import type { JournalCommandOptions } from "./journal/place.ts";
import { exportRecords, type ExportOptions, tail, type TailOptions } from "./journal/records.ts";
import { type CrashOptions, loadCrash } from "./load/crash.ts";
import { loadRun, type RunOptions } from "./load/run.ts";
import { record, stats, type TraceRecordOptions } from "./trace/commands.ts";
import { Reporter, type ReporterOptions } from "./terminal/reporter.ts";
import { powerOfTwo, positiveNumber, wholeNumber } from "./terminal/units.ts";

/** Runs the command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = build((code) => (exitCode = code));
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? EXIT.ok : EXIT.usage;
    new Reporter(reporterOptionsOf(argv)).error(thrown);
    return exitCodeOf(thrown);
  }
}

/** For an error that comes before the options are known. */
function reporterOptionsOf(argv: readonly string[]): ReporterOptions {
  return { json: argv.includes("--json"), verbose: argv.includes("--verbose") };
}

function build(setExitCode: (code: number) => void): Command {
  const program = new Command("millrace")
    .description("Records on disk before they are acknowledged, handled on all cores, none lost.")
    .showHelpAfterError("(see --help)")
    .exitOverride()
    .addHelpText("after", EXIT_HELP);
  const run =
    <Parameters extends unknown[]>(command: (...parameters: Parameters) => number | Promise<number>) =>
    async (...parameters: Parameters): Promise<void> =>
      setExitCode(await command(...parameters));
  addIngest(program, run);
  addLoad(program, run);
  addJournal(program, run);
  addTrace(program, run);
  return program;
}

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

/** Options that every command has. */
function common(command: Command): Command {
  return command
    .option("--json", "one JSON document on stdout, messages on stderr")
    .option("--quiet", "no progress")
    .option("--verbose", "stack traces, and the output of child processes")
    .exitOverride();
}

function addIngest(program: Command, run: Runner): void {
  common(program.command("ingest"))
    .description("publish the records of a file; run again after a crash, it goes on where it stopped")
    .argument("<file>", "NDJSON, a JSON array, or CSV with a header line; - for stdin")
    .requiredOption("--handler <module#export>", "the function that handles a record")
    .requiredOption("--dir <dir>", "directory of the journal, created if needed")
    .addOption(new Option("--format <format>", "instead of guessing").choices(FORMATS))
    .addOption(
      new Option("--on-error <what>", "what a malformed line does").choices(["fatal", "skip"]).default("fatal"),
    )
    .option("--source <name>", "name of the source, by which its lines are known (default: the file's real path)")
    .option("--processors <n>", "worker threads (default: all cores)", wholeNumber("--processors", 1, 64))
    .option(
      "--in-flight <n>",
      "records on their way to the disk at once",
      wholeNumber("--in-flight", 1, 1_000_000),
      8192,
    )
    .option("--allow-unsafe-storage", "take a file system that keeps nothing, or one over a network")
    .addHelpText(
      "after",
      `
Examples:
  millrace ingest payments.ndjson --handler ./handlers.js#settle --dir ./data
  curl -s https://example.org/flights.csv | millrace ingest - --format csv --source flights \\
    --handler ./handlers.js#flight --dir ./data --on-error skip --json
${EXIT_HELP}`,
    )
    .action(run((file: string, options: IngestOptions) => ingest(file, options)));
}

function addLoad(program: Command, run: Runner): void {
  const load = program.command("load").description("put the runtime under load").exitOverride();
  loadOptions(load.command("crash"), 10)
    .description("load, kill -9 at random moments, restart, and compare what was promised with what was handled")
    .option("--kills <n>", "how often", wholeNumber("--kills", 1, 10_000), 3)
    .addHelpText(
      "after",
      `
Examples:
  millrace load crash
  millrace load crash --seconds 60 --kills 20 --rate 20000 --json

lost: acknowledged and never handled.  ghost: handled but never sent, certainly rejected, or altered.
Kill -9 leaves the page cache alone: this shows what survives a crash of the process, not a loss of power.
${EXIT_HELP}`,
    )
    .action(run((options: CrashOptions) => loadCrash(options)));
  loadOptions(load.command("run"), 10)
    .description("open-loop load; latency counts from when a record was due")
    .option(
      "--slo <target>",
      "such as p99<20ms; may be repeated",
      (text, all: string[]) => [...all, text],
      [] as string[],
    )
    .addHelpText(
      "after",
      `
Examples:
  millrace load run --rate 20000 --seconds 30
  millrace load run --rate 5000 --slo 'p99<20ms' --slo 'max<1s' --json
${EXIT_HELP}`,
    )
    .action(run((options: RunOptions) => loadRun(options)));
}

function loadOptions(command: Command, seconds: number): Command {
  return common(command)
    .option("--seconds <s>", "length of the run", positiveNumber("--seconds", 86_400), seconds)
    .option("--rate <n>", "records per second", positiveNumber("--rate", 1_000_000), 5000)
    .option("--size <bytes>", "payload of a record", wholeNumber("--size", 0, 1_000_000), 128)
    .option(
      "--processors <n>",
      "worker threads",
      wholeNumber("--processors", 1, 64),
      Math.min(availableParallelism(), 64),
    )
    .option(
      "--seed <n>",
      "for the payloads and the moments of the kills",
      wholeNumber("--seed", 0, 2 ** 31 - 1),
      randomSeed(),
    )
    .option("--dir <dir>", "directory of the journal (default: a temporary one)");
}

function randomSeed(): number {
  return Date.now() % 1_000_000;
}

function addJournal(program: Command, run: Runner): void {
  const journal = program.command("journal").description("look at a journal").exitOverride();
  const options = (command: Command): Command =>
    common(command).requiredOption("--dir <dir>", "directory of the journal; it may be in use");
  options(journal.command("inspect"))
    .description("what is in it: segments, records, handlers, what is unfinished")
    .addHelpText("after", `\nExample:\n  millrace journal inspect --dir ./data --json\n${EXIT_HELP}`)
    .action(run((given: JournalCommandOptions) => inspect(given)));
  options(journal.command("verify"))
    .description("read every byte, check every checksum; exit code 3 on damage")
    .addHelpText("after", `\nExample:\n  millrace journal verify --dir ./data || echo damaged\n${EXIT_HELP}`)
    .action(run((given: JournalCommandOptions) => verify(given)));
  options(journal.command("tail"))
    .description("the last records, one line of JSON each")
    .option("--lines <n>", "how many", wholeNumber("--lines", 0, 1_000_000), 10)
    .option("--follow", "and those that become durable later, until interrupted")
    .addHelpText("after", `\nExample:\n  millrace journal tail --dir ./data --follow\n${EXIT_HELP}`)
    .action(run((given: TailOptions) => tail(given)));
  options(journal.command("export"))
    .description("records as lines of JSON")
    .option("--from <sequence>", "the first", wholeNumber("--from", 1, Number.MAX_SAFE_INTEGER))
    .option("--to <sequence>", "the last", wholeNumber("--to", 1, Number.MAX_SAFE_INTEGER))
    .option("--output <file>", "a new file instead of stdout")
    .option("--salvage", "everything that can be read of a damaged journal; exit code 3 if something is missing")
    .addHelpText(
      "after",
      `\nExample:\n  millrace journal export --dir ./data --from 1000 --output records.ndjson\n${EXIT_HELP}`,
    )
    .action(run((given: ExportOptions) => exportRecords(given)));
  options(journal.command("gaps"))
    .description("what is missing, and what earlier repairs gave up; exit code 3 if something is missing")
    .addHelpText("after", `\nExample:\n  millrace journal gaps --dir ./data --json\n${EXIT_HELP}`)
    .action(run((given: JournalCommandOptions) => gaps(given)));
  options(journal.command("repair"))
    .description("make a damaged journal readable again; what was there before is kept in its directory quarantine")
    .requiredOption("--accept-loss <range>", "the sequences that may be lost, such as 120-135; see gaps")
    .addHelpText("after", `\nExample:\n  millrace journal repair --dir ./data --accept-loss 120-135\n${EXIT_HELP}`)
    .action(run((given: RepairOptions) => repair(given)));
  options(journal.command("compact"))
    .description("delete what is finished, out of a journal that is not in use")
    .addHelpText("after", `\nExample:\n  millrace journal compact --dir ./data\n${EXIT_HELP}`)
    .action(run((given: JournalCommandOptions) => compact(given)));
}

function addTrace(program: Command, run: Runner): void {
  const trace = program.command("trace").description("see what the scheduler does, task by task").exitOverride();
  common(trace.command("record"))
    .description("run a program and write what its runtime did as a trace for ui.perfetto.dev")
    .argument("<program...>", "the program and its arguments, after --")
    .option("--out <file>", "where the trace goes", "trace.json")
    .option(
      "--records <n>",
      "newest records kept per thread, a power of two",
      powerOfTwo("--records", TRACE_RECORDS_MAX),
      TRACE_RECORDS_DEFAULT,
    )
    .option(
      "--seconds <s>",
      "write the trace after this time, then end the program",
      positiveNumber("--seconds", 86_400),
    )
    .addHelpText(
      "after",
      `
Examples:
  millrace trace record -- node service.js
  millrace trace record --out slow.json --seconds 10 --records 262144 -- node service.js --port 8080

The program needs no change: open() records when MILLRACE_TRACE_DIRECTORY is set, and writes when it is closed or the process ends.
${EXIT_HELP}`,
    )
    .action(run((command: string[], options: TraceRecordOptions) => record(command, options)));
  common(trace.command("stats"))
    .description("a recorded trace in numbers: per handler and per machine")
    .argument("<file>", "what trace record wrote")
    .addHelpText("after", `\nExample:\n  millrace trace stats trace.json --json\n${EXIT_HELP}`)
    .action(run((file: string, options: ReporterOptions) => stats(file, options)));
}
