/**
 * Values that bytes can't carry (ports, shared memory, keys, what is to be moved): they go by message, beside the shared memory.
 *
 * A task with such an argument holds a ticket. The machine that has claimed it asks for the value by that ticket, so that it may be
 * stolen like any other. The value is cloned into a channel of its own at the call, as structured clone does it; only a
 * task that may run again is cloned anew for each attempt, which is why nothing can be transferred to it.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, type Transferable } from "node:worker_threads";

interface Parcel {
  readonly port: MessagePort | undefined;
  readonly value: unknown;
}

export class Parcels {
  readonly #parcels = new Map<number, Parcel>();
  #next = 1;

  /** Keeps a value; its ticket. Throws what structured clone throws. `isKept`: it may be wanted again. */
  add(value: unknown, transferList: readonly object[], isKept: boolean): number {
    const ticket = this.#next;
    const port = cloned(value, transferList);
    if (isKept) port.close();
    this.#parcels.set(ticket, isKept ? { port: undefined, value } : { port, value: undefined });
    this.#next += 1;
    return ticket;
  }

  /** A port that holds the value as its only message: to be transferred. Undefined when it is gone. */
  take(ticket: number): MessagePort | undefined {
    const parcel = this.#parcels.get(ticket);
    if (parcel === undefined) return undefined;
    if (parcel.port === undefined) return cloned(parcel.value, []);
    this.#parcels.delete(ticket);
    return parcel.port;
  }

  /** Its task is over. */
  drop(ticket: number): void {
    this.#parcels.get(ticket)?.port?.close();
    this.#parcels.delete(ticket);
  }

  clear(): void {
    for (const ticket of this.#parcels.keys()) this.drop(ticket);
  }
}

/** Takes the value out of its port. */
export function unpack(port: MessagePort): unknown {
  const received = receiveMessageOnPort(port) as { message: unknown } | undefined;
  port.close();
  return received?.message;
}

function cloned(value: unknown, transferList: readonly object[]): MessagePort {
  const { port1, port2 } = new MessageChannel();
  try {
    port1.postMessage(value, transferList as Transferable[]);
  } catch (thrown) {
    port1.close();
    throw thrown;
  }
  port1.close();
  return port2;
}
