/** `millrace serve`: a runtime with its sources, until a signal ends it in order. */
import { existsSync } from "node:fs";
import { isIP } from "node:net";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { isMillraceError, onAbort } from "@millrace/base";
import { type Millrace, open } from "@millrace/runtime";
import { type AdminAction, checkServer, createServer, type RecordServer, type ServerOptions } from "@millrace/server";
import { cliError } from "../errors.ts";
import { isOutputClosed, outputIsCourtesy } from "../terminal/closed-pipes.ts";
import { EXIT } from "../terminal/exit-codes.ts";
import { Reporter, type ReporterOptions } from "../terminal/reporter.ts";
import { signals } from "../terminal/signals.ts";
import { amount } from "../terminal/units.ts";
import type { RuntimeSettings } from "./config.ts";
import { demoDirectory, demoHandlers, demoJournal, demoTraffic } from "./demo.ts";

/** As the command line, the environment and the file together say it. */
export interface ServeOptions extends ReporterOptions {
  readonly handlers?: string;
  readonly dir?: string;
  readonly host: string;
  readonly port: number;
  readonly adminHost: string;
  readonly adminPort: number;
  readonly framePort?: number;
  readonly framePath?: string;
  readonly tokenFile?: string;
  readonly insecureNoAuth?: boolean;
  readonly stdin?: boolean;
  readonly connectionsPerAddress?: number;
  readonly requestsPerSecond?: number;
  readonly page: boolean;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly tlsCa?: string;
  readonly readinessDelayMs: number;
  readonly drainMs: number;
}

/** Handlers have this share of `drainMs` at least, however long requests took. */
const HANDLERS_SHARE = 0.25;

/** The handlers that are served, and the directory. */
interface Content {
  readonly handlers: URL;
  readonly directory: string;
  readonly journal: RuntimeSettings["journal"];
  /** Called when it is served. The function that it returns is called at the end. */
  readonly begin?: (mill: Millrace) => () => Promise<void>;
  /** Whether the page's address is printed with its token, wherever the output goes. */
  readonly showsToken: boolean;
  readonly farewell: string;
}

export async function serve(options: ServeOptions, settings: RuntimeSettings): Promise<number> {
  return run(options, settings, {
    handlers: moduleOf(options.handlers),
    directory: mustHave(options.dir, "--dir"),
    journal: settings.journal,
    // A file or a log shall not keep the token; a person needs it.
    showsToken: process.stdout.isTTY,
    farewell: "ended; what is unfinished waits in the journal for the next start",
  });
}

/** A shop that is made up, in a directory that is removed at the end. */
export async function serveDemo(options: ServeOptions, settings: RuntimeSettings): Promise<number> {
  if (options.handlers !== undefined || options.dir !== undefined) {
    throw cliError("ERR_CLI_USAGE", "--demo has handlers and a directory of its own: leave --handlers and --dir out");
  }
  const directory = demoDirectory();
  // Also when a second signal ends the process.
  process.once("exit", () => directory.remove());
  return run(options, settings, {
    handlers: demoHandlers(),
    directory: directory.path,
    journal: { ...settings.journal, ...demoJournal },
    begin: (mill) => demoTraffic(mill, Date.now()),
    showsToken: true,
    farewell: "ended; the demo's directory is removed",
  });
}

async function run(options: ServeOptions, settings: RuntimeSettings, content: Content): Promise<number> {
  const reporter = new Reporter(options);
  if (options.stdin === true && reporter.isJson) {
    throw cliError("ERR_CLI_USAGE", "--stdin and --json both write to stdout: leave one of them out");
  }
  const forServer: ServerOptions = {
    ...serverOptionsOf(options, (error) => reporter.message(`millrace: warning: ${error.message}`)),
    onAction: (action) => tellAction(reporter, action),
  };
  // What is refused leaves no journal behind.
  await checkServer({ ...forServer, ...anyPort(settings.movablePorts) });
  // From here on a signal ends the service in order, also one that comes before it is ready.
  const stop = signals.takeOver();
  const failed = new AbortController();
  const { handlers, directory, journal } = content;
  const mill = await open({
    ...settings.runtime,
    handlers,
    journal: { ...journal, directory, lockSignal: stop },
    onFailure: (error) => failed.abort(error),
  });
  const server = await serverOf(mill, forServer, settings.movablePorts);
  announce(reporter, server, options, content.showsToken);
  if (options.stdin === true) takeInput(reporter, server);
  const endContent = content.begin?.(mill);
  await until(AbortSignal.any([stop, failed.signal]));
  await endContent?.();
  if (failed.signal.aborted) {
    reporter.error(failed.signal.reason);
    await end(server, mill, { readinessDelayMs: 0, drainMs: options.drainMs }).catch(() => {});
    return EXIT.failure;
  }
  reporter.message(`millrace: ${signals.received}: ending in order; a second signal ends at once`);
  await end(server, mill, options);
  // It would keep the process.
  if (options.stdin === true) process.stdin.destroy();
  reporter.message(`millrace: ${content.farewell}`);
  return EXIT.ok;
}

/** The end of the input isn't the end of the service: it has other sources. */
function takeInput(reporter: Reporter, server: RecordServer): void {
  void server.take(process.stdin, process.stdout).then(() => {
    if (server.state !== "running") return;
    const what = isOutputClosed()
      ? "nobody takes answers any more: the input is read no further"
      : "the input has ended";
    reporter.message(`millrace: ${what}; the service goes on`);
  });
}

/** Where a port is taken that may move, it is any free one. */
async function serverOf(
  mill: Millrace,
  options: ServerOptions,
  movable: RuntimeSettings["movablePorts"],
): Promise<RecordServer> {
  try {
    return await createServer(mill, options);
  } catch (thrown) {
    if (movable.length > 0 && isMillraceError(thrown, "ERR_SERVER_LISTEN")) {
      return serverOf(mill, { ...options, ...anyPort(movable) }, []);
    }
    await mill.close();
    throw thrown;
  }
}

function anyPort(movable: RuntimeSettings["movablePorts"]): Partial<ServerOptions> {
  return Object.fromEntries(movable.map((name) => [name, 0]));
}

/** First every request gets its answer, then handlers may finish. */
async function end(
  server: RecordServer,
  mill: Millrace,
  { readinessDelayMs, drainMs }: Pick<ServeOptions, "readinessDelayMs" | "drainMs">,
): Promise<void> {
  const endsAt = performance.now() + readinessDelayMs + drainMs;
  await server.close({ readinessDelayMs, drainMs });
  const leftMs = Math.max(endsAt - performance.now(), drainMs * HANDLERS_SHARE);
  // Handlers that take longer are called again at the next start: that is no failure of the end.
  await mill.close({ timeoutMs: Math.round(leftMs) }).catch((thrown: { code?: string }) => {
    if (thrown.code !== "ERR_CLOSE_ABORTED") throw thrown;
  });
}

function until(signal: AbortSignal): Promise<void> {
  return new Promise((resolvePromise) => {
    if (signal.aborted) resolvePromise();
    else onAbort(signal, () => resolvePromise());
  });
}

function announce(reporter: Reporter, server: RecordServer, options: ServeOptions, showsToken: boolean): void {
  const scheme = options.tlsCert === undefined ? "http" : "https";
  const document = {
    url: `${scheme}://${inUrl(options.host)}:${server.port}`,
    adminUrl: `http://${inUrl(options.adminHost)}:${server.adminPort}`,
    pageUrl: showsToken ? server.pageUrl : server.pageUrl?.replace(/#.*/, ""),
    framePort: server.framePort,
    framePath: options.framePath,
    pid: process.pid,
  };
  const page = document.pageUrl === undefined ? "" : `\npage ${document.pageUrl}`;
  const text = `records ${document.url}/v1/records  health ${document.adminUrl}/health/ready${page}`;
  // With --stdin the answers go to stdout.
  if (options.stdin === true) reporter.message(text);
  else {
    // A service doesn't fail because its log is on a full disk.
    outputIsCourtesy();
    reporter.result(document, () => text);
  }
}

function inUrl(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

function tellAction(reporter: Reporter, { what, of, count }: AdminAction): void {
  reporter.message(`millrace: page: ${what} ${JSON.stringify(of)}${count === 0 ? "" : `: ${amount(count, "letter")}`}`);
}

function mustHave(value: string | undefined, option: string): string {
  if (value !== undefined) return value;
  throw cliError("ERR_CLI_USAGE", `${option} is required: on the command line, in the environment or in the file`);
}

function moduleOf(given: string | undefined): URL {
  const path = mustHave(given, "--handlers");
  if (URL.canParse(path) && path.includes("://")) return new URL(path);
  if (existsSync(path)) return pathToFileURL(resolve(path));
  throw cliError("ERR_CLI_USAGE", `--handlers: there is no file ${resolve(path)}`, { details: { path } });
}

function serverOptionsOf(options: ServeOptions, onWarning: (error: Error) => void): ServerOptions {
  const { host, port, adminHost, adminPort, framePort, framePath, tokenFile, insecureNoAuth } = options;
  const { connectionsPerAddress: connections, requestsPerSecond: requests } = options;
  const { tlsCert: cert, tlsKey: key, tlsCa: ca } = options;
  if ((cert === undefined) !== (key === undefined) || (ca !== undefined && cert === undefined)) {
    throw cliError("ERR_CLI_USAGE", "--tls-cert and --tls-key belong together, and --tls-ca needs both");
  }
  return {
    host,
    port,
    adminHost,
    adminPort,
    page: options.page,
    onWarning,
    ...(framePort === undefined ? undefined : { framePort }),
    ...(framePath === undefined ? undefined : { framePath }),
    ...(tokenFile === undefined ? undefined : { tokenFile }),
    ...(connections === undefined ? undefined : { connectionsPerAddressMax: connections }),
    ...(requests === undefined ? undefined : { requestsPerSecondMax: requests }),
    ...(insecureNoAuth === undefined ? undefined : { insecureNoAuth }),
    ...(cert === undefined || key === undefined
      ? undefined
      : { tls: { cert, key, ...(ca === undefined ? undefined : { ca }) } }),
  };
}
