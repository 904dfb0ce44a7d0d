/**
 * The jobs in line for each key. A key that is given away gives the next record its turn, and a
 * dead record may hold its key.
 */
import { Keys } from "../states/keys.ts";
import type { Gates } from "./gates.ts";
import type { Job } from "./job.ts";
import type { Turns } from "./turns.ts";

type Holder = Pick<Job, "origin" | "keyName" | "handler" | "priority">;

export class KeyLines {
  readonly #gates: Gates;
  readonly #turns: Turns;
  readonly #keys = new Keys();
  /** By handler, records that wait here and nowhere else. */
  readonly #late = new Map<number, number>();
  /** Keys that dead records hold, by origin: without the bytes of the records. */
  readonly #heldByDead = new Map<number, Holder>();

  constructor(gates: Gates, turns: Turns) {
    this.#gates = gates;
    this.#turns = turns;
  }

  /** Records that wait behind others of their key. */
  get waiting(): number {
    return this.#keys.waiting;
  }

  /** Records of handlers that are stopped: none behind another runs before these run again. */
  get aside(): number {
    let aside = 0;
    for (const [handler, late] of this.#late) if (this.#gates.isStopped(handler)) aside += late;
    return aside;
  }

  /** `before`: `late` of all keys, before one of the handler's has changed. */
  #count(handler: number, before: number): void {
    const change = this.#keys.late - before;
    if (change === 0) return;
    const late = (this.#late.get(handler) ?? 0) + change;
    if (late === 0) this.#late.delete(handler);
    else this.#late.set(handler, late);
  }

  /** For `Delivery.describe`. */
  describe(): string {
    return `keys ${this.#keys.size} with ${this.#keys.waiting} waiting (${this.#keys.describe()})`;
  }

  /** The record gets its place in line before its turn comes. */
  enter({ keyName, origin }: Job): void {
    if (keyName !== undefined) this.#keys.enter(keyName, origin);
  }

  /** Whether the record may be handed out now; otherwise it stands in line. */
  take({ keyName, origin, handler }: Job): boolean {
    if (keyName === undefined) return true;
    const before = this.#keys.late;
    const isTaken = this.#keys.take(keyName, origin);
    this.#count(handler, before);
    return isTaken;
  }

  /** A handler has the record. */
  running({ keyName }: Job): void {
    if (keyName !== undefined) this.#keys.running(keyName, true);
  }

  /** A handler has it no more, and the record will come again. By its order it keeps the key. */
  waits(job: Job): void {
    if (job.keyName === undefined) return;
    this.#keys.running(job.keyName, false);
    if (this.#gates.of(job.handler).terms.order === "skip") this.giveAway(job);
  }

  /** The record is dead, or soon will be. By its handler's terms it holds the key. */
  died(job: Job): void {
    if (!this.#gates.of(job.handler).terms.holdsKeyWhenDead) {
      this.giveAway(job);
      return;
    }
    if (job.keyName === undefined) return;
    this.#keys.running(job.keyName, false);
    this.#hold(job);
  }

  #hold({ origin, keyName, handler, priority }: Job): void {
    this.#heldByDead.set(origin, { origin, keyName, handler, priority });
  }

  /** The record is over: the next one of its key gets its turn. */
  giveAway({ keyName, origin, handler, priority }: Holder): void {
    if (keyName === undefined) return;
    const before = this.#keys.late;
    const next = this.#keys.release(keyName, origin);
    this.#count(handler, before);
    if (next !== undefined) this.#turns.makeReady(this.#turns.laneOf(handler, priority), next);
  }

  /**
   * A dead record gets another turn. A key that it has held is its own still; from another handler
   * it needs another one.
   */
  redriven({ origin, keyName }: Job): void {
    const held = this.#heldByDead.get(origin);
    if (held === undefined) return;
    this.#heldByDead.delete(origin);
    if (held.keyName !== keyName) this.giveAway(held);
  }

  /** A dead record is dropped: its key is free. */
  dropped(origin: number): void {
    const job = this.#heldByDead.get(origin);
    if (job === undefined) return;
    this.#heldByDead.delete(origin);
    this.giveAway(job);
  }

  /** At an opening: a record that is dead stands in line again if it holds its key. */
  enterDead(job: Job): void {
    if (!this.#gates.of(job.handler).terms.holdsKeyWhenDead) return;
    this.#hold(job);
    this.enter(job);
  }
}
