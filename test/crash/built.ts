// Logs that are built step by step, for the regressions.
import { MessageChannel } from "node:worker_threads";
import { type Operation, SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { JournalLimits } from "@millrace/journal/internal/files/limits";
import type { LogWriter } from "@millrace/journal/internal/writer/log-writer";
import type { RecoveredLog } from "@millrace/journal/internal/writer/recovery";
import type { Engine } from "./engine.ts";
import { frameOf } from "./explore.ts";
import { allocate, keeperStart, LIMITS, readContent } from "./rig.ts";

export interface Opened {
  readonly disk: SimulatedStorage;
  readonly log: LogWriter;
  readonly recovered: RecoveredLog;
  readonly logId: Buffer;
}

export function openOn(engine: Engine, disk: SimulatedStorage, limits: JournalLimits = LIMITS): Opened {
  const { log, recovered } = engine.opening.openLog(disk, limits, () => 1);
  return { disk, log, recovered, logId: recovered.logId };
}

/** Appends a batch of one record; a new segment is begun where it doesn't fit. */
export function appendTo(engine: Engine, { disk, log }: Opened, text: string): void {
  const frame = frameOf(engine, text);
  if (!log.fits(frame.length)) rollOver(engine, { disk, log });
  log.append([frame], frame.length, 1);
}

export function rollOver(engine: Engine, { disk, log }: Pick<Opened, "disk" | "log">): void {
  engine.spare.makeSpare(disk, log.nextSegmentBytes(0));
  log.roll(log.nextSegmentBytes(0));
}

/** A log of three segments with a record in each, on a disk where everything is durable. */
export function threeSegments(engine: Engine): Opened {
  const opened = openOn(engine, new SimulatedStorage());
  for (let number = 1; number <= 3; number += 1) {
    if (number > 1) rollOver(engine, opened);
    appendTo(engine, opened, `record ${number}`);
  }
  return opened;
}

/** Texts of all records, as an opening finds them. */
export function textsIn(engine: Engine, disk: SimulatedStorage): readonly string[] {
  const { log, recovered } = engine.opening.openLog(disk, LIMITS, () => 1);
  return readContent(engine, disk, recovered.summary.firstSequence, log.nextSequence - 1).texts;
}

/** Nothing but what a sync has confirmed. */
export function darken(disk: SimulatedStorage): SimulatedStorage {
  return disk.crash(disk.choices().map(() => 0));
}

export interface KeeperHandle {
  readonly checkpoint: (text: string, from?: number) => void;
  readonly truncate: (before: number) => void;
  /** Asks for a spare as the writer does; whether it was made. */
  readonly wantSpare: (bytes: number) => boolean;
  readonly finish: () => void;
  readonly end: () => void;
}

/** A keeper of a new process, and what makes it work. */
export function keeperOn(
  engine: Engine,
  { disk, log, recovered }: Opened,
  limits: JournalLimits = LIMITS,
): KeeperHandle {
  const memory = allocate(engine, 1);
  const control = new Int32Array(memory.control);
  engine.stats.writerStats(memory.stats).set("durableSequence", log.nextSequence - 1);
  const { port1, port2 } = new MessageChannel();
  let nowMs = 0;
  const start = { ...keeperStart(engine, log, recovered), limits };
  const keeper = new engine.keeper.Keeper(disk, memory, start, port1, () => nowMs);
  const turns = (): void => {
    for (let turn = 0; turn < 10; turn += 1) {
      nowMs += 1000;
      keeper.turn();
    }
  };
  const command = (message: Record<string, unknown>): void => {
    port2.postMessage({ id: 1, ...message });
    Atomics.add(control, engine.control.COMMANDS, 1);
    turns();
  };
  return {
    checkpoint: (text, from = 1) => command({ kind: "checkpoint", bytes: Buffer.from(text), from }),
    truncate: (before) => command({ kind: "truncate", before }),
    wantSpare: (bytes) => {
      Atomics.store(control, engine.control.SPARE_PAGES, bytes / engine.format.ALIGNMENT);
      Atomics.store(control, engine.control.SPARE_STATE, engine.control.SPARE_WANTED);
      nowMs += 10_000;
      // Beside a log that rests it makes a step in each turn.
      for (let turn = 0; turn < 64 && keeper.turn() === 0;) turn += 1;
      return Atomics.load(control, engine.control.SPARE_STATE) === engine.control.SPARE_READY;
    },
    finish: () => keeper.finish(),
    end: () => port1.close(),
  };
}

/** The operations that `run` makes on a disk. */
export function operationsOf(disk: SimulatedStorage, run: () => void): Operation[] {
  const operations: Operation[] = [];
  disk.before = (operation) => void operations.push(operation);
  run();
  disk.before = () => undefined;
  return operations;
}
