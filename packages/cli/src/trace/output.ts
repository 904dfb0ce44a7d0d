/** The files of traces that `--out` names: complete, or as they were. */
import { accessSync, constants, copyFileSync, lstatSync, realpathSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { messageOf } from "@millrace/base";
import { partOf } from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";

/** Before the program runs: it may take long, and run only once. Throws `ERR_CLI_OUTPUT`. */
export function mustBeWritable(out: string): void {
  try {
    placeOf(out);
  } catch (cause) {
    throw outputError(out, cause, "");
  }
}

/**
 * Copies a trace to `out`, in the place of an older one. It gets the name when it is whole, so the
 * older one stays where the disk is full. `more` is added to the error. Throws `ERR_CLI_OUTPUT`.
 */
export function copyTo(out: string, trace: string, more: () => string): void {
  try {
    const place = placeOf(out);
    const part = partOf(place);
    try {
      copyFileSync(trace, part, constants.COPYFILE_EXCL);
      renameSync(part, place);
    } finally {
      rmSync(part, { force: true });
    }
  } catch (cause) {
    throw outputError(out, cause, more());
  }
}

/**
 * The path of a file that is there, behind links, or may be made. A device would be replaced, and a
 * pipe may have no reader. Throws for these, and where nothing can be written.
 */
function placeOf(out: string): string {
  const isThere = lstatSync(out, { throwIfNoEntry: false }) !== undefined;
  const place = isThere ? realpathSync(out) : out;
  if (isThere) {
    const stats = statSync(place);
    if (stats.isDirectory()) throw new Error("it is a directory");
    if (!stats.isFile()) throw new Error("it is no regular file");
    accessSync(place, constants.W_OK);
  }
  const directory = dirname(place);
  if (!statSync(directory).isDirectory()) throw new Error(`${directory} is no directory`);
  accessSync(directory, constants.W_OK);
  return place;
}

function outputError(path: string, cause: unknown, more: string): Error {
  return cliError("ERR_CLI_OUTPUT", `${path} can't be written: ${messageOf(cause)}${more}`, {
    cause,
    details: { path },
  });
}
