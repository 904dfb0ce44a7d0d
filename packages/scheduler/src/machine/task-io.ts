/** A machine's end of a task's data: reads arguments, writes results. */
import { copyBytes, decode, type EncodedValue, encodeInPlace, encodeThrownInPlace } from "@millrace/codec";
import { Arena, ArenaView, blockClass, EMPTY, FULL, SpscConsumer } from "@millrace/shared-memory";
import { Transferred } from "../handler/context.ts";
import type { Shared } from "../shared/shared.ts";
import type { TaskTable } from "../shared/task-table.ts";
import { ARENA_BYTES, BYTES, constantOf, ITEMS, kindOf, NO_ROOM, NUMBER, PARCEL } from "../shared/values.ts";

/** Sends a value that bytes can't carry by message; returns the ticket that it goes under. Throws what structured clone throws. */
export type SendParcel = (value: unknown, transferList: readonly object[]) => number;

/** What an error may take where there is no room for it. */
const SCARCE_BYTES = 4096;

export class TaskIo {
  readonly #shared: Shared;
  readonly #table: TaskTable;
  readonly #submitterArenas: ArenaView[];
  readonly #arena: Arena;
  readonly #frees: SpscConsumer[];
  readonly #sendParcel: SendParcel;
  /** Half of the arena: an error that is larger has to leave parts out, to find room at all. */
  readonly #errorBytesMax: number;

  constructor(shared: Shared, machine: number, sendParcel: SendParcel) {
    const { memory } = shared;
    this.#shared = shared;
    this.#table = shared.table();
    this.#submitterArenas = memory.submitterArenas.map((arena) => new ArenaView(arena));
    this.#arena = new Arena(memory.machineArenas[machine] as SharedArrayBuffer);
    this.#frees = Array.from(
      { length: shared.submitters },
      (_, submitter) => new SpscConsumer(shared.frees(machine, submitter)),
    );
    this.#sendParcel = sendParcel;
    this.#errorBytesMax = (memory.machineArenas[machine] as SharedArrayBuffer).maxByteLength / 2;
  }

  /** Before the first result: blocks of the machine that this one replaces, whose arena begins anew. */
  forgetFreed(): void {
    for (let submitter = 0; submitter < this.#frees.length; submitter += 1) {
      const ring = this.#frees[submitter] as SpscConsumer;
      while (ring.peek() !== EMPTY) ring.advance();
      ring.release();
    }
  }

  /** The argument, unless it is a parcel. */
  argument(slot: number): unknown {
    const table = this.#table;
    const kind = table.argumentKind(slot);
    if (kind === NUMBER) return table.argumentNumber(slot);
    if (kind !== BYTES && kind !== ITEMS) return constantOf(kind);
    const start = table.argumentOffset(slot) << 6;
    const end = start + table.argumentBytes(slot);
    return decode(this.#arenaOf(slot).upTo(end), start, end);
  }

  /** A copy of the header, or undefined without one. */
  header(slot: number): Uint8Array | undefined {
    const headerBytes = this.#table.headerBytes(slot);
    if (headerBytes === 0) return undefined;
    const start = (this.#table.argumentOffset(slot) << 6) + this.#table.argumentBytes(slot);
    return this.#arenaOf(slot)
      .upTo(start + headerBytes)
      .slice(start, start + headerBytes);
  }

  /** Writes the outcome; returns whether it is a success still, since a result that can't be sent becomes an error. */
  writeResult(slot: number, value: unknown, ok: boolean): boolean {
    const kind = kindOf(value);
    if (kind >= 0) {
      if (kind === NUMBER) this.#table.setResultNumber(slot, value as number);
      this.#table.setInlineResult(slot, kind);
      return ok;
    }
    if (ok && value instanceof Transferred) return this.#writeParcel(slot, value.value, value.list, ok);
    let encoded: Readonly<EncodedValue>;
    try {
      encoded = ok ? encodeInPlace(value) : encodeThrownInPlace(value, this.#errorBytesMax);
    } catch (thrown) {
      if (this.#mayBeParcel(slot)) return this.#writeParcel(slot, value, [], true, thrown);
      encoded = encodeThrownInPlace(thrown, this.#errorBytesMax);
      ok = false;
    }
    if (this.#writeBytes(slot, encoded)) return ok;
    // Rather a part of the error than none of it.
    if (!ok) this.#writeBytes(slot, encodeThrownInPlace(value, SCARCE_BYTES));
    return false;
  }

  /** Only the opener has a port to every machine. */
  #mayBeParcel(slot: number): boolean {
    return this.#shared.submitterOf(slot) === 0;
  }

  #writeParcel(slot: number, value: unknown, list: readonly object[], ok: boolean, reason?: unknown): boolean {
    try {
      if (!this.#mayBeParcel(slot)) throw new TypeError("only a call from the opening thread can carry such a result");
      const ticket = this.#sendParcel(value, list);
      this.#table.setResultNumber(slot, ticket);
      this.#table.setInlineResult(slot, PARCEL);
      return ok;
    } catch (thrown) {
      return this.writeResult(slot, reason ?? thrown, false);
    }
  }

  /** False when there was no memory. */
  #writeBytes(slot: number, { buffer, start, end }: Readonly<EncodedValue>): boolean {
    const table = this.#table;
    const bytes = end - start;
    const sizeClass = table.argumentClass(slot);
    const used = table.argumentBytes(slot) + table.headerBytes(slot);
    if (sizeClass !== 0 && used + bytes <= 1 << sizeClass) {
      const at = (table.argumentOffset(slot) << 6) + used;
      copyBytes(buffer, start, end, this.#arenaOf(slot).upTo(at + bytes), at);
      table.setResult(slot, BYTES, used, bytes, 0);
      return true;
    }
    this.#takeBackFreed();
    const resultClass = blockClass(bytes);
    const offset = this.#arena.allocate(resultClass);
    if (offset === FULL) {
      table.setResult(slot, NO_ROOM, 0, bytes, 0);
      return false;
    }
    copyBytes(buffer, start, end, this.#arena.bytes, offset);
    table.setResult(slot, ARENA_BYTES, offset >> 6, bytes, resultClass);
    return true;
  }

  /** Result blocks that submitters have read. */
  #takeBackFreed(): void {
    for (let submitter = 0; submitter < this.#frees.length; submitter += 1) {
      const ring = this.#frees[submitter] as SpscConsumer;
      let any = false;
      for (let word = ring.peek(); word !== EMPTY; word = ring.peek()) {
        this.#arena.free((this.#shared.words[word] as number) << 6, this.#shared.words[word + 1] as number);
        ring.advance();
        any = true;
      }
      if (any) ring.release();
    }
  }

  #arenaOf(slot: number): ArenaView {
    return this.#submitterArenas[this.#shared.submitterOf(slot)] as ArenaView;
  }
}
