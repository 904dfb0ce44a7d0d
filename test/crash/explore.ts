// Enumerates the states that a power cut may leave behind, and checks the journal's promises in
// each.
import { createHash } from "node:crypto";
import type { Random } from "@millrace/base";
import {
  type Choice,
  type Operation,
  SimulatedStorage,
  STALE_BLOCK,
  tornBlock,
} from "@millrace/journal/internal/storage/simulated.fault";
import { segmentBytesFor } from "@millrace/journal/internal/files/limits";
import type { SegmentHeader } from "@millrace/journal/internal/files/format";
import type { LogWriter } from "@millrace/journal/internal/writer/log-writer";
import type { Engine } from "./engine.ts";
import { type Content, type History, type Snapshot, Violation } from "./history.ts";
import { LIMITS, readContent } from "./rig.ts";

/** Up to this many unsynced blocks the explorer tries every subset, with all sizes and names. */
const EXHAUSTIVE_BLOCKS_MAX = 8;
const EXHAUSTIVE_STATES_MAX = 4096;
/** Most that an opening needs: a segment that repeats the largest batch. */
const ROOM_MAX: number = segmentBytesFor(LIMITS.batchBytesMax);

export interface ExploreOptions {
  readonly engine: Engine;
  readonly random: Random;
  /**
   * Random states beyond the exhaustive ones at each step: torn blocks, stale blocks, subsets of
   * many blocks.
   */
  readonly samples: number;
  /** States at each step of a recovery that is cut off itself. */
  readonly nestedSamples: number;
  /** How often a recovery may be cut off in a row. */
  readonly depth: number;
  /**
   * One of this many states has its recovery cut off; `killEvery` says the same of the process's
   * deaths.
   */
  readonly nestedEvery: number;
  readonly killEvery: number;
}

export class Explorer {
  readonly #options: ExploreOptions;
  readonly #seen = new Set<string>();
  /** The steps to the state that is checked now, for the message of a violation. */
  readonly #path: string[] = [];
  /** Different pairs of disk and promises. */
  states = 0;
  /** Those among them that a cut of a recovery has left. */
  nestedStates = 0;
  /** Deaths of the process alone. */
  kills = 0;
  /** States that opened only with more room on the disk. */
  refusals = 0;

  constructor(options: ExploreOptions) {
    this.#options = options;
  }

  /** Checks every state that a power cut now may leave, and the death of the process. */
  explore(disk: SimulatedStorage, history: History, where: string): void {
    const { random, samples } = this.#options;
    this.#within(where, () => {
      for (const values of allSelections(disk.choices(), random, samples)) this.#visit(disk, history, values, 0);
      this.#kill(disk, history);
    });
  }

  #visit(disk: SimulatedStorage, history: History, values: readonly number[], level: number): void {
    const state = disk.crash(values);
    if (!this.#isNew(state.fingerprint(), history)) return;
    this.states += 1;
    if (level > 0) this.nestedStates += 1;
    const isNested = this.#options.random.below(this.#options.nestedEvery) === 0;
    this.#within(`cut [${values.join(",")}]`, () => this.#check(state, history, level, isNested));
  }

  /**
   * The process dies. The kernel keeps what it has, and perhaps loses it while the next process
   * recovers.
   */
  #kill(disk: SimulatedStorage, history: History): void {
    this.kills += 1;
    const { killEvery, random } = this.#options;
    this.#within("kill", () => this.#check(disk.fork(), history, 0, random.below(killEvery) === 0));
  }

  #check(disk: SimulatedStorage, history: History, level: number, isNested: boolean): void {
    const { engine, depth } = this.#options;
    if (isNested && level < depth) {
      const copy = disk.fork();
      copy.before = (operation) => {
        if (CHANGING.has(operation.kind)) this.#cutRecovery(copy, history, operation, level + 1);
        return undefined;
      };
      unlessFull(() => engine.opening.openLog(copy, LIMITS, () => 1));
    }
    checkOpening(engine, disk, history, () => (this.refusals += 1));
  }

  #cutRecovery(disk: SimulatedStorage, history: History, operation: Operation, level: number): void {
    const { random, nestedSamples } = this.#options;
    this.#within(`recovery before ${describe(operation)}`, () => {
      for (const values of someSelections(disk.choices(), random, nestedSamples)) {
        this.#visit(disk, history, values, level);
      }
    });
  }

  #isNew(fingerprint: string, history: History): boolean {
    const key = createHash("sha1").update(`${fingerprint} ${history.key()}`).digest("base64");
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  #within(what: string, run: () => void): void {
    this.#path.push(what);
    try {
      run();
    } catch (thrown) {
      if (thrown instanceof StateError) throw thrown;
      throw new StateError(`${(thrown as Error).message}\n  after: ${this.#path.join("\n    then ")}`, {
        cause: thrown,
      });
    }
    this.#path.pop();
  }
}

/** A violation with the way to the state in which it was found. */
export class StateError extends Error {}

const CHANGING: ReadonlySet<string> = new Set([
  "write",
  "sync",
  "truncate",
  "rename",
  "remove",
  "makeDirectory",
  "syncDirectory",
]);

export function describe({ kind, name, position, bytes }: Operation): string {
  return kind === "write" || kind === "truncate" ? `${kind} ${name} ${position}+${bytes}` : `${kind} ${name}`;
}

/**
 * Opens the disk and checks everything: its content, that the recovered records are durable from
 * then on, that a second opening agrees, and that a record appended now survives a power cut.
 */
export function checkOpening(
  engine: Engine,
  disk: SimulatedStorage,
  history: History,
  onFull: () => void = () => {},
): void {
  const { log, content } = open(engine, disk, onFull);
  const now = history.reopened(content);
  now.checkSnapshot(newestSnapshot(engine, disk), content.from);

  // Nothing that was recovered may depend on what no sync has confirmed.
  const dark = disk.crash(disk.choices().map(() => 0));
  const again = open(engine, dark, () => {}).content;
  if (again.from !== content.from)
    throw new Violation(`a second opening begins at ${again.from}, the first at ${content.from}`);
  expectSame(again.texts, content.texts, "a second opening after a power cut");
  now.checkSnapshot(newestSnapshot(engine, dark), again.from);

  const text = `after ${content.texts.length}`;
  now.appended(0, { text, continues: false });
  const frame = frameOf(engine, text);
  if (!log.fits(frame.length)) return;
  const sequence = log.append([frame], frame.length, 1);
  now.acknowledged(0, sequence, 1);
  now.check(open(engine, disk.crash(disk.choices().map(() => 0)), () => {}).content);
}

/** On a disk that has no room even for an opening, nothing is lost: it opens when there is more. */
function open(
  engine: Engine,
  disk: SimulatedStorage,
  onFull: () => void,
): { readonly log: LogWriter; readonly content: Content } {
  const opened = unlessFull(() => engine.opening.openLog(disk, LIMITS, () => 1));
  if (opened === undefined) {
    if (disk.blocksMax === Infinity) throw new Violation("a disk without limits is full");
    const room = roomOf(disk);
    if (room >= ROOM_MAX) throw new Violation(`an opening was refused with ${room} bytes of room`);
    onFull();
    disk.blocksMax = Infinity;
    return open(engine, disk, onFull);
  }
  const { log, recovered } = opened;
  return { log, content: readContent(engine, disk, recovered.summary.firstSequence, log.nextSequence - 1) };
}

/** Bytes that an opening may take: all that is free, and the journal's own spares and reserve. */
function roomOf(disk: SimulatedStorage): number {
  const own = disk.list().filter((name) => /^(?:spare|reserve)-/.test(name));
  return own.reduce((bytes, name) => bytes + disk.allocatedBytes(name), disk.space().freeBytes);
}

/** Undefined when the disk had no room. */
function unlessFull<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "ENOSPC") return undefined;
    throw thrown;
  }
}

function newestSnapshot(engine: Engine, disk: SimulatedStorage): Omit<Snapshot, "id"> | undefined {
  const name = disk.list().find((each) => each.startsWith("log-")) as string;
  const { logId } = engine.segments.readHeader(disk, name) as SegmentHeader;
  const newest = engine.checkpoint.readCheckpoints(disk, logId)[0];
  return newest === undefined ? undefined : { from: newest.from, text: newest.bytes.toString() };
}

function expectSame(found: readonly string[], expected: readonly string[], what: string): void {
  if (found.length === expected.length && found.every((text, index) => text === expected[index])) return;
  throw new Violation(`${what} finds ${found.length} records, the first one found ${expected.length}`);
}

/** A record as a producer frames it. */
export function frameOf(engine: Engine, text: string): Buffer {
  const content = engine.format.RECORD_FIXED_BYTES + text.length;
  const bytes = Buffer.alloc(Math.ceil(content / 8) * 8);
  bytes.writeUInt32LE(content - 4, 0);
  bytes[4] = 1;
  bytes.write(text, engine.format.RECORD_FIXED_BYTES, "latin1");
  return bytes;
}

// ── selections ──────────────────────────────────────────────────────────────────────────────────

/** Every state where that is few enough; then random ones. */
export function* allSelections(choices: readonly Choice[], random: Random, samples: number): Generator<number[]> {
  const blocks = choices.filter(({ kind }) => kind === "block").length;
  const product = choices.reduce((total, { options }) => total * options, 1);
  if (blocks <= EXHAUSTIVE_BLOCKS_MAX && product <= EXHAUSTIVE_STATES_MAX) yield* everySelection(choices);
  else yield* edges(choices);
  if (blocks > 0) for (let sample = 0; sample < samples; sample += 1) yield randomSelection(choices, random);
}

/** The outermost states and a few random ones. */
function* someSelections(choices: readonly Choice[], random: Random, samples: number): Generator<number[]> {
  yield choices.map(() => 0);
  yield choices.map(({ options }) => options - 1);
  if (choices.length > 1) for (let sample = 0; sample < samples; sample += 1) yield randomSelection(choices, random);
}

function* everySelection(choices: readonly Choice[]): Generator<number[]> {
  const values = choices.map(() => 0);
  for (;;) {
    yield [...values];
    let index = 0;
    while (index < values.length && values[index] === (choices[index] as Choice).options - 1) {
      values[index] = 0;
      index += 1;
    }
    if (index === values.length) return;
    values[index] = (values[index] as number) + 1;
  }
}

/** Nothing, everything, each prefix, all but one, one alone. */
function* edges(choices: readonly Choice[]): Generator<number[]> {
  const all = choices.map(({ options }) => options - 1);
  for (let count = 0; count <= all.length; count += 1) yield all.map((value, index) => (index < count ? value : 0));
  for (const one of all.keys()) {
    yield all.map((value, index) => (index === one ? 0 : value));
    yield all.map((value, index) => (index === one ? value : 0));
  }
}

function randomSelection(choices: readonly Choice[], random: Random): number[] {
  const values = choices.map(({ options }) => random.below(options));
  const blocks = choices.flatMap(({ kind }, index) => (kind === "block" ? [index] : []));
  const tears = blocks.length === 0 ? 0 : 1 + random.below(2);
  for (let tear = 0; tear < tears; tear += 1) {
    const index = blocks[random.below(blocks.length)] as number;
    const versions = (choices[index] as Choice).options - 1;
    values[index] = random.below(8) === 0 ? STALE_BLOCK : tornBlock(1 + random.below(versions), randomSectors(random));
  }
  return values;
}

/** Sectors that were written: the first few, the last few, or any. */
function randomSectors(random: Random): number {
  const count = 1 + random.below(7);
  const first = (1 << count) - 1;
  const kinds = [first, 255 - first, 1 + random.below(254)];
  return kinds[random.below(3)] as number;
}
