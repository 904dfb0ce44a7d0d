/** The figures of the intake: the cells of the delivery thread, publishing, and the journal. */
import type { Journal, JournalStats, JournalVitals } from "@millrace/journal";
import type { DeliveryCounts } from "../delivery/control.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { DeliveryClient } from "./delivery-client.ts";
import type { Publisher } from "./publisher.ts";
import type { Level, LevelReport } from "./water.ts";

export interface IntakeStats {
  readonly state: "running" | "draining" | "stopped";
  /**
   * Records that publishing has stored, duplicates among them, and those that were refused because
   * the intake was full; since the opening.
   */
  readonly stored: number;
  readonly refused: number;
  /**
   * Attempts started, records done, attempts that failed and are repeated, records dead; since the
   * opening.
   */
  readonly delivered: number;
  readonly done: number;
  readonly retried: number;
  readonly dead: number;
  /** Records that expired or were dropped, and records whose key came before; since the opening. */
  readonly expired: number;
  readonly duplicates: number;
  /**
   * Attempts of handlers with `record: "outcomes"` whose ends weren't written down, since the disk
   * was full; since the opening.
   */
  readonly unrecorded: number;
  /** Records in hand now. */
  readonly running: number;
  /** Records that wait for a time now: their next attempt, or their first. */
  readonly waitingRetries: number;
  /** Of those, how many wait on the disk, since the memory keeps 65,536 of each kind. */
  readonly waitingOnDisk: number;
  /** Records that wait behind others of their key. */
  readonly keyWaiting: number;
  /** Records in memory whose handler is paused, at a limit or resting. */
  readonly held: number;
  /** Records in memory for handlers that aren't there. */
  readonly unroutable: number;
  /** Records that may have ended an earlier process, and weren't tried yet. */
  readonly suspects: number;
  /** Records that schedules have published; since the opening. */
  readonly scheduled: number;
  /** Everything up to here is finished. */
  readonly finishedUpTo: number;
  /** Records that waited in the journal when it was opened. */
  readonly recovered: number;
  /** Whether a lane reads from the segments now. */
  readonly isReadingSegments: boolean;
  /**
   * Records that were written again at the end of the log so that older ones could be deleted;
   * since the opening.
   */
  readonly copiedForward: number;
  /** Dead records that are kept in the journal. */
  readonly deadKept: number;
  /** Their bytes in the journal, and the records that wait for room among them. */
  readonly deadBytes: number;
  readonly deadWaiting: number;
  /**
   * Idempotency keys that are remembered, and those that left before their time because there were
   * too many.
   */
  readonly dedupeKeys: number;
  readonly dedupeEvicted: number;
  /** Records that were published and aren't finished. */
  readonly unfinished: number;
  /** How often a handler kept failing, and rested; since the opening. */
  readonly breakersOpened: number;
  /** How full the intake is. */
  readonly level: LevelReport;
  /** Publishes that wait because it is full. */
  readonly waitingPublishes: number;
  /** The first sequence that is still in the journal. */
  readonly firstSequence: number;
  /**
   * Why the latest checkpoint, or the deletion after it, failed; undefined when it didn't. It is
   * tried again.
   */
  readonly checkpointError: string | undefined;
  readonly journal: JournalStats;
}

/** The figures for health checks. */
export interface IntakeVitals {
  readonly journal: JournalVitals;
  readonly isDeliveryRunning: boolean;
  readonly level: Level;
  /** As in `LevelReport`. */
  readonly refusedHandlers: readonly string[];
  /** When the oldest record that waits for its turn was published, ms since 1970; 0 for none. */
  readonly oldestMs: number;
  readonly deadLetters: number;
  readonly unroutable: number;
}

/** The numbers of records that are left when `drain` resolves. */
export interface Drained {
  /** Records that wait for their next attempt. */
  readonly waitingRetry: number;
  /** Records that wait for their first time. */
  readonly scheduled: number;
  /** Records whose handler is paused, at a limit or resting. */
  readonly paused: number;
  /** Records for handlers that aren't there. */
  readonly unroutable: number;
}

/** The parts that count. */
export interface Counted {
  readonly cells: DeliveryCounts;
  readonly delivery: DeliveryClient;
  readonly publisher: Publisher;
  readonly checkpoints: Checkpoints;
  readonly journal: Journal;
}

export function intakeStats({ cells, delivery, publisher, checkpoints, journal }: Counted): IntakeStats {
  return {
    state: delivery.state,
    ...publisher.counts(),
    delivered: cells.get("delivered"),
    done: cells.get("done"),
    retried: cells.get("retried"),
    dead: cells.get("dead"),
    expired: cells.get("expired"),
    duplicates: cells.get("duplicates"),
    unrecorded: cells.get("unrecorded"),
    running: cells.get("running"),
    waitingRetries: cells.get("waiting"),
    waitingOnDisk: cells.get("waitingOnDisk"),
    keyWaiting: cells.get("keyWaiting"),
    held: cells.get("held"),
    unroutable: cells.get("unroutable"),
    suspects: cells.get("suspects"),
    scheduled: cells.get("scheduled"),
    finishedUpTo: cells.get("floor"),
    recovered: cells.get("recovered"),
    isReadingSegments: cells.get("isReading") === 1,
    copiedForward: cells.get("copied"),
    deadKept: cells.get("deadKept"),
    deadBytes: cells.get("deadBytes"),
    deadWaiting: cells.get("deadWaiting"),
    dedupeKeys: cells.get("windowKeys"),
    dedupeEvicted: cells.get("windowEvicted"),
    breakersOpened: cells.get("breakersOpened"),
    unfinished: publisher.unfinished,
    level: publisher.levels(),
    waitingPublishes: publisher.waiting,
    firstSequence: journal.firstSequence,
    checkpointError: checkpoints.error,
    journal: journal.stats(),
  };
}

/** Some loads from shared memory. */
export function intakeVitals({ cells, delivery, publisher, journal }: Counted): IntakeVitals {
  return {
    journal: journal.vitals(),
    isDeliveryRunning: !delivery.isOver,
    level: publisher.level,
    refusedHandlers: publisher.refusedHandlers,
    oldestMs: cells.get("oldestMs"),
    deadLetters: cells.get("deadKept"),
    unroutable: cells.get("unroutable"),
  };
}

/** As delivery last said that nothing can run. */
export function leftWaiting(cells: DeliveryCounts): Drained {
  return {
    waitingRetry: cells.get("leftWaiting"),
    scheduled: cells.get("leftScheduled"),
    paused: cells.get("leftHeld"),
    unroutable: cells.get("leftUnroutable"),
  };
}
