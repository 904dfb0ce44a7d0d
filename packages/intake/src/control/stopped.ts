/**
 * The directory of a stopped intake, opened without handlers, or only read. Reading takes no lock
 * and writes nothing, so that a copy on a read-only disk will do.
 */
import { Journal, NodeStorage, RECORD_TYPE } from "@millrace/journal";
import { type AppendWaiter, mustBeUnused, type RecordCursor, recordAt, scanLog } from "@millrace/journal/kernel";
import { findDead, scanDead } from "../delivery/dead-scan.ts";
import { DROPPED, encodeControl, encodeExpire, encodeRedrive, ORIGINS_MAX } from "../format/state-records.ts";
import { DeadLetters } from "../letters/dead-letters.ts";
import { storedRedactor } from "../letters/redact.ts";
import { replay, type ReplayHost } from "../replay/replay.ts";
import { readLogStates } from "../snapshot/read-states.ts";
import { SegmentWalk } from "../states/segment-walk.ts";
import { WINDOW_DEFAULTS } from "../states/dedupe-window.ts";
import { ProducerState } from "../states/producer-state.ts";
import type { Controlled } from "./commands.ts";

const NO_BYTES = new Uint8Array(0);
/** As small as a journal's first segments are. */
const SEGMENT_BYTES: number = 8 * 2 ** 20;

export interface Stopped extends Controlled {
  close(): Promise<void>;
}

/**
 * Its dead letters, to be looked at. Throws `ERR_JOURNAL_LOCKED` when a process has it open without
 * a control socket, and what reading a log throws.
 */
export function readStopped(directory: string): DeadLetters {
  mustBeUnused(directory);
  const storage = new NodeStorage(directory);
  const newest = scanLog(storage, { everything: false }).segments.at(-1);
  if (newest === undefined) throw new RangeError(`there is no journal in ${directory}`);
  const { lastSequence } = newest.end;
  const states = readLogStates(storage, (newest as { header: { logId: Buffer } }).header.logId, lastSequence);
  const redactor = storedRedactor(directory);
  const walk = new SegmentWalk(storage, () => lastSequence);
  const nobodyWrites = (): Promise<never> =>
    Promise.reject(new TypeError("who reads a directory writes nothing there"));
  return new DeadLetters({
    get: async (place) => {
      walk.seek(place);
      const record = walk.next();
      return record?.sequence === place ? recordAt(record as RecordCursor) : undefined;
    },
    scan: async (query, behind) => scanDead(states, query, behind),
    find: async (sequence) => findDead(states, sequence),
    redrive: nobodyWrites,
    drop: nobodyWrites,
    mustBeHandler: () => {},
    redacted: (handler, value) => redactor.redacted(handler, value),
  });
}

/**
 * Throws `ERR_JOURNAL_LOCKED` when a process has it open without a control socket, and what opening
 * a journal throws.
 */
export async function openStopped(directory: string): Promise<Stopped> {
  const journal = await Journal.open({ directory, allowUnsafeStorage: true, segmentBytesMax: SEGMENT_BYTES });
  try {
    return controlled(directory, journal);
  } catch (thrown) {
    await journal.close();
    throw thrown;
  }
}

function controlled(directory: string, journal: Journal): Stopped {
  const storage = new NodeStorage(directory);
  const { logId } = (scanLog(storage, { everything: false }).segments.at(-1) as { header: { logId: Buffer } }).header;
  const states = readLogStates(storage, logId, journal.durableSequence);
  const redactor = storedRedactor(directory);
  const write = (type: number, payload: Buffer): Promise<number> => append(journal, type, payload);
  const dead = new DeadLetters({
    get: (place) => journal.get(place),
    scan: async (query, behind) => scanDead(states, query, behind),
    find: async (sequence) => findDead(states, sequence),
    redrive: async ({ origins, lastDeath }, handler) => {
      for (const part of partsOf(origins)) {
        await write(RECORD_TYPE.redrive, encodeRedrive({ handler, origins: part, lastDeath }));
      }
    },
    drop: async ({ origins, lastDeath }) => {
      for (const part of partsOf(origins)) {
        await write(RECORD_TYPE.expire, encodeExpire({ kind: DROPPED, origins: part, lastDeath }));
      }
    },
    // Nobody knows which handlers the next service has.
    mustBeHandler: () => {},
    redacted: (handler, value) => redactor.redacted(handler, value),
  });
  const replayHost: ReplayHost = {
    journal,
    dedupe: WINDOW_DEFAULTS,
    producer: async (id) => (states.producers.get(id) ?? new ProducerState()).snapshot(),
    // The service that comes next knows how many it admits.
    admit: () => {},
    dropProducer: async (producer) => {
      await write(RECORD_TYPE.control, encodeControl({ kind: "producerDropped", producer }));
    },
    append: (records, waiter) => journal.appendGroupParts(records, waiter),
    mustBeHandler: () => {},
  };
  return {
    dead,
    replay: (options) => replay(replayHost, options),
    pause: async (handler) => void (await write(RECORD_TYPE.control, encodeControl({ kind: "paused", handler }))),
    resume: async (handler) => void (await write(RECORD_TYPE.control, encodeControl({ kind: "resumed", handler }))),
    close: () => journal.close(),
  };
}

function append(journal: Journal, type: number, payload: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    const waiter: AppendWaiter = { durable: resolve, failed: reject };
    const parts = { type, priority: 0, timeMs: Date.now(), header: NO_BYTES, key: NO_BYTES, payload };
    journal.appendParts(parts, waiter);
  });
}

function* partsOf(origins: readonly number[]): Generator<readonly number[], void> {
  for (let from = 0; from < origins.length; from += ORIGINS_MAX) yield origins.slice(from, from + ORIGINS_MAX);
}
