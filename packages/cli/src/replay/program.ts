/** `millrace replay`, as --help shows it. */
import { type Command, Option } from "commander";
import { EXIT_HELP } from "../terminal/exit-codes.ts";
import { positiveNumber, wholeNumber } from "../terminal/units.ts";
import { replay, type ReplayCommandOptions } from "./command.ts";
import { endOf } from "./ends.ts";
import { allowedBy, shadow, type ShadowCommandOptions, withoutShadow } from "./shadow.ts";

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

export function addReplay(program: Command, common: (command: Command) => Command, run: Runner): void {
  common(program.command("replay"))
    .description("publish recorded payloads again, as new records: of a running service, or of a stopped one")
    .argument("<dir>", "directory of the journal; a service may have it open")
    .option(
      "--from <end>",
      "a sequence, a time, or checkpoint (default: the first that is there)",
      endOf("--from", true),
    )
    .option("--to <end>", "a sequence, or a time (default: the last that is there)", endOf("--to", false))
    .option("--handler <name...>", "published to these handlers (default: to any)")
    .option("--key <key>", "with this order key")
    .addOption(new Option("--priority <priority>", "with this priority").choices(["high", "normal", "low"]))
    .option("--to-handler <name>", "give them to another handler")
    .option("--rate <n>", "at most this many a second", positiveNumber("--rate", 1e9, 0.001))
    .option("--name <name>", "under one name each record is replayed once, and the same command goes on")
    .option("--dry-run", "only count them")
    .option("--shadow <module>", "publish nothing: give them to this module's handlers, and compare how they end")
    .option("--ignore <path...>", "with --shadow: what isn't compared, such as result.at or published[*].headers")
    .option("--allow <n>", "with --shadow: up to this many differences, or this share (1%), exit with 0", allowedBy)
    .option(
      "--timeout-ms <n>",
      "with --shadow: the longest time of a handler (default: 30000)",
      wholeNumber("--timeout-ms", 1, 2 ** 31 - 1),
    )
    .option("--show <n>", "with --shadow: differences that are shown (default: 10)", wholeNumber("--show", 0, 1e6))
    .option("--values", "with --shadow: show payloads, results and errors of differences")
    .addHelpText(
      "after",
      `
Examples:
  millrace replay ./data --from 2026-01-31T12:00:00Z --to 2026-01-31T13:00:00Z --handler settle --dry-run
  millrace replay ./data --from 1000 --to 2000 --to-handler audit --rate 100 --name audit-january
  millrace replay ./data --from 2026-01-31T00:00:00Z --shadow ./next/handlers.js --ignore result.at --allow 0.1%
${EXIT_HELP}`,
    )
    .action(
      run((dir: string, options: ReplayCommandOptions & ShadowCommandOptions) =>
        options.shadow === undefined ? replay(dir, withoutShadow(options)) : shadow(dir, options),
      ),
    );
}
