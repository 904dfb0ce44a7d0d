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
export function inheritableFlags(): InheritableFlags | undefined {
  if (!hasInputType()) return undefined;
  return { execArgv: loaderFlags(process.execArgv), env: variablesWithoutInputType() };
}

/** As `inheritableFlags`, for a library that starts processes: they may have nearly every flag. */
export function inheritableFlagsOfProcess(): InheritableFlags | undefined {
  if (!hasInputType()) return undefined;
  return { execArgv: withoutProgram(withoutInputType(process.execArgv)), env: variablesWithoutInputType() };
}

export interface InheritableFlags {
  readonly execArgv: string[];
  readonly env: NodeJS.ProcessEnv;
}

function variablesWithoutInputType(): NodeJS.ProcessEnv {
  const nodeOptions = withoutInputType((process.env.NODE_OPTIONS ?? "").split(/\s+/)).join(" ");
  return { ...process.env, NODE_OPTIONS: nodeOptions };
}

const PROGRAM = /^(-e|-p|-pe|--eval|--print)(=|$)/;
const PROGRAM_FOLLOWS = /^(-e|-p|-pe|--eval|--print)$/;

/** Flags without a program that is given as text. */
function withoutProgram(flags: readonly string[]): string[] {
  return flags.filter((flag, index) => !PROGRAM.test(flag) && !PROGRAM_FOLLOWS.test(flags[index - 1] ?? ""));
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
