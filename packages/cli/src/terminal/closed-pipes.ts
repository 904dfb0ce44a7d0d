/** Readers of our output that leave early, such as `| head -1`. */
import { constants, fstatSync, lstatSync, readdirSync, readFileSync, readlinkSync, writeSync } from "node:fs";
import type { Writable } from "node:stream";
import { EXIT } from "./exit-codes.ts";

const STDOUT = 1;
const UNREAD_MS = 1000;

/** What a write to stdout has failed with, but for a reader that has left. */
let failure: Error | undefined;
let isNeeded = true;

/**
 * A reader that leaves early is no error: the output that is left is dropped. Any other failure of
 * stdout, such as a full disk, is told once, and a command that would have ended with 0 ends with
 * 1. A failure of stderr can't be told to anybody.
 */
export function bearClosedPipes(tell: (error: Error) => void): void {
  process.stderr.on("error", () => {});
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE" || failure !== undefined) return;
    failure = error;
    tell(error);
  });
  // The last write may fail after the command has ended.
  process.once("exit", () => {
    if (failure !== undefined && isNeeded) process.exitCode ||= EXIT.failure;
  });
}

/** What the command prints on stdout is a courtesy: without it the command does its work. */
export function outputIsCourtesy(): void {
  isNeeded = false;
}

/**
 * Whether a write to stdout has found that nobody reads it any more, or that it can't be written: a
 * command that only prints may end.
 */
export function isOutputClosed(): boolean {
  return failure !== undefined || process.stdout.destroyed || !process.stdout.writable;
}

/**
 * Resolves when a stream takes more, or takes nothing ever again: its error is heard elsewhere. Or
 * when `stop` aborts.
 */
export function drained(stream: Writable, stop?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const events = ["drain", "close", "error"];
    const end = (): void => {
      for (const event of events) stream.off(event, end);
      stop?.removeEventListener("abort", end);
      resolve();
    };
    for (const event of events) stream.on(event, end);
    stop?.addEventListener("abort", end);
    if (stop?.aborted === true || stream.destroyed || !stream.writable || !stream.writableNeedDrain) end();
  });
}

/**
 * A signal has stopped the command: what it has printed can be read for a moment, and then holds
 * the process no longer.
 */
export function leaveUnread(): void {
  setTimeout(() => process.exit(), UNREAD_MS).unref();
}

/**
 * Who reads our stdout: for a command that waits for something to print, and would learn from its
 * next write alone that nobody reads on.
 *
 * A write of no bytes asks a Unix socket, which is what a program in Node gives to its children. A
 * pipe answers nothing to that. So its readers are looked for among the processes: known on Linux,
 * of processes whose files this one may list. A reader that can't be seen, such as one outside of a
 * container, never counts as gone; nor does one behind a TCP connection that it has ended in order.
 */
export class OutputReaders {
  readonly #isSocket: boolean = fstatSync(STDOUT).isSocket();
  readonly #pipe: string | undefined = pipeOfOutput();
  #seen: readonly string[] = this.#readers();

  /** Whether readers were seen, and none is left. */
  areGone(): boolean {
    if (isOutputClosed() || (this.#isSocket && isClosedSocket())) return true;
    if (this.#seen.length === 0 || this.#seen.some((pid) => this.#isReading(pid))) return false;
    // One may have handed it on to another process, which we may not look into.
    this.#seen = this.#readers();
    return this.#seen.length === 0 && !isAnyHidden();
  }

  #readers(): string[] {
    return this.#pipe === undefined ? [] : processes().filter((pid) => this.#isReading(pid));
  }

  /** False of one that is gone, or isn't ours. */
  #isReading(pid: string): boolean {
    const directory = `/proc/${pid}/fd`;
    return (entriesOf(directory) ?? []).some((fd) => this.#isReadingEnd(`${directory}/${fd}`));
  }

  /** False of a file that was closed meanwhile. */
  #isReadingEnd(file: string): boolean {
    try {
      return readlinkSync(file) === this.#pipe && (lstatSync(file).mode & constants.S_IRUSR) !== 0;
    } catch {
      return false;
    }
  }
}

function isClosedSocket(): boolean {
  try {
    writeSync(STDOUT, Buffer.alloc(0));
    return false;
  } catch (thrown) {
    return ["EPIPE", "ECONNRESET"].includes((thrown as NodeJS.ErrnoException).code ?? "");
  }
}

/** As the entries of `/proc/<pid>/fd` name it; undefined when stdout is no pipe, or unknown. */
function pipeOfOutput(): string | undefined {
  if (process.platform !== "linux" || !fstatSync(STDOUT).isFIFO()) return undefined;
  try {
    return readlinkSync(`/proc/self/fd/${STDOUT}`);
  } catch {
    return undefined;
  }
}

/** All others that are to be seen. */
function processes(): string[] {
  return (entriesOf("/proc") ?? []).filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
}

/** Whether a process of our session has files that we may not list, as one of `sudo` has. */
function isAnyHidden(): boolean {
  const session = sessionOf("self");
  return processes().some((pid) => entriesOf(`/proc/${pid}/fd`) === undefined && sessionOf(pid) === session);
}

/** Undefined of a process that is gone. */
function sessionOf(pid: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Behind the name: state, parent, group, session.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[3];
  } catch {
    return undefined;
  }
}

/** Undefined when it is gone, or may not be listed. */
function entriesOf(directory: string): string[] | undefined {
  try {
    return readdirSync(directory);
  } catch {
    return undefined;
  }
}
