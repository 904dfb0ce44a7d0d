/** Entry of a machine's thread: loads the handlers, reports their names, runs. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { adoptThread, setBlockingHook } from "@millrace/atomics-sync";
import { decode, encodeThrown } from "@millrace/codec";
import { invariant, messageOf } from "@millrace/base";
import { setImmediate as nextTurn } from "node:timers/promises";
import { schedulerError } from "../errors.ts";
import { type LastWords, speakLastWords } from "./last-words.ts";
import { handlerEntry, type Hook, loadHandlers } from "../handler/handlers.ts";
import type { TaskHooks } from "../handler/task-hooks.ts";
import { systemThread } from "../shared/system-thread.ts";
import { Machine } from "./machine.ts";
import type { MachineOptions } from "./machine-options.ts";
import { arenasOf } from "../shared/arenas.ts";
import { type OutputPort, printTo } from "./print.ts";
import { unpack } from "./unpack.ts";

/** The start data of a machine's thread. */
export interface MachineWorkerData {
  readonly options: MachineOptions;
  readonly handlersUrl: string;
  /** Module of `TaskHooks`. */
  readonly headerReaderUrl: string | undefined;
  readonly output: OutputPort;
}

/**
 * The reports of the thread: the names of its handlers, or why it can't start (encoded, to keep
 * code and cause); at a close that `teardown` is over, with its error. In between: that a processor
 * has no machine, that a task is in no queue, that it needs an argument that bytes can't carry, or
 * such a result.
 */
export type MachineReport =
  | { readonly names: readonly string[]; readonly hasTeardown: boolean; readonly systemThread: number | undefined }
  | { readonly tornDown: Uint8Array | undefined }
  | { readonly error: Uint8Array }
  | { readonly lastWords: LastWords }
  /** The answer to a ping. */
  | { readonly turns: true }
  | RunningReport;

export type RunningReport =
  | { readonly wants: "machine" | "sweep" }
  | { readonly fetch: number; readonly slot: number }
  | { readonly parcel: number; readonly value: unknown }
  | { readonly ask: number; readonly value: unknown };

/**
 * The answer to a fetch: a port with the argument, undefined when that is gone; or an encoded
 * error, when it can't be sent any more.
 */
export interface ParcelMail {
  readonly slot: number;
  readonly port: MessagePort | undefined;
  readonly error: Uint8Array | undefined;
}

/**
 * The messages that it gets. "tick": once a second, while there is memory to give back. "ping":
 * asks whether its event loop turns.
 */
export type MachineMail = ParcelMail | Answer | "tick" | "ping";

/** The answer to a value that was sent, or the encoded error. */
export interface Answer {
  readonly answered: number;
  readonly value: unknown;
  readonly error: Uint8Array | undefined;
}

const port = parentPort;
invariant(port !== null, "machine.worker runs in a worker thread");
const data = workerData as MachineWorkerData;
const { machine: index, memory } = data.options;
adoptThread(memory.machineThreads[index] as number);
arenasOf(memory.arenas).join(false);

printTo((printed) => data.output.port.postMessage(printed), data.output.count);

const report = (message: MachineReport, transferList: readonly object[] = []): void =>
  port.postMessage(message, transferList as never);
speakLastWords((lastWords) => report({ lastWords }));
/** Tickets of a machine that was replaced are not used again. */
let parcels: number = Math.floor(performance.timeOrigin) * 1024;
/** The promises that wait for an answer; numbered as parcels are. */
const asked = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();

try {
  const { handlers, initialize, teardown } = await loadHandlers(data.handlersUrl);
  const hooks = await taskHooks();
  for (const [name, call] of handlers) hooks?.checkHandler(name, call);
  await initialised(initialize);
  const entries = [...handlers].map(([name, call]) => handlerEntry(name, call, hooks?.around(name, call)));
  const machine = new Machine(data.options, entries, hooks, {
    wantsMachine: () => report({ wants: "machine" }),
    wantsSweep: () => report({ wants: "sweep" }),
    fetchParcel: (ticket, slot) => report({ fetch: ticket, slot }),
    sendParcel: (value, list) => {
      parcels += 1;
      report({ parcel: parcels, value }, list);
      return parcels;
    },
    ask: (value) =>
      new Promise((resolve, reject) => {
        parcels += 1;
        report({ ask: parcels, value });
        asked.set(parcels, { resolve, reject });
      }),
    closed: () => void tearDown(teardown),
  });
  setBlockingHook({ enter: () => machine.enterBlocking(), leave: () => machine.leaveBlocking() });
  // The port keeps the thread alive while it sleeps in its event loop.
  port.ref();
  port.on("message", (mail: MachineMail) => {
    if (mail === "ping") {
      report({ turns: true });
      return;
    }
    if (mail === "tick") {
      machine.tick();
      return;
    }
    if ("answered" in mail) {
      const asker = asked.get(mail.answered);
      asked.delete(mail.answered);
      if (mail.error === undefined) asker?.resolve(mail.value);
      else asker?.reject(decode(mail.error));
      return;
    }
    const { slot, port: parcel, error } = mail;
    let value: unknown;
    let ok = error === undefined;
    try {
      value = error === undefined ? parcel && unpack(parcel) : decode(error);
    } catch (thrown) {
      // A parcel that can't be read here fails its own call. An error thrown from here would end
      // the thread, with every task on it.
      ok = false;
      value = thrown;
    }
    machine.parcelArrived(slot, ok, value);
  });
  // Rejections that the module has left unhandled end the thread in this turn, not under the first
  // task.
  await nextTurn();
  report({ names: [...handlers.keys()], hasTeardown: teardown !== undefined, systemThread: systemThread() });
  machine.start();
} catch (thrown) {
  report({ error: encodeThrown(thrown) });
  port.close();
}

async function initialised(initialize: Hook | undefined): Promise<void> {
  try {
    await initialize?.({ machine: index });
  } catch (cause) {
    const url = data.handlersUrl;
    throw schedulerError("ERR_HANDLER_MODULE", `initialize() of ${url} threw: ${messageOf(cause)}`, {
      cause,
      details: { url },
    });
  }
}

async function taskHooks(): Promise<TaskHooks | undefined> {
  const { headerReaderUrl: url } = data;
  if (url === undefined) return undefined;
  const hooks = (await import(url)) as TaskHooks;
  await hooks.begin(url);
  return hooks;
}

/**
 * The last duty. Handles that the module leaves open keep the thread until the supervisor ends it.
 */
async function tearDown(teardown: Hook | undefined): Promise<void> {
  let error: Uint8Array | undefined;
  try {
    await teardown?.({ machine: index });
  } catch (thrown) {
    error = encodeThrown(thrown);
  }
  report({ tornDown: error });
  port?.close();
}
