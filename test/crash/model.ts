// The log as a list: the same random commands for the real log on a simulated disk and for an
// array.
import fc from "../property.ts";
import { seededRandom } from "@millrace/base";
import { SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { LogWriter } from "@millrace/journal/internal/writer/log-writer";
import type { Engine } from "./engine.ts";
import { allSelections, frameOf } from "./explore.ts";
import { Violation } from "./history.ts";
import { LIMITS, readContent } from "./rig.ts";

/** The records that the log must hold: sequence 1 is at index 0. */
interface Model {
  texts: readonly string[];
  /** Sequences at which a batch ends: up to where somebody may have been told. */
  ends: number[];
}

interface Real {
  disk: SimulatedStorage;
  log: LogWriter;
}

type Command = fc.Command<Model, Real>;

/**
 * Throws a sequence of commands after which the log and the list differ: the smallest that it can
 * find, if `shrinks`.
 */
export function checkModel(engine: Engine, seed: number, runs: number, shrinks = true): void {
  const texts = fc.array(fc.string({ maxLength: 3000, size: "max", unit: "binary-ascii" }), {
    minLength: 1,
    maxLength: 4,
  });
  const where = fc.double({ min: 0, max: 1, noNaN: true });
  const commands = fc.commands(
    [
      texts.map((each) => append(engine, each)),
      texts.map((each) => append(engine, each)),
      fc.tuple(texts, fc.integer()).map(([each, cut]) => cutWhileAppending(engine, each, cut)),
      fc.integer().map((cut) => powerCut(engine, cut)),
      fc.constant(kill(engine)),
      fc.constant(closeAndOpen(engine)),
      where.map((each) => readFrom(engine, each)),
      where.map((each) => readUpTo(engine, each)),
    ],
    { maxCommands: 40 },
  );
  fc.assert(
    fc.property(commands, (run) => {
      fc.modelRun(() => {
        const disk = new SimulatedStorage();
        return { model: { texts: [], ends: [0] }, real: { disk, log: open(engine, disk) } };
      }, run);
    }),
    { seed, numRuns: runs, endOnFailure: !shrinks },
  );
}

function readTexts(engine: Engine, disk: SimulatedStorage, to: number, from = 1): readonly string[] {
  return readContent(engine, disk, from, to).texts;
}

function command(name: string, run: (model: Model, real: Real) => void): Command {
  return { check: () => true, run, toString: () => name };
}

function append(engine: Engine, texts: readonly string[]): Command {
  return command(`append(${JSON.stringify(texts)})`, (model, real) => {
    // A reader beside a running write sees everything that is durable, and nothing of the batch.
    real.disk.before = ({ kind, name }) => {
      if (kind === "sync" && name.endsWith(".wal")) {
        expectEqual(readTexts(engine, real.disk, model.texts.length), model.texts);
      }
      return undefined;
    };
    appendTo(engine, real, texts);
    real.disk.before = () => undefined;
    model.texts = [...model.texts, ...texts];
    model.ends.push(model.texts.length);
  });
}

function cutWhileAppending(engine: Engine, texts: readonly string[], seed: number): Command {
  return command(`cutWhileAppending(${JSON.stringify(texts)}, ${seed})`, (model, real) => {
    let left = seededRandom(seed).below(8);
    real.disk.before = ({ kind }) => {
      if (kind === "read") return undefined;
      left -= 1;
      if (left < 0) throw new PowerCut();
      return undefined;
    };
    try {
      appendTo(engine, real, texts);
      model.texts = [...model.texts, ...texts];
      reopen(engine, model, real, darken(real.disk, seed), []);
    } catch (thrown) {
      if (!(thrown instanceof PowerCut)) throw thrown;
      reopen(engine, model, real, darken(real.disk, seed), texts);
    }
  });
}

class PowerCut extends Error {}

function powerCut(engine: Engine, seed: number): Command {
  return command(`powerCut(${seed})`, (model, real) => {
    reopen(engine, model, real, darken(real.disk, seed), []);
  });
}

function kill(engine: Engine): Command {
  return command("kill()", (model, real) => reopen(engine, model, real, real.disk.fork(), []));
}

function closeAndOpen(engine: Engine): Command {
  return command("closeAndOpen()", (model, real) => {
    real.log.close();
    reopen(engine, model, real, real.disk.fork(), []);
  });
}

/** `where`: 0 for the first sequence, 1 for the one after the last. */
function readFrom(engine: Engine, where: number): Command {
  return command(`readFrom(${where})`, (model, real) => {
    const from = 1 + Math.floor(where * (model.texts.length + 1));
    const found = readTexts(engine, real.disk, model.texts.length, from);
    expectEqual(found, model.texts.slice(from - 1));
  });
}

/** Up to what was durable at some earlier time. */
function readUpTo(engine: Engine, where: number): Command {
  return command(`readUpTo(${where})`, (model, real) => {
    const to = model.ends[Math.floor(where * model.ends.length)] ?? 0;
    expectEqual(readTexts(engine, real.disk, to), model.texts.slice(0, to));
  });
}

function open(engine: Engine, disk: SimulatedStorage): LogWriter {
  return engine.opening.openLog(disk, LIMITS, () => 1).log;
}

/** Opens the disk and takes over what it holds, after a check that this may be so. */
function reopen(engine: Engine, model: Model, real: Real, disk: SimulatedStorage, uncertain: readonly string[]): void {
  real.disk = disk;
  real.log = open(engine, disk);
  const found = readTexts(engine, disk, real.log.nextSequence - 1);
  const whole = [...model.texts, ...uncertain];
  if (found.length !== model.texts.length && found.length !== whole.length) {
    throw new Violation(`${found.length} records, where ${model.texts.length} or ${whole.length} may be`);
  }
  expectEqual(found, whole.slice(0, found.length));
  model.texts = found;
  if (model.ends.at(-1) !== found.length) model.ends.push(found.length);
}

function expectEqual(found: readonly string[], expected: readonly string[]): void {
  if (found.length !== expected.length) throw new Violation(`${found.length} records instead of ${expected.length}`);
  const wrong = found.findIndex((text, index) => text !== expected[index]);
  if (wrong >= 0) throw new Violation(`record ${wrong} of those that were read is another`);
}

function appendTo(engine: Engine, { disk, log }: Real, texts: readonly string[]): void {
  const frames = texts.map((text) => frameOf(engine, text));
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  if (!log.fits(bytes)) {
    const spareBytes = log.nextSegmentBytes(bytes);
    engine.spare.makeSpare(disk, spareBytes);
    log.roll(spareBytes);
  }
  log.append(frames, bytes, texts.length);
}

/** One of the states that a power cut may leave. */
function darken(disk: SimulatedStorage, seed: number): SimulatedStorage {
  const random = seededRandom(seed);
  const all = [...allSelections(disk.choices(), random, 8)];
  return disk.crash(all[random.below(all.length)] as number[]);
}
