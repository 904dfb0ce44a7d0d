/**
 * Tokens from a file, and the scopes of each.
 *
 *   # publisher of the shop
 *   sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 publish,read
 *
 * The file has hashes, which nobody who reads it can use. A token is as good as its randomness:
 * SHA-256 is fast, and 32 random bytes can't be guessed all the same.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { clearInterval, messageOf, setInterval } from "@millrace/base";
import { serverError } from "../errors.ts";

const SCOPES = ["publish", "read", "admin"] as const;

/** "admin" may do everything. */
export type Scope = (typeof SCOPES)[number];

interface Entry {
  readonly hash: Buffer;
  readonly scopes: ReadonlySet<Scope>;
}

/** Time between two looks at the file. */
const LOOK_MS = 1000;
/** A file with tokens is a page, not a database. */
const ENTRIES_MAX = 10_000;
const LINE = /^sha256:([0-9a-f]{64})\s+([a-z]+(?:,[a-z]+)*)$/;

/** Decides whether a bearer token has a scope. */
export interface Access {
  /** Throws `ERR_TOKEN_REFUSED`, `ERR_TOKEN_SCOPE`. */
  demand(scope: Scope, token: string | undefined): void;
  close(): void;
}

/** Everybody may do everything. */
export const OPEN_ACCESS: Access = { demand: () => {}, close: () => {} };

function parse(path: string, text: string): Entry[] {
  const entries: Entry[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/#.*/, "").trim();
    if (line === "") continue;
    const [, hex, names = ""] = LINE.exec(line) ?? [];
    const scopes = names.split(",");
    if (hex === undefined || !scopes.every((name) => (SCOPES as readonly string[]).includes(name))) {
      throw serverError("ERR_TOKEN_FILE", `${path}:${index + 1} isn't "sha256:HEX ${SCOPES.join(",")}"`, {
        details: { path, line: index + 1 },
      });
    }
    entries.push({ hash: Buffer.from(hex, "hex"), scopes: new Set(scopes as Scope[]) });
  }
  if (entries.length > 0 && entries.length <= ENTRIES_MAX) return entries;
  throw serverError("ERR_TOKEN_FILE", `${path} has ${entries.length} tokens, not 1 to ${ENTRIES_MAX}`, {
    details: { path },
  });
}

export class TokenFile implements Access {
  readonly #path: string;
  readonly #warn: (error: Error) => void;
  readonly #timer: NodeJS.Timeout;
  #entries: readonly Entry[];
  #version: string;

  /** `warn` is called when a changed file can't be used. Throws `ERR_TOKEN_FILE`. */
  constructor(path: string, warn: (error: Error) => void) {
    // The process may go to another working directory, and the file is read again.
    this.#path = resolve(path);
    this.#warn = warn;
    this.#version = this.#look();
    this.#entries = this.#read();
    this.#timer = setInterval(() => this.#renew(), LOOK_MS).unref();
  }

  demand(scope: Scope, token: string | undefined): void {
    if (token === undefined) throw serverError("ERR_TOKEN_REFUSED", "a token is needed", { details: { scope } });
    const hash = hashOf(token);
    let found: Entry | undefined;
    // All of them, so that the time says nothing about where one stands.
    for (const entry of this.#entries) if (timingSafeEqual(hash, entry.hash)) found = entry;
    if (found === undefined) throw serverError("ERR_TOKEN_REFUSED", "the token isn't known", { details: { scope } });
    if (found.scopes.has(scope) || found.scopes.has("admin")) return;
    throw serverError("ERR_TOKEN_SCOPE", `the token may not ${scope}`, { details: { scope } });
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): string {
    const { ino, size, mtimeMs } = statSync(this.#path, { throwIfNoEntry: false }) ?? { ino: 0, size: 0, mtimeMs: 0 };
    return `${ino} ${size} ${mtimeMs}`;
  }

  #read(): readonly Entry[] {
    let text: string;
    try {
      // The reading of a pipe waits for somebody who writes.
      if (!statSync(this.#path).isFile()) throw new Error("it is no regular file");
      text = readFileSync(this.#path, "utf8");
    } catch (cause) {
      throw serverError("ERR_TOKEN_FILE", `${this.#path} can't be read: ${messageOf(cause)}`, { cause });
    }
    return parse(this.#path, text);
  }

  #renew(): void {
    try {
      const version = this.#look();
      if (version === this.#version) return;
      this.#version = version;
      this.#entries = this.#read();
    } catch (thrown) {
      this.#warn(thrown as Error);
    }
  }
}

/** One token for everything, made when the server starts: where no file has any. */
export class OneToken implements Access {
  readonly token: string = randomBytes(24).toString("base64url");
  readonly #hash: Buffer = hashOf(this.token);

  demand(scope: Scope, token: string | undefined): void {
    if (token !== undefined && timingSafeEqual(hashOf(token), this.#hash)) return;
    const message = token === undefined ? "a token is needed" : "the token isn't known";
    throw serverError("ERR_TOKEN_REFUSED", message, { details: { scope } });
  }

  close(): void {}
}

function hashOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** The token of an `Authorization` header; undefined without one. */
export function bearerOf(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^Bearer +([^\s]+) *$/i.exec(header)?.[1];
}
