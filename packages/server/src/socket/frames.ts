/**
 * Frames out of a stream of bytes.
 *
 * A frame is a line of text, or the bytes behind a length of four bytes, the largest first. A
 * connection has frames of one kind: its first byte says which. Lengths begin with a zero byte,
 * since no frame may have 2^24 bytes, and no line of JSON begins with one.
 */
import { serverError } from "../errors.ts";

/** Frames are smaller than this. */
export const FRAME_BYTES_LIMIT: number = 2 ** 24;
const LENGTH_BYTES = 4;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

export type FrameKind = "line" | "length";

export class FrameReader {
  readonly #frameBytesMax: number;
  /** Bytes that were fed and not taken, in the order in which they came. */
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Number of bytes at the beginning in which no line end was found. */
  #searched = 0;
  #kind: FrameKind | undefined;

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** "line" until the first byte has come. */
  get kind(): FrameKind {
    return this.#kind ?? "line";
  }

  /** Bytes of a frame whose end hasn't been taken. */
  get pendingBytes(): number {
    return this.#bytes;
  }

  feed(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#kind ??= chunk[0] === 0 ? "length" : "line";
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /**
   * The next frame, whole, without what divides it from others; undefined until more bytes come.
   * Throws `ERR_REQUEST_TOO_LARGE`: where the next frame begins is unknown then.
   */
  next(): Buffer | undefined {
    return this.#kind === "length" ? this.#nextByLength() : this.#nextLine();
  }

  #nextByLength(): Buffer | undefined {
    if (this.#bytes < LENGTH_BYTES) return undefined;
    const length = this.#joined(LENGTH_BYTES).readUInt32BE(0);
    if (length > this.#frameBytesMax) throw this.#tooLarge();
    if (this.#bytes < LENGTH_BYTES + length) return undefined;
    return this.#take(LENGTH_BYTES + length).subarray(LENGTH_BYTES);
  }

  #nextLine(): Buffer | undefined {
    let before = 0;
    for (const chunk of this.#chunks) {
      const from = Math.max(0, this.#searched - before);
      const at = from < chunk.length ? chunk.indexOf(NEWLINE, from) : -1;
      if (at >= 0) {
        const length = before + at;
        if (length > this.#frameBytesMax) throw this.#tooLarge();
        const line = this.#take(length + 1).subarray(0, length);
        return line.at(-1) === CARRIAGE_RETURN ? line.subarray(0, -1) : line;
      }
      before += chunk.length;
    }
    this.#searched = this.#bytes;
    if (this.#bytes > this.#frameBytesMax) throw this.#tooLarge();
    return undefined;
  }

  /** The first bytes in one piece, left where they are. */
  #joined(count: number): Buffer {
    let [first] = this.#chunks as [Buffer];
    if (first.length < count) {
      first = Buffer.concat(this.#chunks);
      this.#chunks = [first];
    }
    return first;
  }

  #take(count: number): Buffer {
    const first = this.#joined(count);
    const rest = first.subarray(count);
    if (rest.length === 0) this.#chunks.shift();
    else this.#chunks[0] = rest;
    this.#bytes -= count;
    this.#searched = 0;
    return first.subarray(0, count);
  }

  #tooLarge(): Error {
    return serverError("ERR_REQUEST_TOO_LARGE", `a frame may have ${this.#frameBytesMax} bytes`, {
      details: { frameBytesMax: this.#frameBytesMax },
    });
  }
}

/** An answer as a frame of this kind; its text has no line end. */
export function frameOf(kind: FrameKind, text: string): Buffer {
  if (kind === "line") return Buffer.from(`${text}\n`);
  const frame = Buffer.alloc(LENGTH_BYTES + Buffer.byteLength(text));
  frame.writeUInt32BE(frame.length - LENGTH_BYTES, 0);
  frame.write(text, LENGTH_BYTES);
  return frame;
}
