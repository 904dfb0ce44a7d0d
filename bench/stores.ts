/**
 * Logs and databases that a user could keep records in, behind one interface: ours, and the peers.
 * All of them promise the same here: what is acknowledged has been synced.
 */
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { open as openLmdb } from "lmdb";
import { Journal, type JournalOptions } from "@millrace/journal";

export interface Store {
  /** Resolves when record `n`, which is the one after the last, is durable. */
  readonly append: (n: number, record: Buffer) => Promise<unknown>;
  /**
   * Writes the records 1 to `count`, under `keyOf` where that is given; durable when it resolves.
   */
  readonly fill: (count: number, record: Buffer, keyOf?: (n: number) => string) => Promise<unknown>;
  /** Reads all records in order; returns how many there were. */
  readonly scan: () => Promise<number>;
  /** Length of the record. */
  readonly get: (n: number) => Promise<number>;
  readonly find: (key: string) => Promise<number>;
  readonly close: () => Promise<unknown>;
}

export interface StoreKind {
  readonly name: string;
  /** Why it can't be used with this Node.js; undefined when it can. */
  readonly unavailable?: (node: string) => string | undefined;
  readonly open: (directory: string) => Promise<Store>;
}

/** Records in one transaction of a fill, and in flight in ours. */
const FILL_RECORDS = 16_384;

export function millraceStore(options: Omit<JournalOptions, "directory"> = {}): StoreKind["open"] {
  return async (directory) => {
    const journal = await Journal.open({ directory, ...options });
    return {
      append: (_, record) => journal.append(record),
      fill: async (count, record, keyOf) => {
        let last: Promise<number> | undefined;
        for (let n = 1; n <= count; n += 1) {
          last = journal.append(record, keyOf === undefined ? undefined : { key: keyOf(n) });
          if (n % FILL_RECORDS === 0) await last;
        }
        await last;
      },
      scan: async () => {
        let count = 0;
        for await (const record of journal.read()) if (record.payload.length > 0) count += 1;
        return count;
      },
      get: async (n) => (await journal.get(n))?.payload.length ?? 0,
      find: async (key) => (await journal.find(key))?.payload.length ?? 0,
      close: () => journal.close(),
    };
  };
}

/**
 * lmdb resolves a put before it is durable by default on Linux; `overlappingSync: false` makes its
 * promise mean the same as ours.
 */
async function lmdb(directory: string): Promise<Store> {
  const root = openLmdb({ path: join(directory, "db"), overlappingSync: false });
  const log = root.openDB<Buffer, number>({ name: "log", keyEncoding: "uint32", encoding: "binary" });
  const keyed = root.openDB<Buffer, string>({ name: "keyed", encoding: "binary" });
  return {
    append: (n, record) => log.put(n, record),
    fill: async (count, record, keyOf) => {
      for (let first = 1; first <= count; first += FILL_RECORDS) {
        root.transactionSync(() => {
          const last = Math.min(count, first + FILL_RECORDS - 1);
          for (let n = first; n <= last; n += 1) {
            if (keyOf === undefined) log.putSync(n, record);
            else keyed.putSync(keyOf(n), record);
          }
        });
      }
    },
    scan: async () => {
      let count = 0;
      for (const { value } of log.getRange()) if (value.length > 0) count += 1;
      return count;
    },
    get: async (n) => log.get(n)?.length ?? 0,
    find: async (key) => keyed.get(key)?.length ?? 0,
    close: () => root.close(),
  };
}

/** Numbers in an order that LevelDB's comparison of bytes keeps. */
function levelKey(n: number): string {
  return n.toString().padStart(16, "0");
}

async function classicLevel(directory: string): Promise<Store> {
  const database = new ClassicLevel<string, Buffer>(join(directory, "db"), { valueEncoding: "buffer" });
  await database.open();
  const synced = { sync: true };
  return {
    append: (n, record) => database.put(levelKey(n), record, synced),
    fill: async (count, record, keyOf = levelKey) => {
      for (let first = 1; first <= count; first += FILL_RECORDS) {
        const size = Math.min(FILL_RECORDS, count - first + 1);
        const batch = Array.from({ length: size }, (_, index) => {
          return { type: "put", key: keyOf(first + index), value: record } as const;
        });
        await database.batch(batch, synced);
      }
    },
    scan: async () => {
      let count = 0;
      const iterator = database.values();
      for (;;) {
        const values = await iterator.nextv(1000);
        if (values.length === 0) break;
        for (const value of values) if (value.length > 0) count += 1;
      }
      await iterator.close();
      return count;
    },
    get: async (n) => (await database.get(levelKey(n)))?.length ?? 0,
    find: async (key) => (await database.get(key))?.length ?? 0,
    close: () => database.close(),
  };
}

/** The part of `node:sqlite` that is used here; the types of Node 20 don't have it. */
interface Sqlite {
  readonly DatabaseSync: new (path: string) => {
    exec(sql: string): void;
    prepare(sql: string): {
      run(...values: readonly unknown[]): unknown;
      get(...values: readonly unknown[]): { readonly record: Uint8Array } | undefined;
      iterate(): Iterable<{ readonly record: Uint8Array }>;
    };
    close(): void;
  };
}

/**
 * WAL and synchronous=FULL: a commit is synced. Its calls block, so records that are handed over in
 * one turn of the event loop share a transaction, as a user would write it by hand.
 */
async function sqlite(directory: string): Promise<Store> {
  const name = "node:sqlite";
  const { DatabaseSync } = (await import(name)) as Sqlite;
  const database = new DatabaseSync(join(directory, "db"));
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE IF NOT EXISTS log (n INTEGER PRIMARY KEY, record BLOB)");
  database.exec("CREATE TABLE IF NOT EXISTS keyed (key TEXT PRIMARY KEY, record BLOB) WITHOUT ROWID");
  const insert = database.prepare("INSERT OR REPLACE INTO log VALUES (?, ?)");
  const insertKeyed = database.prepare("INSERT OR REPLACE INTO keyed VALUES (?, ?)");
  const byNumber = database.prepare("SELECT record FROM log WHERE n = ?");
  const byKey = database.prepare("SELECT record FROM keyed WHERE key = ?");
  const all = database.prepare("SELECT record FROM log ORDER BY n");
  let waiting: { readonly n: number; readonly record: Buffer; readonly resolve: () => void }[] = [];
  const flush = (): void => {
    const batch = waiting;
    waiting = [];
    database.exec("BEGIN");
    for (const { n, record } of batch) insert.run(n, record);
    database.exec("COMMIT");
    for (const { resolve } of batch) resolve();
  };
  return {
    append: (n, record) =>
      new Promise<void>((resolve) => {
        if (waiting.push({ n, record, resolve }) === 1) setImmediate(flush);
      }),
    fill: async (count, record, keyOf) => {
      for (let first = 1; first <= count; first += FILL_RECORDS) {
        database.exec("BEGIN");
        for (let n = first; n <= Math.min(count, first + FILL_RECORDS - 1); n += 1) {
          if (keyOf === undefined) insert.run(n, record);
          else insertKeyed.run(keyOf(n), record);
        }
        database.exec("COMMIT");
      }
    },
    scan: async () => {
      let count = 0;
      for (const { record } of all.iterate()) if (record.length > 0) count += 1;
      return count;
    },
    get: async (n) => byNumber.get(n)?.record.length ?? 0,
    find: async (key) => byKey.get(key)?.record.length ?? 0,
    close: async () => database.close(),
  };
}

/** The first version that has `node:sqlite` without a flag, and its iterators. */
const SQLITE_SINCE = [22, 13] as const;

function sqliteUnavailable(node: string): string | undefined {
  const [major = 0, minor = 0] = node.replace("v", "").split(".").map(Number);
  const [sinceMajor, sinceMinor] = SQLITE_SINCE;
  if (major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)) return undefined;
  return `Node ${node} has no node:sqlite; measure with --node PATH and Node ${SQLITE_SINCE.join(".")} or later`;
}

export const millrace: StoreKind = { name: "millrace", open: millraceStore() };

export const peerStores: readonly StoreKind[] = [
  { name: "lmdb", open: lmdb },
  { name: "classic-level", open: classicLevel },
  { name: "node:sqlite", open: sqlite, unavailable: sqliteUnavailable },
];
