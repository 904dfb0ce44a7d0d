/** A file that a command makes, complete or not there at all. */
import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { messageOf } from "@millrace/base";
import { completeFile, partOfNew } from "@millrace/journal/kernel";
import { cliError } from "../errors.ts";

/** What is exported may be secret. */
const OWNER_ONLY = 0o600;
/** Bytes, or less, that gather before they are written. */
const CHUNK_LENGTH: number = 2 ** 18;

export class NewFile {
  readonly #path: string;
  readonly #part: string;
  readonly #fd: number;
  #chunk = "";
  #isComplete = false;
  readonly #removeAtExit = (): void => this.#remove();

  /** Throws `ERR_CLI_OUTPUT`, also for a file that is there already. */
  constructor(path: string) {
    this.#path = path;
    this.#part = this.#tried(() => partOfNew(path));
    this.#fd = this.#tried(() => openSync(this.#part, "wx", OWNER_ONLY));
    // A second signal ends the process in the midst.
    process.once("exit", this.#removeAtExit);
  }

  /** Throws `ERR_CLI_OUTPUT`. */
  write(text: string): void {
    this.#chunk += text;
    if (this.#chunk.length >= CHUNK_LENGTH) this.#flush();
  }

  /** All was written, and is on disk. Throws `ERR_CLI_OUTPUT`. */
  finish(): void {
    this.#flush();
    this.#tried(() => {
      fsyncSync(this.#fd);
      completeFile(this.#part, this.#path);
    });
    this.#isComplete = true;
  }

  /** A file that isn't finished leaves nothing. */
  close(): void {
    closeSync(this.#fd);
    process.off("exit", this.#removeAtExit);
    this.#remove();
  }

  #remove(): void {
    if (!this.#isComplete) rmSync(this.#part, { force: true });
  }

  #flush(): void {
    const bytes = Buffer.from(this.#chunk);
    this.#chunk = "";
    for (let done = 0; done < bytes.length;) done += this.#tried(() => writeSync(this.#fd, bytes, done));
  }

  #tried<T>(run: () => T): T {
    try {
      return run();
    } catch (cause) {
      throw cliError("ERR_CLI_OUTPUT", `${this.#path} can't be written: ${messageOf(cause)}`, {
        cause,
        details: { path: this.#path },
      });
    }
  }
}
