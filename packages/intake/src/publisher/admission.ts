/**
 * Whether a record may be published at all: the intake is open, the module has the handler, and
 * the handler's dead letters have room.
 */
import { nearest } from "@millrace/base";
import { unknownHandler } from "@millrace/scheduler";
import { deadLettersFull, intakeError } from "../errors.ts";
import { encodeHandler } from "../format/record-header.ts";
import type { DeliveryCounts } from "../delivery/control.ts";

export class Admission {
  readonly handlerNames: readonly string[];
  readonly #cells: DeliveryCounts;
  /** By handler: the encoded header of a record without terms. */
  readonly #headers: ReadonlyMap<string, Uint8Array>;
  /** Handlers whose records wait for room among the dead letters. */
  #fullHandlers: ReadonlySet<string> = new Set();
  #isClosed = false;

  constructor(handlerNames: readonly string[], cells: DeliveryCounts) {
    this.handlerNames = handlerNames;
    this.#cells = cells;
    this.#headers = new Map(handlerNames.map((name) => [name, encodeHandler(name)]));
  }

  close(): void {
    this.#isClosed = true;
  }

  full(handlers: ReadonlySet<string>): void {
    this.#fullHandlers = handlers;
  }

  /** Throws `ERR_INTAKE_CLOSED`. */
  mustBeOpen(): void {
    if (this.#isClosed) throw intakeError("ERR_INTAKE_CLOSED", "the intake is closed");
  }

  /** Throws `ERR_HANDLER_UNKNOWN`. */
  mustBeHandler(name: string): void {
    mustBeOne(this.handlerNames, name);
  }

  /**
   * Throws `ERR_HANDLER_UNKNOWN`, and `ERR_DEAD_LETTERS_FULL`: a record that can't die isn't
   * taken.
   */
  headerOf(name: string): Uint8Array {
    const header = this.#headers.get(name);
    if (header === undefined) throw unknownHandler(name, this.handlerNames);
    if (this.#fullHandlers.size > 0 && this.#fullHandlers.has(name)) throw this.#fullError(name);
    return header;
  }

  #fullError(handler: string): Error {
    const deadBytes = this.#cells.get("deadBytes");
    const deadWaiting = this.#cells.get("deadWaiting");
    return deadLettersFull(handler, deadBytes, deadWaiting);
  }
}

/** No refusal: records of a handler that was removed may be there, and wait for its return. */
export function warnUnlessHandler(names: readonly string[], name: string): void {
  if (names.includes(name)) return;
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean "${near}"?`;
  process.emitWarning(`options for the handler "${name}", which the module doesn't export${hint}`, {
    type: "MillraceWarning",
    code: "MILLRACE_HANDLER_UNKNOWN",
  });
}

/** Throws `ERR_HANDLER_UNKNOWN`. */
export function mustBeOne(names: readonly string[], name: string): void {
  if (!names.includes(name)) throw unknownHandler(name, names);
}
