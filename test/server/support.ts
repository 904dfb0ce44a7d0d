// A runtime with a server, and clients of it.
import { join } from "node:path";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { createServer, type RecordServer, type ServerOptions } from "@millrace/server";
import { temporaryDirectory } from "../support.ts";

export const handlersFile: URL = new URL("../../../test/fixtures/served-handlers.mjs", import.meta.url);

export interface Served {
  readonly mill: Millrace;
  readonly server: RecordServer;
  readonly url: string;
}

type Journal = Partial<NonNullable<MillraceOptions["journal"]>>;

/** The log keeps what is handled: tests count what was stored. */
export function openMill(journal: Journal = {}): Promise<Millrace> {
  const directory = join(temporaryDirectory(), "journal");
  const handlers = { quote: { result: "keep" as const } };
  return open({ handlers: handlersFile, processors: 1, journal: { directory, handlers, retain: "all", ...journal } });
}

/** Runs `use` with a server, and ends both. */
export async function withServer(
  options: ServerOptions,
  use: (served: Served) => Promise<void>,
  journal: Journal = {},
): Promise<void> {
  const mill = await openMill(journal);
  try {
    const server = await createServer(mill, options);
    try {
      await use({ mill, server, url: `http://127.0.0.1:${server.port}` });
    } finally {
      await server.close({ drainMs: 5000 });
    }
  } finally {
    await mill.close();
  }
}

/** Number of handlers' records that the journal has. */
export async function recordsIn(mill: Millrace): Promise<number> {
  let count = 0;
  for await (const record of mill.journal.read()) if (record.handler !== "") count += 1;
  return count;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, any>;
}

/** A request with JSON, or with a body as it is. */
export async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const isRaw = typeof body === "string" || body instanceof Uint8Array;
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: (isRaw ? body : JSON.stringify(body)) as never,
  });
  return answerOf(response);
}

export async function get(url: string, headers: Record<string, string> = {}): Promise<Answer> {
  return answerOf(await fetch(url, { headers }));
}

async function answerOf(response: Response): Promise<Answer> {
  const body = (await response.json()) as Record<string, unknown>;
  return { status: response.status, headers: response.headers, body };
}
