/** Frames over a pair of streams: standard input and output of a process, for instance. */
import { Duplex, type Readable, Writable } from "node:stream";
import { Connection, type ConnectionHost } from "./connection.ts";

/** One source of frames, and where their answers go. */
export class FrameStream {
  readonly #connection: Connection;
  /** Resolves when every frame has its answer, or nobody takes answers any more. */
  readonly ended: Promise<void>;

  /** `output` stays open at the end. */
  constructor(input: Readable, output: Writable, host: ConnectionHost) {
    const answers = new Writable({ write: (chunk, _encoding, done) => void output.write(chunk as Buffer, done) });
    const stream = Duplex.from({ readable: input, writable: answers });
    this.ended = new Promise((resolve) => {
      stream.once("close", () => resolve());
      // Every frame has its answer. The input may stay open for ever: nobody reads it any more.
      stream.once("finish", () => resolve());
    });
    this.#connection = new Connection(stream, host);
  }

  /** Takes no frame any more. Resolves as `ended`, or when `signal` aborts. */
  async end(signal: AbortSignal): Promise<void> {
    this.#connection.end();
    const over = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([this.ended, over]);
  }
}
