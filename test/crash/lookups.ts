// Single records of a log whose front is given up, whose files are used again, and of which little
// is kept in memory, compared with a list of everything that was appended.
import * as assert from "uvu/assert";
import type { Lookup } from "@millrace/journal/internal/read/lookup";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Storage, StorageFile } from "@millrace/journal/internal/storage/storage";
import fc from "../property.ts";
import type { JournalLimits } from "@millrace/journal/internal/files/limits";
import { keeperOn, type Opened, openOn, rollOver } from "./built.ts";
import type { Engine } from "./engine.ts";

export interface Entry {
  readonly key: string;
  readonly text: string;
}

/** Sequence 1 is at index 0. */
interface Model {
  entries: Entry[];
  /** What was given up lies before. */
  first: number;
  /** The segment that the writer has told of last. */
  told: number;
}

interface Real {
  readonly opened: Opened;
  readonly handles: Handles;
  readonly lookup: Lookup;
}

type Command = fc.Command<Model, Real>;

/** Of a process for files; the lookup promises to need no more. */
const FILES_MAX = 32;

function refused(): never {
  throw new Error("a lookup only reads");
}

/** A storage that knows which files are open. */
export class Handles implements Storage {
  readonly #storage: Storage;
  readonly files = new Map<StorageFile, string>();

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  list(): string[] {
    return this.#storage.list();
  }

  open(name: string, mode: "read"): StorageFile {
    const file = this.#storage.open(name, mode);
    const counted: StorageFile = {
      write: refused,
      read: (buffer, length, position) => file.read(buffer, length, position),
      sync: refused,
      size: () => file.size(),
      truncate: refused,
      close: () => {
        assert.ok(this.files.delete(counted), `${name} is closed once`);
        file.close();
      },
    };
    this.files.set(counted, name);
    assert.ok(this.files.size <= FILES_MAX + 1, `${this.files.size} files are open`);
    return counted;
  }

  rename(): void {
    refused();
  }

  remove(): void {
    refused();
  }

  makeDirectory(): void {
    refused();
  }

  syncDirectory(): void {
    refused();
  }
}

/** A record with a key, as a producer frames it. */
function framed(engine: Engine, { key, text }: Entry): Buffer {
  const fixed = engine.format.RECORD_FIXED_BYTES;
  const content = fixed + key.length + text.length;
  const bytes = Buffer.alloc(Math.ceil(content / 8) * 8);
  bytes.writeUInt32LE(content - 4, 0);
  bytes[4] = engine.format.RECORD_TYPE.data;
  bytes.writeUInt16LE(key.length, 8);
  bytes.write(key + text, fixed, "latin1");
  return bytes;
}

/** Appends one batch; a new segment is begun where it doesn't fit. */
export function appendBatch(engine: Engine, opened: Opened, entries: readonly Entry[]): void {
  const frames = entries.map((entry) => framed(engine, entry));
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  if (!opened.log.fits(bytes)) rollOver(engine, opened);
  opened.log.append(frames, bytes, entries.length);
}

function checkGet({ entries, first }: Model, { lookup }: Real, sequence: number): void {
  const record = lookup.get(sequence);
  const expected = sequence < first ? undefined : entries[sequence - 1];
  const found = record && { key: record.key.toString("latin1"), text: record.payload.toString("latin1") };
  assert.equal(found, expected, `record ${sequence}`);
  if (record !== undefined) assert.is(record.sequence, sequence);
}

function checkFind({ entries, first }: Model, { lookup }: Real, key: string): void {
  const sequence = entries.findLastIndex((entry) => entry.key === key) + 1;
  const isThere = key !== "" && sequence >= first && sequence > 0;
  assert.is(lookup.find(Buffer.from(key, "latin1"))?.sequence, isThere ? sequence : undefined, `key "${key}"`);
}

function command(name: string, run: (model: Model, real: Real) => void): Command {
  return { check: () => true, run, toString: () => name };
}

/** `isTold`: whether the writer's count of segments is seen at once. */
function append(engine: Engine, entries: readonly Entry[], isTold: boolean): Command {
  const what = entries.map(({ key, text }) => `${key}:${text.length}`).join();
  return command(`append(${what}${isTold ? "" : ", not told"})`, (model, { opened }) => {
    appendBatch(engine, opened, entries);
    model.entries.push(...entries);
    if (isTold) model.told = opened.log.segment;
  });
}

/** As the keeper does it some time after a segment is finished. */
function index(engine: Engine): Command {
  return command("index", (_, { opened }) => indexAll(engine, opened));
}

function indexAll(engine: Engine, { disk, log }: Opened): void {
  for (const id of engine.segments.segmentIds(disk)) {
    if (id === log.segment) continue;
    for (const step of engine.scrub.scrubSegment(disk, engine.format.segmentName(id))) assert.is(step, undefined);
  }
}

function giveUp(engine: Engine, where: number): Command {
  return command(`giveUp(${where})`, (model, { opened, lookup, handles }) => {
    const before = model.first + Math.floor(where * (model.entries.length - model.first + 1));
    const keeper = keeperOn(engine, opened);
    for (let turn = 0; turn < 2; turn += 1) keeper.checkpoint("", before);
    keeper.truncate(before);
    keeper.end();
    model.first = engine.marks.readMarks(opened.disk)?.firstSequence ?? 1;
    lookup.forget();
    const there = opened.disk.list();
    for (const name of handles.files.values()) assert.ok(there.includes(name), `${name} takes up space`);
  });
}

/** An index is lost, or a page of it: the lookup does without. */
function harmIndex(where: number, isRemoved: boolean): Command {
  return command(`harmIndex(${where}, ${isRemoved})`, (_, { opened: { disk } }) => {
    const names = disk.list().filter((name) => name.endsWith(".idx"));
    const name = names[Math.floor(where * names.length)];
    if (name === undefined) return;
    if (isRemoved) disk.remove(name);
    else {
      const file = disk.open(name, "write");
      file.write([Buffer.alloc(9, 0xa5)], Math.floor(where * (file.size() - 9)));
      file.close();
    }
  });
}

function get(where: number): Command {
  return command(`get(${where})`, (model, real) =>
    checkGet(model, real, Math.floor(where * (model.entries.length + 2))),
  );
}

function getAll(): Command {
  return command("getAll", (model, real) => {
    for (let sequence = 1; sequence <= model.entries.length; sequence += 1) checkGet(model, real, sequence);
  });
}

function find(key: string): Command {
  return command(`find("${key}")`, (model, real) => checkFind(model, real, key));
}

/**
 * Throws a sequence of commands after which the lookup and the list differ: the smallest that it
 * can find, if `shrinks`.
 */
export function checkLookups(engine: Engine, seed: number, runs: number, shrinks = true): void {
  const key = fc.constantFrom("", "a", "b", "c", "d", "a key that is longer than thirty-two bytes");
  const text = fc.tuple(fc.nat(255), fc.oneof(fc.nat(40), fc.nat(900), fc.nat(8000))).map(([letter, length]) => {
    return String.fromCodePoint(letter).repeat(length);
  });
  const entry = fc.record({ key, text }, { noNullPrototype: true });
  const few = fc.array(entry, { minLength: 1, maxLength: 2 });
  const many = fc.array(
    entry.map(({ key: each, text: long }) => ({ key: each, text: long.slice(0, 250) })),
    { minLength: 10, maxLength: 50, size: "max" },
  );
  const where = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const appends = fc.tuple(fc.oneof(few, few, many), fc.boolean()).map(([each, told]) => append(engine, each, told));
  const commands = fc.commands(
    [
      appends,
      appends,
      appends,
      fc.constant(index(engine)),
      where.map((each) => giveUp(engine, each)),
      fc.tuple(where, fc.boolean()).map(([each, isRemoved]) => harmIndex(each, isRemoved)),
      where.map((each) => get(each)),
      fc.constant(getAll()),
      key.map((each) => find(each)),
      key.map((each) => find(each)),
    ],
    { maxCommands: 80, size: "max" },
  );
  fc.assert(
    fc.property(commands, fc.constantFrom(0, 4096, 2 ** 15, 2 ** 20), (run, cacheBytes) => {
      let handles: Handles | undefined;
      let close = (): void => {};
      fc.modelRun(() => {
        const opened = openOn(engine, new SimulatedStorage());
        handles = new Handles(opened.disk);
        const model: Model = { entries: [], first: 1, told: opened.log.segment };
        const log = { first: () => model.first, durable: () => model.entries.length, newestSegment: () => model.told };
        const lookup = new engine.lookup.Lookup(handles, log, cacheBytes);
        close = () => lookup.close();
        return { model, real: { opened, handles, lookup } };
      }, run);
      close();
      assert.is(handles?.files.size ?? 0, 0, "no file stays open");
    }),
    { seed, numRuns: runs, endOnFailure: !shrinks },
  );
}

/** Batches of several pieces, in which frames lie across every kind of border. */
const LARGE: JournalLimits = { recordBytesMax: 2 ** 20, batchBytesMax: 2 ** 21, segmentBytesMax: 2 ** 22 };

function lookupOf(engine: Engine, opened: Opened, records: () => number, cacheBytes: number): Lookup {
  const log = { first: () => 1, durable: records, newestSegment: () => opened.log.segment };
  return new engine.lookup.Lookup(opened.disk, log, cacheBytes);
}

/**
 * Records of every size around the bounds of pages and of what is read at once. With 112 bytes a
 * frame begins 8 bytes before such a bound.
 */
export function checkLargeBatch(engine: Engine): void {
  for (const step of [8, 16, 24, 112, 4072, 70_000]) {
    const opened = openOn(engine, new SimulatedStorage(), LARGE);
    const entries: Entry[] = [];
    for (let bytes = 0; bytes < 900_000; bytes += step + 32)
      entries.push({ key: "", text: String.fromCodePoint(33 + (entries.length % 90)).repeat(step) });
    appendBatch(engine, opened, entries);
    for (const cacheBytes of [0, 2 ** 24]) {
      const lookup = lookupOf(engine, opened, () => entries.length, cacheBytes);
      const every = cacheBytes === 0 ? Math.ceil(entries.length / 20) : 1;
      for (let sequence = 1; sequence <= entries.length; sequence += every) {
        const text = lookup.get(sequence)?.payload.toString("latin1");
        assert.ok(text === entries[sequence - 1]?.text, `record ${sequence} of ${step} bytes`);
      }
      lookup.close();
    }
  }
}

/** A page of a batch that was proven before changes on the disk: that is damage, and no record. */
export function checkDamagedPage(engine: Engine): void {
  const opened = openOn(engine, new SimulatedStorage(), LARGE);
  const entries = Array.from({ length: 1000 }, (_, n) => ({ key: `key-${n + 1}`, text: "text".repeat(100) }));
  appendBatch(engine, opened, entries);
  // A table of 106 pages takes 2,208 bytes, and is kept in an eighth of this; of its pages 16 are.
  const lookup = lookupOf(engine, opened, () => entries.length, 2 ** 15);
  assert.is(lookup.get(500)?.sequence, 500);
  for (let sequence = 1; sequence <= 400; sequence += 1) assert.is(lookup.get(sequence)?.sequence, sequence);
  const name = engine.format.segmentName(1);
  const file = opened.disk.open(name, "write");
  // Behind the segment's header and the batch's, frames of 432 bytes (keys "key-1" to "key-9" have
  // fewer, and take as many).
  file.write([Buffer.from("other bytes")], engine.format.ALIGNMENT + 64 + 499 * 432 + 100);
  file.close();
  for (let turn = 0; turn < 2; turn += 1) {
    let thrown: unknown;
    try {
      lookup.get(500);
    } catch (error) {
      thrown = error;
    }
    const { code, details } = (thrown ?? {}) as { code?: string; details?: Record<string, unknown> };
    assert.is(code, "ERR_JOURNAL_DAMAGED");
    assert.is(details?.file, name);
    assert.is(details?.firstSequence, 500);
  }
  lookup.close();
}

/**
 * A segment that was given up, of which the opener doesn't know yet, is no damage; a lost one is.
 */
export function checkLostSegment(engine: Engine): void {
  const opened = openOn(engine, new SimulatedStorage());
  const { disk } = opened;
  let count = 0;
  for (; opened.log.segment < 6; count += 1)
    appendBatch(engine, opened, [{ key: `key-${count + 1}`, text: "text".repeat(500) }]);
  const [, , third, , fifth] = new engine.segments.SegmentList(disk).read().map(({ baseSequence }) => baseSequence);
  const early = lookupOf(engine, opened, () => count, 0);
  assert.is(early.get(1)?.sequence, 1);
  assert.is(early.find(Buffer.from("none")), undefined);
  const keeper = keeperOn(engine, opened);
  for (let turn = 0; turn < 2; turn += 1) keeper.checkpoint("", third as number);
  keeper.truncate(third as number);
  keeper.end();
  // Until then it may read what it has open.
  early.forget();
  for (const lookup of [early, lookupOf(engine, opened, () => count, 0)]) {
    assert.is(lookup.get(1)?.sequence, undefined);
    assert.is(lookup.find(Buffer.from("none")), undefined);
    assert.is(lookup.find(Buffer.from(`key-${third}`))?.sequence, third);
    lookup.close();
  }
  // An index knows no end: without one the end of segment 3 would be noticed.
  indexAll(engine, opened);
  disk.remove(engine.format.segmentName(4));
  const lookup = lookupOf(engine, opened, () => count, 0);
  const isDamage = ({ code }: { code?: string }): boolean => code === "ERR_JOURNAL_DAMAGED";
  for (let turn = 0; turn < 2; turn += 1) {
    assert.throws(() => lookup.get((fifth as number) - 1), isDamage);
    for (const key of ["none", "key-1", `key-${third}`])
      assert.throws(() => lookup.find(Buffer.from(key)), isDamage, key);
    assert.is(lookup.get(third as number)?.sequence, third);
    assert.is(lookup.find(Buffer.from(`key-${fifth}`))?.sequence, fifth);
  }
  lookup.close();
}
