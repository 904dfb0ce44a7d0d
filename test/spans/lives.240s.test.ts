// Traces beyond one thread and one life: a kill and a restart, quarantine, sources, calls.
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { context, trace } from "@opentelemetry/api";
import { createServer } from "@millrace/server";
import { open } from "millrace";
import { until } from "../support.ts";
import {
  handlersFile,
  named,
  newPlace,
  notes,
  only,
  openerSpans,
  type PlainSpan,
  provider,
  spansOf,
  workerSpans,
} from "./support.ts";

const service = fileURLToPath(new URL("../../../test/fixtures/span-service.mjs", import.meta.url));
const TRACEPARENT = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;

test.before(() => provider.register());
test.after(() => {
  trace.disable();
  context.disable();
});

function live(...parameters: readonly string[]): Promise<string | number | null> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [service, ...parameters], { stdio: ["ignore", "ignore", "inherit"] });
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
}

test("a record's trace goes on in another process, after a kill", async () => {
  const place = newPlace();
  const where = [join(place.directory, "journal"), join(place.directory, "marker")] as const;
  assert.is(await live(...where, "kills"), "SIGKILL");
  const before = workerSpans(place);
  assert.equal(named(before, "process kills"), [], "an attempt that was killed has no span");
  assert.is(await live(...where), 0);
  const process = only(workerSpans(place), "process kills");
  const deliver = named(workerSpans(place), "deliver kills");
  const [publish] = named(workerSpans(place), "publish kills");
  // The handler may have killed its process before the publish knew that it was durable.
  const traceId = publish?.traceId ?? deliver[0]?.traceId;
  assert.is(process.traceId, traceId);
  if (publish !== undefined) assert.is(process.parentSpanId, publish.spanId);
  assert.is(deliver[0]?.parentSpanId, process.parentSpanId);
});

test("a retry after a restart is linked to the attempt before", async () => {
  const place = newPlace();
  const journal = { directory: join(place.directory, "journal") };
  const options = { handlers: handlersFile, processors: 1, spans: true, journal };
  const mill = await open(options);
  await mill.publish.failsOnce?.({});
  await until(() => mill.stats().intake?.retried === 1, "it has failed");
  await until(() => named(workerSpans(place), "process failsOnce").length === 1, "its span has ended");
  await mill.close();
  const again = await open(options);
  await again.drain({ all: true });
  await again.close();
  const [first, second] = named(workerSpans(place), "process failsOnce");
  assert.is(second?.parentSpanId, only(openerSpans(), "publish failsOnce").spanId);
  assert.is(second?.attributes["millrace.record.attempt"], 2);
  assert.equal(
    second?.links.map(({ spanId, of }) => [spanId, of["millrace.link"]]),
    [[first?.spanId, "retry"]],
  );
});

test("a record in quarantine is handled in its trace", async () => {
  const place = newPlace();
  const where = [join(place.directory, "journal"), join(place.directory, "marker")] as const;
  const ends: unknown[] = [await live(...where, "quarantined")];
  // An end makes it a suspect, the next one the only one; then it gets a process of its own.
  for (let ended = 0; ended < 4 && ends.at(-1) !== 0; ended += 1) ends.push(await live(...where));
  assert.is(ends.at(-1), 0, String(ends));
  const handled = only(workerSpans(place), "process quarantined");
  const [publish] = named(workerSpans(place), "publish quarantined");
  const deliver = only(workerSpans(place), "deliver quarantined");
  assert.is(handled.parentSpanId, deliver.parentSpanId);
  if (publish !== undefined) assert.is(handled.parentSpanId, publish.spanId);
  assert.is(handled.attributes["millrace.machine"], -1);
});

test("HTTP requests and frames continue the trace that they name", async () => {
  let sequences: number[] = [];
  const { spans } = await spansOf(async (mill, { directory }) => {
    const path = join(directory, "frames");
    const server = await createServer(mill, { port: 0, framePath: path });
    const url = `http://127.0.0.1:${server.port}/v1/records/plain`;
    const post = async (headers: Record<string, string>, body = "{}"): Promise<number> =>
      (await fetch(url, { method: "POST", headers: { "content-type": "application/json", ...headers }, body })).status;
    try {
      assert.is(await post({ traceparent: TRACEPARENT, tracestate: "v=1,w=2" }), 202);
      assert.is(await post({ traceparent: "00-00000000000000000000000000000000-bbbbbbbbbbbbbbbb-01" }), 202);
      assert.is(await post({ traceparent: "not one" }), 202);
      assert.is(
        await post({ traceparent: TRACEPARENT.replace("a", "c"), "content-type": "application/x-ndjson" }, "1\n2"),
        207,
      );
      const line = JSON.stringify({ handler: "plain", payload: 1, traceparent: TRACEPARENT.replace("a", "d") });
      const wrong = JSON.stringify({ handler: "plain", payload: 1, traceparent: "x" });
      const answers = await framesTo(path, [line, wrong]);
      assert.match(answers[0] as string, /"sequence"/);
      assert.match(answers[1] as string, /ERR_INVALID_OPTION/);
      sequences = [(JSON.parse(answers[0] as string) as { sequence: number }).sequence];
      await mill.drain();
    } finally {
      await server.close({ drainMs: 1000 });
    }
  });
  const published = named(spans, "publish plain").filter(({ status }) => status.code === 0);
  const of = (traceId: string): PlainSpan[] => published.filter((span) => span.traceId === traceId);
  const [first] = of("a".repeat(32));
  assert.is(first?.parentSpanId, "b".repeat(16));
  assert.is(of(`c${"a".repeat(31)}`).length, 2, "a request's trace holds for each line");
  const [framed] = of(`d${"a".repeat(31)}`);
  assert.is(framed?.attributes["messaging.message.id"], String(sequences[0]));
  assert.is(
    published.filter(({ parentSpanId }) => parentSpanId === undefined).length,
    2,
    "what isn't valid is left out",
  );
  for (const publish of published) {
    const process = named(spans, "process plain").filter(({ parentSpanId }) => parentSpanId === publish.spanId);
    assert.is(process.length, 1);
    assert.is(process[0]?.traceId, publish.traceId);
  }
});

/** The answers to lines through a Unix socket. */
function framesTo(path: string, lines: readonly string[]): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.end(lines.map((line) => `${line}\n`).join("")));
    let text = "";
    socket.on("data", (chunk) => (text += String(chunk)));
    socket.once("error", reject);
    socket.once("close", () => resolve(text.trim().split("\n")));
  });
}

test("a span that is active in the trace that a publish names is the parent", async () => {
  const { spans } = await spansOf(async (mill) => {
    const tracer = trace.getTracer("test");
    const remote = { traceId: "a".repeat(32), spanId: "b".repeat(16), traceFlags: 1, isRemote: true };
    const request = tracer.startSpan("POST", {}, trace.setSpanContext(context.active(), remote));
    await context.with(trace.setSpan(context.active(), request), async () => {
      await mill.publish.plain?.({}, { traceparent: TRACEPARENT });
      await mill.publish.plain?.({}, { traceparent: TRACEPARENT.replaceAll("a", "c") });
    });
    request.end();
    await mill.drain();
  });
  const [own, other] = named(spans, "publish plain");
  assert.is(own?.parentSpanId, only(spans, "POST").spanId);
  assert.is(other?.parentSpanId, "b".repeat(16));
  assert.is(other?.traceId, "c".repeat(32));
});

test("the tracestate stays with the record", async () => {
  const { place } = await spansOf(
    async (mill) => {
      const tracestate = `a=1, b=${"x".repeat(150)},c=${"y".repeat(100)}`;
      const ack = await mill.publish.settle?.({ n: 1 }, { traceparent: TRACEPARENT, tracestate });
      await ack?.done;
    },
    { spans: false },
  );
  const { traceparent, tracestate } = notes(place)[0]?.value ?? {};
  assert.is(traceparent, TRACEPARENT);
  assert.is(tracestate, `a=1,b=${"x".repeat(150)}`, "what has no room is left out from the right, in whole entries");
});

test("calls have spans where that was asked for, of as many as the ratio says", async () => {
  for (const [ratio, least, most] of [
    [0, 0, 0],
    [1, 200, 200],
    [0.5, 40, 160],
  ] as const) {
    const { spans } = await spansOf(
      async (mill) => {
        for (let n = 0; n < 200; n += 1) await mill.run.plain?.({ n });
      },
      { spans: { runRatio: ratio } },
    );
    const calls = named(spans, "run plain");
    assert.ok(calls.length >= least && calls.length <= most, `${calls.length} of 200 with ${ratio}`);
  }
});

test("a call's span is a child of the active one, and tells an error", async () => {
  const { spans } = await spansOf(
    async (mill) => {
      const request = trace.getTracer("test").startSpan("request");
      await context.with(trace.setSpan(context.active(), request), async () => {
        await mill.run.throwsText?.({}).catch(() => {});
        await mill.runMany.plain?.([{ n: 1 }, { n: 2 }]);
        await mill.blocking.plain?.({ n: 1 });
      });
      request.end();
    },
    { spans: { runRatio: 1 } },
  );
  const request = only(spans, "request");
  const [run, many, blocking] = ["run throwsText", "runMany plain", "blocking plain"].map((name) => only(spans, name));
  for (const span of [run, many, blocking]) assert.is(span?.parentSpanId, request.spanId);
  assert.is(run?.attributes["error.type"], "string");
  assert.equal(many?.attributes, { "millrace.handler": "plain", "millrace.calls": 2 });
});

test("stores of handlers are theirs, after awaits and with many at once", async () => {
  const mill = await open({ handlers: handlersFile, processors: 2, journal: { directory: newPlace().directory } });
  try {
    const own = await Promise.all(Array.from({ length: 500 }, async (_, n) => await mill.run.stored?.({ n })));
    assert.ok(own.every((isThere) => isThere === true));
    assert.is(await mill.blocking.stored?.({ n: 1 }), true);
    for (let n = 0; n < 20; n += 1) assert.is(await mill.run.storeSeen?.({}), null, "and nobody else's");
  } finally {
    await mill.close();
  }
});

test("stores of a record's handler are theirs too, with spans and without", async () => {
  for (const spans of [true, false]) {
    const { place } = await spansOf(
      async (mill) => {
        for (let n = 0; n < 100; n += 1) await mill.publish.storedRecord?.({ n });
        await mill.drain();
      },
      { spans },
    );
    const seen = notes(place).filter(({ name }) => name === "stored");
    assert.is(seen.length, 100);
    assert.ok(seen.every(({ value }) => (value as unknown) === true));
  }
});

test("a publisher's store is there when its publish has resolved", async () => {
  await spansOf(async (mill) => {
    const { AsyncLocalStorage } = await import("node:async_hooks");
    const storage = new AsyncLocalStorage<number>();
    await Promise.all(
      Array.from({ length: 50 }, (_, n) =>
        storage.run(n, async () => {
          const ack = await mill.publish.plain?.({ n });
          assert.is(storage.getStore(), n);
          await ack?.done;
          assert.is(storage.getStore(), n);
        }),
      ),
    );
  });
});

test("the option without the package is refused with how to mend it", async () => {
  const hide = `data:text/javascript,${encodeURIComponent(
    `export async function resolve(name, context, next) {
       if (name === "@opentelemetry/api") throw new Error("not installed");
       return next(name, context);
     }`,
  )}`;
  const program = `
    import { register } from "node:module";
    register(${JSON.stringify(hide)});
    const { open } = await import("millrace");
    const handlers = new URL(${JSON.stringify(new URL("../../../test/fixtures/channel-handlers.mjs", import.meta.url).href)});
    await open({ handlers, processors: 1, spans: true }).catch((thrown) => console.log(thrown.code));
    const mill = await open({ handlers, processors: 1, journal: { directory: ${JSON.stringify(newPlace().directory)} } });
    await (await mill.publish.echo(1)).done;
    await mill.close();
    console.log("works without");`;
  const text = await new Promise<string>((resolve) => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
      cwd: fileURLToPath(new URL("../../..", import.meta.url)),
      stdio: ["ignore", "pipe", "inherit"],
    });
    let printed = "";
    child.stdout.on("data", (chunk) => (printed += String(chunk)));
    child.once("close", () => resolve(printed));
  });
  assert.is(text, "ERR_SPANS_UNAVAILABLE\nworks without\n");
});

test("wrong options of spans are refused", async () => {
  for (const spans of [1, [], "yes", { runRatio: 2 }, { runRatio: Number.NaN }, { ratio: 1 }, { errorMessages: 1 }]) {
    const thrown: unknown = await open({ handlers: handlersFile, spans: spans as never }).catch(
      (error: unknown) => error,
    );
    assert.is((thrown as { code?: string }).code, "ERR_INVALID_OPTION", JSON.stringify(spans));
  }
});

test("the span of a publish that waited for room begins the journal's part then", async () => {
  await spansOf(
    async (mill) => {
      await mill.pause("plain");
      const first = await mill.publish.plain?.({ n: 1 });
      assert.ok(first);
      await until(() => mill.level === "reject", "it is full");
      const waiting = mill.publish.plain?.({ n: 2 }, { whenFull: "wait" });
      await new Promise((resolve) => setTimeout(resolve, 100));
      await mill.resume("plain");
      await waiting;
      await mill.drain();
      const [, publish] = named(openerSpans(), "publish plain");
      const journal = named(openerSpans(), "journal plain").find(
        ({ parentSpanId }) => parentSpanId === publish?.spanId,
      );
      assert.ok(publish && journal);
      assert.ok(journal.times[0] - publish.times[0] >= 90, `${journal.times[0] - publish.times[0]} ms`);
    },
    {},
    { levels: { unfinished: { high: 1, low: 0 } } },
  );
});

test.run();
