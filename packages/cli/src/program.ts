/**
 * The commands and their options, as --help shows them.
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { Argument, Command, Option } from "commander";
import { TRACE_RECORDS_DEFAULT, TRACE_RECORDS_MAX } from "@millrace/runtime";
import { completionScript, type Shell, SHELLS } from "./completion/scripts.ts";
import { addDlq, addIntake } from "./dlq/program.ts";
import { ingest, type IngestOptions } from "./ingest/command.ts";
import { FORMATS } from "./ingest/formats.ts";
import { backup, type BackupOptions } from "./journal/backup.ts";
import { gaps, repair, type RepairOptions } from "./journal/care.ts";
import { compact } from "./journal/compact.ts";
import { upgrade, type UpgradeOptions } from "./journal/upgrade.ts";
import { inspect, verify } from "./journal/commands.ts";
import type { JournalCommandOptions } from "./journal/place.ts";
import { exportRecords, type ExportOptions, tail, type TailOptions } from "./journal/records.ts";
import { type CrashOptions, loadCrash } from "./load/crash.ts";
import { loadRun, type RunOptions } from "./load/run.ts";
import { addReplay } from "./replay/program.ts";
import { addServe } from "./serve/program.ts";
import { EXIT_HELP } from "./terminal/exit-codes.ts";
import type { ReporterOptions } from "./terminal/reporter.ts";
import { signals } from "./terminal/signals.ts";
import { parseDurationMs, powerOfTwo, positiveNumber, wholeNumber } from "./terminal/units.ts";
import { addOperate } from "./top/program.ts";
import { record, stats, type TraceRecordOptions } from "./trace/commands.ts";
import { refuseEmpty } from "./usage-error.ts";

/** `setExitCode` is called when a command has run. */
export function buildProgram(setExitCode: (code: number) => void): Command {
  const program = new Command("millrace")
    .description("Records on disk before they are acknowledged, handled on all cores, none lost.")
    .version(version(), "--version")
    // main.ts prints errors, with a code and as JSON.
    .configureOutput({ outputError: () => {} })
    .exitOverride()
    .hook("preAction", (_, command) => refuseEmpty(command))
    .addHelpText("after", EXIT_HELP);
  const run: Runner =
    (command) =>
    async (...parameters) =>
      setExitCode(await command(...parameters));
  addIngest(program, run);
  addLoad(program, run);
  addJournal(program, run);
  addDlq(program, common, run);
  addIntake(program, common, run);
  addReplay(program, common, run);
  addServe(program, common, run);
  addTrace(program, run);
  addOperate(program, common, run);
  addCompletion(program);
  return program;
}

function addCompletion(program: Command): void {
  program
    .command("completion")
    .description("print a script that completes commands and options in a shell")
    .addArgument(new Argument("<shell>", "the shell").choices(SHELLS))
    .addHelpText("after", "\nIn ~/.bashrc: source <(millrace completion bash)")
    .exitOverride()
    .action((shell: Shell) => void process.stdout.write(completionScript(program, shell)));
}

/** The largest record of a journal. */
const QUOTE_BYTES_MAX: number = 2 ** 20;

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

/**
 * For a command that reads a journal without giving the event loop a turn: a signal must end it all
 * the same.
 */
function blocking<Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number,
): (...parameters: Parameters) => number {
  return (...parameters) => {
    signals.release();
    return command(...parameters);
  };
}

function version(): string {
  const manifest = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { readonly version: string }).version;
}

/** Options that every command has. */
function common(command: Command): Command {
  return command
    .option("--json", "one JSON document on stdout, also for errors; messages on stderr")
    .option("--quiet", "no progress")
    .option("--verbose", "stack traces, and the output of child processes")
    .exitOverride();
}

function addIngest(program: Command, run: Runner): void {
  inputOptions(common(program.command("ingest")))
    .description("publish the records of files; after a crash the same command continues where it stopped")
    .argument("<file...>", "NDJSON, a JSON array, or CSV with a header line; plain, gzip, zstd or .br; - for stdin")
    .requiredOption("--handler <module#export>", "the function that handles a record (required)")
    .requiredOption("--dir <dir>", "directory of the journal, created if needed (required)")
    .option("--source <name>", "name under which the lines are stored (default: the file's real path)")
    .option(
      "--processors <n>",
      "how many handlers run at once, each on a thread of its own (default: one per core)",
      wholeNumber("--processors", 1, 64),
    )
    .option(
      "--in-flight <n>",
      "records that may wait for the disk at once",
      wholeNumber("--in-flight", 1, 1_000_000),
      8192,
    )
    .option(
      "--attempts <n>",
      "how often a record's handler is called before the record is dead",
      wholeNumber("--attempts", 1, 65_535),
      5,
    )
    .addOption(
      new Option("--retry-for <time>", "how long a record is tried again, and the command waits for that")
        .argParser((text) => parseDurationMs(text, "--retry-for"))
        .default(30_000, "30s"),
    )
    .option("--redrive", "hand out again what is dead of this handler since earlier runs")
    .option("--allow-unsafe-storage", "accept a file system in memory or over a network, which may lose records")
    .addHelpText(
      "after",
      `
Examples:
  millrace ingest payments.ndjson --handler ./handlers.js#settle --dir ./data
  curl -s https://example.org/flights.csv | millrace ingest - --format csv --source flights \\
    --handler ./handlers.js#flight --dir ./data --on-error skip --json
${EXIT_HELP}`,
    )
    .action(
      run((files: string[], { retryFor, ...options }: Omit<IngestOptions, "retryForMs"> & { retryFor: number }) =>
        ingest(files, { ...options, retryForMs: Math.round(retryFor) }),
      ),
    );
}

/** Options for the form of an input, and for its mistakes. */
function inputOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--format <format>",
        "format of the input (default: by the file's ending, or its first character)",
      ).choices(FORMATS),
    )
    .option("--encoding <name>", "such as latin1 or utf-16le (default: UTF-8, or what a byte order mark says)")
    .option("--delimiter <character>", "what divides the fields of CSV (default: found in the header)")
    .addOption(
      new Option(
        "--big-numbers <what>",
        "numbers that JavaScript would alter make a record malformed, or come as text or, whole ones, as BigInt",
      )
        .choices(["refuse", "text", "bigint"])
        .default("refuse"),
    )
    .addOption(
      new Option(
        "--on-error <what>",
        "a malformed part ends the run, or is skipped and counted (default: fatal; skip with --max-malformed)",
      ).choices(["fatal", "skip"]),
    )
    .option(
      "--max-malformed <n>",
      "skip malformed parts; more of them than this end the run (default: no limit)",
      wholeNumber("--max-malformed", 0, Number.MAX_SAFE_INTEGER),
    )
    .option(
      "--quote-max-bytes <n>",
      "how far a quoted CSV field may reach before its quote counts as a mistake of its line alone",
      wholeNumber("--quote-max-bytes", 1, QUOTE_BYTES_MAX),
      QUOTE_BYTES_MAX,
    );
}

function addLoad(program: Command, run: Runner): void {
  const load = program.command("load").description("put the runtime under load").exitOverride();
  loadOptions(load.command("crash"), 10)
    .description("load a process, kill it at random moments, restart it, and look for lost records")
    .option("--kills <n>", "number of kills", wholeNumber("--kills", 1, 10_000), 3)
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
    .description("load a process at a fixed rate; latency counts from when a record was due")
    .addOption(
      new Option("--slo <target>", "such as p99<20ms; may be repeated")
        .argParser((text, all: string[]) => [...all, text])
        .default([], "none"),
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
    .option("--size <bytes>", "bytes of a record's payload", wholeNumber("--size", 0, 1_000_000), 128)
    .option(
      "--processors <n>",
      "how many handlers run at once, each on a thread of its own",
      wholeNumber("--processors", 1, 64),
      Math.min(availableParallelism(), 64),
    )
    .addOption(
      new Option("--seed <n>", "for the payloads and the moments of the kills")
        .argParser(wholeNumber("--seed", 0, 2 ** 31 - 1))
        .default(randomSeed(), "random, and printed"),
    )
    .option("--dir <dir>", "directory of the journal (default: a temporary one)");
}

function randomSeed(): number {
  return Date.now() % 1_000_000;
}

function addJournal(program: Command, run: Runner): void {
  const journal = program.command("journal").description("read, check, repair and copy a journal").exitOverride();
  const options = (command: Command): Command =>
    common(command).requiredOption("--dir <dir>", "directory of the journal; it may be in use (required)");
  options(journal.command("inspect"))
    .description("list its segments, records, handlers and unfinished records")
    .addHelpText("after", `\nExample:\n  millrace journal inspect --dir ./data --json\n${EXIT_HELP}`)
    .action(run(blocking((given: JournalCommandOptions) => inspect(given))));
  options(journal.command("verify"))
    .description("read every byte, check every checksum; exit code 3 on damage")
    .addHelpText("after", `\nExample:\n  millrace journal verify --dir ./data || echo damaged\n${EXIT_HELP}`)
    .action(run(blocking((given: JournalCommandOptions) => verify(given))));
  options(journal.command("tail"))
    .description("print the last records, a line of JSON each; with --json one document")
    .option("--lines <n>", "number of records", wholeNumber("--lines", 0, 1_000_000), 10)
    .option("--follow", "then print records as they become durable, until interrupted")
    .addHelpText("after", `\nExample:\n  millrace journal tail --dir ./data --follow\n${EXIT_HELP}`)
    .action(run((given: TailOptions) => tail(given)));
  options(journal.command("export"))
    .description("write records as lines of JSON; with --json one document")
    .option("--from <sequence>", "first sequence", wholeNumber("--from", 1, Number.MAX_SAFE_INTEGER))
    .option("--to <sequence>", "last sequence", wholeNumber("--to", 1, Number.MAX_SAFE_INTEGER))
    .option("--output <file>", "a new file instead of stdout")
    .option("--salvage", "whatever can be read of a damaged journal; exit code 3 if records are missing")
    .addHelpText(
      "after",
      `\nExample:\n  millrace journal export --dir ./data --from 1000 --output records.ndjson\n${EXIT_HELP}`,
    )
    .action(run((given: ExportOptions) => exportRecords(given)));
  options(journal.command("gaps"))
    .description("list missing records, and those that repairs gave up; exit code 3 if records are missing")
    .addHelpText("after", `\nExample:\n  millrace journal gaps --dir ./data --json\n${EXIT_HELP}`)
    .action(run(blocking((given: JournalCommandOptions) => gaps(given))));
  options(journal.command("repair"))
    .description("make a damaged journal readable again; the old segments stay in its directory quarantine")
    .requiredOption("--accept-loss <range>", "the sequences that may be lost, such as 120-135; see gaps (required)")
    .addHelpText("after", `\nExample:\n  millrace journal repair --dir ./data --accept-loss 120-135\n${EXIT_HELP}`)
    .action(run(blocking((given: RepairOptions) => repair(given))));
  options(journal.command("backup"))
    .description("copy a journal, each batch checked; the copy is durable at the end")
    .requiredOption("--to <dir>", "directory of the copy, empty or new (required)")
    .addHelpText("after", `\nExample:\n  millrace journal backup --dir ./data --to ./data-copy\n${EXIT_HELP}`)
    .action(run(blocking((given: BackupOptions) => backup(given))));
  options(journal.command("compact"))
    .description("delete the finished records of an intake's journal that is not in use")
    .addHelpText("after", `\nExample:\n  millrace journal compact --dir ./data\n${EXIT_HELP}`)
    .action(run((given: JournalCommandOptions) => compact(given)));
  options(journal.command("upgrade"))
    .description("write what an older version has left in an intake's journal that is not in use as this one does")
    .option("--dry-run", "only say which versions there are, and what would be written")
    .addHelpText("after", `\nExample:\n  millrace journal upgrade --dir ./data --dry-run\n${EXIT_HELP}`)
    .action(run(blocking((given: UpgradeOptions) => upgrade(given))));
}

function addTrace(program: Command, run: Runner): void {
  const trace = program.command("trace").description("record what the scheduler does, task by task").exitOverride();
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
    .description("print the numbers of a trace, per handler and per machine")
    .argument("<file>", "what trace record wrote")
    .addHelpText("after", `\nExample:\n  millrace trace stats trace.json --json\n${EXIT_HELP}`)
    .action(run(blocking((file: string, options: ReporterOptions) => stats(file, options))));
}
