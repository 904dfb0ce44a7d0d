/** A machine's end of a task's data: reads arguments, writes results. */
import { decode, type EncodedValue, encodeInPlace, encodeThrownInPlace } from "@millrace/codec";
import { type ArenaView, offsetOf } from "@millrace/shared-memory";
import { Transferred } from "../handler/context.ts";
import { WANTS_RESULT, WANTS_TIME } from "../handler/task-hooks.ts";
import type { Shared } from "../shared/shared.ts";
import type { TaskTable } from "../shared/task-table.ts";
import { BYTES, constantOf, ITEMS, kindOf, LARGE_BYTES, NUMBER, PARCEL } from "../shared/values.ts";
import type { Completions } from "./completions.ts";
import { ResultMemory, type Written } from "./result-memory.ts";

/**
 * Sends a value that bytes can't carry by message; its ticket. Throws what structured clone throws.
 */
export type SendParcel = (value: unknown, transferList: readonly object[]) => number;

/** Bytes that an error may take even where `arenaBytesMax` is smaller. */
const ERROR_BYTES_MIN: number = 1024 * 1024;

export class TaskIo {
  readonly results: ResultMemory;
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #submitterArenas: ArenaView[];
  readonly #sendParcel: SendParcel;
  /** An error doesn't wait for room, so it leaves parts out that are larger. */
  readonly #errorBytesMax: number;

  constructor(shared: Shared, machine: number, completions: Completions, sendParcel: SendParcel) {
    this.#shared = shared;
    this.#table = shared.table();
    this.#submitterArenas = Array.from({ length: shared.submitters }, (_, submitter) => shared.arenas.view(submitter));
    this.results = new ResultMemory(shared, machine, completions);
    this.#sendParcel = sendParcel;
    this.#errorBytesMax = Math.max(shared.memory.arenas.bytesMax, ERROR_BYTES_MIN);
  }

  /** The argument, unless it is a parcel. */
  argument(slot: number): unknown {
    const table = this.#table;
    const kind = table.argumentKind(slot);
    if (kind === NUMBER) return table.argumentNumber(slot);
    if (kind !== BYTES && kind !== ITEMS) return constantOf(kind);
    const block = table.argumentBlock(slot);
    const start = offsetOf(block);
    const bytes = table.argumentBytes(slot);
    if (bytes >= LARGE_BYTES) this.#shared.arenas.garbage.handled(bytes);
    return decode(this.#argumentArena(slot).bytesOf(block), start, start + bytes);
  }

  /** A copy of the header, or undefined without one. */
  header(slot: number): Uint8Array | undefined {
    const headerBytes = this.#table.headerBytes(slot);
    if (headerBytes === 0) return undefined;
    const block = this.#table.argumentBlock(slot);
    const start = offsetOf(block) + this.#table.argumentBytes(slot);
    return this.#argumentArena(slot)
      .bytesOf(block)
      .slice(start, start + headerBytes);
  }

  /** Whether the header says so; see task-hooks.ts. */
  wantsResult(slot: number): boolean {
    return (this.#headerFlags(slot) & WANTS_RESULT) !== 0;
  }

  /** Whether the header says so. */
  wantsTime(slot: number): boolean {
    return (this.#headerFlags(slot) & WANTS_TIME) !== 0;
  }

  #headerFlags(slot: number): number {
    const block = this.#table.argumentBlock(slot);
    const at = offsetOf(block) + this.#table.argumentBytes(slot);
    return this.#argumentArena(slot).bytesOf(block)[at] as number;
  }

  /**
   * Writes the outcome of a task that was claimed in `state`. `mayWait`: it may wait until there is
   * room for it.
   */
  writeResult(slot: number, state: number, value: unknown, ok: boolean, mayWait: boolean): Written {
    const kind = kindOf(value);
    if (kind >= 0) {
      if (kind === NUMBER) this.#table.setResultNumber(slot, value as number);
      this.#table.setInlineResult(slot, kind);
      return ok ? "ok" : "failed";
    }
    if (ok && value instanceof Transferred) return this.#writeParcel(slot, state, value.value, value.list, ok);
    let encoded: Readonly<EncodedValue>;
    try {
      encoded = ok ? encodeInPlace(value) : encodeThrownInPlace(value, this.#errorBytesMax);
    } catch (thrown) {
      if (this.#mayBeParcel(slot)) return this.#writeParcel(slot, state, value, [], true, thrown);
      encoded = encodeThrownInPlace(thrown, this.#errorBytesMax);
      ok = false;
    }
    return this.results.write({ slot, state, isOk: ok, mayWait }, encoded, this.#argumentArena(slot));
  }

  /** Only the opener has a port to every machine. */
  #mayBeParcel(slot: number): boolean {
    return this.#shared.submitterOf(slot) === 0;
  }

  #writeParcel(
    slot: number,
    state: number,
    value: unknown,
    list: readonly object[],
    ok: boolean,
    reason?: unknown,
  ): Written {
    try {
      if (!this.#mayBeParcel(slot)) throw new TypeError("only a call from the opening thread can carry such a result");
      const ticket = this.#sendParcel(value, list);
      this.#table.setResultNumber(slot, ticket);
      this.#table.setInlineResult(slot, PARCEL);
      return ok ? "ok" : "failed";
    } catch (thrown) {
      // An error alone is small: it doesn't wait.
      return this.writeResult(slot, state, reason ?? thrown, false, false);
    }
  }

  #argumentArena(slot: number): ArenaView {
    return this.#submitterArenas[this.#shared.submitterOf(slot)] as ArenaView;
  }
}
