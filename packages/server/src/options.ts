/** Options of a server. */
import { resolve } from "node:path";
import {
  boolean,
  callback,
  custom,
  integer,
  list,
  optional,
  optionsObject,
  resolveOptions,
  type Rules,
  text,
} from "@millrace/base";
import { Probes } from "@millrace/runtime";
import type { AdminAction } from "./page/routes.ts";
import { FRAME_BYTES_LIMIT } from "./socket/frames.ts";

export interface TlsFilesOptions {
  /** Path of the server's certificate, PEM. */
  readonly cert: string;
  /** Path of its key, PEM. */
  readonly key: string;
  /** Path of an authority, PEM: clients need a certificate of it. */
  readonly ca?: string;
}

export interface RequestOptions {
  /** Handlers that clients may publish for. Default: all of the module's. */
  readonly handlers?: readonly string[];
  /**
   * Tokens, a line each: `sha256:HEX SCOPES`, scopes of publish, read, admin with commas. The file
   * is read again when it changes. Without it everybody may do everything.
   */
  readonly tokenFile?: string;
  /** Bytes of a request's body. Default 16 MiB. */
  readonly bodyBytesMax?: number;
  /** Lines of a batch. Default 10,000. */
  readonly linesMax?: number;
  /** Called when a changed token file can't be used. Default: a warning of the process. */
  readonly onWarning?: (error: Error) => void;
}

export interface ServerOptions extends RequestOptions {
  /** Where HTTP is served. Default 127.0.0.1; port 0 is any free one. */
  readonly host?: string;
  readonly port?: number;
  /** Where health and metrics are served; nowhere without a port. Default host 127.0.0.1. */
  readonly adminHost?: string;
  readonly adminPort?: number;
  /**
   * Whether the live page is served at the admin port. Default true. Without `tokenFile` it has a
   * token of its own, which `pageUrl` carries.
   */
  readonly page?: boolean;
  /** Called when a user of the page has changed something. Default: nothing. */
  readonly onAction?: (action: AdminAction) => void;
  /** Checks that readiness includes: of a database, for instance. */
  readonly probes?: Probes;
  /** TCP port for frames, on `host`; none without it. */
  readonly framePort?: number;
  /** Path of a Unix socket for frames; its owner alone may connect, without a token. */
  readonly framePath?: string;
  /** TLS for HTTP and for the TCP port; the admin port and the Unix socket have none. */
  readonly tls?: TlsFilesOptions;
  /** Listen beyond this machine although nobody needs a token. Default false. */
  readonly insecureNoAuth?: boolean;
  /** Open connections, for each port. Default 10,000. */
  readonly connectionsMax?: number;
  /** Of those, open connections of one address, on all ports of records. Default: no limit. */
  readonly connectionsPerAddressMax?: number;
  /**
   * Requests and frames of one address per second; a second's worth may come at once. Over HTTP
   * more are refused with 429, from a socket nothing is read meanwhile. Default: no limit.
   */
  readonly requestsPerSecondMax?: number;
  /** The headers of a request have to arrive within this time, ms. Default 10 s. */
  readonly headersTimeoutMs?: number;
  /** A whole request, or a whole frame, has to arrive within this time, ms. Default 30 s. */
  readonly requestTimeoutMs?: number;
  /** Connections on which nothing happens are closed after this time, ms. Default 65 s. */
  readonly idleTimeoutMs?: number;
  /** Bytes of a frame, less than 2^24. Default 1 MiB. */
  readonly frameBytesMax?: number;
}

const PORT_MAX = 65_535;
const TIMER_MS_MAX: number = 2 ** 31 - 1;
const timeMs = (fallback: number): ReturnType<typeof integer> => integer(1, TIMER_MS_MAX, fallback);

const requestRules = {
  handlers: optional(list<string>()),
  tokenFile: optional(text()),
  bodyBytesMax: integer(1, 2 ** 30, 16 * 2 ** 20),
  linesMax: integer(1, 1_000_000, 10_000),
  onWarning: custom<(error: Error) => void>(
    "a function",
    (value): value is (error: Error) => void => typeof value === "function",
    () => (error) => process.emitWarning(error),
  ),
} satisfies Rules;

const rules = {
  ...requestRules,
  host: text("127.0.0.1"),
  port: integer(0, PORT_MAX, 0),
  adminHost: text("127.0.0.1"),
  adminPort: optional(integer(0, PORT_MAX)),
  page: boolean(true),
  onAction: optional(callback<(action: AdminAction) => void>()),
  probes: optional(custom<Probes>("probes, of `new Probes(…)`", (value): value is Probes => value instanceof Probes)),
  framePort: optional(integer(0, PORT_MAX)),
  framePath: optional(text()),
  tls: optional(optionsObject<TlsFilesOptions>()),
  insecureNoAuth: boolean(false),
  connectionsMax: integer(1, 1_000_000, 10_000),
  connectionsPerAddressMax: optional(integer(1, 1_000_000)),
  requestsPerSecondMax: optional(integer(1, 1_000_000)),
  headersTimeoutMs: timeMs(10_000),
  requestTimeoutMs: timeMs(30_000),
  idleTimeoutMs: timeMs(65_000),
  frameBytesMax: integer(1, FRAME_BYTES_LIMIT - 1, 2 ** 20),
} satisfies Rules;

const tlsRules = { cert: text(), key: text(), ca: optional(text()) } satisfies Rules;

export interface EndOptions {
  /** Readiness is down and requests are still taken for this time, ms. Default 0. */
  readonly readinessDelayMs?: number;
  /** Then what is under way has this time to be answered, ms; the rest is cut off. Default 20 s. */
  readonly drainMs?: number;
}

const endRules = {
  readinessDelayMs: integer(0, TIMER_MS_MAX, 0),
  drainMs: integer(0, TIMER_MS_MAX, 20_000),
} satisfies Rules;

/** Options that may be absent. */
type Absent =
  | "connectionsPerAddressMax"
  | "requestsPerSecondMax"
  | "onAction"
  | "probes"
  | "handlers"
  | "tokenFile"
  | "adminPort"
  | "framePort"
  | "framePath"
  | "tls";

/** Options with their defaults. */
type Settings<Options> = {
  readonly [Name in keyof Options]-?: Name extends Absent ? Options[Name] | undefined : NonNullable<Options[Name]>;
};

export type ServerSettings = Settings<ServerOptions>;

/** Throws `ERR_INVALID_OPTION`. */
export function serverOptions(given: ServerOptions): ServerSettings {
  const options = resolveOptions("createServer", rules, given);
  if (options.tls !== undefined) resolveOptions("createServer({ tls })", tlsRules, options.tls);
  if (options.framePath === undefined) return options;
  // The process may go to another working directory, and the end removes the socket.
  return { ...options, framePath: resolve(options.framePath) };
}

/** Throws `ERR_INVALID_OPTION`. */
export function requestOptions(given: RequestOptions): Settings<RequestOptions> {
  return resolveOptions("createRequestHandler", requestRules, given);
}

/** Throws `ERR_INVALID_OPTION`. */
export function endOptions(given: EndOptions): Required<EndOptions> {
  return resolveOptions("server.close", endRules, given);
}
