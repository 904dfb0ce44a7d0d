/** The jobs that processes of their own have. */
import type { DeliveryCounts, DeliveryEvents } from "./events.ts";
import type { Job } from "./job.ts";
import { QUARANTINE_ENDS, type Suspects } from "./suspects.ts";

/**
 * Of a handler without a time limit: one record at a time is in quarantine, and one that never ends
 * would hold all others.
 */
const TIMEOUT_MS = 600_000;

export class Quarantined {
  readonly #suspects: Suspects;
  readonly #events: DeliveryEvents;
  readonly #counts: DeliveryCounts;
  readonly #jobs = new Map<number, Job>();

  constructor(suspects: Suspects, events: DeliveryEvents, counts: DeliveryCounts) {
    this.#suspects = suspects;
    this.#events = events;
    this.#counts = counts;
  }

  get isEmpty(): boolean {
    return this.#jobs.size === 0;
  }

  has(origin: number): boolean {
    return this.#jobs.has(origin);
  }

  /** Whether a record must not run in this process. */
  needs(origin: number): boolean {
    return this.#suspects.endsOf(origin) >= QUARANTINE_ENDS;
  }

  /** `timeoutMs`: the handler's own time limit. */
  give(job: Job, handler: string, header: Uint8Array, timeoutMs: number = TIMEOUT_MS): void {
    const { origin, payload } = job;
    this.#jobs.set(origin, job);
    this.#events.quarantine(origin, handler, Uint8Array.from(header), Uint8Array.from(payload), timeoutMs);
    this.#counts.delivered += 1;
  }

  /** Takes no more ends from their processes. */
  abandonAll(): void {
    this.#jobs.clear();
  }

  /** Its process is done with it; undefined when no process has it. */
  takeBack(origin: number): Job | undefined {
    const job = this.#jobs.get(origin);
    this.#jobs.delete(origin);
    return job;
  }
}
