/** Entry of the delivery thread: learns what to work with, reads the log's state, reports, runs. */
import { once } from "node:events";
import { type MessagePort, parentPort } from "node:worker_threads";
import { encodeThrown } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { openStorage } from "@millrace/journal/kernel";
import type { DeliveryData, DeliveryReport } from "./messages.ts";
import { DeliveryThread } from "./thread.ts";

const port = parentPort;
invariant(port !== null, "delivery.worker runs in a worker thread");
const report = (message: DeliveryReport): void => port.postMessage(message);

// The thread starts while scheduler and journal do; its parts come when they are ready. Null: the
// opening has failed.
const [data] = (await once(port, "message")) as [DeliveryData | null];
if (data !== null) await deliver(data);

async function deliver(what: DeliveryData): Promise<void> {
  try {
    const thread = new DeliveryThread(what, await openStorage(what.journal.storage), port as MessagePort);
    report({ ready: true });
    thread.run();
  } catch (thrown) {
    report({ error: encodeThrown(thrown) });
  }
}
