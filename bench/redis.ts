/**
 * A Redis server of the benchmark's own, which syncs its append-only file before it replies, and as
 * much of a client as that takes.
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer, whenListening } from "./server.ts";

const OK_BYTES = "+OK\r\n".length;

export interface Redis {
  /** Resolves when the server has written and synced its append-only file. */
  readonly set: (n: number, record: Buffer) => Promise<void>;
  readonly close: () => Promise<void>;
}

export function redisUnavailable(): string | undefined {
  const { error } = spawnSync("redis-server", ["--version"]);
  return error === undefined ? undefined : "there is no redis-server on this computer";
}

export interface RedisServer {
  /** The Unix socket on which it listens. */
  readonly path: string;
  readonly close: () => Promise<void>;
}

/** Resolves when the server listens. */
export async function startRedis(directory: string): Promise<RedisServer> {
  // The path of a socket has at most 107 bytes: it lies elsewhere than the data.
  const socketDirectory = mkdtempSync(join(tmpdir(), "bench-redis-"));
  const path = join(socketDirectory, "socket");
  const options = { port: 0, unixsocket: path, dir: directory, appendonly: "yes", appendfsync: "always", save: "" };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const server = startServer("redis-server", args, { signal: "TERM" });
  const close = async (): Promise<void> => {
    await server.close();
    rmSync(socketDirectory, { recursive: true, force: true });
  };
  (await whenListening(server, () => connected(path))).destroy();
  return { path, close };
}

export async function openRedis(directory: string): Promise<Redis> {
  const server = await startRedis(directory);
  const socket = await connected(server.path);
  const waiting: (() => void)[] = [];
  let replied = 0;
  let bytes = 0;
  socket.on("data", (chunk: Buffer) => {
    // Every reply is +OK, or this is no measurement.
    if (chunk.includes("-")) throw new Error(`Redis replied ${chunk.toString("latin1", 0, 200)}`);
    bytes += chunk.length;
    for (; bytes >= OK_BYTES; bytes -= OK_BYTES) {
      waiting[replied]?.();
      replied += 1;
    }
    if (replied <= waiting.length / 2) return;
    waiting.splice(0, replied);
    replied = 0;
  });
  return {
    set: (n, record) =>
      new Promise((resolve) => {
        waiting.push(resolve);
        // Commands of one turn leave with one write, as a client that pipelines would send them.
        if (socket.writableCorked === 0) {
          socket.cork();
          setImmediate(() => socket.uncork());
        }
        const key = String(n);
        socket.write(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${record.length}\r\n`);
        socket.write(record);
        socket.write("\r\n");
      }),
    close: async () => {
      socket.destroy();
      await server.close();
    },
  };
}

async function connected(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, "connect");
  return socket;
}
