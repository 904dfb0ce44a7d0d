/**
 * Order by key: of the records of one handler, priority and key, one is in hand, and the others
 * wait in the order of their publishing. Only keys with a record in hand take memory; a place in a
 * line takes 8 to 16 bytes. `Jobs` has the records of those places, as far as its memory goes.
 *
 * The record at the head of a line holds the key while it is in hand, while it waits for its retry,
 * and from an opening on until its turn comes. Records that an earlier process had in hand stand in
 * line from the opening on, before any other can come.
 */

/** Records of one key. */
interface Line {
  /** Origin of the one that holds the key, and whether a handler has it. */
  holder: number;
  isRunning: boolean;
  /** Origins of those that wait; those before `next` were taken. */
  waiting: number[];
  next: number;
}

/**
 * Taken entries are let go of in pieces of this size, so that a long line costs nothing per record.
 */
const TAKEN_MAX = 1024;

export class Keys {
  readonly #lines = new Map<string, Line>();
  /** Origins that stand in line since the opening. */
  readonly #early = new Set<number>();
  #waiting = 0;

  /** Keys that are held. */
  get size(): number {
    return this.#lines.size;
  }

  /** Records that wait behind others. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Of those, the ones that came when it was their turn: they wait here and nowhere else. */
  get late(): number {
    return this.#waiting - this.#early.size;
  }

  /** For `Delivery.describe`: holders of lines with somebody behind them. */
  describe(): string {
    const lines = [...this.#lines].filter(([, line]) => line.waiting.length > line.next).slice(0, 8);
    return lines
      .map(([key, { holder, waiting, next }]) => `${key} held by ${holder}, next ${waiting[next]}`)
      .join("; ");
  }

  /**
   * At an opening, in the order of publishing: the record gets its place in line before its turn
   * comes.
   */
  enter(key: string, origin: number): void {
    const line = this.#lines.get(key);
    if (line === undefined) {
      this.#lines.set(key, { holder: origin, isRunning: false, waiting: [], next: 0 });
      return;
    }
    // A dead record that holds its key, and comes again.
    if (line.holder === origin || (this.#early.has(origin) && line.waiting.includes(origin, line.next))) return;
    this.#early.add(origin);
    this.#wait(line, origin);
  }

  /**
   * Whether the record may be handed to its handler now; otherwise it stands in line until
   * `release` names it.
   */
  take(key: string, origin: number): boolean {
    const line = this.#lines.get(key);
    if (line === undefined) {
      this.#lines.set(key, { holder: origin, isRunning: false, waiting: [], next: 0 });
      return true;
    }
    if (line.holder === origin) return !line.isRunning;
    if (!this.#early.has(origin)) this.#wait(line, origin);
    return false;
  }

  #wait(line: Line, origin: number): void {
    line.waiting.push(origin);
    this.#waiting += 1;
  }

  /** A handler has the record, or has it no more. */
  running(key: string, isRunning: boolean): void {
    const line = this.#lines.get(key);
    if (line !== undefined) line.isRunning = isRunning;
  }

  /**
   * The record that holds the key is over, or gives its turn away: the next one holds it now, and
   * its origin is returned; undefined when none waits.
   */
  release(key: string, origin: number): number | undefined {
    const line = this.#lines.get(key);
    if (line === undefined) return undefined;
    if (line.holder !== origin) {
      this.#leave(line, origin);
      return undefined;
    }
    const next = line.waiting[line.next];
    if (next === undefined) {
      this.#lines.delete(key);
      return undefined;
    }
    line.next += 1;
    line.holder = next;
    line.isRunning = false;
    this.#early.delete(next);
    this.#waiting -= 1;
    if (line.next >= TAKEN_MAX && line.next * 2 >= line.waiting.length) {
      line.waiting = line.waiting.slice(line.next);
      line.next = 0;
    }
    return next;
  }

  /** A record that is over before its turn has come, which is rare. */
  #leave(line: Line, origin: number): void {
    const index = line.waiting.indexOf(origin, line.next);
    if (index < 0) return;
    line.waiting.splice(index, 1);
    this.#early.delete(origin);
    this.#waiting -= 1;
  }
}

/** A key's name within the intake. */
export function keyName(handler: number, priority: number, key: Buffer): string {
  return `${handler}/${priority}/${key.toString("latin1")}`;
}
