/**
 * The URL of a worker entry beside the calling module: its `.js` when the caller runs from dist,
 * its `.ts` when it runs from source. `caller` is the caller's `import.meta.url`, `name` the entry
 * without its ending ("./writer.worker").
 */
export function workerUrl(name: string, caller: string): URL {
  return new URL(name + (new URL(caller).pathname.endsWith(".ts") ? ".ts" : ".js"), caller);
}
