// Messages of `node:diagnostics_channel` from the opening thread and from workers.
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { temporaryDirectory, until } from "../support.ts";

const fixture = new URL("../../../test/fixtures/channel-handlers.mjs", import.meta.url);

interface Handlers {
  echo(value: unknown): unknown;
  fails(value: unknown): unknown;
  ends(value: unknown): unknown;
  heard(): { name: string; message: Record<string, unknown>; more: string[] }[];
}

async function withMill(
  use: (mill: Millrace<Handlers>, directory: string) => Promise<void>,
  options: Partial<MillraceOptions> = {},
): Promise<void> {
  const directory = join(temporaryDirectory(), "journal");
  const journal = { directory, attemptsMax: 1, retryBaseMs: 1 };
  const mill = await open<Handlers>({ handlers: fixture, processors: 1, journal, ...options });
  try {
    await use(mill, directory);
  } finally {
    await mill.close();
  }
}

/** Messages of a channel while `run` runs. */
async function messagesOf(
  name: string,
  run: () => Promise<void>,
  messages: Record<string, unknown>[] = [],
): Promise<Record<string, unknown>[]> {
  const listener = (message: unknown): void => void messages.push(message as Record<string, unknown>);
  subscribe(name, listener);
  try {
    await run();
  } finally {
    unsubscribe(name, listener);
  }
  return messages;
}

/** The steps of a tracing channel, with the message as it was then. */
async function stepsOf(name: string, run: () => Promise<void>): Promise<[string, Record<string, unknown>][]> {
  const steps: [string, Record<string, unknown>][] = [];
  const note =
    (step: string) =>
    (message: object): void =>
      void steps.push([step, { ...message }]);
  const all = {
    start: note("start"),
    end: note("end"),
    asyncStart: note("asyncStart"),
    asyncEnd: note("asyncEnd"),
    error: note("error"),
  };
  const channel = tracingChannel(name);
  channel.subscribe(all as never);
  try {
    await run();
  } finally {
    channel.unsubscribe(all as never);
  }
  return steps;
}

test("open and close are told with the directory", async () => {
  let place = "";
  for (const name of ["millrace:open", "millrace:close"]) {
    const messages = await messagesOf(name, () => withMill(async (_, directory) => void (place = directory)));
    assert.equal(messages, [{ handlerNames: ["echo", "ends", "fails", "heard"], directory: place }], name);
  }
});

test("a publish is told from its call to its acknowledgement, without the payload", async () => {
  await withMill(async (mill) => {
    let sequence = 0;
    const steps = await stepsOf("millrace:publish", async () => {
      ({ sequence } = await mill.publish.echo({ secret: 1 }, { idempotencyKey: "a" }));
      await mill.publish.echo({ secret: 1 }, { idempotencyKey: "a" });
    });
    assert.equal(
      steps.map(([step]) => step),
      ["start", "end", "asyncStart", "asyncEnd", "start", "end", "asyncStart", "asyncEnd"],
    );
    assert.equal(steps[0]?.[1], { handler: "echo" });
    assert.equal(steps[3]?.[1], { handler: "echo", sequence, duplicate: false });
    assert.equal(steps[7]?.[1], { handler: "echo", sequence, duplicate: true });
    assert.not.match(JSON.stringify(steps), "secret");
  });
});

test("a publish that is refused is told with its error", async () => {
  await withMill(async (mill) => {
    const steps = await stepsOf("millrace:publish", async () => {
      await mill.publish.echo({}, { key: "" }).catch(() => {});
    });
    assert.equal(
      steps.map(([step]) => step),
      ["start", "end", "error", "asyncStart", "asyncEnd"],
    );
    assert.is((steps[2]?.[1].error as { code?: string } | undefined)?.code, "ERR_INVALID_OPTION");
  });
});

test("a store that is bound to the start of a publish is there within it", async () => {
  await withMill(async (mill) => {
    const storage = new AsyncLocalStorage<string>();
    const { start } = tracingChannel("millrace:publish");
    start.bindStore(storage, ({ handler }: { handler?: string }) => handler ?? "none");
    const seen: unknown[] = [];
    try {
      const payload = Object.defineProperty({}, "n", { enumerable: true, get: () => seen.push(storage.getStore()) });
      await mill.publish.echo(payload);
    } finally {
      start.unbindStore(storage);
    }
    assert.is(seen[0], "echo");
  });
});

test("calls by run, runMany and blocking are told with their number", async () => {
  await withMill(async (mill) => {
    const steps = await stepsOf("millrace:run", async () => {
      await mill.run.echo({ secret: 1 });
      await mill.runMany.echo([1, 2, 3]);
      await mill.blocking.echo(1);
      await mill.run.fails(1).catch(() => {});
    });
    const ends = steps.filter(([step]) => step === "asyncEnd").map(([, message]) => message);
    assert.equal(ends.slice(0, 3), [
      { how: "run", handler: "echo", count: 1 },
      { how: "runMany", handler: "echo", count: 3 },
      { how: "blocking", handler: "echo", count: 1 },
    ]);
    assert.is((ends[3]?.error as Error | undefined)?.message, "it fails");
    assert.is(steps.filter(([step]) => step === "error").length, 1);
    assert.not.match(JSON.stringify(steps), "secret");
  });
});

test("events of an intake are told with its directory", async () => {
  await withMill(async (mill, directory) => {
    const told: Record<string, unknown>[] = [];
    let sequence = 0;
    const messages = await messagesOf(
      "millrace:dead",
      async () => {
        const ack = await mill.publish.fails(1);
        await ack.done.catch(() => {});
        sequence = ack.sequence;
        await until(() => told.length > 0, "it is told");
      },
      told,
    );
    assert.is(messages.length, 1);
    const [{ diedAtMs, ...rest } = {}] = messages;
    assert.type(diedAtMs, "number");
    assert.equal(rest, { sequence, handler: "fails", reason: "exhausted", attempts: 1, directory });
  });
});

test("levels are told", async () => {
  const levels = { unfinished: { high: 1 } };
  const directory = join(temporaryDirectory(), "journal");
  const messages = await messagesOf("millrace:level", async () => {
    const mill = await open<Handlers>({ handlers: fixture, processors: 1, journal: { directory, levels } });
    const published = mill.publish.echo(1);
    assert.is(mill.level, "reject");
    await (
      await published
    ).done;
    await until(() => mill.level === "ok", "the level falls");
    await mill.close();
  });
  assert.ok(messages.some(({ level: now, directory: where }) => now === "reject" && where === directory));
});

test("the death of a thread is told, whether the program listens or not", async () => {
  for (const options of [{}, { onMachineDeath: () => {} }]) {
    const messages = await messagesOf("millrace:machineDeath", () =>
      withMill(async (mill) => void (await mill.run.ends(1).catch(() => {})), options),
    );
    assert.is(messages.length, 1);
    assert.is(messages[0]?.machine, 0);
    assert.is(messages[0]?.reason, "exit");
  }
});

test("a record's handler is told on its thread, where the module has subscribed", async () => {
  await withMill(async (mill) => {
    const first = await mill.publish.echo({ secret: 1 });
    await first.done;
    const second = await mill.publish.fails({ secret: 1 });
    await second.done.catch(() => {});
    await mill.run.echo(1);
    const heard = await mill.run.heard();
    const steps = heard.map(({ name }) => name);
    assert.equal(steps, ["start", "end", "asyncStart", "asyncEnd", "start", "error", "end"]);
    assert.equal(heard[0]?.message, { handler: "echo", sequence: first.sequence, attempt: 1, machine: 0 });
    assert.equal(
      heard.map(({ more }) => more),
      [[], [], [], [], [], ["error"], ["error"]],
    );
    assert.is(heard[5]?.message.sequence, second.sequence);
    assert.not.match(JSON.stringify(heard), "secret");
  });
});

test.run();
