/**
 * The control socket of a running intake: a Unix socket in its directory that only its owner may
 * use. (`protocol.ts`)
 *
 * It lives on the opener's thread, and delivery on another: no command holds up a record. The
 * journal's lock decides which process listens. The process that has it may replace a dead
 * process's socket, and removes its own before it gives the lock back.
 */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { isMainThread } from "node:worker_threads";
import { setTimeout, clearTimeout } from "@millrace/base";
import { intakeError } from "../errors.ts";
import { carryOut, type Controlled } from "./commands.ts";
import { errorLine, PROTOCOL_VERSION, type Reply, type Request, REQUEST_BYTES_MAX } from "./protocol.ts";
import { type SocketAddress, socketAddress } from "./socket-path.ts";

const OWNER_ONLY = 0o600;
/** Permissions that a new socket never gets. */
const UMASK = 0o177;
/** Connections at once: a few people, and a few tools. */
const CONNECTIONS_MAX = 32;
/** A connection that asks nothing is closed. */
const IDLE_MS = 60_000;
const NEWLINE = 10;

export class ControlServer {
  readonly #controlled: Controlled;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #address: SocketAddress;

  private constructor(controlled: Controlled, address: SocketAddress) {
    this.#controlled = controlled;
    this.#address = address;
    this.#server = createServer((socket) => this.#connected(socket));
    this.#server.maxConnections = CONNECTIONS_MAX;
    // It keeps no process alive.
    this.#server.unref();
  }

  /** The caller has the directory's lock. Throws `ERR_CONTROL_SOCKET`. */
  static async listen(directory: string, controlled: Controlled): Promise<ControlServer> {
    const address = socketAddress(directory);
    const control = new ControlServer(controlled, address);
    try {
      // Left by a process that is dead, since the lock is ours.
      rmSync(address.address, { force: true });
      await control.#listen();
      return control;
    } catch (cause) {
      address.release();
      throw intakeError("ERR_CONTROL_SOCKET", `the control socket in ${directory} can't be made`, {
        cause,
        details: { directory },
      });
    }
  }

  #listen(): Promise<void> {
    const { address } = this.#address;
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.once("listening", () => {
        this.#server.off("error", reject);
        chmodSync(address, OWNER_ONLY);
        resolve();
      });
      // The file is made in this very call. Other threads may not change the mask.
      const mask = isMainThread ? process.umask(UMASK) : undefined;
      this.#server.listen(address);
      if (mask !== undefined) process.umask(mask);
    });
  }

  #connected(socket: Socket): void {
    const connection = new Connection(socket, this.#controlled);
    this.#connections.add(connection);
    socket.once("close", () => this.#connections.delete(connection));
  }

  /** Ends all connections, and those of their commands that can be ended. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.#connections) connection.end();
    await closed;
    rmSync(this.#address.address, { force: true });
    this.#address.release();
  }
}

/** Reads requests from a connection, and carries them out one after the other. */
class Connection {
  readonly #socket: Socket;
  readonly #controlled: Controlled;
  readonly #gone = new AbortController();
  #unread: Buffer = Buffer.alloc(0);
  #isBusy = false;
  #idle: NodeJS.Timeout | undefined;

  constructor(socket: Socket, controlled: Controlled) {
    this.#socket = socket;
    this.#controlled = controlled;
    // A peer that is gone is seen by "close".
    socket.on("error", () => {});
    socket.on("data", (bytes) => this.#read(bytes));
    socket.once("close", () => {
      clearTimeout(this.#idle);
      this.#gone.abort();
    });
    this.#wait();
  }

  end(): void {
    this.#socket.destroy();
  }

  #wait(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#socket.destroy(), IDLE_MS).unref();
  }

  #read(bytes: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, bytes]);
    if (!this.#isBusy) void this.#next();
    else if (this.#unread.length > REQUEST_BYTES_MAX) this.#socket.pause();
  }

  async #next(): Promise<void> {
    this.#isBusy = true;
    clearTimeout(this.#idle);
    // Ends: each turn takes a line, or leaves.
    while (!this.#socket.destroyed) {
      const end = this.#unread.indexOf(NEWLINE);
      if (end > REQUEST_BYTES_MAX || (end < 0 && this.#unread.length > REQUEST_BYTES_MAX)) {
        await this.#refuse(`a request has more than ${REQUEST_BYTES_MAX} bytes`);
        return;
      }
      if (end < 0) break;
      const line = this.#unread.toString("utf8", 0, end);
      this.#unread = this.#unread.subarray(end + 1);
      const request = requestIn(line);
      if (typeof request === "string") {
        await this.#refuse(request);
        return;
      }
      await this.#carryOut(request);
    }
    this.#isBusy = false;
    this.#socket.resume();
    this.#wait();
  }

  async #carryOut({ id, command, options = {} }: Request): Promise<void> {
    const v = PROTOCOL_VERSION;
    const item = (one: object): Promise<void> => this.#write({ v, id, item: one });
    try {
      const result = await carryOut(this.#controlled, command, options, { item, signal: this.#gone.signal });
      await this.#write({ v, id, result: result ?? null });
    } catch (thrown) {
      await this.#write({ v, id, error: errorLine(thrown) });
    }
  }

  /** A line that isn't a request has no number to answer by, and nothing after it can be read. */
  async #refuse(why: string): Promise<void> {
    const error = errorLine(intakeError("ERR_CONTROL_PROTOCOL", why));
    await this.#write({ v: PROTOCOL_VERSION, id: 0, error });
    this.#socket.end();
  }

  /** Resolves when there is room for more, or the peer is gone. */
  #write(reply: Reply): Promise<void> {
    if (this.#socket.destroyed || this.#socket.write(`${JSON.stringify(reply)}\n`)) return Promise.resolve();
    return new Promise((resolve) => {
      const go = (): void => {
        this.#socket.off("drain", go);
        this.#socket.off("close", go);
        resolve();
      };
      this.#socket.on("drain", go);
      this.#socket.on("close", go);
    });
  }
}

/** The request in a line, or why there is none. */
function requestIn(line: string): Request | string {
  let value: Partial<Request> | null;
  try {
    value = JSON.parse(line) as Partial<Request> | null;
  } catch {
    return "a request is no JSON";
  }
  const { v, id, command, options = {} } = value ?? {};
  if (v !== PROTOCOL_VERSION) return `a request has version ${String(v)}; known is ${PROTOCOL_VERSION}`;
  const isFit = Number.isSafeInteger(id) && typeof command === "string";
  if (!isFit || typeof options !== "object" || options === null) return "a request has no number or no command";
  return value as Request;
}
