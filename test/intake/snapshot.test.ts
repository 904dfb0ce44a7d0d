// Internal to the package; only its own tests reach for them.
import { isMillraceError } from "@millrace/base";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { readStates, type StatesSource } from "@millrace/intake/internal/snapshot/read-states";
import { decodeStates, encodeStates } from "@millrace/intake/internal/snapshot/snapshot";
import { SECTIONS } from "@millrace/intake/internal/snapshot/sections";
import type { Idempotency } from "@millrace/intake/internal/format/record-header";
import { WINDOW_DEFAULTS } from "@millrace/intake/internal/states/dedupe-window";
import type { LogWalk } from "@millrace/intake/internal/states/log-walk";
import { ProducerState } from "@millrace/intake/internal/states/producer-state";
import { RecordStates } from "@millrace/intake/internal/states/record-states";
import { Journal, RECORD_TYPE } from "@millrace/journal";
import { open } from "millrace";
import { test } from "uvu";
import * as assert from "uvu/assert";
import fc from "../property.ts";
import { handlersUrl, temporaryDirectory, throwsWith } from "../support.ts";

const HEAD_BYTES = 8;
const ENTRIES = Buffer.alloc(0);

/** States with something of every kind. */
function fullStates(): RecordStates {
  const states = new RecordStates();
  states.settled.addRange(1, 9);
  states.settled.addRange(12, 12);
  states.droppable.addRange(1, 8);
  states.places.set(3, 40).set(5, 41);
  states.origins.set(40, 3).set(41, 5);
  const letter = { reason: 6, attempts: 3, atMs: 1_700_000_000_000.5, keyHash: 2 ** 32 - 1, bytes: 1000 };
  states.dead.set(5, { ...letter, place: 42, death: 42, handler: "pay" });
  states.dead.set(2, { ...letter, place: 44, death: 43, handler: "" });
  states.redriven.set(5, 2);
  states.retries.set(10, { place: 11, attempts: 2, dueMs: 2 ** 41, pauseMs: 60_000.5, ageMs: 2 ** 30 });
  const producer = new ProducerState();
  for (const sequence of [0, 1, 2, 3, 4, 2 ** 45]) producer.add(sequence, sequence % 7);
  states.producers.set("a source", producer).set("__proto__", new ProducerState());
  states.paused.add("pay");
  states.redirected.set(3, "other");
  Object.assign(states.endings, { uncleanEnds: 2, isOpen: true, trying: [10], lease: [7, 8, 2 ** 50] });
  states.endings.suspects.set(10, 2);
  states.windowChunks.set(20, 15);
  for (const origin of [16, 17]) {
    const idempotency = { key: Buffer.from(`k${origin}`), payloadCrc: origin, payloadBytes: 1 };
    states.window.judge("pay", idempotency, origin, 1000);
  }
  return states;
}

const decoded = (bytes: Buffer): RecordStates => decodeStates(bytes, WINDOW_DEFAULTS, () => ENTRIES);

/** The sections of a snapshot: tag, and where each begins and ends. */
function sectionsOf(bytes: Buffer): { tag: string; start: number; end: number }[] {
  const sections: { tag: string; start: number; end: number }[] = [];
  for (let start = HEAD_BYTES; start < bytes.length;) {
    const end = start + 8 + bytes.readUInt32LE(start + 4);
    sections.push({ tag: bytes.toString("latin1", start, start + 4), start, end });
    start = end;
  }
  return sections;
}

/** The snapshot with other sections in it. */
function withSections(bytes: Buffer, sections: readonly Buffer[]): Buffer {
  const head = Buffer.from(bytes.subarray(0, HEAD_BYTES));
  head.writeUInt32LE(sections.length, 4);
  return Buffer.concat([head, ...sections]);
}

const section = (tag: string, bytes: Buffer = Buffer.alloc(3)): Buffer => {
  const head = Buffer.alloc(8);
  head.write(tag, "latin1");
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
};

test("what the states know of every kind is read back from a snapshot", () => {
  const states = fullStates();
  const again = decoded(encodeStates(states));
  assert.equal(encodeStates(again), encodeStates(states));
  assert.equal([...again.retries], [...states.retries]);
  for (const name of ["places", "origins", "producers", "paused", "redirected", "redriven"] as const) {
    assert.equal(again[name], states[name], name);
  }
  assert.equal([...again.dead], [...states.dead]);
  assert.is(again.dead.bytes, 2000);
  assert.equal([again.settled, again.droppable], [states.settled, states.droppable]);
  assert.equal(again.endings, states.endings);
  assert.equal(again.windowChunks, states.windowChunks);
  assert.is(again.window.size, 2);
});

test("a snapshot of nothing is one too", () => {
  assert.equal(encodeStates(decoded(encodeStates(new RecordStates()))), encodeStates(new RecordStates()));
});

test("tags have four letters, and no two sections the same one", () => {
  const tags = SECTIONS.map(({ tag }) => tag);
  assert.is(new Set(tags).size, tags.length);
  for (const tag of tags) assert.match(tag, /^[A-Z]{4}$/);
  assert.equal(
    sectionsOf(encodeStates(fullStates())).map(({ tag }) => tag),
    tags,
  );
});

test("a section that isn't known is refused wherever it stands, and names its tag", () => {
  const bytes = encodeStates(fullStates());
  const parts = sectionsOf(bytes).map(({ start, end }) => bytes.subarray(start, end));
  for (const tag of ["LATE", "sett", "SET\0", "\xff\xff\xff\xff"]) {
    for (let at = 0; at <= parts.length; at += 1) {
      const changed = withSections(bytes, parts.toSpliced(at, 0, section(tag)));
      const thrown = throwsWith(() => decoded(changed), "ERR_JOURNAL_VERSION");
      assert.is(thrown.details["tag"], tag);
    }
  }
});

test("a snapshot of a newer version is refused as one, other numbers as no version", () => {
  const bytes = encodeStates(fullStates());
  for (const version of [3, 4, 16]) {
    bytes.writeUInt32LE(version, 0);
    throwsWith(() => decoded(bytes), "ERR_JOURNAL_VERSION");
  }
  for (const version of [0, 17, 0x09090909, 2 ** 32 - 1]) {
    bytes.writeUInt32LE(version, 0);
    throwsWith(() => decoded(bytes), "ERR_RECORD_UNREADABLE");
  }
  throwsWith(() => decoded(Buffer.alloc(0)), "ERR_RECORD_UNREADABLE");
  throwsWith(() => decoded(Buffer.from([2, 0, 0, 0])), "ERR_RECORD_UNREADABLE");
});

test("a snapshot that is cut anywhere is refused", () => {
  const bytes = encodeStates(fullStates());
  for (let end = 0; end < bytes.length; end += 1) {
    throwsWith(() => decoded(bytes.subarray(0, end)), "ERR_RECORD_UNREADABLE");
  }
});

test("a section that stands there twice is refused", () => {
  const bytes = encodeStates(fullStates());
  const parts = sectionsOf(bytes).map(({ start, end }) => bytes.subarray(start, end));
  for (const part of parts) throwsWith(() => decoded(withSections(bytes, [...parts, part])), "ERR_RECORD_UNREADABLE");
});

test("a snapshot of a build that didn't know a section yet is read without it", () => {
  const bytes = encodeStates(fullStates());
  const parts = sectionsOf(bytes).map(({ start, end }) => bytes.subarray(start, end));
  const without = parts.filter((_, index) => SECTIONS[index]?.tag !== "PAUS");
  const states = decoded(withSections(bytes, without));
  assert.is(states.paused.size, 0);
  assert.is(states.retries.size, 1);
});

test("bytes that aren't a section's give an error with a code, and nothing else", () => {
  fc.assert(
    fc.property(fc.constantFrom(...SECTIONS), fc.uint8Array({ maxLength: 60 }), ({ tag }, garbage) => {
      const bytes = withSections(encodeStates(new RecordStates()), [section(tag, Buffer.from(garbage))]);
      try {
        decoded(bytes);
      } catch (thrown) {
        assert.ok(isMillraceError(thrown), `${tag}: ${String(thrown)}`);
      }
    }),
  );
});

/** A log of these records, of which those before `firstSequence` were given up. */
function logOf(firstSequence: number, records: readonly Partial<LogRecord>[]): StatesSource {
  const all = records.map((record) => {
    const payload = record.payload ?? (() => Buffer.alloc(0));
    return {
      header: () => ENTRIES,
      replaces: 0,
      priority: 0,
      timeMs: 0,
      origin: record.sequence,
      ...record,
      payload,
    } as LogRecord;
  });
  const walk = (): LogWalk => {
    let from = 0;
    return {
      seek: (place) => (from = place),
      skipTo: (place) => (from = place),
      next: () => {
        const found = all.find(({ sequence }) => sequence >= from);
        from = (found?.sequence ?? from) + 1;
        return found;
      },
      close: () => {},
    };
  };
  return { firstSequence, walk };
}

const stored = (states: RecordStates, from: number): { bytes: Buffer; from: number } => {
  return { bytes: encodeStates(states), from };
};

test("an older checkpoint finds what was copied forward after it", () => {
  const key = (n: number): Buffer => Buffer.from(`key ${n}`);
  const older = new RecordStates();
  const idempotency = { key: key(1), payloadCrc: 1, payloadBytes: 1 };
  older.window.judge("pay", idempotency, 2, 1000);
  const entries = older.window.encode(0, 10);
  older.windowChunks.set(5, 2);
  older.window.judge("pay", { ...idempotency, key: key(2) }, 6, 1000);
  // The record 3 and the WINDOW record at 5 were copied; then the log before 9 was given up.
  const log = logOf(9, [
    { sequence: 10, type: RECORD_TYPE.data, origin: 3, replaces: 3 },
    { sequence: 11, type: RECORD_TYPE.window, replaces: 5, payload: () => entries },
  ]);
  const states = readStates(log, stored(older, 9), WINDOW_DEFAULTS);
  assert.is(states.placeOf(3), 10);
  assert.is(states.isSettled(3), false, "it is delivered from its copy");
  assert.equal(states.window.recall("pay", idempotency, 20), { kind: "duplicate", first: 2 });
  assert.equal([...states.windowChunks], [[11, 2]]);
});

test("keys outlive a WINDOW record that was copied behind a later one", () => {
  const states = new RecordStates();
  const idempotency = (n: number): Idempotency => ({ key: Buffer.from(`key ${n}`), payloadCrc: n, payloadBytes: 1 });
  const entries = new Map<number, Buffer>();
  const write = (place: number, origin: number): void => {
    states.window.judge("pay", idempotency(origin), origin, 1000);
    entries.set(place, states.window.encode(origin - 1, 10));
    states.windowChunks.set(place, origin);
  };
  write(10, 1);
  write(11, 2);
  // As `RecordStates` does for a copy.
  states.windowChunks.delete(10);
  states.windowChunks.set(12, 1);
  entries.set(12, entries.get(10) as Buffer);
  const again = decodeStates(encodeStates(states), WINDOW_DEFAULTS, (place) => entries.get(place) as Buffer);
  for (const origin of [1, 2]) {
    assert.equal(again.window.recall("pay", idempotency(origin), 9), { kind: "duplicate", first: origin });
  }
  assert.is(again.window.size, 2);
});

test("without a checkpoint whose log goes on, nothing is guessed", () => {
  const records = [{ sequence: 10, type: RECORD_TYPE.data, origin: 3, replaces: 3 }];
  throwsWith(() => readStates(logOf(9, records), undefined, WINDOW_DEFAULTS), "ERR_JOURNAL_DAMAGED");
  const states = new RecordStates();
  throwsWith(() => readStates(logOf(9, records), stored(states, 8), WINDOW_DEFAULTS), "ERR_JOURNAL_DAMAGED");
  assert.is(readStates(logOf(9, records), stored(states, 9), WINDOW_DEFAULTS).placeOf(3), 10);
  // An empty one says that the log alone tells.
  const told = { bytes: Buffer.alloc(0), from: 9 };
  assert.is(readStates(logOf(9, records), told, WINDOW_DEFAULTS).isSettled(3), false);
});

test("a snapshot goes to the keeper in shared memory, and is whole on the disk", async () => {
  const seen: Uint8Array[] = [];
  const own = Object.getOwnPropertyDescriptor(Journal.prototype, "checkpoint") as PropertyDescriptor;
  const checkpoint = own.value as (this: Journal, bytes: Uint8Array, from: number) => Promise<void>;
  Journal.prototype.checkpoint = function (bytes, from) {
    seen.push(bytes);
    return checkpoint.call(this, bytes, from);
  };
  const directory = temporaryDirectory();
  try {
    const mill = await open<{ echo(value: number): unknown }>({ handlers: handlersUrl, journal: { directory } });
    await (
      await mill.publish.echo(1)
    ).done;
    await mill.close();
  } finally {
    Object.defineProperty(Journal.prototype, "checkpoint", own);
  }
  assert.is(seen.length, 1);
  assert.instance(seen[0]?.buffer, SharedArrayBuffer);
  const journal = await Journal.open({ directory });
  assert.equal((await journal.lastCheckpoint())?.bytes, Buffer.from(seen[0] as Uint8Array));
  await journal.close();
});

test.run();
