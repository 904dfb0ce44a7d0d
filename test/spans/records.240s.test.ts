// Spans of records, from the publish to the acknowledgement, by the real SDK on all threads.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Millrace } from "millrace";
import { until } from "../support.ts";
import { named, notes, only, openerSpans, type PlainSpan, provider, spansOf, workerSpans } from "./support.ts";

test.before(() => provider.register());
test.after(() => {
  trace.disable();
  context.disable();
});

type Publish = (
  payload: object,
  options?: object,
) => Promise<{ sequence: number; duplicate: boolean; done: Promise<void> }>;

function publisher(mill: Millrace, name: string): Publish {
  return mill.publish[name] as unknown as Publish;
}

function linkKinds(span: PlainSpan): unknown[] {
  return span.links.map(({ of }) => of["millrace.link"]);
}

test("publish, journal, deliver, process and ack are one trace across threads", async () => {
  const root = trace.getTracer("test").startSpan("request");
  let id = "";
  const { spans, place } = await spansOf(async (mill) => {
    await context.with(trace.setSpan(context.active(), root), async () => {
      const stored = await publisher(mill, "settle")({ n: 7, card: "4111-secret" });
      await stored.done;
      id = String(stored.sequence);
    });
  });
  const [publish, journal, deliver, process, ack, inner] = [
    "publish settle",
    "journal settle",
    "deliver settle",
    "process settle",
    "ack settle",
    "inner",
  ].map((name) => only(spans, name)) as [PlainSpan, PlainSpan, PlainSpan, PlainSpan, PlainSpan, PlainSpan];
  for (const span of [publish, journal, deliver, process, ack, inner]) {
    assert.is(span.traceId, root.spanContext().traceId, span.name);
    assert.ok(span.times[0] <= span.times[1], span.name);
  }
  assert.is(publish.parentSpanId, root.spanContext().spanId);
  for (const span of [journal, deliver, process, ack]) assert.is(span.parentSpanId, publish.spanId, span.name);
  assert.is(inner.parentSpanId, process.spanId, "the handler's own span, after awaits");
  assert.equal(
    [publish.kind, journal.kind, deliver.kind, process.kind, ack.kind],
    [SpanKind.PRODUCER, SpanKind.INTERNAL, SpanKind.INTERNAL, SpanKind.CONSUMER, SpanKind.CLIENT],
  );
  assert.equal(publish.attributes, {
    "messaging.system": "millrace",
    "messaging.operation.name": "publish",
    "messaging.operation.type": "send",
    "messaging.destination.name": "settle",
    "messaging.message.id": id,
  });
  const { "millrace.machine": machine, ...rest } = process.attributes;
  assert.ok(machine === 0 || machine === 1);
  assert.equal(rest, {
    "messaging.system": "millrace",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": "settle",
    "messaging.message.id": id,
    "millrace.record.attempt": 1,
  });
  assert.not.match(JSON.stringify(spans), "secret");
  assert.is(notes(place)[0]?.value.traceparent, `00-${publish.traceId}-${publish.spanId}-01`);
});

test("hundreds of records at once keep their own traces", async () => {
  const { spans } = await spansOf(async (mill) => {
    const acks = await Promise.all(
      Array.from({ length: 300 }, (_, n) => publisher(mill, "settle")({ n, ms: n % 5 }, { headers: { n } })),
    );
    await Promise.all(acks.map(({ done }) => done));
  });
  const published = new Map(named(spans, "publish settle").map((span) => [span.spanId, span]));
  const processed = new Map(named(spans, "process settle").map((span) => [span.spanId, span]));
  assert.is(published.size, 300);
  assert.is(processed.size, 300);
  const inners = named(spans, "inner");
  assert.is(inners.length, 300);
  for (const inner of inners) {
    const process = processed.get(inner.parentSpanId as string) as PlainSpan;
    const publish = published.get(process.parentSpanId as string) as PlainSpan;
    assert.is(publish.attributes["messaging.message.id"], process.attributes["messaging.message.id"]);
    assert.is(inner.traceId, publish.traceId);
  }
  assert.is(new Set(inners.map(({ traceId }) => traceId)).size, 300);
});

for (const handler of ["failing", "failingLater"]) {
  test(`a retry stays in the trace, linked to the attempt before (${handler})`, async () => {
    const { spans } = await spansOf(async (mill) => {
      await (
        await publisher(mill, handler)({ until: 4, secret: "4111" })
      ).done;
    });
    const publish = only(spans, `publish ${handler}`);
    const attempts = named(spans, `process ${handler}`).toSorted(
      (a, b) => Number(a.attributes["millrace.record.attempt"]) - Number(b.attributes["millrace.record.attempt"]),
    );
    assert.is(attempts.length, 4);
    for (const [index, attempt] of attempts.entries()) {
      assert.is(attempt.parentSpanId, publish.spanId);
      const before = attempts[index - 1];
      assert.equal(linkKinds(attempt), before === undefined ? [] : ["retry"]);
      if (before !== undefined) assert.is(attempt.links[0]?.spanId, before.spanId);
      assert.is(attempt.status.code, index < 3 ? SpanStatusCode.ERROR : SpanStatusCode.UNSET);
      assert.is(attempt.attributes["error.type"], index < 3 ? "ERR_NOT_YET" : undefined);
    }
    assert.is(named(spans, `deliver ${handler}`).length, 1);
    assert.not.match(JSON.stringify(spans), "4111");
  });
}

test("messages of errors are told only where that was asked for", async () => {
  const { spans } = await spansOf(
    async (mill) => {
      await (
        await publisher(mill, "failing")({ secret: "4111" })
      ).done;
    },
    { spans: { errorMessages: true } },
  );
  const [first] = named(spans, "process failing");
  assert.is(first?.status.message, "not yet 4111");
  assert.is(first?.events[0]?.attributes?.["exception.message"], "not yet 4111");
});

test("what isn't an object, or is frozen, fails without a link", async () => {
  const { spans } = await spansOf(
    async (mill) => {
      const acks = [await publisher(mill, "throwsText")({}), await publisher(mill, "refuses")({})];
      for (const { done } of acks) await done.catch(() => {});
    },
    {},
    { attemptsMax: 2 },
  );
  const [first, second] = named(spans, "process throwsText");
  assert.is(first?.attributes["error.type"], "string");
  assert.equal(second?.links, []);
  assert.is(only(spans, "process refuses").attributes["error.type"], "Error");
  assert.is(only(spans, "ack refuses").attributes["error.type"], "ERR_RECORD_DEAD");
});

test("a snooze is no error", async () => {
  const { spans } = await spansOf(async (mill) => {
    await (
      await publisher(mill, "snoozes")({})
    ).done;
  });
  const [first, second] = named(spans, "process snoozes");
  assert.is(first?.attributes["millrace.record.snoozed"], true);
  assert.is(first?.status.code, SpanStatusCode.UNSET);
  assert.is(second?.attributes["millrace.record.snoozed"], undefined);
});

test("a dead letter names its spans; redriven, it begins a trace linked to the publish", async () => {
  let traceparents: unknown[] = [];
  const { spans } = await spansOf(
    async (mill) => {
      const ack = await publisher(mill, "failing")({ until: 3 });
      await ack.done.catch(() => {});
      const [letter] = await mill.dead.list();
      traceparents = (letter?.failures ?? []).map((failure) => failure.traceparent);
      assert.not.match(JSON.stringify(letter?.failures.map(({ error }) => ({ ...(error as object) }))), "millraceSpan");
      await mill.dead.redrive({ handler: "failing" });
      await until(() => mill.stats().intake?.dead === 2, "it has died again");
    },
    {},
    { attemptsMax: 2 },
  );
  const publish = only(spans, "publish failing");
  const attempts = named(spans, "process failing");
  assert.is(attempts.length, 4);
  const [first, second, third, fourth] = attempts as [PlainSpan, PlainSpan, PlainSpan, PlainSpan];
  assert.equal(
    traceparents,
    [first, second].map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`),
  );
  assert.is.not(third.traceId, publish.traceId);
  assert.is(third.parentSpanId, undefined);
  assert.equal(linkKinds(third), ["redrive"]);
  assert.is(third.links[0]?.spanId, publish.spanId);
  assert.is(third.attributes["millrace.record.redriven"], 1);
  assert.equal(linkKinds(fourth), ["redrive", "retry"]);
  assert.is(fourth.links[1]?.spanId, third.spanId);
});

test("a replay begins a trace linked to the publish of what it replays", async () => {
  let replayed = 0;
  const { spans } = await spansOf(async (mill) => {
    const first = await publisher(mill, "settle")({ n: 1 });
    await first.done;
    replayed = first.sequence;
    await mill.replay({ name: "again" });
    await mill.drain();
  });
  const publish = only(spans, "publish settle");
  const [, again] = named(spans, "process settle");
  assert.is.not(again?.traceId, publish.traceId);
  assert.equal(again && linkKinds(again), ["replay"]);
  assert.is(again?.links[0]?.spanId, publish.spanId);
  assert.is(again?.attributes["millrace.record.replay_of"], replayed);
  assert.is(named(spans, "deliver settle").length, 1);
});

test("a duplicate's publish is linked to the publish of the first one", async () => {
  const { spans } = await spansOf(async (mill) => {
    const publish = publisher(mill, "settle");
    await publish({ n: 1 }, { idempotencyKey: "a" });
    const again = await publish({ n: 1 }, { idempotencyKey: "a" });
    assert.is(again.duplicate, true);
    await again.done;
    await until(() => named(openerSpans(), "publish settle").length === 2, "the span has ended");
  });
  const [first, second] = named(spans, "publish settle");
  assert.is(second?.attributes["millrace.record.duplicate"], true);
  assert.equal(second && linkKinds(second), ["duplicate"]);
  assert.is(second?.links[0]?.spanId, first?.spanId);
  assert.is(named(spans, "process settle").length, 1);
});

test("a handler's publishes continue its trace, unless they name another one", async () => {
  const { spans } = await spansOf(async (mill) => {
    await (
      await publisher(mill, "order")({ n: 1 })
    ).done;
    await mill.drain();
  });
  const order = only(spans, "process order");
  const choose = only(spans, "choose");
  const staged = named(spans, "process plain");
  assert.is(staged.length, 2);
  const own = staged.find(({ traceId }) => traceId === order.traceId);
  assert.is(own?.parentSpanId, choose.spanId, "the span that was active at the call");
  const other = staged.find(({ traceId }) => traceId !== order.traceId);
  assert.is(other?.traceId, "e".repeat(32));
  assert.is(other?.parentSpanId, "f".repeat(16));
});

test("context.publishNow continues the trace through the opening thread", async () => {
  const { spans } = await spansOf(async (mill) => {
    await (
      await publisher(mill, "orderNow")({ n: 1 })
    ).done;
    await mill.drain();
  });
  const publish = only(spans, "publish plain");
  assert.is(publish.parentSpanId, only(spans, "process orderNow").spanId);
  assert.is(only(spans, "process plain").parentSpanId, publish.spanId);
});

test("the records of publishMany have the span of the call", async () => {
  const { spans } = await spansOf(async (mill) => {
    await mill.publishMany([
      { handler: "plain", payload: { n: 1 } },
      { handler: "settle", payload: { n: 2 }, traceparent: `00-${"e".repeat(32)}-${"f".repeat(16)}-01` },
    ]);
    await mill.drain();
  });
  const publish = only(spans, "publish");
  assert.is(publish.attributes["messaging.batch.message_count"], 2);
  assert.is(only(spans, "process plain").parentSpanId, publish.spanId);
  assert.is(only(spans, "process settle").parentSpanId, "f".repeat(16));
});

test("a task on the stack of a record's handler doesn't take its span for its parent", async () => {
  const { spans } = await spansOf(async (mill) => {
    await (
      await publisher(mill, "joins")({ n: 1 })
    ).done;
  });
  assert.is(only(spans, "inner").parentSpanId, undefined);
});

test("what a publish refuses is refused as without spans", async () => {
  const { spans } = await spansOf(async (mill) => {
    const publish = publisher(mill, "plain");
    for (const options of [{ traceparent: "x" }, { prioriti: 1 }, 7, new Map(), [1]]) {
      const code = await publish({}, options as object).then(
        () => "none",
        (thrown: { code: string }) => thrown.code,
      );
      assert.is(code, "ERR_INVALID_OPTION", JSON.stringify(options));
    }
  });
  for (const span of named(spans, "publish plain")) assert.is(span.attributes["error.type"], "ERR_INVALID_OPTION");
});

test("without a provider there are no spans, and a named trace is kept all the same", async () => {
  trace.disable();
  context.disable();
  try {
    const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
    const { spans, place } = await spansOf(async (mill) => {
      await (
        await publisher(mill, "settle")({ n: 1 }, { traceparent, tracestate: "v=1" })
      ).done;
    });
    assert.equal(named(spans, "publish settle"), []);
    assert.equal(notes(place)[0]?.value, { n: 1, traceparent, tracestate: "v=1" });
    assert.is(workerSpans(place).find(({ name }) => name === "process settle")?.parentSpanId, "b".repeat(16));
  } finally {
    provider.register();
  }
});

test("without the option a named trace reaches the handler and its publishes", async () => {
  const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-00`;
  let kept: unknown[] = [];
  const { spans } = await spansOf(
    async (mill) => {
      await (
        await publisher(mill, "order")({ n: 1 }, { traceparent })
      ).done;
      await mill.drain();
      kept = [];
      for await (const record of mill.journal.read()) if (record.handler !== "") kept.push(record.handler);
    },
    { spans: false },
  );
  assert.equal(kept, ["order", "plain", "plain"]);
  assert.equal(named(spans, "process order"), []);
});

test.run();
