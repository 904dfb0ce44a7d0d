/**
 * Reading a log back, from the page cache: all of it in order, single records by their number in a
 * random order, and by key.
 *
 * The peers keep the records under their number; where keys are looked for, under the key.
 */
import type { Benchmark, Measure, Subject } from "./harness.ts";
import { millrace, peerStores, type Store, type StoreKind } from "./stores.ts";

/** Bytes of records in a log. */
const LOG_BYTES: number = 64 * 2 ** 20;
const QUICK_FACTOR = 4;
/** Single reads between two looks at the clock. */
const READS = 100;

interface Load {
  readonly kind: "scan" | "get" | "find";
  readonly recordBytes: number;
  readonly count: number;
}

function loadOf(caseId: string): Load {
  const [kind, size, effort] = caseId.split("/") as [Load["kind"], string, string | undefined];
  const recordBytes = Number(size);
  const logBytes = effort === "quick" ? LOG_BYTES / QUICK_FACTOR : LOG_BYTES;
  return { kind, recordBytes, count: logBytes / recordBytes };
}

/** Numbers from 1 to `count` in an order that looks random and is the same for all. */
function scattered(count: number): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + Math.floor((state / 2 ** 32) * count);
  };
}

const keyOf = (n: number): string => `key-${n}`;

async function scan(store: Store, { count, recordBytes }: Load, ms: number): Promise<Measure[]> {
  let records = 0;
  const startedAt = performance.now();
  do {
    const found = await store.scan();
    if (found !== count) throw new Error(`${found} records were read, not ${count}`);
    records += found;
  } while (performance.now() - startedAt < ms);
  const seconds = (performance.now() - startedAt) / 1000;
  return [
    { unit: "records/s", value: records / seconds, better: "more" },
    { unit: "MB/s", what: "bytes", value: (records * recordBytes) / seconds / 1e6, better: "more" },
  ];
}

async function lookUp(
  read: (n: number) => Promise<number>,
  { count, recordBytes }: Load,
  ms: number,
): Promise<Measure[]> {
  const next = scattered(count);
  // Work that is done once, such as finding places in a segment without an index, isn't the cost of
  // a look-up.
  await read(1);
  await read(count);
  let reads = 0;
  const startedAt = performance.now();
  do {
    for (let index = 0; index < READS; index += 1) {
      if ((await read(next())) !== recordBytes) throw new Error("a record wasn't found");
    }
    reads += READS;
  } while (performance.now() - startedAt < ms);
  return [{ unit: "reads/s", value: (reads / (performance.now() - startedAt)) * 1000, better: "more" }];
}

function subject({ name, open, unavailable }: StoreKind): Subject {
  const run: Subject["run"] = async (caseId, ms, directory) => {
    const load = loadOf(caseId);
    const filled = await open(directory);
    await filled.fill(load.count, Buffer.alloc(load.recordBytes, 7), load.kind === "find" ? keyOf : undefined);
    await filled.close();
    const store = await open(directory);
    const measures = await {
      scan: () => scan(store, load, ms),
      get: () => lookUp((n) => store.get(n), load, ms),
      find: () => lookUp((n) => store.find(keyOf(n)), load, ms),
    }[load.kind]();
    await store.close();
    return measures;
  };
  return { name, run, unavailable };
}

export const journalRead: Benchmark = {
  name: "journal-read",
  cases: [128, 4096].flatMap((recordBytes) =>
    (
      [
        ["scan", "in order"],
        ["get", "by number"],
        ["find", "by key"],
      ] as const
    ).flatMap(([kind, how]) => [
      { id: `${kind}/${recordBytes}`, words: `${recordBytes}-byte records, ${how}` },
      {
        id: `${kind}/${recordBytes}/quick`,
        words: `${recordBytes}-byte records in a small log, ${how}`,
        isQuick: recordBytes === 128,
      },
    ]),
  ),
  subjects: [millrace, ...peerStores].map(subject),
  effort: { full: { rounds: 5, cellMs: 2000 }, quick: { rounds: 1, cellMs: 300 } },
};
