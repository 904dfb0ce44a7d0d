/** Why a thread ended: from its last words, its exit code, and what Node knows of it. */
import type { ResourceLimits } from "node:worker_threads";
import { decode } from "@millrace/codec";
import { messageOf } from "@millrace/base";
import type { LastWords } from "../machine/last-words.ts";

/** "terminated": from outside, or by something that left no word. */
export type DeathReason = LastWords["reason"] | "out of memory" | "terminated";

export interface Death {
  readonly reason: DeathReason;
  readonly exitCode: number;
  /** The error behind it. */
  readonly error: Error;
  /** Out of memory: the limits that the thread had, in MB. */
  readonly limits?: ResourceLimits;
}

/** The reports about a thread that has ended. */
export interface ThreadEnd {
  readonly exitCode: number;
  readonly lastWords: LastWords | undefined;
  /** From the event `error`. */
  readonly error: unknown;
  readonly limits: ResourceLimits | undefined;
}

export function deathOf({ exitCode, lastWords, error, limits }: ThreadEnd): Death {
  if (isOutOfMemory(error)) {
    return { reason: "out of memory", exitCode, error, ...(limits === undefined ? {} : { limits }) };
  }
  if (lastWords !== undefined) {
    return { reason: lastWords.reason, exitCode, error: asError(decode(lastWords.error)) };
  }
  if (error !== undefined) return { reason: "uncaught error", exitCode, error: asError(error) };
  return { reason: "terminated", exitCode, error: asError(`the thread ended with code ${exitCode}, without a word`) };
}

/** In a sentence: "the thread ended: …". */
export function describeDeath({ reason, error, limits }: Death): string {
  switch (reason) {
    case "exit":
    case "ended":
      return error.message;
    case "out of memory":
      return `it was out of memory; its heap may have ${limits?.maxOldGenerationSizeMb ?? "Node's default of"} MB (maxOldGenerationSizeMb)`;
    case "terminated":
      return "it was terminated";
    default:
      return `${reason}: ${error.message}`;
  }
}

function isOutOfMemory(error: unknown): error is Error {
  return error instanceof Error && (error as { readonly code?: unknown }).code === "ERR_WORKER_OUT_OF_MEMORY";
}

function asError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  const error: { stack?: string } & Error = new Error(messageOf(thrown));
  if (typeof thrown !== "string") error.cause = thrown;
  // It would lead here.
  delete error.stack;
  return error;
}
