/** Sources of records for a runtime: HTTP, frames over TCP and a Unix socket; and its health. */
import { isIP } from "node:net";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { performance } from "@millrace/base";
import type { Millrace } from "@millrace/runtime";
import { Addresses } from "./access/addresses.ts";
import { type Access, OneToken, OPEN_ACCESS, TokenFile } from "./access/tokens.ts";
import { addAdminRoutes } from "./admin/routes.ts";
import { serverError } from "./errors.ts";
import { type AppOptions, buildApp, handlerOf, type RequestHandler } from "./http/app.ts";
import { HttpListener } from "./http/listener.ts";
import { addRecordRoutes, NDJSON } from "./http/record-routes.ts";
import {
  endOptions,
  type EndOptions,
  requestOptions,
  type RequestOptions,
  serverOptions,
  type ServerOptions,
  type ServerSettings,
} from "./options.ts";
import type { Feed } from "./page/feed.ts";
import { mustBeOwnName, mustBeOwnSite } from "./access/own-site.ts";
import { addPageRoutes } from "./page/routes.ts";
import { Publications } from "./records/publication.ts";
import type { ConnectionHost } from "./socket/connection.ts";
import { SocketListener } from "./socket/listener.ts";
import { FrameStream } from "./socket/stream.ts";

/** Time that idle connections stay open after the server has stopped accepting. */
const LINGER_MS = 500;
/** A filter of dead letters is the largest thing that the page sends. */
const ADMIN_BODY_BYTES_MAX: number = 64 * 1024;

export type ServerState = "running" | "ending" | "closed";

/** A server that takes records for a runtime. */
export interface RecordServer {
  readonly state: ServerState;
  /** The ports that are served; undefined where none was asked for. */
  readonly port: number;
  readonly adminPort: number | undefined;
  readonly framePort: number | undefined;
  /**
   * The live page, with the token that it needs unless a file has tokens; undefined without one.
   * Anybody who has it may do everything: keep it out of logs.
   */
  readonly pageUrl: string | undefined;
  /**
   * Reads frames from a stream, such as standard input, and writes their answers to another one,
   * which stays open. Resolves when the input has ended and each frame has its answer, or the
   * server ends. A writer of the stream needs no token.
   */
  take(input: Readable, output: Writable): Promise<void>;
  /**
   * Ends in order: readiness is down at once, and answers come with `Connection: close`. After
   * `readinessDelayMs` no request is taken. Resolves when every request under way has its answer,
   * or `drainMs` are over: what is cut off then has no answer, and may be stored. The runtime stays
   * open. Idempotent.
   */
  close(options?: EndOptions): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whether the server ends. */
interface Phase {
  isEnding: boolean;
  isRefusing: boolean;
}

/**
 * Serves a runtime that has a journal. Throws `ERR_INVALID_OPTION`, `ERR_INTAKE_ABSENT`,
 * `ERR_SERVER_EXPOSED`, `ERR_SERVER_LISTEN`, `ERR_TOKEN_FILE`.
 */
export async function createServer(mill: Millrace, given: ServerOptions = {}): Promise<RecordServer> {
  const options = serverOptions(given);
  mustBeSafe(options);
  const server = new Server(mill, options);
  try {
    await server.listen();
  } catch (thrown) {
    await server.close({ drainMs: 0 });
    throw thrown;
  }
  return server;
}

/**
 * A handler of requests to mount in `node:http`, express or hono, before any parser of bodies. Its
 * host listens, ends and limits connections. Throws `ERR_INVALID_OPTION`, `ERR_TOKEN_FILE`.
 */
export async function createRequestHandler(mill: Millrace, given: RequestOptions = {}): Promise<RequestHandler> {
  const { handlers, tokenFile, bodyBytesMax, linesMax, onWarning } = requestOptions(given);
  const access = tokenFile === undefined ? OPEN_ACCESS : new TokenFile(tokenFile, onWarning);
  const phase = { isEnding: false, isRefusing: false };
  return recordHandler(mill, access, new Publications(mill, handlers), { bodyBytesMax, linesMax }, phase);
}

async function recordHandler(
  mill: Millrace,
  access: Access,
  publications: Publications,
  {
    bodyBytesMax,
    linesMax,
    addresses,
    guard,
  }: {
    readonly bodyBytesMax: number;
    readonly linesMax: number;
    readonly addresses?: Addresses;
    readonly guard?: AppOptions["guard"];
  },
  phase: Phase,
): Promise<RequestHandler> {
  const app = buildApp({
    access,
    bodyBytesMax,
    ...(addresses === undefined ? undefined : { addresses }),
    ...(guard === undefined ? undefined : { guard }),
    contentTypes: ["application/json", NDJSON],
    isEnding: () => phase.isEnding,
    isRefusing: () => phase.isRefusing,
  });
  addRecordRoutes(app, { mill, publications, linesMax });
  return handlerOf(app);
}

/** Throws `ERR_SERVER_EXPOSED` when somebody on the network would be asked for nothing. */
export function mustBeSafe(options: ServerSettings): void {
  const { host, port, adminHost, adminPort, tls, tokenFile, insecureNoAuth } = options;
  if (insecureNoAuth || tokenFile !== undefined) return;
  if (tls?.ca === undefined) mustBeLoopback(host, port);
  // The admin port has no TLS.
  if (adminPort !== undefined) mustBeLoopback(adminHost, adminPort);
}

/**
 * Where nobody needs a token because the port is this machine's own: a name that isn't its own is
 * one that a web page has pointed here (DNS rebinding), to publish and to read results.
 */
function guardOf({ host, tokenFile, tls, insecureNoAuth }: ServerSettings): Pick<AppOptions, "guard"> {
  if (tokenFile !== undefined || tls?.ca !== undefined || insecureNoAuth || !isLoopback(host)) return {};
  return {
    guard(headers) {
      mustBeOwnName(headers, true);
      mustBeOwnSite(headers);
    },
  };
}

function mustBeLoopback(host: string, port: number): void {
  if (isLoopback(host)) return;
  throw serverError("ERR_SERVER_EXPOSED", `${host}:${port} can be reached from other machines, without a token`, {
    details: { host, port },
  });
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

class Server implements RecordServer {
  readonly #mill: Millrace;
  readonly #options: ServerSettings;
  readonly #access: Access;
  readonly #phase: Phase = { isEnding: false, isRefusing: false };
  readonly #sockets: SocketListener[] = [];
  #http: HttpListener | undefined;
  #admin: HttpListener | undefined;
  #frames: SocketListener | undefined;
  #closing: Promise<void> | undefined;
  #port = 0;
  #pageToken: OneToken | undefined;
  #feed: Feed | undefined;
  #frameHost: ConnectionHost | undefined;
  readonly #streams = new Set<FrameStream>();
  state: ServerState = "running";

  constructor(mill: Millrace, options: ServerSettings) {
    this.#mill = mill;
    this.#options = options;
    const { tokenFile, onWarning } = options;
    this.#access = tokenFile === undefined ? OPEN_ACCESS : new TokenFile(tokenFile, onWarning);
  }

  get port(): number {
    return this.#port;
  }

  get adminPort(): number | undefined {
    return this.#admin?.port;
  }

  get pageUrl(): string | undefined {
    if (this.#admin === undefined || !this.#options.page) return undefined;
    const { adminHost } = this.#options;
    const host = isIP(adminHost) === 6 ? `[${adminHost}]` : adminHost;
    const token = this.#pageToken === undefined ? "" : `#token=${this.#pageToken.token}`;
    return `http://${host}:${this.#admin.port}/${token}`;
  }

  get framePort(): number | undefined {
    return this.#frames?.port;
  }

  async listen(): Promise<void> {
    const options = this.#options;
    const { host, port, adminHost, adminPort, framePort, framePath, tls, connectionsMax } = options;
    // Throws without a journal.
    void this.#mill.level;
    const publications = new Publications(this.#mill, options.handlers);
    const { connectionsPerAddressMax, requestsPerSecondMax: requestsPerSecond } = options;
    const addresses = new Addresses({ connectionsMax: connectionsPerAddressMax, requestsPerSecond }, () =>
      performance.now(),
    );
    const own = { ...options, addresses, ...guardOf(options) };
    const handler = await recordHandler(this.#mill, this.#access, publications, own, this.#phase);
    if (adminPort !== undefined) {
      const place = { host: adminHost, port: adminPort };
      this.#admin = await HttpListener.listen(await this.#adminHandler(), place, options, undefined);
    }
    const frames = { publications, frameBytesMax: options.frameBytesMax, idleTimeoutMs: options.idleTimeoutMs };
    const connections = { ...frames, frameTimeoutMs: options.requestTimeoutMs, access: this.#access, addresses };
    this.#frameHost = connections;
    if (framePort !== undefined) {
      this.#frames = await SocketListener.listen({ host, port: framePort }, connections, connectionsMax, tls);
      this.#sockets.push(this.#frames);
    }
    if (framePath !== undefined) {
      // A client that may connect owns everything that a token could protect.
      const owner = { ...connections, access: OPEN_ACCESS, addresses: undefined };
      this.#sockets.push(await SocketListener.listen({ path: framePath }, owner, connectionsMax, undefined));
    }
    this.#http = await HttpListener.listen(handler, { host, port }, options, tls, addresses);
    this.#port = this.#http.port;
  }

  async take(input: Readable, output: Writable): Promise<void> {
    const host = this.#frameHost;
    if (host === undefined || this.#phase.isRefusing) {
      throw serverError("ERR_SERVER_DRAINING", "the server is about to end");
    }
    const stream = new FrameStream(input, output, { ...host, access: OPEN_ACCESS, addresses: undefined });
    this.#streams.add(stream);
    await stream.ended;
    this.#streams.delete(stream);
  }

  async #adminHandler(): Promise<RequestHandler> {
    const { adminHost, probes, page, onAction, tokenFile } = this.#options;
    const isOnThisMachine = isLoopback(adminHost);
    if (page && tokenFile === undefined) this.#pageToken = new OneToken();
    const app = buildApp({
      access: this.#pageToken ?? this.#access,
      bodyBytesMax: ADMIN_BODY_BYTES_MAX,
      contentTypes: ["application/json"],
      // A supervisor asks until the end.
      isEnding: () => false,
      isRefusing: () => false,
    });
    // On this machine it shows nothing that a look into the directory wouldn't.
    const access = isOnThisMachine ? OPEN_ACCESS : this.#access;
    addAdminRoutes(app, {
      mill: this.#mill,
      probes,
      access,
      isLoopback: isOnThisMachine,
      isEnding: () => this.#phase.isEnding,
    });
    if (page)
      this.#feed = addPageRoutes(app, {
        mill: this.#mill,
        access: this.#pageToken ?? this.#access,
        isLoopback: isOnThisMachine,
        onAction,
      });
    return handlerOf(app);
  }

  close(given: EndOptions = {}): Promise<void> {
    const options = endOptions(given);
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #close({ readinessDelayMs, drainMs }: Required<EndOptions>): Promise<void> {
    this.state = "ending";
    this.#phase.isEnding = true;
    if (readinessDelayMs > 0) await sleep(readinessDelayMs);
    this.#phase.isRefusing = true;
    const limit = AbortSignal.timeout(drainMs);
    const lingerMs = Math.min(LINGER_MS, drainMs / 2);
    const frames = [...this.#sockets, ...this.#streams].map((each) => each.end(limit));
    await Promise.all([this.#http?.end(lingerMs, limit), ...frames]);
    this.#access.close();
    this.#feed?.close();
    // Last: until now supervisors could see why nothing is taken.
    await this.#admin?.end(0, AbortSignal.timeout(LINGER_MS));
    this.state = "closed";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
