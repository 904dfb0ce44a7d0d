/** Entry of the delivery thread: learns what to work with, reads the log's state, reports, runs. */
import { once } from "node:events";
import { parentPort } from "node:worker_threads";
import { encodeThrown } from "@millrace/codec";
import { invariant } from "@millrace/base";
import { openStorage } from "@millrace/journal/kernel";
import type { DeliveryData, DeliveryReport } from "./messages.ts";
import { DeliveryThread } from "./thread.ts";

const port = parentPort;
invariant(port !== null, "delivery.worker runs in a worker thread");
const report = (message: DeliveryReport): void => port.postMessage(message);

// The thread starts while scheduler and journal do; what it works with comes when they are ready.
const [data] = (await once(port, "message")) as [DeliveryData];
try {
  const thread = new DeliveryThread(data, await openStorage(data.journal.storage), port);
  report({ ready: true });
  thread.run();
} catch (thrown) {
  report({ error: encodeThrown(thrown) });
}
