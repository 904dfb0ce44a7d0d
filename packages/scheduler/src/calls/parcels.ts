/**
 * Arguments that bytes can't carry (ports, shared memory, keys, what is to be moved): they go by
 * message, beside the shared memory.
 *
 * A task with such an argument holds a ticket. The machine that has claimed the task asks for the
 * value by that ticket, so the task may be stolen like any other. The value is cloned into a
 * channel of its own at the call, as structured clone does it. The value of a task that may run
 * again is cloned anew for each attempt; nothing can be transferred to such a task.
 */
import { MessageChannel, type MessagePort, type Transferable } from "node:worker_threads";
import { checkedTransferList, cloneRefusal } from "./transfer-list.ts";

interface Parcel {
  readonly port: MessagePort | undefined;
  readonly value: unknown;
}

export class Parcels {
  readonly #parcels = new Map<number, Parcel>();
  #next = 1;

  /**
   * Keeps a value and returns its ticket. `isKept`: the value may be wanted again. Throws
   * `ERR_TRANSFER_REFUSED`, `ERR_VALUE_UNSUPPORTED`, and what a getter of the value throws.
   */
  add(value: unknown, transferList: readonly object[], isKept: boolean): number {
    const list = checkedTransferList(transferList);
    const port = cloned(value, list);
    const ticket = this.#next;
    if (isKept) port.close();
    this.#parcels.set(ticket, isKept ? { port: undefined, value } : { port, value: undefined });
    this.#next += 1;
    return ticket;
  }

  /**
   * A port with the value as its only message, to be transferred; undefined when the value is gone.
   */
  take(ticket: number): MessagePort | undefined {
    const parcel = this.#parcels.get(ticket);
    if (parcel === undefined) return undefined;
    if (parcel.port === undefined) return cloned(parcel.value, []);
    this.#parcels.delete(ticket);
    return parcel.port;
  }

  /** The task with this ticket is over. */
  drop(ticket: number): void {
    this.#parcels.get(ticket)?.port?.close();
    this.#parcels.delete(ticket);
  }

  clear(): void {
    for (const ticket of this.#parcels.keys()) this.drop(ticket);
  }
}

function cloned(value: unknown, transferList: readonly object[]): MessagePort {
  const { port1, port2 } = new MessageChannel();
  try {
    port1.postMessage(value, transferList as Transferable[]);
  } catch (thrown) {
    port1.close();
    throw cloneRefusal(thrown);
  }
  port1.close();
  return port2;
}
