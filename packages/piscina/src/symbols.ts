/** The symbols of piscina. The registered ones are the same in every copy of either package. */
import type { MoveSymbols } from "@millrace/thread-pool";

export const transferableSymbol: unique symbol = Symbol.for("Piscina.transferable");
export const valueSymbol: unique symbol = Symbol.for("Piscina.valueOf");
export const queueOptionsSymbol: unique symbol = Symbol.for("Piscina.queueOptions");

/** Leads from what a balancer sees to the thread itself, also in a copy that a balancer made. */
export const threadSymbol: unique symbol = Symbol("Piscina.kWorkerData");

export const moveSymbols: MoveSymbols = {
  transferable: transferableSymbol,
  value: valueSymbol,
  // Registered, unlike piscina's: a task may have loaded another copy of this package.
  movable: Symbol.for("Piscina.kMovable"),
};
