// Damages a sound log, knowing the purpose of each byte, and compares what an opening says with
// what it must say:
//
//   damage to anything that was acknowledged, or that proves it      refused, with file, offset and sequences
//   damage to the last batch, which nothing has witnessed yet        opens with everything before it
//   damage to bytes that no reader needs                             opens with everything
import type { Random } from "@millrace/base";
import { isMillraceError, seededRandom } from "@millrace/base";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Engine } from "./engine.ts";
import { StateError } from "./explore.ts";
import { type Content, History } from "./history.ts";
import { Life, LIMITS, readContent, type Step } from "./rig.ts";
import { randomSteps } from "./workload.ts";

const PAGE = 4096;
const BATCH_HEADER_BYTES = 64;

interface BatchPlace {
  readonly file: string;
  readonly offset: number;
  /** Header and body, without the padding. */
  readonly bytes: number;
  readonly pages: number;
  readonly firstSequence: number;
  readonly count: number;
}

export interface SoundLog {
  readonly disk: SimulatedStorage;
  readonly content: Content;
  /** Up to this sequence the file marks knows the log to be durable. */
  readonly durable: number;
  readonly files: readonly string[];
  /** Those that an opening reads, in order. */
  readonly batches: readonly BatchPlace[];
  /**
   * A segment of the same log in another course that it might have taken, as long, with other
   * records.
   */
  readonly otherCourse: { readonly file: string; readonly content: Buffer };
  /** Whether the last of them repeats the end of the segment before. */
  readonly lastIsRepeated: boolean;
}

export type Outcome = "refuses" | "opens without the last batch" | "opens with everything";

/**
 * How the last life of a log ends: properly; without a witness for its last batch; with marks that
 * have noted it.
 */
export type Ending = "closed" | "left" | "left when marks had noted it";

/** A log over several openings, some after a crash. */
export function soundLog(engine: Engine, random: Random, ending: Ending, stepsOfLast: number): SoundLog {
  const disk = new SimulatedStorage();
  let history = new History();
  // Decides which commands the keeper gets.
  history.commands = random.below(1 << 20);
  history = live(engine, disk, history, randomSteps(random, 10, "life 0"), "closed");
  const seed = random.below(1 << 30);
  // A copy of the directory goes its own way for a while.
  const otherDisk = disk.fork();
  const newest = Math.max(...disk.list().map((name) => engine.format.segmentOfName(name) ?? 0));
  const file = engine.format.segmentName(newest + 1);
  live(engine, otherDisk, history.copy(), randomSteps(seededRandom(seed), 10, "lifE 1"), "left");
  const otherCourse = { file, content: otherDisk.contentOf(file) };
  history = live(engine, disk, history, randomSteps(seededRandom(seed), 10, "life 1"), "left");
  history = live(engine, disk, history, randomSteps(random, stepsOfLast, "life 2"), ending);
  const log = describeLog(engine, disk.crash(disk.choices().map(() => 0)), history, otherCourse);
  if (ending === "left when marks had noted it" && log.durable < log.content.from + log.content.texts.length - 1) {
    throw new Error(`marks know only of ${log.durable} records`);
  }
  return log;
}

/** Opens, appends, and closes or dies instead. */
function live(
  engine: Engine,
  disk: SimulatedStorage,
  history: History,
  steps: readonly Step[],
  ending: Ending,
): History {
  const life = new Life({
    engine,
    disk,
    history,
    steps,
    commandEvery: 4,
    rests: ending === "left when marks had noted it",
    // The keeper's turn comes before the write of the clean end. There marks note the last batch.
    look: ({ kind, name }) => {
      if (ending === "closed" || !life.isTaken()) return;
      if (ending === "left" || (kind === "write" && name.startsWith("log-"))) throw new End();
    },
  });
  try {
    life.run();
  } catch (thrown) {
    if (!(thrown instanceof End)) throw thrown;
  }
  return life.history;
}

class End extends Error {}

function describeLog(
  engine: Engine,
  disk: SimulatedStorage,
  history: History,
  otherCourse: SoundLog["otherCourse"],
): SoundLog {
  const files = disk
    .list()
    .filter((name) => name.startsWith("log-"))
    .toSorted();
  const batches: BatchPlace[] = [];
  const last = history.acked.length;
  const scan = engine.scan.scanLog(disk);
  const from = scan.segments[0]?.header.baseSequence ?? 1;
  const reader = new engine["log-reader"].LogReader(disk);
  reader.seek(from);
  while (reader.next(last)) {
    const bytes = BATCH_HEADER_BYTES + reader.body.length;
    batches.push({
      file: engine.format.segmentName(reader.segment.segment),
      offset: reader.offset,
      bytes,
      pages: Math.ceil(bytes / PAGE),
      firstSequence: reader.batch.firstSequence,
      count: reader.batch.count,
    });
  }
  reader.close();
  const newest = scan.segments.at(-1);
  if (scan.hasCleanEnd && newest !== undefined && scan.tailStart !== undefined) {
    const offset = scan.tailStart.endOffset;
    batches.push({
      file: newest.name,
      offset,
      bytes: BATCH_HEADER_BYTES,
      pages: 1,
      firstSequence: last + 1,
      count: 0,
    });
  }
  const end = batches.at(-1);
  const lastIsRepeated =
    end !== undefined &&
    newest?.header.kind === engine.format.KIND.recovered &&
    end.file === newest.name &&
    end.offset === PAGE;
  const content = { from, texts: history.acked.slice(from - 1) };
  history.check(content);
  const durable = engine.marks.readMarks(disk)?.durableSequence ?? 0;
  return { disk, content, durable, files, batches, otherCourse, lastIsRepeated };
}

/** The outcome that an opening must have when a byte of the log is wrong. */
export function expectedOutcome(log: SoundLog, file: string, offset: number): Outcome {
  const last = log.batches.at(-1) as BatchPlace;
  const holdsBatches = log.batches.some((batch) => batch.file === file);
  // A newest segment counts as unfinished if it has no batch, or only one that the older segment
  // still has.
  const isDispensable = file === log.files.at(-1) && (!holdsBatches || (log.lastIsRepeated && last.file === file));
  if (file === "marks") return "opens with everything";
  if (offset < PAGE) return isDispensable && !holdsBatches ? "opens with everything" : "refuses";
  const batch = log.batches.find(
    (each) => each.file === file && offset >= each.offset && offset < each.offset + each.bytes,
  );
  if (batch === undefined) return "opens with everything";
  if (batch !== last) return "refuses";
  if (isDispensable || batch.count === 0) return "opens with everything";
  return batch.firstSequence + batch.count - 1 <= log.durable ? "refuses" : "opens without the last batch";
}

export interface Damage {
  readonly what: string;
  readonly file: string;
  /** Where a reader stumbles; undefined where more than one place would do. */
  readonly offset: number | undefined;
  readonly outcome: Outcome;
  readonly apply: (disk: SimulatedStorage) => void;
}

/** One flipped bit in each field, and at random places of everything. */
export function* flips(log: SoundLog, random: Random, perPlace: number): Generator<Damage> {
  const flip = (file: string, offset: number, what: string): Damage => ({
    what: `a bit of ${what}, ${file} at ${offset}`,
    file,
    offset,
    outcome: expectedOutcome(log, file, offset),
    apply: (disk) => {
      const byte = disk.contentOf(file).subarray(offset, offset + 1);
      disk.corrupt(file, offset, Uint8Array.of((byte[0] as number) ^ (1 << random.below(8))));
    },
  });
  for (const file of log.files) {
    for (const [start, end, what] of SEGMENT_FIELDS) yield flip(file, start + random.below(end - start), what);
    const size = log.disk.contentOf(file).length;
    for (let count = 0; count < perPlace; count += 1) yield flip(file, random.below(size), "the file");
  }
  // One of the two pages of marks is enough.
  const marks = log.disk.list().includes("marks") ? perPlace : 0;
  for (let count = 0; count < marks; count += 1) yield flip("marks", random.below(2 * PAGE), "the marks");
  for (const batch of log.batches) {
    for (const [start, end, what] of BATCH_FIELDS) {
      yield flip(batch.file, batch.offset + start + random.below(end - start), `a batch: ${what}`);
    }
    const body = batch.bytes - BATCH_HEADER_BYTES;
    if (body === 0) continue;
    for (const [start, end, what] of RECORD_FIELDS) {
      yield flip(
        batch.file,
        batch.offset + BATCH_HEADER_BYTES + start + random.below(end - start),
        `a record: ${what}`,
      );
    }
    for (let count = 0; count < perPlace; count += 1) {
      yield flip(batch.file, batch.offset + BATCH_HEADER_BYTES + random.below(body), "a body");
    }
    const padding = batch.pages * PAGE - batch.bytes;
    if (padding > 0) yield flip(batch.file, batch.offset + batch.bytes + random.below(padding), "the padding");
  }
  yield* blockFaults(log, random);
}

const SEGMENT_FIELDS: readonly [number, number, string][] = [
  [0, 8, "a segment header: the magic"],
  [8, 12, "a segment header: the version"],
  [16, 32, "a segment header: the log's id"],
  [32, 40, "a segment header: its id"],
  [40, 48, "a segment header: the epoch"],
  [48, 56, "a segment header: the salt"],
  [56, 64, "a segment header: the base sequence"],
  [72, 80, "a segment header: the limits"],
  [84, 88, "a segment header: the kind"],
  [96, 124, "a segment header: the link"],
  [144, 4092, "a segment header: the rest"],
  [4092, 4096, "a segment header: the checksum"],
];

const BATCH_FIELDS: readonly [number, number, string][] = [
  [0, 4, "magic"],
  [4, 8, "header checksum"],
  [8, 12, "body checksum"],
  [12, 16, "length"],
  [16, 24, "first sequence"],
  [24, 28, "count"],
  [28, 32, "flags"],
  [32, 40, "salt"],
  [40, 48, "durable sequence"],
  [48, 52, "chain"],
  [56, 64, "time"],
];

const RECORD_FIELDS: readonly [number, number, string][] = [
  [0, 4, "length"],
  [4, 6, "type and priority"],
  [6, 10, "header and key lengths"],
  [16, 24, "time"],
];

/** Whole blocks that are zeroed, lost, repeated, exchanged, or of another place. */
function* blockFaults(log: SoundLog, random: Random): Generator<Damage> {
  const put = (batch: BatchPlace, what: string, bytes: (disk: SimulatedStorage) => Uint8Array): Damage => ({
    what: `${what}, ${batch.file} at ${batch.offset}`,
    file: batch.file,
    offset: batch.offset,
    outcome: expectedOutcome(log, batch.file, batch.offset),
    apply: (disk) => disk.corrupt(batch.file, batch.offset, bytes(disk)),
  });
  const page = (disk: SimulatedStorage, batch: BatchPlace): Uint8Array =>
    disk.contentOf(batch.file).subarray(batch.offset, batch.offset + PAGE);
  for (const [index, batch] of log.batches.entries()) {
    yield put(batch, "a page of zeros", () => new Uint8Array(PAGE));
    yield put(batch, "a sector of zeros", () => new Uint8Array(512));
    const other = log.batches[random.below(log.batches.length)] as BatchPlace;
    if (other !== batch) yield put(batch, `the page of ${other.file} at ${other.offset}`, (disk) => page(disk, other));
    const before = log.batches[index - 1];
    if (before !== undefined) yield put(batch, "the page of the batch before", (disk) => page(disk, before));
  }
  // Leftovers behind the end prove nothing. Not right behind it, where a reader looks for the next
  // batch.
  const end = log.batches.at(-1) as BatchPlace;
  const behind = end.offset + end.pages * PAGE + PAGE;
  for (const batch of log.batches) {
    yield {
      what: `the page of ${batch.file} at ${batch.offset} behind the end`,
      file: end.file,
      offset: behind,
      outcome: "opens with everything",
      apply: (disk) => disk.corrupt(end.file, behind, page(disk, batch)),
    };
  }
  const { file: replaced, content } = log.otherCourse;
  if (log.files.includes(replaced))
    yield {
      what: `${replaced} as of another course`,
      file: replaced,
      offset: undefined,
      outcome: "refuses",
      apply: (disk) => disk.corrupt(replaced, 0, content),
    };
  for (const [index, file] of log.files.entries()) {
    const isNewest = index === log.files.length - 1;
    const batches = log.batches.filter((batch) => batch.file === file);
    if (!isNewest) {
      yield { what: `${file} is gone`, file, offset: 0, outcome: "refuses", apply: (disk) => disk.remove(file) };
    }
    const last = batches.at(-1);
    if (last === undefined) continue;
    yield {
      what: `${file} ends at ${last.offset}`,
      file,
      offset: last.offset,
      outcome: expectedOutcome(log, file, last.offset),
      apply: (disk) => disk.open(file, "write").truncate(last.offset),
    };
  }
}

/** Throws unless an opening of the damaged log does what it must; returns what it did. */
export function checkDamage(engine: Engine, log: SoundLog, damage: Damage): Outcome {
  const disk = log.disk.fork();
  damage.apply(disk);
  const fail = (what: string, cause?: unknown): never => {
    throw new StateError(`${damage.what}: must be "${damage.outcome}", but ${what}`, { cause });
  };
  const { from, texts } = log.content;
  let found: Content;
  try {
    const opened = engine.opening.openLog(disk, LIMITS, () => 1, { recovery: { everything: true } });
    found = readContent(engine, disk, opened.recovered.summary.firstSequence, opened.log.nextSequence - 1);
  } catch (thrown) {
    if (!isMillraceError(thrown) || thrown.code !== "ERR_JOURNAL_DAMAGED") return fail(String(thrown), thrown);
    if (damage.outcome !== "refuses") return fail(`refuses: ${thrown.message}`, thrown);
    checkPlace(log, damage, thrown.details, fail);
    return "refuses";
  }
  const what = `opens with ${found.texts.length} of ${texts.length} records from ${found.from} on`;
  if (damage.outcome === "refuses") return fail(what);
  const last = log.batches.at(-1) as BatchPlace;
  const count = damage.outcome === "opens with everything" ? texts.length : last.firstSequence - from;
  if (found.from !== from || found.texts.length !== count) return fail(what);
  if (found.texts.some((text, index) => text !== texts[index])) return fail(`${what}, some of them altered`);
  return damage.outcome;
}

/** A refusal names the file, the offset at which reading ends, and the sequences in doubt. */
function checkPlace(
  log: SoundLog,
  { file, offset }: Damage,
  details: Readonly<Record<string, unknown>>,
  fail: (what: string) => never,
): void {
  if (details.file !== file) fail(`names ${String(details.file)} instead of ${file}`);
  if (offset === undefined) return;
  const batch = log.batches.find(
    (each) => each.file === file && offset >= each.offset && offset < each.offset + each.pages * PAGE,
  );
  if (offset < PAGE || batch === undefined) {
    if (details.offset !== 0) fail(`names offset ${String(details.offset)} instead of 0`);
    return;
  }
  if (details.offset !== batch.offset) fail(`names offset ${String(details.offset)} instead of ${batch.offset}`);
  if (details.firstSequence !== batch.firstSequence) {
    fail(`names sequence ${String(details.firstSequence)} instead of ${batch.firstSequence}`);
  }
  const last = details.lastSequence;
  if (
    typeof last !== "number" ||
    last < batch.firstSequence + batch.count - 1 ||
    last >= log.content.from + log.content.texts.length
  ) {
    fail(`names ${String(last)} as the last sequence in doubt`);
  }
}
