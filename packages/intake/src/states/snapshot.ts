/**
 * What `RecordStates` knows, as the bytes of a checkpoint.
 *
 * Version 2: u32 version (2), then an object of the codec, whose lists are float arrays. Version 1,
 * of Millrace 0.1: u32 version, three u32 counts, u64 unused, then pairs of f64: settled and
 * droppable ranges, places of DEAD records by origin, places by origin. It is read and carried
 * over.
 */
import { decode, encode } from "@millrace/codec";
import { intakeError } from "../errors.ts";
import { RangeSet } from "../format/range-set.ts";
import { REASON } from "../format/state-records.ts";
import { WINDOW_DEFAULTS, type WindowLimits } from "./dedupe-window.ts";
import { RecordStates } from "./record-states.ts";

const VERSION = 2;
const VERSION_BYTES = 4;
const FIRST_VERSION = 1;
const FIRST_HEAD_BYTES = 24;
const PAIR_BYTES = 16;

interface Saved {
  readonly settled: Float64Array;
  readonly droppable: Float64Array;
  readonly places: Float64Array;
  /** Origin, place, reason, attempts, time. */
  readonly dead: Float64Array;
  /** Origin, place, attempts, due, first failure. */
  readonly retries: Float64Array;
  readonly producers: readonly (readonly [string, Float64Array])[];
  readonly paused: readonly string[];
  readonly redirected: readonly (readonly [number, string])[];
  readonly uncleanEnds: number;
  readonly isOpen: boolean;
  readonly suspects: readonly (readonly [number, number])[];
  readonly trying: readonly number[];
  readonly lease: readonly number[];
  /** Places of WINDOW records, in order, with the origins of their last entries. */
  readonly windowChunks: Float64Array;
  /** Entries of the window that no WINDOW record has. */
  readonly windowRest: Uint8Array;
}

export function encodeStates(states: RecordStates): Buffer {
  const { endings } = states;
  const saved: Saved = {
    settled: pairsOf(states.settled),
    droppable: pairsOf(states.droppable),
    places: Float64Array.from([...states.places].flat()),
    dead: Float64Array.from([...states.dead].flatMap(([origin, d]) => [origin, d.place, d.reason, d.attempts, d.atMs])),
    retries: Float64Array.from(
      [...states.retries].flatMap(([origin, r]) => [origin, r.place, r.attempts, r.dueMs, r.firstMs]),
    ),
    producers: [...states.producers].map(([id, sequences]) => [id, pairsOf(sequences)] as const),
    paused: [...states.paused],
    redirected: [...states.redirected],
    uncleanEnds: endings.uncleanEnds,
    isOpen: endings.isOpen,
    suspects: [...endings.suspects],
    trying: endings.trying,
    lease: endings.lease,
    windowChunks: Float64Array.from([...states.windowChunks].flat()),
    windowRest: states.window.encode(states.windowWrittenUpTo, Infinity),
  };
  const version = Buffer.alloc(VERSION_BYTES);
  version.writeUInt32LE(VERSION);
  return Buffer.concat([version, encode(saved)]);
}

/**
 * The states in a checkpoint. `entriesAt` reads the WINDOW record at a place. Throws
 * `ERR_RECORD_UNREADABLE` for a version that this build doesn't know.
 */
export function decodeStates(bytes: Buffer, limits: WindowLimits, entriesAt: (place: number) => Buffer): RecordStates {
  const version = bytes.length < VERSION_BYTES ? 0 : bytes.readUInt32LE(0);
  if (version === FIRST_VERSION) return decodeFirst(bytes, limits);
  if (version !== VERSION) {
    throw intakeError(
      "ERR_RECORD_UNREADABLE",
      `the checkpoint has version ${version}; known are ${FIRST_VERSION} and ${VERSION}`,
    );
  }
  const saved = decode(bytes, VERSION_BYTES) as Saved;
  const states = new RecordStates(limits);
  addPairs(states.settled, saved.settled);
  addPairs(states.droppable, saved.droppable);
  for (const [origin, place] of rowsOf(saved.places, 2)) setPlace(states, origin as number, place as number);
  for (const [origin, place, reason, attempts, atMs] of rowsOf(saved.dead, 5) as Iterable<Five>) {
    states.dead.set(origin, { place, reason, attempts, atMs });
  }
  for (const [origin, place, attempts, dueMs, firstMs] of rowsOf(saved.retries, 5) as Iterable<Five>) {
    states.retries.set(origin, { place, attempts, dueMs, firstMs });
  }
  for (const [id, pairs] of saved.producers) {
    const sequences = new RangeSet();
    addPairs(sequences, pairs);
    states.producers.set(id, sequences);
  }
  for (const handler of saved.paused) states.paused.add(handler);
  for (const [origin, handler] of saved.redirected) states.redirected.set(origin, handler);
  const { uncleanEnds, isOpen, trying, lease } = saved;
  Object.assign(states.endings, { uncleanEnds, isOpen, trying, lease, suspects: new Map(saved.suspects) });
  for (const [place, lastOrigin] of rowsOf(saved.windowChunks, 2)) {
    states.window.decode(entriesAt(place as number));
    states.windowChunks.set(place as number, lastOrigin as number);
  }
  states.window.decode(Buffer.from(saved.windowRest));
  return states;
}

type Five = readonly [number, number, number, number, number];

/** Whether bytes are a snapshot of a version that this build knows. */
export function isSnapshot(bytes: Buffer): boolean {
  try {
    decodeStates(bytes, WINDOW_DEFAULTS, () => Buffer.alloc(0));
    return true;
  } catch {
    return false;
  }
}

function decodeFirst(bytes: Buffer, limits: WindowLimits): RecordStates {
  const states = new RecordStates(limits);
  const pairs = (bytes.length - FIRST_HEAD_BYTES) / PAIR_BYTES;
  if (!Number.isInteger(pairs) || pairs < 0) {
    throw intakeError("ERR_RECORD_UNREADABLE", `a checkpoint of version ${FIRST_VERSION} has ${bytes.length} bytes`);
  }
  const settledEnd = bytes.readUInt32LE(4);
  const droppableEnd = settledEnd + bytes.readUInt32LE(8);
  const deadEnd = droppableEnd + bytes.readUInt32LE(12);
  for (let index = 0; FIRST_HEAD_BYTES + (index + 1) * PAIR_BYTES <= bytes.length; index += 1) {
    const left = bytes.readDoubleLE(FIRST_HEAD_BYTES + index * PAIR_BYTES);
    const right = bytes.readDoubleLE(FIRST_HEAD_BYTES + index * PAIR_BYTES + 8);
    if (index < settledEnd) states.settled.addRange(left, right);
    else if (index < droppableEnd) states.droppable.addRange(left, right);
    else if (index < deadEnd) states.dead.set(left, { place: right, reason: REASON.exhausted, attempts: 0, atMs: 0 });
    else setPlace(states, left, right);
  }
  return states;
}

function setPlace(states: RecordStates, origin: number, place: number): void {
  states.places.set(origin, place);
  states.origins.set(place, origin);
}

function pairsOf(set: RangeSet): Float64Array {
  const pairs = new Float64Array(set.ranges * 2);
  for (let index = 0; index < set.ranges; index += 1) pairs.set(set.range(index), index * 2);
  return pairs;
}

function addPairs(set: RangeSet, pairs: Float64Array): void {
  for (const [first, last] of rowsOf(pairs, 2)) set.addRange(first as number, last as number);
}

function* rowsOf(values: Float64Array, width: number): Generator<readonly number[], void> {
  for (let at = 0; at + width <= values.length; at += width) yield [...values.subarray(at, at + width)];
}
