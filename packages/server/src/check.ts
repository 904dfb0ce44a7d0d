/** What can be told of a server before there is a runtime to serve. */
import { createServer } from "node:net";
import { messageOf } from "@millrace/base";
import { tlsOptions } from "./access/tls.ts";
import { TokenFile } from "./access/tokens.ts";
import { serverError } from "./errors.ts";
import { type ServerOptions, serverOptions } from "./options.ts";
import { mustBeSafe } from "./server.ts";
import { mustBeFreePath } from "./socket/path.ts";

/**
 * Rejects as `createServer` would: for its options, its files, and ports and paths that are taken.
 * Nothing is left open, so somebody else may take a port until the server begins.
 */
export async function checkServer(given: ServerOptions = {}): Promise<void> {
  const options = serverOptions(given);
  mustBeSafe(options);
  const { host, port, adminHost, adminPort, framePort, framePath, tls, tokenFile, onWarning } = options;
  if (tokenFile !== undefined) new TokenFile(tokenFile, onWarning).close();
  if (tls !== undefined) tlsOptions(tls, options.headersTimeoutMs);
  await mustBeFree(host, port);
  if (adminPort !== undefined) await mustBeFree(adminHost, adminPort);
  if (framePort !== undefined) await mustBeFree(host, framePort);
  if (framePath !== undefined) await mustBeFreePath(framePath).catch((cause) => refuse(framePath, cause));
}

async function mustBeFree(host: string, port: number): Promise<void> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => server.close(() => resolve()));
  }).catch((cause) => refuse(`${host}:${port}`, cause));
}

function refuse(where: string, cause: unknown): never {
  throw serverError("ERR_SERVER_LISTEN", `can't listen on ${where}: ${messageOf(cause)}`, { cause });
}
