import { existsSync } from "node:fs";
import { baseError } from "./errors.ts";

/** Files that were there once; a file that goes later is the thread's own error. */
const found = new Set<string>();

/**
 * The URL of a worker entry beside the calling module: its `.js` when the caller runs from dist,
 * its `.ts` when it runs from source. `caller` is the caller's `import.meta.url`, `name` the entry
 * without its ending ("./writer.worker"). Throws `ERR_THREAD_FILE` when there is no such file: a
 * bundler has moved the caller, and left the entry behind. A bundle in CommonJS has no
 * `import.meta.url` at all.
 */
export function workerUrl(name: string, caller: string | undefined): URL {
  if (!caller?.startsWith("file:")) throw missing(name, caller);
  const url = new URL(name + (new URL(caller).pathname.endsWith(".ts") ? ".ts" : ".js"), caller);
  if (!found.has(url.href)) {
    if (!existsSync(url)) throw missing(url.href, caller);
    found.add(url.href);
  }
  return url;
}

function missing(entry: string, caller: string | undefined): Error {
  return baseError("ERR_THREAD_FILE", `the file of a thread, ${entry}, isn't there; was Millrace bundled?`, {
    details: { entry, caller },
  });
}
