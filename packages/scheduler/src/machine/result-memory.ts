/**
 * Where a machine's results lie: beside the argument if they fit there, otherwise in the machine's
 * own arena until the thread that called has read them.
 *
 * Each thread outside may have `arenaBytesMax` of results here that it hasn't read. Beyond that its
 * results wait in private memory, in order, and the machine begins no task from outside
 * (Machine.#turn) until all are sent. Threads outside read without needing a task to begin or end,
 * so the wait ends. A result for another machine never waits: the handler that would read it may be
 * waiting itself. For the same reason nothing waits while this thread blocks in a handler or a
 * join; it sends all before.
 *
 * WANTED (region-table.ts) makes the reader wake this thread:
 *
 *   machine   stores WANTED = 1, looks for freed blocks, sleeps
 *   reader    publishes freed blocks, looks at WANTED, wakes
 *
 * One of the two sees the other. Without the machine's second look a block that was freed between
 * its last look and the store would be announced to nobody.
 */
import { copyBytes, copyOf, type EncodedValue } from "@millrace/codec";
import {
  type Arena,
  ARENA_WORDS,
  type ArenaView,
  blockBytes,
  EMPTY,
  FULL,
  offsetOf,
  REFUSED,
  SpscConsumer,
  WANTED,
} from "@millrace/shared-memory";
import type { Completions } from "./completions.ts";
import type { Shared } from "../shared/shared.ts";
import type { TaskTable } from "../shared/task-table.ts";
import { ARENA_BYTES, BYTES, bytesWithRoom, LARGE_BYTES, REFUSED_ROOM, TOO_LARGE } from "../shared/values.ts";

/** The fate of a result. One that can't be sent becomes an error; one without room has to wait. */
export type Written = "ok" | "failed" | "waits";

interface WaitingResult {
  readonly slot: number;
  /** In which the task was claimed. */
  readonly state: number;
  readonly isOk: boolean;
  readonly bytes: Uint8Array;
}

export class ResultMemory {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #arena: Arena;
  readonly #frees: SpscConsumer[];
  readonly #completions: Completions;
  readonly #wanted: number;
  /** By submitter: bytes in blocks that it hasn't handed back, and results that wait for room. */
  readonly #unreadBytes: Float64Array;
  readonly #waitingOf: Int32Array;
  #waiting: WaitingResult[] = [];

  constructor(shared: Shared, machine: number, completions: Completions) {
    const arena = shared.resultArena(machine);
    this.#shared = shared;
    this.#table = shared.table();
    this.#arena = shared.arenas.owner(arena);
    this.#completions = completions;
    this.#wanted = arena * ARENA_WORDS + WANTED;
    this.#frees = Array.from(
      { length: shared.submitters },
      (_, submitter) => new SpscConsumer(shared.frees(machine, submitter)),
    );
    this.#unreadBytes = new Float64Array(shared.submitters);
    this.#waitingOf = new Int32Array(shared.submitters);
  }

  /**
   * Before the first result: blocks of the machine that this one replaces, whose arena begins anew.
   */
  forgetFreed(): void {
    for (const ring of this.#frees) {
      while (ring.peek() !== EMPTY) ring.advance();
      ring.release();
    }
  }

  /**
   * Writes an encoded result of the task in `slot`, claimed in `state`; `isOk`: its handler
   * returned it. `argument` is the arena of the task's argument. "waits" only if it `mayWait`:
   * `sendWaiting` does it later.
   */
  write(
    { slot, state, isOk, mayWait }: { slot: number; state: number; isOk: boolean; mayWait: boolean },
    { buffer, start, end }: Readonly<EncodedValue>,
    argument: ArenaView,
  ): Written {
    const table = this.#table;
    const bytes = end - start;
    const block = table.argumentBlock(slot);
    const used = table.argumentBytes(slot) + table.headerBytes(slot);
    if (block !== 0 && used + bytes <= blockBytes(bytesWithRoom(used))) {
      copyBytes(buffer, start, end, argument.bytesOf(block), offsetOf(block) + used);
      table.setResult(slot, BYTES, used, bytes);
      return isOk ? "ok" : "failed";
    }
    this.#takeBackFreed();
    const place = this.#allocate(slot, bytes, isOk, mayWait);
    if (place === FULL) return this.#keep(slot, state, isOk, { buffer, start, end });
    if (place < 0) return "failed";
    copyBytes(buffer, start, end, this.#arena.bytesOf(place), offsetOf(place));
    table.setResult(slot, ARENA_BYTES, place, bytes);
    return isOk ? "ok" : "failed";
  }

  /** Keeps a result until there is room for it. */
  #keep(slot: number, state: number, isOk: boolean, { buffer, start, end }: Readonly<EncodedValue>): Written {
    let bytes: Uint8Array;
    try {
      bytes = copyOf(buffer, start, end);
    } catch {
      // The submitter makes an error of it: this thread has no memory for one.
      this.#table.setResult(slot, REFUSED_ROOM, 0, end - start);
      return "failed";
    }
    this.#waiting.push({ slot, state, isOk, bytes });
    const submitter = this.#shared.submitterOf(slot);
    this.#waitingOf[submitter] = (this.#waitingOf[submitter] as number) + 1;
    return "waits";
  }

  /**
   * A block for a result; `FULL`: it has to wait; `REFUSED`: it becomes an error, which is written.
   */
  #allocate(slot: number, bytes: number, isOk: boolean, mayWait: boolean): number {
    const { bytesMax } = this.#shared.memory.arenas;
    // An error goes through, however long its message is.
    if (bytes > bytesMax && isOk) {
      this.#table.setResult(slot, TOO_LARGE, 0, bytes);
      return REFUSED;
    }
    const submitter = this.#shared.submitterOf(slot);
    const unread = this.#unreadBytes[submitter] as number;
    const isBounded = mayWait && this.#shared.isFromOutside(slot) && unread > 0;
    if (isBounded && unread + blockBytes(bytes) > bytesMax) return FULL;
    if (isBounded && (this.#waitingOf[submitter] as number) > 0) return FULL;
    const block = this.#arena.allocate(bytes);
    if (block === REFUSED) {
      if (isBounded) return FULL;
      this.#table.setResult(slot, REFUSED_ROOM, 0, bytes);
      return REFUSED;
    }
    this.#unreadBytes[submitter] = unread + blockBytes(bytes);
    if (bytes >= LARGE_BYTES) this.#shared.arenas.garbage.handled(bytes);
    return block;
  }

  /** Takes back blocks that were read. */
  #takeBackFreed(): void {
    for (let submitter = 0; submitter < this.#frees.length; submitter += 1) {
      const ring = this.#frees[submitter] as SpscConsumer;
      let bytes = 0;
      for (let word = ring.peek(); word !== EMPTY; word = ring.peek()) {
        bytes += this.#arena.free(this.#shared.words[word] as number);
        ring.advance();
      }
      if (bytes === 0) continue;
      ring.release();
      this.#unreadBytes[submitter] = (this.#unreadBytes[submitter] as number) - bytes;
    }
  }

  // ── results that wait ─────────────────────────────────────────────────────────────────────────

  /** Whether results wait for room. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /**
   * Before the thread sleeps: from now on a thread that reads a result wakes it. Look at `hasFreed`
   * afterwards.
   */
  announce(): void {
    if (this.isWaiting) Atomics.store(this.#shared.arenas.table, this.#wanted, 1);
  }

  /** Whether blocks were handed back that results wait for. */
  hasFreed(): boolean {
    if (!this.isWaiting) return false;
    for (let submitter = 0; submitter < this.#frees.length; submitter += 1) {
      if ((this.#frees[submitter] as SpscConsumer).peek() !== EMPTY) return true;
    }
    return false;
  }

  /** Sends the results that have room now, and returns their number. */
  sendWaiting(): number {
    return this.#send(true);
  }

  /** Before this thread blocks: sends all of them, also beyond `arenaBytesMax`. */
  sendAll(): void {
    this.#send(false);
  }

  #send(isBounded: boolean): number {
    if (!this.isWaiting) return 0;
    this.#takeBackFreed();
    const waiting = this.#waiting;
    this.#waiting = [];
    this.#waitingOf.fill(0);
    for (const result of waiting) {
      const { slot, state, isOk, bytes } = result;
      const place = this.#allocate(slot, bytes.length, isOk, isBounded);
      if (place === FULL) {
        const submitter = this.#shared.submitterOf(slot);
        this.#waiting.push(result);
        this.#waitingOf[submitter] = (this.#waitingOf[submitter] as number) + 1;
        continue;
      }
      if (place >= 0) {
        this.#arena.bytesOf(place).set(bytes, offsetOf(place));
        this.#table.setResult(slot, ARENA_BYTES, place, bytes.length);
      }
      this.#completions.complete(slot, state, isOk && place >= 0);
    }
    if (!this.isWaiting) Atomics.store(this.#shared.arenas.table, this.#wanted, 0);
    return waiting.length - this.#waiting.length;
  }

  /** Once a second: gives back memory that was not needed for a while. */
  tick(): void {
    this.#takeBackFreed();
    this.#arena.tick();
  }
}
