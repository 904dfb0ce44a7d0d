/**
 * Writes the output of handlers on the opener's thread, before the call of their task settles.
 *
 * Each machine has a port for it, and adds to a common count after each message and before it
 * publishes an outcome. The opener compares the count, by a plain load, before it settles a call,
 * and takes the messages off the ports if there are new ones. Other messages arrive by the event
 * loop, and at the latest when the process ends.
 */
import { BroadcastChannel, MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { OutputPort, Printed } from "../machine/print.ts";

/** The places of all runtimes of this thread, for the end of the process. */
const outputs = new Set<Output>();

function flushAll(): void {
  for (const output of outputs) output.flush();
}

export class Output {
  readonly count: Int32Array = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #ports = new Set<MessagePort | BroadcastChannel>();
  #seen = 0;

  constructor() {
    if (outputs.size === 0) process.on("exit", flushAll);
    outputs.add(this);
  }

  /** A port for a thread that is about to start. */
  newPort(): OutputPort {
    const { port1, port2 } = new MessageChannel();
    port1.on("message", write);
    port1.once("close", () => this.#ports.delete(port1));
    port1.unref();
    this.#ports.add(port1);
    return { port: port2, count: this.count };
  }

  /** Listens to threads that find the channel by its name. */
  listenTo(name: string): void {
    const channel = new BroadcastChannel(name);
    channel.addEventListener("message", (event) => write((event as unknown as { data: Printed }).data));
    channel.unref();
    this.#ports.add(channel);
  }

  /** Writes the output that was printed before the outcomes that were just read. */
  flushCounted(): void {
    if (this.count[0] !== this.#seen) this.flush();
  }

  /** Writes all that has arrived. */
  flush(): void {
    this.#seen = Atomics.load(this.count, 0);
    for (const port of this.#ports) {
      for (let received = take(port); received !== undefined; received = take(port)) write(received.message);
    }
  }

  close(): void {
    this.flush();
    for (const port of this.#ports) port.close();
    this.#ports.clear();
    outputs.delete(this);
    if (outputs.size === 0) process.off("exit", flushAll);
  }
}

function take(port: MessagePort | BroadcastChannel): { readonly message: Printed } | undefined {
  return receiveMessageOnPort(port as MessagePort) as { readonly message: Printed } | undefined;
}

function write({ to, chunk, encoding }: Printed): void {
  if (typeof chunk === "string") process[to].write(chunk, encoding);
  else process[to].write(chunk);
}
