/** `millrace serve`, as --help shows it. */
import { type Command, Option } from "commander";
import { EXIT, EXIT_HELP } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { table, wholeNumber } from "../terminal/units.ts";
import { serve, serveDemo, type ServeOptions } from "./command.ts";
import { applyConfig, openOrigins, originsOf } from "./config.ts";

type Runner = <Parameters extends unknown[]>(
  command: (...parameters: Parameters) => number | Promise<number>,
) => (...parameters: Parameters) => Promise<void>;

const PORT_MAX = 65_535;
const MS_MAX = 86_400_000;

const HELP = `
Examples:
  millrace serve --demo
  millrace serve --handlers ./handlers.js --dir ./data
  millrace serve --config serve.json --token-file tokens --host 0.0.0.0
  millrace config print --config serve.json --origin

Each option with a value can also be in the environment (MILLRACE_ADMIN_PORT for --admin-port), and
each in the file ("adminPort"). The command line goes first, then the environment, then the file.
SIGTERM and SIGINT end the service in order, with exit code 0; a second one ends it at once.`;

/** An option with its name in the environment. */
function settable(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.env(`MILLRACE_${option.name().replaceAll("-", "_").toUpperCase()}`);
}

function whole(flags: string, description: string, max: number, min = 0): Option {
  const option = settable(flags, description);
  const { envVar = "" } = option;
  return option.argParser((value: string) => {
    const source = value === process.env[envVar] ? envVar : `--${option.name()}`;
    return wholeNumber(source, min, max)(value);
  });
}

/** `serve`, and `config`, which prints its settings. */
export function addServe(program: Command, common: (command: Command) => Command, run: Runner): void {
  const command = withSettings(common(program.command("serve")))
    .description("take records over HTTP, TCP and a Unix socket, and hand each to its handler")
    .option("--demo", "serve a made-up shop from a directory of its own, which is removed at the end")
    .addHelpText("after", `${HELP}\n${EXIT_HELP}`);
  command.action(
    run(async () => {
      const settings = await applyConfig(command);
      const options = command.opts<ServeOptions & { readonly demo?: boolean }>();
      return options.demo === true ? serveDemo(options, settings) : serve(options, settings);
    }),
  );
  const config = program.command("config").description("look at the settings of serve").exitOverride();
  const print = withSettings(common(config.command("print")))
    .description("print each setting that serve would use here, and begin nothing")
    .option("--origin", "say where each comes from: the command line, the environment, the file, or a default")
    .addHelpText("after", `\nExample:\n  millrace config print --config serve.json --origin\n${EXIT_HELP}`);
  print.action(
    run(async () => {
      const given = await applyConfig(print);
      const options = print.opts<ReporterOptions & { readonly origin?: boolean }>();
      const settings = [...originsOf(print), ...openOrigins(given)];
      const hasOrigin = options.origin === true;
      new Reporter(options).result(
        { settings: hasOrigin ? settings : settings.map(({ name, value }) => ({ name, value })) },
        () =>
          table(
            settings.map(({ name, value, origin }) => [name, `${shown(value)}${hasOrigin ? `  (${origin})` : ""}`]),
          ),
      );
      return EXIT.ok;
    }),
  );
}

function shown(value: unknown): string {
  if (value === undefined) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function withSettings(command: Command): Command {
  return (
    command
      .addOption(settable("--handlers <module>", "the module whose exports are the handlers (required)"))
      .addOption(settable("--dir <dir>", "directory of the journal, created if needed (required)"))
      .addOption(settable("--host <host>", "where HTTP and frames are served").default("127.0.0.1"))
      .addOption(whole("--port <n>", "port for HTTP; 0: any free one", PORT_MAX).default(8080))
      .addOption(settable("--admin-host <host>", "where health and metrics are served").default("127.0.0.1"))
      .addOption(whole("--admin-port <n>", "port for health and metrics; 0: any free one", PORT_MAX).default(9090))
      .addOption(whole("--frame-port <n>", "TCP port for frames (default: none)", PORT_MAX))
      .addOption(settable("--frame-path <path>", "Unix socket for frames (default: none)"))
      .addOption(settable("--token-file <file>", "who may publish and read: lines of sha256:HEX SCOPES"))
      .addOption(
        whole("--connections-per-address <n>", "open connections of one address (default: no limit)", 1_000_000, 1),
      )
      .addOption(
        whole("--requests-per-second <n>", "requests and frames of one address (default: no limit)", 1_000_000, 1),
      )
      // Not by the environment: there "0" and "false" would switch it on as well.
      .option("--insecure-no-auth", "listen beyond this machine although nobody needs a token")
      .option("--stdin", "also take frames from standard input, and answer on standard output")
      .option("--no-page", "no live page at the admin port")
      .addOption(settable("--tls-cert <file>", "certificate of the server, PEM"))
      .addOption(settable("--tls-key <file>", "its key, PEM"))
      .addOption(settable("--tls-ca <file>", "clients need a certificate of this authority, PEM"))
      .addOption(
        whole("--readiness-delay-ms <ms>", "at the end: not ready, and still taking records", MS_MAX).default(0),
      )
      .addOption(whole("--drain-ms <ms>", "then: time for requests and handlers under way", MS_MAX).default(20_000))
      .addOption(settable("--config <file>", "JSON, or a module with a default export"))
  );
}
