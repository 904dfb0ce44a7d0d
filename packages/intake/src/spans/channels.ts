/**
 * The channels of `node:diagnostics_channel`, for monitors that know nothing of Millrace;
 * docs/observe.md lists them. A channel without subscribers costs a look at it. No message has a
 * payload.
 */
import { channel, tracingChannel, type TracingChannel } from "node:diagnostics_channel";

type Operation = TracingChannel<unknown, object>;

/** On the opening thread. */
export const PUBLISH: Operation = tracingChannel("millrace:publish");
export const RUN: Operation = tracingChannel("millrace:run");
/** On each thread that runs handlers of records. */
export const RECORD: Operation = tracingChannel("millrace:record");

/** A message of the channel `millrace:NAME`, where somebody listens. */
export function tell(name: string, message: () => object): void {
  const { hasSubscribers } = channel(`millrace:${name}`);
  if (hasSubscribers) channel(`millrace:${name}`).publish(message());
}

/** Whether anybody wants to know. Node 20 has no such member of a tracing channel. */
export function isHeard({ start, end, asyncStart, asyncEnd, error }: Operation): boolean {
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  );
}

/** A message of a tracing channel; Node adds what was thrown. */
export interface OperationMessage {
  error?: unknown;
}

/**
 * Calls `run` and tells the channel as Node's `tracePromise` does, but without the result, which
 * may be a payload, and for a function that may return a promise or not.
 */
export function told<Result>(
  operation: Operation,
  message: object & OperationMessage,
  run: () => Result,
  settled: (value: unknown) => void = () => {},
): Result {
  const { start, end, asyncStart, asyncEnd, error } = operation;
  const failed = (thrown: unknown): void => {
    message.error = thrown;
    error.publish(message);
  };
  const call = (): Result => {
    try {
      return run();
    } catch (thrown) {
      failed(thrown);
      throw thrown;
    } finally {
      end.publish(message);
    }
  };
  const result = start.runStores(message, call) as Result;
  if (!isPromise(result)) return result;
  return result.then(
    (value: unknown) => {
      settled(value);
      asyncStart.publish(message);
      asyncEnd.publish(message);
      return value;
    },
    (thrown: unknown) => {
      failed(thrown);
      asyncStart.publish(message);
      asyncEnd.publish(message);
      throw thrown;
    },
  ) as Result;
}

function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}

/** A publish, on its channel. */
export function tellPublish<Answer extends { readonly sequence: number; readonly duplicate: boolean }>(
  handler: string,
  publish: () => Promise<Answer>,
): Promise<Answer> {
  const message: { handler: string; sequence?: number; duplicate?: boolean } = { handler };
  return told(PUBLISH, message, publish, (answer) => {
    const { sequence, duplicate } = answer as Answer;
    Object.assign(message, { sequence, duplicate });
  });
}
