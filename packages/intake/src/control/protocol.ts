/**
 * The control socket's protocol, version 1: lines of JSON, in UTF-8.
 *
 *   request  { "v": 1, "id": 7, "command": "dead.list", "options": { … } }
 *   item     { "v": 1, "id": 7, "item": { … } }             any number of them, for lists
 *   answer   { "v": 1, "id": 7, "result": … }               or
 *            { "v": 1, "id": 7, "error": { "code", "message", "cure", "details" } }
 *
 * Requests of a connection are carried out one after the other. A request has at most 64 KiB.
 */
import { isMillraceError, messageOf } from "@millrace/base";

export const PROTOCOL_VERSION = 1;
export const REQUEST_BYTES_MAX: number = 64 * 1024;

export interface Request {
  readonly v: number;
  readonly id: number;
  readonly command: string;
  readonly options?: object;
}

export interface ErrorLine {
  readonly code: string;
  readonly message: string;
  readonly cure?: string | undefined;
  readonly details?: object;
}

export type Reply = { readonly v: number; readonly id: number } & (
  | { readonly item: object }
  | { readonly result: unknown }
  | { readonly error: ErrorLine }
);

export function errorLine(thrown: unknown): ErrorLine {
  if (isMillraceError(thrown)) {
    return { code: thrown.code, message: thrown.message, cure: thrown.cure, details: thrown.details };
  }
  const { code } = (thrown ?? {}) as { code?: unknown };
  return { code: typeof code === "string" ? code : "ERR_UNEXPECTED", message: messageOf(thrown) };
}
