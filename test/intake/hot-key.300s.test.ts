// Many records behind few keys: each has its own bytes when its turn comes, long after the ring's
// space was given to others.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { millsOf } from "../with-mill.ts";

interface Handlers {
  check(record: { readonly n: number; readonly key: string; readonly text: string }): void;
}

/** About 10 MB of records go through a ring of 256 KiB. */
const RECORDS = 600;
const KEYS = 3;
const RING = { recordBytesMax: 65_536, batchBytesMax: 131_072, ringBytes: 262_144, segmentBytesMax: 1_048_576 };

const handlers = new URL("../../../test/fixtures/text-handlers.mjs", import.meta.url);
const withMill = millsOf<Handlers>({ handlers, processors: 1, journal: { failuresMax: 0, ...RING } });

test("records behind others of their key keep their bytes, and their order", async () => {
  const { textOf } = (await import(handlers.href)) as { textOf: (n: number) => string };
  await withMill({}, async (mill) => {
    const sent = Array.from({ length: RECORDS }, (_, n) => {
      const key = `key ${n % KEYS}`;
      return mill.publish.check({ n, key, text: textOf(n) }, { key });
    });
    await Promise.all((await Promise.all(sent)).map(({ done }) => done));
    assert.is(mill.stats().intake?.dead, 0);
    assert.is(mill.stats().intake?.done, RECORDS);
  });
});

test.run();
