// Writes the golden journals of a format version, with their content beside them. Run once per
// version, never to repair a test:
//
//   npm run build && node .build/test/journal/golden/generate.js test/journal/golden/v1
import { cpSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { temporaryDirectory } from "../../support.ts";
import { Journal, type JournalRecord, RECORD_TYPE } from "@millrace/journal";

const SMALL = { recordBytesMax: 4096, batchBytesMax: 8192, segmentBytesMax: 65536, ringBytes: 16384 };
/** Files that belong to the format; spares and the lock don't. */
const KEPT = /^(log-.*\.wal|marks|checkpoint-[ab])$/;

/** A record as it is kept in `expected.json`. */
export interface ExpectedRecord {
  readonly sequence: number;
  readonly origin: number;
  readonly type: number;
  readonly priority: number;
  readonly timeMs: number;
  readonly continues: boolean;
  readonly key: string;
  readonly headers: unknown;
  readonly payload: string;
}

export function expectedOf(record: JournalRecord): ExpectedRecord {
  const { sequence, origin, type, priority, timeMs, continues, headers } = record;
  return {
    sequence,
    origin,
    type,
    priority,
    timeMs,
    continues,
    key: record.key.toString("hex"),
    // As JSON keeps it: without headers there is none.
    headers: headers ?? null,
    payload: record.payload.toString("hex"),
  };
}

export async function readExpected(journal: Journal): Promise<ExpectedRecord[]> {
  const records: ExpectedRecord[] = [];
  for await (const record of journal.read()) records.push(expectedOf(record));
  return records;
}

/** Something of everything that a record can be, over two segments. */
async function fill(journal: Journal): Promise<void> {
  await journal.append(Buffer.from("bytes"), { key: "a key", type: RECORD_TYPE.control, priority: 2 });
  await journal.append({ value: [1, "two", 3n], at: new Date(0) }, { headers: { trace: "0123" } });
  await journal.appendMany([
    { payload: "one group" },
    { payload: Buffer.from("of three"), key: "b" },
    { payload: null },
  ]);
  await journal.append(new Uint8Array(0));
  for (let number = 0; number < 16; number += 1) await journal.append(Buffer.alloc(number * 100, number));
  await journal.copyForward(2);
  await journal.checkpoint(Buffer.from("a snapshot"), 7);
}

async function generate(target: string): Promise<void> {
  const directory = temporaryDirectory();
  const journal = await Journal.open({ directory, ...SMALL });
  await fill(journal);
  // As a crash would leave it: without a clean end.
  keep(directory, join(target, "left"), await readExpected(journal));
  await journal.close();
  // A second opening repeats nothing, since the first ended cleanly; it ends cleanly too.
  const again = await Journal.open({ directory, ...SMALL });
  await again.append("after a clean end");
  const expected = await readExpected(again);
  await again.close();
  keep(directory, join(target, "closed"), expected);
  // An opening after a crash begins with the batch that it repeats.
  const crashed = temporaryDirectory();
  cpSync(join(target, "left"), crashed, { recursive: true });
  rmSync(join(crashed, "expected.json"));
  const recovered = await Journal.open({ directory: crashed, ...SMALL });
  await recovered.append("after a crash");
  keep(crashed, join(target, "recovered"), await readExpected(recovered));
  await recovered.close();
}

function keep(from: string, to: string, expected: readonly ExpectedRecord[]): void {
  rmSync(to, { recursive: true, force: true });
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) if (KEPT.test(name)) cpSync(join(from, name), join(to, name));
  writeFileSync(join(to, "expected.json"), `${JSON.stringify(expected, undefined, 2)}\n`);
}

const target = process.argv[2];
if (process.argv[1]?.endsWith("golden/generate.js") === true && target !== undefined) await generate(resolve(target));
