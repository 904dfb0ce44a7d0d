/**
 * The way between a pool and one of its threads: a message port for the values, and two counters
 * in shared memory beside it.
 *
 * Shape of the memory, an Int32 each: REQUESTS counts what the pool has sent, RESPONSES what the
 * thread has sent. Each has one writer. The thread sleeps on REQUESTS with `Atomics.wait` while it
 * has nothing to do, and reads its port without an event. The pool looks at RESPONSES of all its
 * threads whenever one of them wakes it, so one turn of the event loop takes in every result that
 * is there. Source of the idea: piscina 5.
 */
import { type MessagePort, receiveMessageOnPort, type Transferable } from "node:worker_threads";

export const REQUESTS = 0;
export const RESPONSES = 1;
const WORDS = 2;

/** The pool's side. */
export class Mailbox<Message> {
  readonly port: MessagePort;
  readonly counters: Int32Array = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly #onMessage: (message: Message) => void;
  #seen = 0;

  constructor(port: MessagePort, onMessage: (message: Message) => void) {
    this.port = port;
    this.#onMessage = onMessage;
    port.on("message", onMessage);
  }

  /** Sends a message and wakes the thread. Throws when the value can't be cloned. */
  send(message: unknown, transferList: readonly Transferable[]): void {
    this.port.postMessage(message, transferList);
    Atomics.add(this.counters, REQUESTS, 1);
    Atomics.notify(this.counters, REQUESTS, 1);
  }

  /** Takes in what the thread has sent already, without waiting for the port's events. */
  drain(): void {
    const sent = Atomics.load(this.counters, RESPONSES);
    if (sent === this.#seen) return;
    // Before the port is read: what comes in between is counted, and read by the next call.
    this.#seen = sent;
    for (let entry = receiveMessageOnPort(this.port); entry !== undefined; entry = receiveMessageOnPort(this.port)) {
      this.#onMessage(entry.message as Message);
    }
  }
}
