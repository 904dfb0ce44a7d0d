/** Dead letters, as the page asks for them. */
import type { DeadFilter, RedriveOptions } from "@millrace/intake";
import { serverError } from "../errors.ts";

const TEXTS = ["handler", "reason", "key", "text"] as const;
const NUMBERS = ["from", "to", "after", "limit"] as const;

type Given = Readonly<Record<string, unknown>>;

function invalid(message: string): Error {
  return serverError("ERR_REQUEST_INVALID", message);
}

/** From the query of a request. Throws `ERR_REQUEST_INVALID`; ranges are looked at later. */
export function filterInQuery(query: unknown): DeadFilter {
  const filter: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(query as Given)) {
    if (typeof value !== "string") throw invalid(`the parameter ${name.slice(0, 100)} comes twice`);
    if ((TEXTS as readonly string[]).includes(name)) filter[name] = value;
    else if ((NUMBERS as readonly string[]).includes(name) && /^\d{1,16}$/.test(value)) filter[name] = Number(value);
    else throw invalid(`the parameter ${JSON.stringify(name.slice(0, 100))} isn't known, or no whole number`);
  }
  return filter;
}

/**
 * The filter and the options of a redrive or drop. `to` is required: the page has shown how many
 * letters died before that time, and none that died later is meant.
 */
export function changeIn(body: unknown, more: readonly string[]): RedriveOptions {
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw invalid("the body must be an object");
  const given = body as Given;
  const known = new Set<string>([...TEXTS, "from", "to", ...more]);
  for (const name of Object.keys(given)) {
    if (!known.has(name)) throw invalid(`unknown member ${JSON.stringify(name.slice(0, 100))}`);
  }
  if (typeof given.to !== "number") throw invalid('"to" must say up to which time letters are meant, in ms');
  return given as RedriveOptions;
}

/** A letter as a list shows it: without its payload. */
export function lineOf(letter: Given): object {
  const { payload: _payload, headers: _headers, failures, ...line } = letter;
  const { error } = ((failures ?? []) as { error?: unknown }[]).at(-1) ?? {};
  return { ...line, error: error ?? null };
}
