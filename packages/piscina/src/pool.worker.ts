/** A thread of the pool. The first message over the parent port says where tasks come from. */
import { getPriority, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { bareError, type Response as Answer, serve, type Waiting } from "@millrace/thread-pool";
import { noHandler } from "./errors.ts";
import { findHandler, knownHandler } from "./load.ts";
import { READY, type Request, type Response, type Startup } from "./protocol.ts";
import { state } from "./state.ts";
import { mover } from "./task.ts";

state.isWorkerThread = true;
state.workerData = workerData;

const NICENESS_MAX = 19;

/** Linux gives each thread a niceness of its own: 0 names the calling thread. */
function beNicer(increment: number): void {
  if (increment !== 0) setPriority(0, Math.min(getPriority(0) + increment, NICENESS_MAX));
}

/** Variables of the environment that piscina knows. */
function waitingOf(atomics: Waiting): Waiting {
  const { PISCINA_DISABLE_ATOMICS, PISCINA_ENABLE_ASYNC_ATOMICS } = process.env;
  if (PISCINA_DISABLE_ATOMICS === "1" || atomics === "disabled") return "disabled";
  return PISCINA_ENABLE_ASYNC_ATOMICS === "1" ? "async" : atomics;
}

async function answer({ taskId, task, filename, name }: Request): Promise<Answer> {
  const started = performance.now();
  const time = (): number => Math.round(performance.now() - started);
  try {
    const handler = knownHandler(filename, name) ?? (await findHandler(filename, name));
    if (handler === undefined) throw noHandler(filename);
    const { value, transferList } = mover.parcel(await handler(task));
    return { message: { taskId, result: value, time: time() } satisfies Response, transferList };
  } catch (error) {
    return { message: { taskId, result: null, failure: { error }, time: time() } satisfies Response };
  }
}

/**
 * A result that can't be cloned rejects its own call: with the reason, or with the error without
 * its members.
 */
function uncloneable(message: unknown, reason: Error): Response {
  const { taskId, failure, time } = message as Response;
  const error = bareError(failure?.error);
  if (error !== undefined) return { taskId, result: null, failure: { error }, time };
  return { taskId, result: null, cloneFault: reason.message, time };
}

async function start({ filename, name, port, counters, atomics, niceIncrement }: Startup): Promise<void> {
  beNicer(niceIncrement);
  if (filename !== null) await findHandler(filename, name);
  serve<Request>({ port, counters, waiting: waitingOf(atomics), ready: READY, answer, uncloneable });
}

parentPort?.once("message", (startup: Startup) => {
  // An error here is one of the thread: nobody else hears of it.
  start(startup).catch((error: unknown) => {
    process.nextTick(() => {
      throw error;
    });
  });
});
