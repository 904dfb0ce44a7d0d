/**
 * Room for dead letters. The log keeps each until it is redriven or dropped, up to a number of
 * bytes. A record that would die beyond that waits instead, and publishes for its handler are
 * refused: dead letters are never dropped to make room.
 *
 * Bytes of letters whose DEAD records aren't durable yet count too. A letter that is larger than
 * the limit dies when there is no other.
 */
import type { RecordStates } from "../states/record-states.ts";

export class Deaths {
  readonly #states: RecordStates;
  readonly #bytesMax: number;
  /** Bytes of letters by DEAD records that aren't durable yet, by origin. */
  readonly #dying = new Map<number, number>();
  #dyingBytes = 0;
  /** Records that wait for room, in their order, with their handlers. */
  readonly #waiting = new Map<number, string>();
  /** Grows whenever a record begins or ends to wait. */
  version = 0;

  constructor(states: RecordStates, bytesMax: number) {
    this.#states = states;
    this.#bytesMax = bytesMax;
  }

  /** Records that wait for room. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** The handlers of records that wait. */
  get fullHandlers(): ReadonlySet<string> {
    return new Set(this.#waiting.values());
  }

  hasRoom(bytes: number): boolean {
    const taken = this.#states.dead.bytes + this.#dyingBytes;
    return taken === 0 || taken + bytes <= this.#bytesMax;
  }

  /** A letter's DEAD record is on its way. */
  began(origin: number, bytes: number): void {
    this.#dying.set(origin, bytes);
    this.#dyingBytes += bytes;
    if (this.#waiting.delete(origin)) this.version += 1;
  }

  /** It is durable: the states count the letter. */
  durable(origin: number): void {
    this.#dyingBytes -= this.#dying.get(origin) ?? 0;
    this.#dying.delete(origin);
  }

  wait(origin: number, handler: string): void {
    this.#waiting.set(origin, handler);
    this.version += 1;
  }

  /** The record that has waited longest; undefined without one. */
  first(): number | undefined {
    const [origin] = this.#waiting.keys();
    return origin;
  }
}
