/**
 * Answers the requests of machines to the opening thread: arguments that go by message, and
 * questions of handlers.
 */
import type { Transferable } from "node:worker_threads";
import { isMillraceError } from "@millrace/base";
import { encodeThrown } from "@millrace/codec";
import type { ParcelMail } from "../machine/machine.worker.ts";
import type { MachineThread } from "./machine-thread.ts";

export interface AnswersHost {
  /** The port that holds the argument with this ticket. */
  parcelFor(ticket: number): Transferable | undefined;
  /** Answers what a handler asks of the opening thread. */
  asked(value: unknown): Promise<unknown>;
}

/** Answers the question with the number `ask`. */
export async function answerAsk(host: AnswersHost, thread: MachineThread, ask: number, value: unknown): Promise<void> {
  let answer: unknown;
  let error: Uint8Array | undefined;
  try {
    answer = await host.asked(value);
  } catch (thrown) {
    error = encodeThrown(thrown);
  }
  thread.post({ answered: ask, value: answer, error });
}

/** Sends the argument of the task in `slot`. */
export function answerFetch(host: AnswersHost, thread: MachineThread, ticket: number, slot: number): void {
  let port: ParcelMail["port"];
  let error: Uint8Array | undefined;
  try {
    port = host.parcelFor(ticket) as ParcelMail["port"];
  } catch (thrown) {
    // Each attempt clones the value anew, and meanwhile it has become one that can't be cloned.
    error = encodeThrown(isMillraceError(thrown) ? thrown : cloneError(thrown));
  }
  thread.post({ slot, port, error }, port === undefined ? [] : [port]);
}

/** The error of a clone, fit to be sent: a getter may have thrown anything. */
function cloneError(thrown: unknown): Error {
  const error = new Error("the argument can't be sent any more");
  if (!(thrown instanceof Error)) return error;
  const { name, message } = thrown as { readonly name: unknown; readonly message: unknown };
  error.message += `: ${String(message)}`;
  error.name = String(name);
  return error;
}
