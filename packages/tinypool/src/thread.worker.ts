/** A thread of the pool. The first message over the parent port says where tasks come from. */
import process from "node:process";
import { parentPort, workerData } from "node:worker_threads";
import { bareError, type Response, serve } from "@millrace/thread-pool";
import { findHandler, handlerOf } from "./load.ts";
import {
  READY,
  type RequestMessage,
  type ResponseMessage,
  type StartupMessage,
  type TinypoolData,
} from "./protocol.ts";
import { setState } from "./state.ts";
import { mover } from "./symbols.ts";

const [{ workerId }, data] = workerData as TinypoolData;
setState({ isWorkerThread: true, isTinypoolWorker: true, workerData: data, workerId });

// Tests and sandboxes replace the global one.
const memoryUsage = process.memoryUsage.bind(process);

function responseOf(taskId: number, outcome: { result: unknown } | { error: unknown }): ResponseMessage {
  const { heapUsed: usedMemory } = memoryUsage();
  if ("error" in outcome) return { taskId, result: null, error: outcome.error, hasFailed: true, usedMemory };
  return { taskId, result: outcome.result, error: null, hasFailed: false, usedMemory };
}

async function answer({ taskId, task, filename, name }: RequestMessage): Promise<Response> {
  try {
    const handler = await handlerOf(filename, name);
    const { value, transferList } = mover.parcel(await handler(task));
    return { message: responseOf(taskId, { result: value }), transferList };
  } catch (error) {
    return { message: responseOf(taskId, { error }) };
  }
}

/**
 * A result that can't be cloned rejects its own call: with the reason, or with the error without
 * its members.
 */
function uncloneable(message: unknown, reason: Error): ResponseMessage {
  const { taskId, error } = message as ResponseMessage;
  return responseOf(taskId, { error: bareError(error) ?? new Error(reason.message) });
}

async function start({ filename, name, port, sharedBuffer, useAtomics }: StartupMessage): Promise<void> {
  if (filename !== null) await findHandler(filename, name);
  const isBlocking = useAtomics && process.env["PISCINA_DISABLE_ATOMICS"] !== "1";
  const waiting = isBlocking ? "sync" : "disabled";
  serve<RequestMessage>({ port, counters: sharedBuffer, waiting, ready: READY, answer, uncloneable });
}

parentPort?.once("message", (startup: StartupMessage) => {
  // An error here is one of the thread: nobody else hears of it.
  start(startup).catch((error: unknown) => {
    process.nextTick(() => {
      throw error;
    });
  });
});
