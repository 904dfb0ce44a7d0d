/**
 * The task of a quarantine's child process: tinypool loads this module and calls its default
 * export. Bytes go as text, because they travel in messages between processes.
 */
import { decode, encodeThrown } from "@millrace/codec";
import { type Handler, type HeaderReader, type LoadedHandlers, loadHandlers } from "@millrace/scheduler";
import { blockingContext, NO_MACHINE } from "./blocking-context.ts";

export interface QuarantineRequest {
  /** The module with the handlers. */
  readonly url: string;
  readonly handler: string;
  /** The encoded argument, in base64. */
  readonly argument: string;
  /** The task's header, in base64, and the module that reads it. */
  readonly header: string;
  readonly headerReader: string;
}

/** The encoded error in base64; undefined when the handler returned. */
export interface QuarantineAnswer {
  readonly error: string | undefined;
}

let loading: Promise<LoadedHandlers> | undefined;

export default async function quarantineTask(request: QuarantineRequest): Promise<QuarantineAnswer> {
  try {
    loading ??= load(request.url);
    const handler = (await loading).handlers.get(request.handler) as Handler;
    const { readHeader } = (await import(request.headerReader)) as { readHeader: HeaderReader };
    const context = blockingContext(undefined, readHeader(Buffer.from(request.header, "base64"), 0));
    await handler(decode(Buffer.from(request.argument, "base64")), context);
    return { error: undefined };
  } catch (thrown) {
    return { error: Buffer.from(encodeThrown(thrown)).toString("base64") };
  }
}

async function load(url: string): Promise<LoadedHandlers> {
  const loaded = await loadHandlers(url);
  await loaded.initialize?.({ machine: NO_MACHINE });
  return loaded;
}
