/** Readers of our output that leave early, such as `| head -1`. */
import { once } from "node:events";
import { constants, fstatSync, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Writable } from "node:stream";

const STDOUT = 1;

/** A reader that leaves early is no error: the output that is left is dropped. */
export function bearClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/**
 * Whether a write to stdout has found that nobody reads it any more: a command that only prints may
 * end.
 */
export function isOutputClosed(): boolean {
  return process.stdout.destroyed || !process.stdout.writable;
}

/** Resolves when a stream takes more, or takes nothing ever again: its error is heard elsewhere. */
export async function drained(stream: Writable): Promise<void> {
  await Promise.race([once(stream, "drain"), once(stream, "close")]).catch(() => {});
}

/**
 * The processes that read the pipe which is our stdout: for a command that waits for something to
 * print, and would learn from its next write alone that nobody reads on.
 *
 * Known on Linux, of processes whose files this one may list. A reader that can't be seen, such as
 * one outside of a container, never counts as gone.
 */
export class OutputReaders {
  readonly #pipe: string | undefined = pipeOfOutput();
  #seen: readonly string[] = this.#readers();

  /** Whether readers were seen, and none is left. */
  areGone(): boolean {
    if (isOutputClosed()) return true;
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
