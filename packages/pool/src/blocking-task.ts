/**
 * The task of a thread of the blocking pool: piscina loads this module and calls `blockingTask`.
 *
 * A handler's error is part of the answer and crosses as it does for `run`. An error that piscina
 * itself rejects with is therefore about the thread.
 */
import { BroadcastChannel, parentPort } from "node:worker_threads";
import { move, Piscina } from "original-piscina";
import {
  type Handler,
  type LastWords,
  type LoadedHandlers,
  loadWithin,
  type Printed,
  printTo,
  speakLastWords,
} from "@millrace/scheduler";
import { blockingContext, NO_MACHINE } from "./blocking-context.ts";
import { buffersOf, pack, type Packed, packThrown, unpack } from "./packed.ts";

export interface BlockingRequest {
  /** The number of the call, for the last words of its thread. */
  readonly id: number;
  /** The module with the handlers, and how long it may take to load. */
  readonly url: string;
  readonly startTimeoutMs: number;
  readonly handler: string;
  readonly argument: Packed;
  /** Unix time in ms at which the call is given up. */
  readonly deadlineMs: number | undefined;
}

/** The start data of a thread of the pool. */
export interface BlockingThread {
  /**
   * Where it prints to: a BroadcastChannel, since piscina starts the threads and can hand no port
   * of its own to each.
   */
  readonly channel: string;
  readonly count: Int32Array;
}

/** A thread's message beside its answers: why it ends, and the call that it runs. */
export interface BlockingEnd {
  readonly call: number;
  readonly lastWords: LastWords;
}

export interface BlockingAnswer {
  readonly ok: boolean;
  readonly outcome: Packed;
}

const thread = Piscina.workerData as BlockingThread;
/** The call that this thread runs; it runs one at a time. */
let running = -1;
speakLastWords((lastWords) => parentPort?.postMessage({ call: running, lastWords } satisfies BlockingEnd));
printTo((printed) => print(printed), thread.count);

/**
 * Through a channel that is closed at once: an open one would collect what the other threads print.
 */
function print(printed: Printed): void {
  const channel = new BroadcastChannel(thread.channel);
  channel.postMessage(printed);
  channel.close();
}

/** A pool has one module; keeping the promise makes sure that it is loaded and initialised once. */
let loading: Promise<LoadedHandlers> | undefined;

export async function blockingTask(request: BlockingRequest): Promise<BlockingAnswer> {
  running = request.id;
  const answer = await answerTo(request);
  const buffers = buffersOf(answer.outcome);
  if (buffers.length === 0) return answer;
  return move({
    [Symbol.for("Piscina.transferable")]: buffers,
    [Symbol.for("Piscina.valueOf")]: answer,
  } as never) as unknown as BlockingAnswer;
}

async function answerTo(request: BlockingRequest): Promise<BlockingAnswer> {
  const context = blockingContext(request.deadlineMs);
  try {
    loading ??= loadWithin(request.url, NO_MACHINE, request.startTimeoutMs);
    const handler = (await loading).handlers.get(request.handler) as Handler;
    const result: unknown = await handler(unpack(request.argument), context);
    return { ok: true, outcome: pack(result) };
  } catch (thrown) {
    return { ok: false, outcome: packThrown(thrown) };
  } finally {
    context.end();
  }
}
