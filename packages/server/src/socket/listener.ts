/** A port or a path where clients send frames. */
import { chmodSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer as createTlsServer } from "node:tls";
import { clearInterval, messageOf, performance, setInterval } from "@millrace/base";
import { type TlsFiles, tlsOptions } from "../access/tls.ts";
import { serverError } from "../errors.ts";
import { limitConnections } from "../http/listener.ts";
import { Connection, type ConnectionHost } from "./connection.ts";
import { preparePath } from "./path.ts";

export type SocketPlace = { readonly host: string; readonly port: number } | { readonly path: string };

const LOOK_MS = 250;
const END_LOOK_MS = 20;
/** Its owner alone. */
const SOCKET_MODE = 0o600;

export class SocketListener {
  readonly #server: Server;
  readonly #connections = new Map<Socket, Connection>();
  readonly #timer: NodeJS.Timeout;

  private constructor(server: Server) {
    this.#server = server;
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const connection of this.#connections.values()) connection.look(now);
    }, LOOK_MS).unref();
  }

  /** A path is absolute: the end removes the socket by it. Throws `ERR_SERVER_LISTEN`. */
  static async listen(
    place: SocketPlace,
    host: ConnectionHost,
    connectionsMax: number,
    tls: TlsFiles | undefined,
  ): Promise<SocketListener> {
    // A client may end its side and still wants its answers.
    const options = { allowHalfOpen: true };
    const server =
      tls === undefined
        ? createServer(options)
        : createTlsServer({ ...options, ...tlsOptions(tls, host.frameTimeoutMs) });
    const listener = new SocketListener(server);
    server.maxConnections = connectionsMax;
    if (host.addresses !== undefined) limitConnections(server, host.addresses);
    server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      // One too many of its address.
      if (socket.destroyed) return;
      listener.#connections.set(socket, new Connection(socket, host));
      socket.once("close", () => listener.#connections.delete(socket));
    });
    try {
      if ("path" in place) await preparePath(place.path);
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen(place, resolve);
      });
      if ("path" in place) chmodSync(place.path, SOCKET_MODE);
    } catch (cause) {
      const where = "path" in place ? place.path : `${place.host}:${place.port}`;
      await listener.end(AbortSignal.abort());
      throw serverError("ERR_SERVER_LISTEN", `can't listen on ${where}: ${messageOf(cause)}`, { cause });
    }
    return listener;
  }

  /** Undefined for a path. */
  get port(): number | undefined {
    return (this.#server.address() as AddressInfo | null)?.port;
  }

  /**
   * Takes no connection and no frame any more. Resolves when all have their answers, or when
   * `signal` aborts.
   */
  async end(signal: AbortSignal): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections.values()) connection.end();
    // oxlint-disable-next-line no-await-in-loop
    while (!signal.aborted && this.#connections.size > 0) await sleep(END_LOOK_MS);
    for (const socket of this.#connections.keys()) socket.destroy();
    await closed;
    clearInterval(this.#timer);
  }
}
