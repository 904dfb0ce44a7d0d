/**
 * Sends the output of handlers to the opener's thread at once (supervisor/output.ts).
 *
 * Node's own way hands the first line over and keeps the others until the event loops of both
 * threads have turned. A machine that sleeps between two tasks turns none; the lines that it had
 * kept were lost when the process ended.
 */
import type { Writable } from "node:stream";
import type { MessagePort } from "node:worker_threads";

/** A part of the output of a thread. */
export interface Printed {
  readonly to: "stdout" | "stderr";
  readonly chunk: string | Uint8Array;
  readonly encoding: BufferEncoding;
}

/** Where a machine's thread prints to. */
export interface OutputPort {
  readonly port: MessagePort;
  /** Word 0: how many messages all threads have sent. */
  readonly count: Int32Array;
}

interface Chunk {
  readonly chunk: string | Uint8Array;
  readonly encoding: BufferEncoding;
}

type Done = (error?: Error | null) => void;

/**
 * `send` is called for every write, before the write returns. `count`: word 0 counts what was sent.
 */
export function printTo(send: (printed: Printed) => void, count: Int32Array): void {
  for (const to of ["stdout", "stderr"] as const) {
    const stream: Writable = process[to];
    const write = ({ chunk, encoding }: Chunk): void => {
      // A copy: of a view into a pool the whole pool would be sent.
      send({ to, chunk: typeof chunk === "string" ? chunk : Uint8Array.from(chunk), encoding });
      Atomics.add(count, 0, 1);
    };
    Object.assign(stream, {
      _write: (chunk: string | Uint8Array, encoding: BufferEncoding, done: Done): void => {
        write({ chunk, encoding });
        done();
      },
      _writev: (chunks: readonly Chunk[], done: Done): void => {
        for (const each of chunks) write(each);
        done();
      },
    } satisfies Partial<Writable>);
  }
}
