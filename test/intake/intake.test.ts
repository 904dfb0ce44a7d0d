import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ThreadTable } from "@millrace/atomics-sync";
import { Journal, RECORD_TYPE } from "@millrace/journal";
import { type Millrace, type MillraceOptions, open } from "millrace";
import type * as recorder from "../fixtures/recorder.ts";
import { rejectsWith, temporaryDirectory, until } from "../support.ts";

type Recorder = Millrace<typeof recorder>;
const recorderUrl = new URL("../fixtures/recorder.js", import.meta.url);

function openIn(directory: string, options: Partial<MillraceOptions> = {}): Promise<Recorder> {
  return open<typeof recorder>({
    handlers: recorderUrl,
    processors: 1,
    ...options,
    journal: { directory: join(directory, "journal"), retryBaseMs: 1, ...options.journal },
  });
}

/** Runs `body` with a runtime that is closed afterwards, whatever happens. */
async function withMill(
  directory: string,
  options: Partial<MillraceOptions>,
  body: (mill: Recorder) => Promise<void>,
): Promise<void> {
  const mill = await openIn(directory, options);
  try {
    await body(mill);
    assert.is(mill.stats().scheduler.wakeupsMissed, 0, "no wake-up was lost");
  } finally {
    await mill.close();
  }
}

/** The lines that handlers have written, split into words. */
function notes(file: string): string[][] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" "));
}

test("a published record is acknowledged with its sequence, then handled, then done", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, {}, async (mill) => {
    const first = await mill.publish.note({ file, text: "first" });
    assert.is(first.sequence, 1);
    await first.done;
    assert.equal(notes(file), [["first", "1", "1"]]);
    // Asked for after the fact, and twice.
    await first.done;
    assert.is(await first.done, undefined);
    const { intake } = mill.stats();
    assert.is(intake?.done, 1);
    assert.is(intake?.dead, 0);
  });
});

test("every record of many is handled once, whatever its size", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, { processors: 2 }, async (mill) => {
    const acknowledgements = await Promise.all(
      Array.from({ length: 3000 }, (_, n) => mill.publish.note({ file, text: `r${n}-${"x".repeat(n % 700)}` })),
    );
    await Promise.all(acknowledgements.map((acknowledgement) => acknowledgement.done));
    const texts = notes(file).map(([text]) => text);
    assert.is(texts.length, 3000);
    assert.is(new Set(texts).size, 3000);
  });
});

test("headers reach the handler", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, {}, async (mill) => {
    await (
      await mill.publish.headers({ file, text: "" }, { headers: { line: 7, source: "a.csv" } })
    ).done;
    assert.equal(notes(file), [['{"line":7,"source":"a.csv"}']]);
  });
});

test("the next opening delivers what was acknowledged and not finished, nothing else", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(directory);
  await (
    await mill.publish.note({ file, text: "finished" })
  ).done;
  // Closing lets one async handler finish, and leaves the others, since only one may be pending.
  const busy = await openIn(join(directory, "other"), { asyncTasksPerMachine: 1 });
  await Promise.all(Array.from({ length: 20 }, (_, n) => busy.publish.slowly({ file, text: `slow${n}`, waitMs: 20 })));
  await busy.close();
  await mill.close();
  const before = notes(file).length;
  assert.ok(before < 21, "some were left");

  const again = await openIn(join(directory, "other"));
  assert.is(again.stats().intake?.recovered, 21 - before);
  await again.drain();
  const texts = notes(file).map(([text]) => text);
  assert.is(texts.length, 21);
  assert.is(new Set(texts).size, 21);
  await again.close();

  const reopened = await openIn(directory);
  assert.is(reopened.stats().intake?.recovered, 0);
  await reopened.drain();
  assert.is(notes(file).length, 21);
  await reopened.close();
});

test("a handler that fails is tried again, and a record that always fails is dead", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(directory, {
    journal: { directory: join(directory, "journal"), retryBaseMs: 1, attemptsMax: 3 },
  });
  await (
    await mill.publish.note({ file, text: "third-time-lucky", failBelow: 3 })
  ).done;
  const hopeless = await mill.publish.note({ file, text: "hopeless", failBelow: 100 });
  const error = await rejectsWith(hopeless.done, "ERR_RECORD_DEAD");
  assert.is((error.cause as Error).message, "attempt 3 of hopeless");
  assert.ok(error.cause instanceof RangeError);
  assert.is(error.details.sequence, hopeless.sequence);
  await mill.drain();
  assert.equal(
    notes(file).map(([text, , attempt]) => `${text} ${attempt}`),
    ["third-time-lucky 1", "third-time-lucky 2", "third-time-lucky 3", "hopeless 1", "hopeless 2", "hopeless 3"],
  );
  await mill.close();

  const again = await openIn(directory);
  assert.is(again.stats().intake?.recovered, 0, "a dead record isn't delivered again");
  await again.close();
});

test("a record whose death is asked for late still says why", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(
    directory,
    { journal: { directory: join(directory, "journal"), retryBaseMs: 0, attemptsMax: 1 } },
    async (mill) => {
      const acknowledgement = await mill.publish.note({ file, text: "x", failBelow: 9 });
      await mill.drain();
      const error = await rejectsWith(acknowledgement.done, "ERR_RECORD_DEAD");
      assert.is((error.cause as Error).message, "attempt 1 of x");
    },
  );
});

test("a record whose error is larger than any record is dead like any other", async () => {
  const directory = temporaryDirectory();
  for (const limits of [{}, { recordBytesMax: 1024, batchBytesMax: 4096, ringBytes: 65_536 }]) {
    const journal = { directory: join(directory, `${Object.keys(limits).length}`), attemptsMax: 1, ...limits };
    await withMill(directory, { journal }, async (mill) => {
      for (const length of [500, 6000, 5_000_000]) {
        const acknowledgement = await mill.publish.failAtLength({ length });
        const error = await rejectsWith(acknowledgement.done, "ERR_RECORD_DEAD");
        assert.match((error.cause as Error).message, /^x{50}/);
      }
    });
  }
});

test("a record that ends its worker thread is tried again on the next one", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, {}, async (mill) => {
    const killer = await mill.publish.note({ file, text: "killer", exitBelow: 2 });
    const others = await Promise.all(Array.from({ length: 50 }, (_, n) => mill.publish.note({ file, text: `n${n}` })));
    await Promise.all([killer, ...others].map((acknowledgement) => acknowledgement.done));
    assert.is(notes(file).filter(([text]) => text === "killer").length, 2);
    assert.is(new Set(notes(file).map(([text]) => text)).size, 51);
  });
});

test("a backlog larger than the rings doesn't hold up the publisher", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(
    directory,
    {
      tasksMax: 16,
      journal: {
        directory: join(directory, "journal"),
        recordBytesMax: 16_000,
        batchBytesMax: 65_536,
        segmentBytesMax: 2 ** 20,
        ringBytes: 65_536,
      },
    },
    async (mill) => {
      const text = "y".repeat(4000);
      // The only processor is busy, so that nothing is handled while 4 MB are published through a
      // ring of 64 KiB.
      const busy = mill.publish.spin({ file, text: "busy", ms: 1000 });
      const acknowledgements = await Promise.all(
        Array.from({ length: 1000 }, (_, n) => mill.publish.note({ file, text: `${n}-${text}` })),
      );
      await busy;
      const { intake } = mill.stats();
      assert.ok((intake?.journal.durableSequence ?? 0) > 1000);
      await Promise.all(acknowledgements.map((acknowledgement) => acknowledgement.done));
      const numbers = notes(file)
        .slice(1)
        .map(([word]) => Number((word as string).split("-")[0]))
        .toSorted((left, right) => left - right);
      assert.equal(
        numbers,
        Array.from({ length: 1000 }, (_, n) => n),
      );
      await until(() => mill.stats().intake?.isReadingSegments === false, "it returns to the rings");
      await (
        await mill.publish.note({ file, text: "after" })
      ).done;
    },
  );
});

test("records for a handler that isn't there wait until it is", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const journal = join(directory, "journal");
  const first = await openIn(directory, { processors: 1 });
  // Nothing is delivered while the only processor is busy.
  await first.publish.spin({ file, text: "busy", ms: 300 });
  await first.publish.headers({ file, text: "" }, { headers: { waits: true } });
  await first.publish.note({ file, text: "note" });
  await first.close();

  const fewer = await open({
    handlers: new URL("../fixtures/fewer-handlers.js", import.meta.url),
    processors: 1,
    journal: { directory: journal },
  });
  await fewer.drain();
  const unroutable = fewer.stats().intake?.unroutable ?? 0;
  const seen = notes(file).length;
  await fewer.close();

  const again = await openIn(directory);
  await again.drain();
  assert.is(notes(file).length, 3);
  assert.ok(unroutable > 0 || seen === 3, "either it was unroutable, or delivered before the first close");
  await again.close();
});

test("acknowledgements of many records share few records in the journal", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await openIn(directory);
  await Promise.all(Array.from({ length: 2000 }, (_, n) => mill.publish.note({ file, text: `${n}` })));
  await mill.drain();
  await mill.close();
  const journal = await Journal.open({ directory: join(directory, "journal") });
  let acks = 0;
  for await (const record of journal.read()) if (record.type === RECORD_TYPE.ack) acks += 1;
  assert.ok(acks > 0 && acks < 500, `${acks} ACK records`);
  await journal.close();
});

test("drain can be given up", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, {}, async (mill) => {
    await mill.publish.slowly({ file, text: "slow", waitMs: 300 });
    const controller = new AbortController();
    const drained = mill.drain({ signal: controller.signal });
    controller.abort(new Error("enough"));
    try {
      await drained;
      assert.unreachable();
    } catch (thrown) {
      assert.is((thrown as Error).message, "enough");
    }
    await mill.drain();
    assert.is(notes(file).length, 1);
  });
});

test("close refuses publishes, and tells those who wait for a record to be done", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  await withMill(directory, { asyncTasksPerMachine: 1 }, async (mill) => {
    const acknowledgements = await Promise.all(
      Array.from({ length: 5 }, (_, n) => mill.publish.slowly({ file, text: `${n}`, waitMs: 50 })),
    );
    const last = rejectsWith((acknowledgements[4] as { done: Promise<void> }).done, "ERR_INTAKE_CLOSED");
    await mill.close();
    await last;
    await rejectsWith(mill.publish.note({ file, text: "late" }), "ERR_INTAKE_CLOSED");
  });
});

test("bad records and options are refused before anything is stored", async () => {
  const directory = temporaryDirectory();
  const mill = await openIn(directory);
  const before = mill.stats().intake?.journal.durableSequence;
  await rejectsWith(mill.publish.note({ file: (() => "") as never, text: "" }), "ERR_VALUE_UNSUPPORTED");
  await rejectsWith(mill.publish.note({ file: "", text: "z".repeat(2 ** 21) }), "ERR_JOURNAL_RECORD_TOO_LARGE");
  await rejectsWith(mill.publish.note({ file: "", text: "" }, { prioritee: "high" } as never), "ERR_INVALID_OPTION");
  assert.throws(
    () => (mill.publish as unknown as Record<string, () => void>).noted,
    (error: Error) => /did you mean "note"\?/.test(error.message),
  );
  assert.is(mill.stats().intake?.journal.durableSequence, before);
  await mill.close();
  await rejectsWith(
    openIn(directory, { journal: { directory: join(directory, "journal"), maxDeliverys: 3 } as never }),
    "ERR_INVALID_OPTION",
  );
});

test("without a journal there is nothing to publish to", async () => {
  const mill = await open<typeof recorder>({ handlers: recorderUrl, processors: 1 });
  assert.throws(
    () => mill.publish,
    (error: { code: string }) => error.code === "ERR_INTAKE_ABSENT",
  );
  await rejectsWith(mill.drain(), "ERR_INTAKE_ABSENT");
  await mill.close();
});

test("a process with nothing left to do exits by itself after close", async () => {
  const script = fileURLToPath(new URL("../fixtures/open-and-close.js", import.meta.url));
  const child = spawn(process.execPath, [script, temporaryDirectory()], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk) => (output += String(chunk)));
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.is(code, 0);
  assert.is(output, "closed\n");
});

test("openings that fail leave no entry in the table of threads", async () => {
  const threads = ThreadTable.current();
  const missing = new URL("nowhere.js", import.meta.url);
  const first = threads.reserve();
  threads.release(first);
  for (let round = 0; round < 3; round += 1) {
    const directory = temporaryDirectory();
    await rejectsWith(open({ handlers: missing, processors: 1, journal: { directory } }), "ERR_HANDLER_MODULE");
    writeFileSync(join(directory, "not-a-directory"), "");
    const journal = { directory: join(directory, "not-a-directory") };
    await rejectsWith(open({ handlers: recorderUrl, processors: 1, journal }), "ERR_JOURNAL_STORAGE");
  }
  const next = threads.reserve();
  threads.release(next);
  assert.is(next, first);
});

test("a log with a record of an unknown type isn't opened", async () => {
  for (const type of [10, 14, 255]) {
    const directory = temporaryDirectory();
    const journal = await Journal.open({ directory });
    await journal.append(Buffer.from("of a newer build"), { type });
    await journal.close();
    await rejectsWith(open({ handlers: recorderUrl, journal: { directory } }), "ERR_JOURNAL_VERSION");
  }
});

test.run();
