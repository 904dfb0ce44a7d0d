/** Values that are handed over, by tinypool's symbols. */
import { Mover } from "@millrace/thread-pool";

export const kTransferable: unique symbol = Symbol.for("Tinypool.transferable");
export const kValue: unique symbol = Symbol.for("Tinypool.valueOf");
export const kQueueOptions: unique symbol = Symbol.for("Tinypool.queueOptions");

export const mover: Mover = new Mover({
  transferable: kTransferable,
  value: kValue,
  movable: Symbol.for("Tinypool.kMovable"),
});

/** Says by itself what is handed over, and what the other side gets. */
export interface Transferable {
  readonly [kTransferable]: object;
  readonly [kValue]: object;
}

export const isTransferable = (value: any): boolean => mover.isTransferable(value);
export const isMovable = (value: any): boolean => mover.isMovable(value);
export const markMovable = (value: object): void => mover.markMovable(value);
