/** Entry of the delivery thread: is told what to work with, reads the log's state, reports, runs. */
import { once } from "node:events";
import { parentPort } from "node:worker_threads";
import { encodeThrown } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { openStorage } from "@millrace/journal/kernel";
import { type CheckpointRequest, Delivery, type DeadReport, type DeliveryData } from "./delivery.ts";

/** What the thread reports: it is ready; it can't start or had to stop; a record that somebody awaits is dead; what is to be kept of the state. */
export type DeliveryReport =
  | { readonly ready: true }
  | { readonly error: Uint8Array }
  | { readonly dead: DeadReport }
  | { readonly checkpoint: CheckpointRequest };

const port = parentPort;
invariant(port !== null, "delivery.worker runs in a worker thread");
const report = (message: DeliveryReport): void => port.postMessage(message);

// The thread starts while scheduler and journal do; what it works with comes when they are ready.
const [data] = (await once(port, "message")) as [DeliveryData];
try {
  const delivery = new Delivery(data, await openStorage(data.journal.storage), {
    dead: (dead) => report({ dead }),
    checkpoint: (checkpoint) => report({ checkpoint }),
  });
  report({ ready: true });
  delivery.run();
} catch (thrown) {
  report({ error: encodeThrown(thrown) });
}
