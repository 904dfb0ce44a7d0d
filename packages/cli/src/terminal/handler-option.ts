/** `--handler MODULE#EXPORT`. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { cliError } from "../errors.ts";

export interface HandlerOption {
  readonly module: URL;
  readonly name: string;
}

/** Throws `ERR_CLI_USAGE` for another form, and for a path without a file. */
export function parseHandler(text: string): HandlerOption {
  const hash = text.lastIndexOf("#");
  if (hash <= 0 || hash === text.length - 1) {
    throw cliError("ERR_CLI_USAGE", `--handler must be MODULE#EXPORT, such as ./handlers.js#settle, not "${text}"`);
  }
  const path = text.slice(0, hash);
  const name = text.slice(hash + 1);
  if (URL.canParse(path) && path.includes("://")) return { module: new URL(path), name };
  if (!existsSync(path))
    throw cliError("ERR_CLI_USAGE", `--handler: there is no file ${resolve(path)}`, { details: { path } });
  return { module: pathToFileURL(resolve(path)), name };
}
