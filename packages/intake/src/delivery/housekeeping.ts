/**
 * Keeps the log and the memory small: copies forward, WINDOW records, checkpoints.
 *
 * A checkpoint is taken of the durable states between two turns, so that it stands for exactly the
 * records up to the last one that was visited. Idempotency keys go into WINDOW records before,
 * piece by piece, so that a checkpoint stays small however many keys there are.
 *
 * WINDOW records stay until a durable checkpoint doesn't name them, also when all of their keys
 * have left the window: if the next checkpoint is lost, the log is read from the one before it, and
 * records are judged again that were published while the keys were there.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { ENTRY_BYTES } from "../states/dedupe-window.ts";
import { encodeStates } from "../snapshot/snapshot.ts";
import type { RecordStates } from "../states/record-states.ts";
import type { Delivery } from "./delivery.ts";
import type { Clock, Log } from "./ports.ts";
import { NOTHING_KEPT, type RetainTerms } from "./kept-segments.ts";
import { Retention, type RetentionWorld } from "./retention.ts";

/** Copied forward before the other duties get their turn. */
const COPIES_PER_TURN = 64;
/**
 * While the disk is full copies may take this part of the reserve, for they may end that. The rest
 * is for ACK records.
 */
const FULL_DISK_PART = 2;
/** Entries of one WINDOW record: some 64 KiB. */
const WINDOW_ENTRIES = 1600;
/** Entries that a checkpoint may carry itself, before any are written for it. */
const WINDOW_REST_MAX = 4096;

/** The content of a checkpoint, and the place before which nothing is needed (0: keep all). */
export interface Checkpoint {
  readonly bytes: Uint8Array;
  /** Reading goes on here. */
  readonly from: number;
  readonly before: number;
}

export interface HousekeepingWorld extends RetentionWorld {
  /** Entries that a checkpoint may carry itself. Default 4096. */
  readonly windowRestMax?: number;
  /** Bytes of the reserve for a full disk. */
  reserveBytes(): number;
  /** Writes a checkpoint; `checkpointDone` is called when it is durable or has failed. */
  checkpoint(checkpoint: Checkpoint): void;
}

export class Housekeeping {
  readonly #world: HousekeepingWorld;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #delivery: Delivery;
  readonly #states: RecordStates;
  readonly #retention: Retention;
  readonly #isDeleting: boolean;
  #isCheckpointing = false;
  #checkpointFrom = 0;
  #checkpointBefore = 0;
  /** The first WINDOW record that the newest durable checkpoint names, and the one on its way. */
  #windowFrom = 0;
  #nextWindowFrom = 0;
  #isRepeated = false;
  /** WINDOW records were written for the next checkpoint. */
  #isWindowWritten = false;
  /** Bytes that may be copied before the disk has room again. */
  #copyRoom = Infinity;
  copied = 0;

  /** `retain`: undefined when everything stays. */
  constructor(world: HousekeepingWorld, log: Log, clock: Clock, delivery: Delivery, retain: RetainTerms | undefined) {
    this.#world = world;
    this.#log = log;
    this.#clock = clock;
    this.#delivery = delivery;
    this.#states = delivery.states;
    this.#retention = new Retention(world, delivery.states, retain ?? NOTHING_KEPT, clock);
    this.#isDeleting = retain !== undefined;
    delivery.visits.onCopied = () => {
      this.copied += 1;
      this.#retention.arrived();
    };
  }

  /** How much there was to do. */
  turn(): number {
    if (!this.#isDeleting) return 0;
    const now = this.#clock.now();
    if (this.#retention.isDue(now)) this.#look(now);
    return this.#copyForward();
  }

  get dueAt(): number {
    return this.#isDeleting ? this.#retention.dueAt : Infinity;
  }

  #look(now: number): void {
    const { before, isLong } = this.#retention.look(now, this.#log.known, this.#checkpointFrom);
    const isNews =
      this.#log.known + 1 > this.#checkpointFrom || Math.min(before, this.#windowFrom) > this.#checkpointBefore;
    // The log is given up to where the older of both checkpoints reads on: without news, once more
    // brings both to the same place.
    this.#isRepeated &&= !isNews;
    if ((before === 0 && !isLong) || (!isNews && this.#isRepeated) || this.#isCheckpointing) return;
    this.#isRepeated = !isNews;
    this.checkpoint(before);
  }

  /** Asks for a checkpoint, unless keys have to be written first: then the next call asks. */
  checkpoint(before: number): void {
    if (this.#writeWindow()) return;
    this.#isCheckpointing = true;
    this.#checkpointFrom = this.#log.known + 1;
    this.#checkpointBefore = Math.min(before, this.#windowFrom);
    this.#nextWindowFrom = Infinity;
    for (const place of this.#states.windowChunks.keys()) {
      if (place < this.#nextWindowFrom) this.#nextWindowFrom = place;
    }
    this.#world.checkpoint({
      bytes: encodeStates(this.#states),
      from: this.#checkpointFrom,
      before: this.#checkpointBefore,
    });
  }

  /** The checkpoint that was asked for is durable, or has failed; then it is tried again. */
  checkpointDone(isOk: boolean): void {
    this.#isCheckpointing = false;
    if (isOk) this.#windowFrom = this.#nextWindowFrom;
    else this.#checkpointFrom = 0;
  }

  get isCheckpointing(): boolean {
    return this.#isCheckpointing;
  }

  /**
   * Whether WINDOW records had to be written; the checkpoint waits, so that they are durable. Not
   * twice in a row: where keys come fast there are too many each time, and the next checkpoint
   * carries what came since.
   */
  #writeWindow(): boolean {
    const { window } = this.#states;
    let from = this.#states.windowWrittenUpTo;
    const isFew = window.countBehind(from) <= (this.#world.windowRestMax ?? WINDOW_REST_MAX);
    this.#isWindowWritten = !isFew && !this.#isWindowWritten;
    if (!this.#isWindowWritten) return false;
    while (window.countBehind(from) > 0) {
      const entries = window.encode(
        from,
        Math.min(WINDOW_ENTRIES, Math.floor(this.#log.payloadBytesMax / ENTRY_BYTES)),
      );
      this.#delivery.stateLog.write(RECORD_TYPE.window, entries);
      from = entries.readDoubleLE(entries.length - ENTRY_BYTES + 24);
    }
    return true;
  }

  /** Begins copies, and returns their number. */
  #copyForward(): number {
    if (!this.#log.isDiskFull()) this.#copyRoom = Infinity;
    else if (this.#copyRoom === Infinity) this.#copyRoom = this.#world.reserveBytes() / FULL_DISK_PART;
    if (this.#delivery.stateLog.wantsRoom) return 0;
    let staged = 0;
    // Ends: each turn takes one out of what is to be copied, or stops.
    while (staged < COPIES_PER_TURN) {
      const copy = this.#retention.nextCopy();
      if (copy === undefined) break;
      if (this.#delivery.ends.isEnding(copy.origin, copy.from)) {
        this.#retention.skipped();
        continue;
      }
      const bytes = this.#log.bytesOf(copy.parts);
      if (bytes > this.#copyRoom || !this.#log.stage(copy.parts)) break;
      this.#copyRoom -= bytes;
      this.#retention.copied();
      if (copy.isData) this.#delivery.ends.copyBegan(copy.origin);
      staged += 1;
    }
    if (staged > 0) this.#log.commit(false);
    return staged;
  }
}
