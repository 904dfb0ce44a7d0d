/** A child process of the pool. Messages of the pool carry a mark; all others are the program's. */
import process from "node:process";
import { inspect } from "node:util";
import { findHandler, handlerOf } from "./load.ts";
import type { RequestMessage, ResponseMessage, StartupMessage, TinypoolWorkerMessage } from "./protocol.ts";
import { setState } from "./state.ts";

setState({
  isChildProcess: true,
  isTinypoolWorker: true,
  workerData: null,
  workerId: Number(process.env["TINYPOOL_WORKER_ID"]),
});

// Tests and sandboxes replace the global one, and its methods.
const memoryUsage = process.memoryUsage.bind(process);
const send = (process.send as NonNullable<typeof process.send>).bind(process);
const nextTick = process.nextTick.bind(process);
const { stdout, stderr } = process;

const marked = <T extends object>(source: "pool" | "port", message: T): T & TinypoolWorkerMessage => ({
  ...message,
  source,
  ["__tinypool_worker_message__"]: true as const,
});

function throwLater(error: unknown): void {
  nextTick(() => {
    throw error;
  });
}

/** Members of an error, those too that JSON would leave out; of anything else its text. */
function membersOf(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === "string" ? error : inspect(error);
  const { name, message, stack } = error;
  return Object.assign({}, error, { name, message, stack });
}

async function flushOutput(): Promise<void> {
  for (const stream of [stdout, stderr]) {
    if (stream.writableLength > 0) await new Promise<void>((resolve) => stream.write("", () => resolve()));
  }
}

async function answer({ taskId, task, filename, name }: RequestMessage): Promise<ResponseMessage> {
  const usedMemory = (): number => memoryUsage().heapUsed;
  try {
    const handler = await handlerOf(filename, name);
    const result = await handler(task);
    return { taskId, result, error: null, hasFailed: false, usedMemory: usedMemory() };
  } catch (error) {
    return { taskId, result: null, error: membersOf(error), hasFailed: true, usedMemory: usedMemory() };
  }
}

async function work(request: RequestMessage): Promise<void> {
  const response = await answer(request);
  await flushOutput();
  try {
    send(marked("port", response));
  } catch (error) {
    // The result doesn't go through the channel: a circle with JSON, a function with "advanced".
    send(marked("port", { ...response, result: null, error: membersOf(error), hasFailed: true }));
  }
}

async function start({ filename, name }: StartupMessage): Promise<void> {
  if (filename !== null) await findHandler(filename, name);
  send(marked("pool", { ready: true }));
}

type Incoming = (RequestMessage | StartupMessage) & TinypoolWorkerMessage;

process.on("message", (message: Incoming | undefined) => {
  if (message?.["__tinypool_worker_message__"] !== true) return;
  if (message.source === "pool") start(message as StartupMessage & TinypoolWorkerMessage).catch(throwLater);
  else work(message as RequestMessage & TinypoolWorkerMessage).catch(throwLater);
});
