/**
 * A port with HTTP on it, and its end.
 *
 * The end is the delicate part. `server.close()` of Node closes idle connections at once: a client
 * that has just begun to send on one gets a reset, and doesn't know what it means. So a listener
 * first stops to accept, answers what comes on connections that are open with `Connection: close`,
 * and closes idle ones when they had time for that.
 */
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, performance } from "@millrace/base";
import type { Addresses } from "../access/addresses.ts";
import { type TlsFiles, tlsOptions } from "../access/tls.ts";
import { serverError } from "../errors.ts";
import { answerClientErrors, type RequestHandler } from "./app.ts";

export interface HttpLimits {
  readonly connectionsMax: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly idleTimeoutMs: number;
}

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** Time between two looks for late requests, and for the end of connections. */
const CHECK_MS = 500;
const LOOK_MS = 20;
const HEADER_BYTES_MAX: number = 16 * 1024;

export class HttpListener {
  readonly #server: Server;
  /** Connections without a request so far: Node doesn't count them as idle. */
  readonly #silent = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Throws `ERR_SERVER_LISTEN`. */
  static async listen(
    handler: RequestHandler,
    { host, port }: Place,
    limits: HttpLimits,
    tls: TlsFiles | undefined,
    addresses?: Addresses,
  ): Promise<HttpListener> {
    const options = {
      // Node wants it no longer than the whole request.
      headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: limits.idleTimeoutMs,
      connectionsCheckingInterval: CHECK_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
    };
    const server =
      tls === undefined
        ? createServer(options)
        : createTlsServer({ ...options, ...tlsOptions(tls, limits.headersTimeoutMs) });
    const listener = new HttpListener(server);
    server.maxConnections = limits.connectionsMax;
    if (addresses !== undefined) limitConnections(server, addresses);
    // A client that has ended its side still waits for its answer. Node would hang up.
    (server as Server & { httpAllowHalfOpen: boolean }).httpAllowHalfOpen = true;
    server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      listener.#silent.add(socket);
      socket.once("close", () => listener.#silent.delete(socket));
    });
    server.on("request", (request, response) => {
      listener.#silent.delete(request.socket);
      handler(request, response);
    });
    answerClientErrors(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause) =>
        reject(serverError("ERR_SERVER_LISTEN", `can't listen on ${host}:${port}: ${messageOf(cause)}`, { cause })),
      );
      server.listen(port, host, resolve);
    });
    return listener;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Accepts no connection any more; those that are open stay. */
  stopAccepting(): void {
    if (this.#server.listening) NetServer.prototype.close.call(this.#server);
  }

  /**
   * Resolves when all connections are closed: idle ones after `lingerMs`, those with a request
   * when it is answered, the rest when `signal` aborts.
   */
  async end(lingerMs: number, signal: AbortSignal): Promise<void> {
    this.stopAccepting();
    const lingersUntil = performance.now() + lingerMs;
    while (!signal.aborted && (await this.#connections()) > 0) {
      if (performance.now() >= lingersUntil) {
        this.#server.closeIdleConnections();
        for (const socket of this.#silent) if (socket.bytesRead === 0) socket.destroy();
      }
      // oxlint-disable-next-line no-await-in-loop
      await sleep(LOOK_MS);
    }
    this.#server.closeAllConnections();
    // Ends the interval that looks for late requests.
    this.#server.close();
  }

  #connections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((_error, count) => resolve(count ?? 0)));
  }
}

/** Before a handshake of TLS: one too many is closed without a word. */
export function limitConnections(server: NetServer, addresses: Addresses): void {
  server.prependListener("connection", (socket: Socket) => {
    const { remoteAddress: address } = socket;
    // It is gone already.
    if (address === undefined) return;
    if (addresses.opened(address)) socket.once("close", () => addresses.closed(address));
    else socket.destroy();
  });
}
