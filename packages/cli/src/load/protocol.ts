/**
 * The frames on the Unix socket between the load generator and the process under test.
 *
 *   request  u32 length of what follows, f64 id, payload
 *   answer   u32 length of what follows (9), f64 id, u8 outcome
 */
export const OUTCOME = {
  /** The record is durable. */
  acknowledged: 0,
  /** The record was certainly not stored. */
  rejected: 1,
  /** The record may be stored or not. */
  uncertain: 2,
} as const;

const LENGTH_BYTES = 4;
const ID_BYTES = 8;
const ANSWER_BYTES: number = LENGTH_BYTES + ID_BYTES + 1;
/** Largest frame; bounds the memory that a wrong peer can take up. */
const FRAME_BYTES_MAX: number = 64 * 2 ** 20;

export function requestBytes(payloadBytes: number): number {
  return LENGTH_BYTES + ID_BYTES + payloadBytes;
}

/** Writes a request into `target` at `offset` and returns where its payload goes. */
export function writeRequest(target: Buffer, offset: number, id: number, payloadBytes: number): number {
  target.writeUInt32LE(ID_BYTES + payloadBytes, offset);
  target.writeDoubleLE(id, offset + LENGTH_BYTES);
  return offset + LENGTH_BYTES + ID_BYTES;
}

export function encodeAnswer(id: number, outcome: number): Buffer {
  const answer = Buffer.alloc(ANSWER_BYTES);
  answer.writeUInt32LE(ANSWER_BYTES - LENGTH_BYTES, 0);
  answer.writeDoubleLE(id, LENGTH_BYTES);
  answer[LENGTH_BYTES + ID_BYTES] = outcome;
  return answer;
}

/** Cuts a byte stream into frames, each an id and the bytes behind it. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);
  readonly #onFrame: (id: number, body: Buffer) => void;

  constructor(onFrame: (id: number, body: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    while (bytes.length - offset >= LENGTH_BYTES) {
      const length = bytes.readUInt32LE(offset);
      if (length < ID_BYTES || length > FRAME_BYTES_MAX) throw new RangeError(`a frame of ${length} bytes`);
      const end = offset + LENGTH_BYTES + length;
      if (bytes.length < end) break;
      const id = bytes.readDoubleLE(offset + LENGTH_BYTES);
      this.#onFrame(id, bytes.subarray(offset + LENGTH_BYTES + ID_BYTES, end));
      offset = end;
    }
    this.#rest = bytes.subarray(offset);
  }
}
