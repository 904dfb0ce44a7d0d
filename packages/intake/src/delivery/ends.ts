/**
 * Records that are over by what isn't durable yet: finished, dead or expired; and those that are
 * finished while they are copied forward.
 *
 * The states know only durable records. Between a decision and its durable record, `Ends` keeps the
 * record from getting another turn.
 */
import type { RecordParts } from "@millrace/journal/kernel";
import { ackRanges } from "../format/state-records.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { StateLog } from "./state-log.ts";

interface Finish {
  /** The records that become durable with the ACK. */
  readonly records: readonly RecordParts[];
  /** Called when the ACK is on its way. */
  readonly onWay: () => void;
}

export class Ends {
  readonly #states: RecordStates;
  readonly #stateLog: StateLog;
  /** Origins that die or expire, by records that aren't durable yet. */
  readonly #ending = new Set<number>();
  /** Origins whose copies aren't durable yet, and those of them that were finished meanwhile. */
  readonly #copying = new Set<number>();
  readonly #finishedInCopy = new Map<number, Finish>();
  /** Origins of copies whose ACK is on its way: the states forget them when they read it. */
  readonly #acked = new Map<number, number>();

  constructor(states: RecordStates, stateLog: StateLog) {
    this.#states = states;
    this.#stateLog = stateLog;
  }

  // ── dead, expired ─────────────────────────────────────────────────────────────────────────────

  /** A record that ends this one is on its way. */
  began(origin: number): void {
    this.#ending.add(origin);
  }

  /** That record is durable. */
  durable(origin: number): void {
    this.#ending.delete(origin);
  }

  /**
   * Whether the record with this origin, at `place`, is over by records that aren't durable yet.
   */
  isEnding(origin: number, place: number): boolean {
    return this.#ending.has(origin) || this.#stateLog.isFinished(place);
  }

  /** Whether a record needs no turn any more, or soon won't. */
  isOver(origin: number): boolean {
    const place = this.#states.placeOf(origin);
    return (
      this.#states.isDead(origin) ||
      this.#states.settled.has(place) ||
      this.#ending.has(origin) ||
      this.#finishedInCopy.has(origin) ||
      this.#stateLog.isFinished(place)
    );
  }

  // ── finished ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Its handler has returned, and has published `records`. The ACK of a record that is being copied
   * waits for its new place; `onWay` is called when it is on its way.
   */
  finished(origin: number, records: readonly RecordParts[], onWay: () => void): void {
    if (this.#copying.has(origin)) this.#finishedInCopy.set(origin, { records, onWay });
    else this.#acknowledge(origin, this.#states.placeOf(origin), { records, onWay });
  }

  #acknowledge(origin: number, place: number, { records, onWay }: Finish): void {
    if (origin !== place) this.#acked.set(place, origin);
    if (records.length > 0) {
      this.#stateLog.finishedWith(place, records, onWay);
      return;
    }
    this.#stateLog.finished(place);
    onWay();
  }

  /** Tells the origin of every record that the ACK record with this payload finishes. */
  acknowledged(payload: Buffer, isWanted: boolean, tell: (origin: number) => void): void {
    if (!isWanted && this.#acked.size === 0) return;
    const ranges = ackRanges(payload);
    for (let index = 0; index < ranges.ranges; index += 1) {
      const [first, last] = ranges.range(index);
      for (let place = first; place <= last; place += 1) {
        const origin = this.#acked.get(place) ?? place;
        if (origin !== place) this.#acked.delete(place);
        tell(origin);
      }
    }
  }

  // ── copies ────────────────────────────────────────────────────────────────────────────────────

  get isCopying(): boolean {
    return this.#copying.size > 0;
  }

  /** A copy of the record is on its way to the end of the log. */
  copyBegan(origin: number): void {
    this.#copying.add(origin);
  }

  /** The copy is durable at `place`. True when the record was finished meanwhile. */
  copyArrived(origin: number, place: number): boolean {
    this.#copying.delete(origin);
    const finish = this.#finishedInCopy.get(origin);
    if (finish === undefined) return false;
    this.#finishedInCopy.delete(origin);
    this.#acknowledge(origin, place, finish);
    return true;
  }
}
