/**
 * The task of a quarantine's child process: tinypool loads this module and calls its default
 * export. Bytes go as text, because they travel in messages between processes.
 */
import { clearTimeout, performance, setTimeout } from "@millrace/base";
import { decode, encode, encodeThrown } from "@millrace/codec";
import { bindHandlers, type Handler, type LoadedHandlers, loadWithin, type TaskHooks } from "@millrace/scheduler";
import { askNobody, blockingContext, NO_MACHINE } from "./blocking-context.ts";

export interface QuarantineRequest {
  /** The module with the handlers, and how long it may take to load. */
  readonly url: string;
  readonly startTimeoutMs: number;
  readonly handler: string;
  /** The encoded argument, in base64. */
  readonly argument: string;
  /** The task's header, in base64, and the module that reads it. */
  readonly header: string;
  readonly headerReader: string;
  /** The handler's time limit, ms. */
  readonly timeoutMs: number;
}

/**
 * The process sends this when it is about to call the handler: from then on the handler's time
 * counts.
 */
export interface Begun {
  readonly millraceBegun: true;
}

export interface QuarantineAnswer {
  /** The encoded error in base64; undefined when the handler returned. */
  readonly error: string | undefined;
  /**
   * The outcome that `TaskHooks.outcomeOf` gives for a handler that returned, encoded, in base64.
   */
  readonly outcome: string | undefined;
  /** It came back when its time was over: what it has left doesn't count. */
  readonly isLate?: boolean;
}

let loading: Promise<LoadedHandlers> | undefined;

export default async function quarantineTask(request: QuarantineRequest): Promise<QuarantineAnswer> {
  const header = Buffer.from(request.header, "base64");
  let failureOf = (thrown: unknown): unknown => thrown;
  let isLate = (): boolean => false;
  try {
    loading ??= loadWithin(request.url, NO_MACHINE, request.startTimeoutMs);
    const { handlers } = await loading;
    const handler = handlers.get(request.handler) as Handler;
    const hooks = await hooksOf(request.headerReader);
    let begunAt = performance.now();
    failureOf = (thrown) =>
      hooks.failureOf(header, { handler, thrown, runsBefore: 0, ranMs: performance.now() - begunAt });
    const bind = (one: (name: string) => unknown): object => bindHandlers([...handlers.keys()], one);
    const endsAt = await begin(request.timeoutMs);
    const context = blockingContext(undefined, {
      isLate: () => performance.now() >= endsAt,
      record: hooks.readHeader(header, 0),
      openStage: (_slot, mustRun) => hooks.openStage(header, { mustRun, bind, ask: askNobody }),
    });
    isLate = () => context.isCancelled;
    const call = hooks.around(request.handler, handler) as Handler;
    const timer = setTimeout(() => context.abort(), request.timeoutMs);
    begunAt = performance.now();
    const result = await call(decode(Buffer.from(request.argument, "base64")), context);
    clearTimeout(timer);
    const isTooLate = isLate();
    context.end();
    if (isTooLate) return LATE;
    const outcome = hooks.outcomeOf(header, context.stage, result, performance.now() - begunAt);
    return { error: undefined, outcome: outcome === undefined ? undefined : textOf(encode(outcome)) };
  } catch (thrown) {
    // Most handlers that hear the signal throw.
    if (isLate()) return LATE;
    return { error: textOf(encodeThrown(failureOf(thrown))), outcome: undefined };
  }
}

const LATE: QuarantineAnswer = { error: undefined, outcome: undefined, isLate: true };

/** Tells the quarantine that the handler is called; when its time is over. */
async function begin(timeoutMs: number): Promise<number> {
  // A handler that blocks its thread would keep the message from leaving it.
  await new Promise((resolve) => process.send?.({ millraceBegun: true } satisfies Begun, resolve));
  return performance.now() + timeoutMs;
}

let hooked: Promise<TaskHooks> | undefined;

/** The same for every record of the process. */
function hooksOf(url: string): Promise<TaskHooks> {
  hooked ??= (async () => {
    const hooks = (await import(url)) as TaskHooks;
    await hooks.begin(url);
    return hooks;
  })();
  return hooked;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
