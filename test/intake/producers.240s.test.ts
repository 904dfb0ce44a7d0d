// Producers: their number is limited, none is forgotten by itself, and they are dropped for good.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Millrace, type MillraceOptions, open } from "millrace";
import { rejectsWith, temporaryDirectory } from "../support.ts";

interface Handlers {
  named(record: object): unknown;
  other(record: object): unknown;
}

const handlers = new URL("../../../test/fixtures/identity-handlers.mjs", import.meta.url);

function start(directory: string, options: Partial<MillraceOptions["journal"]> = {}): Promise<Millrace<Handlers>> {
  return open<Handlers>({
    handlers,
    processors: 1,
    journal: { directory: join(directory, "journal"), retryBaseMs: 1, retryMaxMs: 5, failuresMax: 0, ...options },
  });
}

test("one producer too many is refused, and nothing of it is stored", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const options = { producersMax: 2 };
  const of = (id: string, sequence: number) => ({ producer: { id, sequence } });
  const mill = await start(directory, options);
  for (const id of ["b", "a", "b"]) await mill.publish.other({ file }, of(id, 5));
  await mill.publish.other({ file }, of("b", 7));
  const { details } = await rejectsWith(mill.publish.other({ file }, of("c", 1)), "ERR_PRODUCERS_FULL");
  assert.equal(details, { producer: "c", producersMax: 2 });
  await rejectsWith(mill.tryPublish.other({ file }, of("c", 1)), "ERR_PRODUCERS_FULL");
  await rejectsWith(
    mill.publishMany([
      { handler: "other", payload: { file }, ...of("c", 1) },
      { handler: "other", payload: { file } },
    ]),
    "ERR_PRODUCERS_FULL",
  );
  await rejectsWith(mill.producer("other", "c"), "ERR_PRODUCERS_FULL");
  await mill.drain();
  assert.equal(await mill.producers.list(), [
    { id: "a", records: 1, lastSequence: 5 },
    { id: "b", records: 2, lastSequence: 7 },
  ]);
  assert.is(readFileSync(file, "utf8").trimEnd().split("\n").length, 3);
  await mill.close();

  const again = await start(directory, options);
  await rejectsWith(again.publish.other({ file }, of("c", 1)), "ERR_PRODUCERS_FULL");
  assert.ok((await again.publish.other({ file }, of("b", 7))).duplicate);
  await again.producers.drop("b");
  await again.producers.drop("unknown");
  await again.publish.other({ file }, of("c", 1));
  await rejectsWith(again.publish.other({ file }, of("b", 7)), "ERR_PRODUCERS_FULL");
  await again.close();
});

test("whoever waits for a producer's records is told, however many wait", async () => {
  const directory = temporaryDirectory();
  const mill = await start(directory);
  const producer = await mill.producer("other", "a");
  const record = Buffer.from(JSON.stringify({ file: join(directory, "notes") }));
  for (let sequence = 1; sequence <= 5; sequence += 1) producer.add(sequence, record);
  await Promise.all([producer.flush(), producer.whenAtMost(2), producer.flush()]);
  assert.equal([producer.durable, producer.underWay], [5, 0]);
  await mill.close();
});

test("a producer whose records were refused takes no place", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const mill = await start(directory, { producersMax: 2, levels: { unfinished: { high: 1 } } });
  const of = (id: string) => ({ producer: { id, sequence: 1 } });
  await mill.pause("other");
  await mill.publish.other({ file }, of("a"));
  const controller = new AbortController();
  for (let n = 0; n < 5; n += 1) {
    const given = { ...of(`refused${n}`) };
    await rejectsWith(mill.tryPublish.other({ file }, given), "ERR_INTAKE_FULL");
    await rejectsWith(mill.publish.other({ file }, { ...given, timeoutMs: 1 }), "ERR_INTAKE_FULL");
    const group = [{ handler: "other" as const, payload: { file }, ...given }];
    await rejectsWith(mill.publishMany(group, { whenFull: "reject" }), "ERR_INTAKE_FULL");
    await rejectsWith(mill.publishMany([...group, { ...group[0], ...of("b") } as never]), "ERR_PRODUCERS_FULL");
  }
  // One that waits holds its place.
  const waiting = mill.publish.other({ file }, { ...of("b"), signal: controller.signal });
  await rejectsWith(mill.tryPublish.other({ file }, of("c")), "ERR_PRODUCERS_FULL");
  controller.abort();
  await waiting.catch(() => {});
  await mill.resume("other");
  await (
    await mill.publish.other({ file }, of("c"))
  ).done;
  await rejectsWith(mill.publish.other({ file }, of("d")), "ERR_PRODUCERS_FULL");
  assert.equal(
    (await mill.producers.list()).map(({ id }) => id),
    ["a", "c"],
  );
  await mill.close();
});

for (const ending of ["close", "terminate"] as const) {
  test(`a producer that was dropped stays dropped: ${ending}`, async () => {
    const directory = temporaryDirectory();
    const file = join(directory, "notes");
    const producer = { id: "source", sequence: 1 };
    const mill = await start(directory);
    await mill.publish.other({ file }, { producer });
    assert.ok((await mill.publish.other({ file }, { producer })).duplicate);
    await mill.producers.drop("source");
    assert.equal(await mill.producers.list(), []);
    await mill[ending]();

    const again = await start(directory);
    assert.equal(await again.producers.list(), []);
    const { duplicate, done } = await again.publish.other({ file }, { producer });
    assert.not.ok(duplicate);
    await done;
    assert.ok((await again.publish.other({ file }, { producer })).duplicate);
    await again.close();
  });
}

test("a record has one id across retries, a restart, a redrive and another handler", async () => {
  const directory = temporaryDirectory();
  const file = join(directory, "notes");
  const obstacle = join(directory, "obstacle");
  writeFileSync(obstacle, "");
  const mill = await start(directory, { attemptsMax: 2 });
  await rejectsWith((await mill.publish.named({ file, obstacle })).done, "ERR_RECORD_DEAD");
  await mill.dead.redrive({ handler: "named" });
  await mill.drain();
  await mill.terminate();
  const again = await start(directory, { attemptsMax: 2 });
  await again.dead.redrive({ toHandler: "other" });
  await again.drain();
  rmSync(obstacle);
  await (
    await again.publish.named({ file, obstacle })
  ).done;
  await again.close();
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const ids = lines.map((line) => line.split(" ")[1]);
  assert.is(lines.length, 6);
  assert.is(new Set(ids.slice(0, 5)).size, 1, lines.join("; "));
  assert.is.not(ids[5], ids[0]);
});

test.run();
