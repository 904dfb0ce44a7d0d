/** The delivery thread's counters, as the opener reads them: see control.ts. */
import { CELLS, deliveryCounts } from "./control.ts";
import type { Delivery } from "./delivery.ts";
import type { Housekeeping } from "./housekeeping.ts";
import type { JournalLog } from "./journal-log.ts";
import type { SchedulerRunner } from "./scheduler-runner.ts";

export interface FiguresParts {
  readonly delivery: Delivery;
  readonly housekeeping: Housekeeping;
  readonly log: JournalLog;
  readonly runner: SchedulerRunner;
}

export class Figures {
  readonly #cells: Float64Array;
  readonly #parts: FiguresParts;

  /** `recovered`: records that waited in the journal when it was opened. */
  constructor(memory: SharedArrayBuffer, recovered: number, parts: FiguresParts) {
    this.#cells = deliveryCounts(memory).cells;
    this.#parts = parts;
    this.#cells[CELLS.recovered] = recovered;
  }

  setFreeBytes(bytes: number): void {
    this.#cells[CELLS.freeBytes] = bytes;
  }

  /** After each turn. */
  write(): void {
    const cells = this.#cells;
    const { delivery, housekeeping, log, runner } = this.#parts;
    const { counts, states, deaths } = delivery;
    cells[CELLS.delivered] = counts.delivered;
    cells[CELLS.done] = counts.done;
    cells[CELLS.retried] = counts.retried;
    cells[CELLS.dead] = counts.dead;
    cells[CELLS.expired] = counts.expired;
    cells[CELLS.duplicates] = counts.duplicates;
    cells[CELLS.unrecorded] = delivery.stateLog.unrecorded;
    cells[CELLS.floor] = states.settled.endOf(1);
    cells[CELLS.known] = log.known;
    cells[CELLS.isReading] = delivery.isReading ? 1 : 0;
    cells[CELLS.waiting] = delivery.waiting;
    cells[CELLS.delayed] = delivery.delayed;
    cells[CELLS.oldestMs] = delivery.oldestMs;
    cells[CELLS.copied] = housekeeping.copied;
    cells[CELLS.deadKept] = states.deadCount;
    cells[CELLS.deadBytes] = states.dead.bytes;
    cells[CELLS.deadWaiting] = deaths.waiting;
    cells[CELLS.running] = runner.outstanding;
    cells[CELLS.keyWaiting] = delivery.keyWaiting;
    cells[CELLS.windowKeys] = states.window.size;
    cells[CELLS.breakersOpened] = delivery.breakersOpened;
    cells[CELLS.windowEvicted] = states.window.evictedEarly;
    cells[CELLS.suspects] = delivery.suspects;
    cells[CELLS.waitingOnDisk] = delivery.spilled;
    cells[CELLS.scheduled] = delivery.schedules.published;
    let held = deaths.waiting;
    let unroutable = 0;
    for (const { why, waiting } of delivery.heldUp()) {
      if (why === "missing") unroutable += waiting;
      else held += waiting;
    }
    cells[CELLS.held] = held;
    cells[CELLS.unroutable] = unroutable;
  }

  /**
   * Keeps the numbers of records that wait although nothing can run: the opener reads them with the
   * answer that says so.
   */
  keepLeft(): void {
    const cells = this.#cells;
    cells[CELLS.leftScheduled] = cells[CELLS.delayed] as number;
    cells[CELLS.leftWaiting] = (cells[CELLS.waiting] as number) - (cells[CELLS.delayed] as number);
    cells[CELLS.leftHeld] = cells[CELLS.held] as number;
    cells[CELLS.leftUnroutable] = cells[CELLS.unroutable] as number;
  }
}
