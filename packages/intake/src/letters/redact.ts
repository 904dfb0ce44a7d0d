/**
 * The option `redact` of handlers, for everything that shows payloads and headers. Stored values
 * stay as they are. (docs/adr/0025-redaction.md)
 *
 * Tools that read the directory of a stopped intake know no options. So an intake leaves the paths
 * in the file `redact` of its directory; of a function it only says that there is one.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import redaction from "@pinojs/redact";
import { baseError, messageOf } from "@millrace/base";
import type { Redact } from "../delivery/policy.ts";
import { intakeError } from "../errors.ts";
import { toPlain } from "./plain.ts";

/** Of handlers without rules of their own, and of the others by name. */
export interface RedactRules {
  readonly fallback: Redact | undefined;
  readonly handlers: Readonly<Record<string, Redact>>;
}

/** As the file has it: a function is null. */
interface StoredRules {
  readonly version: 1;
  readonly fallback: readonly string[] | null;
  readonly handlers: Readonly<Record<string, readonly string[] | null>>;
}

const CENSOR = "[redacted]";
const WITHHELD = "[withheld: a function of the running service redacts it]";
const FILE = "redact";
const OWNER_ONLY = 0o600;

type Show = (value: unknown) => unknown;

export class Redactor {
  readonly #fallback: Show;
  readonly #shows: ReadonlyMap<string, Show>;

  /** Throws `ERR_INVALID_OPTION`. */
  constructor({ fallback, handlers }: RedactRules) {
    this.#fallback = showOf("redact", fallback ?? []);
    const shows = Object.entries(handlers).map(([name, redact]) => {
      return [name, showOf(`handlers.${name}.redact`, redact)] as const;
    });
    this.#shows = new Map(shows);
  }

  /** As JSON can have it. Never throws: a function that fails shows nothing. */
  redacted(handler: string, value: unknown): unknown {
    return (this.#shows.get(handler) ?? this.#fallback)(value);
  }
}

function showOf(name: string, redact: Redact): Show {
  if (typeof redact === "function") return (value) => shownBy(redact, value);
  if (redact.length === 0) return toPlain;
  try {
    // It may change what it gets: that is a copy.
    const hide = redaction({ paths: [...redact], censor: CENSOR, serialize: false });
    return (value) => hide(toPlain(value));
  } catch (cause) {
    throw baseError("ERR_INVALID_OPTION", `open({ journal }): ${name}: ${messageOf(cause)}`, {
      cause,
      details: { owner: "open({ journal })", name, value: redact },
    });
  }
}

function shownBy(redact: (value: unknown) => unknown, value: unknown): unknown {
  try {
    return toPlain(redact(value));
  } catch (thrown) {
    return `[redact has failed: ${thrown instanceof Error ? thrown.name : "not an error"}]`;
  }
}

/**
 * Leaves the rules in the directory, or takes earlier ones away; on disk when it returns. The
 * caller has the directory's lock, and publishes nothing before.
 */
export function storeRules(directory: string, { fallback, handlers }: RedactRules): void {
  const path = join(directory, FILE);
  const names = Object.keys(handlers);
  if (fallback === undefined && names.length === 0) {
    rmSync(path, { force: true });
    return;
  }
  const stored: StoredRules = {
    version: 1,
    fallback: storedOf(fallback ?? []),
    handlers: Object.fromEntries(names.map((name) => [name, storedOf(handlers[name] as Redact)])),
  };
  const part = `${path}.part`;
  const fd = openSync(part, "w", OWNER_ONLY);
  try {
    writeSync(fd, `${JSON.stringify(stored)}\n`);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(part, path);
}

function storedOf(redact: Redact): readonly string[] | null {
  return typeof redact === "function" ? null : redact;
}

/** By the rules that the last service has left. Throws `ERR_RECORD_UNREADABLE` for another file. */
export function storedRedactor(directory: string): Redactor {
  let text: string;
  try {
    text = readFileSync(join(directory, FILE), "utf8");
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOENT") return new Redactor({ fallback: undefined, handlers: {} });
    throw thrown;
  }
  try {
    const { version, fallback, handlers } = JSON.parse(text) as StoredRules;
    if ((version as number) !== 1) throw new RangeError(`it has version ${String(version)}`);
    const entries = Object.entries(handlers).map(([name, rule]) => [name, ruleOf(rule)] as const);
    return new Redactor({ fallback: ruleOf(fallback), handlers: Object.fromEntries(entries) });
  } catch (cause) {
    throw intakeError("ERR_RECORD_UNREADABLE", `${FILE} in ${directory} can't be read: nothing is shown`, { cause });
  }
}

function ruleOf(stored: readonly string[] | null): Redact {
  return stored ?? (() => WITHHELD);
}
