/** Asks a running intake through its control socket. */
import { createConnection, type Socket } from "node:net";
import { MillraceError } from "@millrace/base";
import { intakeError } from "../errors.ts";
import { PROTOCOL_VERSION, type Reply } from "./protocol.ts";
import { type SocketAddress, socketAddress } from "./socket-path.ts";

/** Nobody listens: there is no socket, or its process is dead, or nobody made one here. */
const NOBODY: ReadonlySet<string | undefined> = new Set(["ENOENT", "ECONNREFUSED", "ENOTDIR"]);

export class ControlClient {
  readonly #socket: Socket;
  #nextId = 1;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Undefined when no process listens in this directory. Throws `ERR_CONTROL_SOCKET`. */
  static async connect(directory: string): Promise<ControlClient | undefined> {
    let found: SocketAddress | undefined;
    try {
      found = socketAddress(directory);
      const socket = createConnection(found.address);
      await new Promise<void>((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", reject);
      });
      return new ControlClient(socket);
    } catch (cause) {
      if (NOBODY.has((cause as NodeJS.ErrnoException).code)) return undefined;
      if (cause instanceof MillraceError) throw cause;
      throw intakeError("ERR_CONTROL_SOCKET", `the control socket in ${directory} can't be used`, {
        cause,
        details: { directory },
      });
    } finally {
      found?.release();
    }
  }

  /**
   * The result of a command; `item` is called for each part of a list. Throws the command's error,
   * and `ERR_CONTROL_SOCKET` when the process goes away.
   */
  async ask(command: string, options: object, item: (item: object) => Promise<void>): Promise<unknown> {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#socket.write(`${JSON.stringify({ v: PROTOCOL_VERSION, id, command, options })}\n`);
    let unread = "";
    this.#socket.setEncoding("utf8");
    for await (const text of this.#socket.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
      const lines = (unread + text).split("\n");
      unread = lines.pop() as string;
      for (const line of lines) {
        const reply = JSON.parse(line) as Reply;
        if ("item" in reply) await item(reply.item);
        else if ("error" in reply) throw thrownBy(reply.error);
        else return reply.result;
      }
    }
    throw intakeError("ERR_CONTROL_SOCKET", "the process has ended before it answered");
  }

  close(): void {
    this.#socket.destroy();
  }
}

function thrownBy({ code, message, cure, details }: Extract<Reply, { error: unknown }>["error"]): Error {
  return new MillraceError(code, message, cure ?? "", { details: { ...details } });
}
