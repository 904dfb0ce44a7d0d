// Spans of both threads: those of the opening thread in memory, those of workers in a file.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { temporaryDirectory } from "../support.ts";

export const handlersFile: URL = new URL("../../../test/fixtures/span-handlers.mjs", import.meta.url);

export interface PlainSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly {
    readonly spanId: string;
    readonly traceId: string;
    readonly of: Record<string, unknown>;
  }[];
  readonly events: readonly { readonly name: string; readonly attributes?: Record<string, unknown> }[];
  readonly status: { readonly code: number; readonly message?: string };
  /** Start and end, ms since 1970. */
  readonly times: readonly [number, number];
}

export const memory: InMemorySpanExporter = new InMemorySpanExporter();
export const provider: NodeTracerProvider = new NodeTracerProvider({
  spanProcessors: [new SimpleSpanProcessor(memory)],
});

export interface Place {
  readonly directory: string;
  readonly file: string;
}

/** Where worker threads that are started from now on leave their spans. */
export function newPlace(): Place {
  const directory = temporaryDirectory();
  const file = join(directory, "spans");
  process.env.MILLRACE_TEST_SPANS = file;
  memory.reset();
  return { directory, file };
}

function linesOf<Line>(path: string): Line[] {
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Line);
}

export function workerSpans(place: Place): PlainSpan[] {
  return linesOf(place.file);
}

export function notes(place: Place): { readonly name: string; readonly value: Record<string, unknown> }[] {
  return linesOf(`${place.file}.notes`);
}

export function openerSpans(): PlainSpan[] {
  return memory.getFinishedSpans().map((span) => {
    const { name, kind, attributes, events, status, links, parentSpanContext } = span;
    const { traceId, spanId } = span.spanContext();
    const times = [span.startTime, span.endTime].map(([seconds, ns]) => seconds * 1000 + ns / 1e6);
    return {
      name,
      kind,
      traceId,
      spanId,
      ...(parentSpanContext === undefined ? undefined : { parentSpanId: parentSpanContext.spanId }),
      attributes,
      events: events as never,
      status,
      times: times as never,
      links: links.map(({ context, attributes: of = {} }) => ({ ...context, of })),
    };
  });
}

export function allSpans(place: Place): PlainSpan[] {
  return [...openerSpans(), ...workerSpans(place)];
}

export function named(spans: readonly PlainSpan[], name: string): PlainSpan[] {
  return spans.filter((span) => span.name === name);
}

export function only(spans: readonly PlainSpan[], name: string): PlainSpan {
  const found = named(spans, name);
  if (found.length !== 1) {
    throw new Error(`${found.length} spans "${name}" among ${spans.map((span) => span.name).join(", ")}`);
  }
  return found[0] as PlainSpan;
}

type Journal = Partial<NonNullable<MillraceOptions["journal"]>>;

/** Runs `use` with a runtime that makes spans, closes it, and returns all spans. */
export async function spansOf(
  use: (mill: Millrace, place: Place) => Promise<void>,
  options: Partial<Omit<MillraceOptions, "journal">> = {},
  journal: Journal = {},
): Promise<{ readonly spans: PlainSpan[]; readonly place: Place }> {
  const place = newPlace();
  const mill = await open({
    handlers: handlersFile,
    processors: 2,
    spans: true,
    ...options,
    journal: { directory: join(place.directory, "journal"), retryBaseMs: 1, ...journal },
  });
  try {
    await use(mill, place);
  } finally {
    await mill.close();
  }
  await provider.forceFlush();
  return { spans: allSpans(place), place };
}
