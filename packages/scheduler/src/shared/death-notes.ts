/**
 * Why each machine died, for the threads whose tasks died with it: in shared memory, since a thread
 * that waits in a join reads no message.
 *
 * A machine has one note: u32 bytes, then an encoded error. The supervisor writes it before it
 * settles the tasks of the dead machine; a submitter reads it with the outcome of such a task. The
 * next note is written after the machine's next death, so after another thread was started in its
 * place, which is after all outcomes were read (`Recovery.isDrained`).
 */
import { decode, encodeThrown } from "@millrace/codec";
import { isMillraceError, type MillraceError } from "@millrace/base";

/** Room for a message, a stack, and a cause or two with theirs. */
const NOTE_BYTES = 16_384;
const LENGTH_BYTES = 4;

export function allocateDeathNotes(machines: number): SharedArrayBuffer {
  return new SharedArrayBuffer(machines * NOTE_BYTES);
}

export class DeathNotes {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(notes: SharedArrayBuffer) {
    this.#bytes = new Uint8Array(notes);
    this.#view = new DataView(notes);
  }

  /**
   * Supervisor: of what is too long for the note only a part is kept, as `encodeThrown` does it.
   */
  write(machine: number, error: MillraceError): void {
    const start = machine * NOTE_BYTES;
    const bytes = encodeThrown(error, NOTE_BYTES - LENGTH_BYTES);
    this.#bytes.set(bytes, start + LENGTH_BYTES);
    this.#view.setUint32(start, bytes.length);
  }

  /** Submitter; undefined when nothing was noted. */
  read(machine: number): MillraceError | undefined {
    const start = machine * NOTE_BYTES;
    const length = this.#view.getUint32(start);
    if (length === 0) return undefined;
    const error = decode(this.#bytes, start + LENGTH_BYTES, start + LENGTH_BYTES + length);
    return isMillraceError(error) ? error : undefined;
  }
}
