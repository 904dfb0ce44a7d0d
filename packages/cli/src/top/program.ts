/** `millrace top` and `millrace doctor`, as --help shows them. */
import { type Command, Option } from "commander";
import { doctor } from "../doctor/command.ts";
import { EXIT_HELP } from "../terminal/exit-codes.ts";
import type { ReporterOptions } from "../terminal/reporter.ts";
import { parseDurationMs } from "../terminal/units.ts";
import { top, type TopOptions } from "./command.ts";

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

export function addOperate(program: Command, common: (command: Command) => Command, run: Runner): void {
  common(program.command("top"))
    .description("show what a running service does, again and again")
    .argument("<dir>", "directory of its journal")
    .option("--once", "one picture; --json means this as well")
    .addOption(
      new Option("--interval <time>", "between two pictures; rates are those of this time")
        .argParser((text) => parseDurationMs(text, "--interval", "10ms"))
        .default(1000, "1s"),
    )
    .addHelpText("after", `\nExamples:\n  millrace top ./data\n  millrace top ./data --once --json\n${EXIT_HELP}`)
    .action(run((dir: string, options: TopOptions) => top(dir, options)));
  common(program.command("doctor"))
    .description("measure a disk and look at the machine: what to expect here; exit code 1 when something is unsafe")
    .argument("[dir]", "where a journal is, or will be", ".")
    .addHelpText("after", `\nExample:\n  millrace doctor ./data --json\n${EXIT_HELP}`)
    .action(run((dir: string, options: ReporterOptions) => doctor(dir, options)));
}
