/**
 * Starting a worker thread whatever the command line of the process says.
 *
 * A thread inherits the flags of the process, and Node refuses a file as the entry of a thread
 * while `--input-type` is among them (`node --input-type=module -e "…"`, or in NODE_OPTIONS). The
 * entry is then a line of code that imports the file.
 *
 * Rejected: leaving the flag out of `execArgv`. Node then refuses every flag that concerns the
 * whole process (`--max-old-space-size`, `--title`), which it lets pass when they are inherited.
 */
import { Worker, type WorkerOptions } from "node:worker_threads";

export function startThread(entry: URL, options: WorkerOptions): Worker {
  if (!hasInputType()) return new Worker(entry, options);
  return new Worker(`import(${JSON.stringify(entry.href)})`, { ...options, eval: true });
}

/**
 * For a library that starts threads from files of its own: what to pass on to it; undefined where
 * threads may inherit everything.
 */
export function inheritableFlags(): { readonly execArgv: string[]; readonly env: NodeJS.ProcessEnv } | undefined {
  if (!hasInputType()) return undefined;
  const nodeOptions = withoutInputType((process.env.NODE_OPTIONS ?? "").split(/\s+/)).join(" ");
  return { execArgv: loaderFlags(process.execArgv), env: { ...process.env, NODE_OPTIONS: nodeOptions } };
}

const INPUT_TYPE = /^--input-type(=|$)/;

function hasInputType(): boolean {
  return (
    process.execArgv.some((flag) => INPUT_TYPE.test(flag)) || /--input-type\b/.test(process.env.NODE_OPTIONS ?? "")
  );
}

function withoutInputType(flags: readonly string[]): string[] {
  return flags.filter((flag, index) => !INPUT_TYPE.test(flag) && flags[index - 1] !== "--input-type");
}

/**
 * The flags that say how modules are loaded: the ones that matter to handlers and that a thread may
 * be given.
 */
const LOADER_FLAG =
  /^(-r|-C|--(require|import|loader|experimental-loader|conditions|experimental-strip-types|enable-source-maps|preserve-symlinks))(=|$)/;
const TAKES_VALUE = /^(-r|-C|--(require|import|loader|experimental-loader|conditions))$/;

function loaderFlags(flags: readonly string[]): string[] {
  return flags.filter(
    (flag, index) => LOADER_FLAG.test(flag) || (TAKES_VALUE.test(flags[index - 1] ?? "") && !flag.startsWith("-")),
  );
}
