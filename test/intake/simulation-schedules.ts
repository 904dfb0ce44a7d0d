/**
 * Schedules in the simulation: what a process declares, what is asked for, and what the log must
 * say in the end. The model reads the log as it is written, record by record, with none of the
 * code that it checks but the decoding.
 */
import type { Random } from "@millrace/base";
import { RECORD_TYPE } from "@millrace/journal";
import type { DeclaredSchedule, Schedules } from "@millrace/intake/internal/delivery/schedules";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { hasTerms, termsOf } from "@millrace/intake/internal/format/record-header";
import type { ScheduleDefinition } from "@millrace/intake/internal/format/schedule";
import { decodeControl } from "@millrace/intake/internal/format/state-records";

const NAMES = ["hourly", "nightly", "now and then"];
const DISTANCES_MS = [700, 1100, 4000];
/** More than any process misses. */
const ALL = 1000;

interface Model {
  definition: ScheduleDefinition;
  sinceMs: number;
  /** Due time of the newest record; 0 before. */
  lastMs: number;
}

export class SimSchedules {
  readonly #random: Random;
  readonly #handlers: readonly string[];
  readonly #broken: (what: string) => never;
  /** By the log alone. */
  readonly #models = new Map<string, Model>();
  /** The clock was never set, so that every due time lies where it should. */
  #wasClockSet = false;
  #latestMs = 0;
  published = 0;

  /** `handlers`: their records are for these. */
  constructor(random: Random, handlers: readonly string[], broken: (what: string) => never) {
    this.#random = random;
    this.#handlers = handlers;
    this.#broken = broken;
  }

  /** The schedules that a process declares when it opens the log. */
  declared(): DeclaredSchedule[] | undefined {
    if (this.#random.below(2) === 0) return undefined;
    return NAMES.filter(() => this.#random.below(2) === 0).map((name) => ({ name, definition: this.#definition() }));
  }

  #definition(): ScheduleDefinition {
    const payload = Buffer.from(`p${this.#random.below(3)}`);
    return {
      handler: this.#handlers[this.#random.below(this.#handlers.length)] as string,
      payload,
      headers: undefined,
      cron: undefined,
      everyMs: DISTANCES_MS[this.#random.below(DISTANCES_MS.length)] as number,
      timeZone: "UTC",
      catchUp: this.#random.below(3) === 0 ? "last" : "all",
      catchUpMax: ALL,
      priority: this.#random.below(3),
      key: this.#random.below(3) === 0 ? "k1" : undefined,
      ttlMs: undefined,
    };
  }

  /** Somebody defines or removes a schedule. */
  command(schedules: Schedules, wallMs: number): void {
    const name = NAMES[this.#random.below(NAMES.length)] as string;
    if (this.#random.below(3) === 0) schedules.remove(name);
    else schedules.define({ name, definition: this.#definition(), isDeclared: false, atMs: wallMs });
  }

  removeAll(schedules: Schedules): void {
    for (const name of NAMES) schedules.remove(name);
  }

  /** An operator sets the clock. */
  clockSet(): void {
    this.#wasClockSet = true;
  }

  /** A record is on the disk. */
  stored(record: LogRecord, wallMs: number): void {
    this.#latestMs = Math.max(this.#latestMs, wallMs);
    if (record.replaces !== 0) return;
    if (record.type === RECORD_TYPE.control) this.#controlled(record.payload());
    if (record.type !== RECORD_TYPE.data || !hasTerms(record.header())) return;
    const { scheduled } = termsOf(record.header());
    if (scheduled === undefined) return;
    const { name, dueMs } = scheduled;
    this.published += 1;
    const model = this.#models.get(name);
    if (model === undefined)
      return this.#broken(`schedule ${name} was removed, and publishes record ${record.sequence}`);
    if (dueMs > this.#latestMs) this.#broken(`schedule ${name} publishes too early`);
    if (dueMs <= model.lastMs) this.#broken(`schedule ${name} publishes twice what is due at ${dueMs}`);
    this.#checkPlace(name, model, dueMs);
    model.lastMs = dueMs;
  }

  #checkPlace(name: string, { definition, sinceMs, lastMs }: Model, dueMs: number): void {
    const everyMs = definition.everyMs as number;
    if ((dueMs - sinceMs) % everyMs !== 0) this.#broken(`the due times of schedule ${name} drift`);
    if (this.#wasClockSet) return;
    if (dueMs <= sinceMs) this.#broken(`schedule ${name} is due before it was defined`);
    const firstMs = lastMs > sinceMs ? lastMs + everyMs : sinceMs + everyMs;
    if (definition.catchUp === "all" && dueMs !== firstMs)
      this.#broken(`schedule ${name} leaves out what is due at ${firstMs}`);
  }

  #controlled(payload: Buffer): void {
    const control = decodeControl(payload);
    if (control.kind === "unscheduled") this.#models.delete(control.name);
    if (control.kind !== "scheduled") return;
    const known = this.#models.get(control.name);
    const isSame = known !== undefined && known.definition.everyMs === control.definition.everyMs;
    this.#models.set(control.name, {
      definition: control.definition,
      sinceMs: isSame ? known.sinceMs : control.atMs,
      lastMs: known?.lastMs ?? 0,
    });
  }

  /** Everything that is due by now has its record. */
  settled(wallMs: number): void {
    if (this.#wasClockSet) return;
    for (const [name, { definition, sinceMs, lastMs }] of this.#models) {
      // Its handler isn't there.
      if (definition.handler === "later") continue;
      const dueMs = Math.max(sinceMs, lastMs) + (definition.everyMs as number);
      if (dueMs <= wallMs && definition.catchUp === "all")
        this.#broken(`schedule ${name} has lost what is due at ${dueMs}`);
      const lateMs = wallMs - Math.max(sinceMs, lastMs);
      if (lateMs > 2 * (definition.everyMs as number)) this.#broken(`schedule ${name} has stopped`);
    }
  }
}
