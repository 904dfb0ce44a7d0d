/**
 * Values that are handed over to another thread instead of being copied. piscina and tinypool mark
 * them with symbols of their own, so a `Mover` gets them from its package.
 */
import type { MessagePort, Transferable as TransferListItem } from "node:worker_threads";
import { types } from "node:util";

/** The symbols by which a pool knows its values. */
export interface MoveSymbols {
  /** Leads to what goes into the transfer list. */
  readonly transferable: symbol;
  /** Leads to the value that the other side gets. */
  readonly value: symbol;
  /** Marks what `move()` has returned. */
  readonly movable: symbol;
}

export type Moved = ArrayBuffer | ArrayBufferView | MessagePort | object;

/** A value that is sent, with what is handed over together with it. */
export interface Parcel {
  readonly value: unknown;
  readonly transferList: readonly TransferListItem[];
}

const isObject = (value: unknown): value is Record<symbol, unknown> => typeof value === "object" && value !== null;

export class Mover {
  readonly #symbols: MoveSymbols;

  constructor(symbols: MoveSymbols) {
    this.#symbols = symbols;
  }

  /** Whether the object says by itself how it is handed over. */
  isTransferable(value: unknown): boolean {
    return isObject(value) && this.#symbols.transferable in value && this.#symbols.value in value;
  }

  /** Whether the object is to be handed over: it is transferable, and `move()` has marked it. */
  isMovable(value: unknown): boolean {
    return this.isTransferable(value) && (value as Record<symbol, unknown>)[this.#symbols.movable] === true;
  }

  markMovable(value: object): void {
    Object.defineProperty(value, this.#symbols.movable, {
      value: true,
      enumerable: false,
      configurable: true,
      writable: true,
    });
  }

  /** Marks an object; wraps it first when it isn't transferable. Other values stay as they are. */
  move<T>(value: T): T {
    if (!isObject(value)) return value;
    const marked: object = this.isTransferable(value) ? value : this.#wrap(value);
    this.markMovable(marked);
    return marked as T;
  }

  /** The parcel for a value: the value itself, or the value that a marked object stands for. */
  parcel(value: unknown, transferList: readonly TransferListItem[] = []): Parcel {
    if (!this.isMovable(value)) return { value, transferList };
    const marked = value as Record<symbol, unknown>;
    return {
      value: marked[this.#symbols.value],
      // The transferable value may be a list.
      transferList: transferList.concat(marked[this.#symbols.transferable] as TransferListItem),
    };
  }

  #wrap(value: object): object {
    const handedOver = types.isArrayBufferView(value) ? value.buffer : value;
    return {
      get [this.#symbols.transferable](): object {
        return handedOver;
      },
      get [this.#symbols.value](): object {
        return value;
      },
    };
  }
}
