/** The journal's writer: batches of what publishers and the process have written become durable. */
import { RECORD_TYPE } from "@millrace/journal";
import { partsOf, type Published } from "./produced.ts";
import type { SimContext } from "./simulation-context.ts";
import { groupsOf, SimRecord } from "./simulation-disk.ts";
import type { SimOracle } from "./simulation-oracle.ts";
import type { SimProcess } from "./simulation-process.ts";
import type { SimPublisher } from "./simulation-publisher.ts";
import type { SimSchedules } from "./simulation-schedules.ts";

export class SimWriter {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #publisher: SimPublisher;
  readonly #schedules: SimSchedules;
  readonly #oracle: SimOracle;

  constructor(
    context: SimContext,
    process: SimProcess,
    publisher: SimPublisher,
    schedules: SimSchedules,
    oracle: SimOracle,
  ) {
    this.#context = context;
    this.#process = process;
    this.#publisher = publisher;
    this.#schedules = schedules;
    this.#oracle = oracle;
  }

  /** One batch becomes durable: whole groups of each ring, in any order between them. */
  sync(): void {
    const { random } = this.#context;
    const { committed } = this.#process.log;
    const own = groupsOf(committed);
    const taken = own.slice(0, random.below(own.length + 1));
    committed.splice(0, taken.flat().length);
    const others = this.#publisher.take();
    while (taken.length > 0 || others.length > 0) {
      if (taken.length > 0 && (others.length === 0 || random.below(2) === 0)) {
        this.#appendOwn(taken.shift() as SimRecord[]);
      } else this.#appendPublished(others.shift() as (typeof others)[0]);
    }
  }

  /** All that the process has written so far becomes durable. */
  syncOwn(): void {
    while (this.#process.log.committed.length > 0) this.sync();
  }

  /** All that anybody has written so far becomes durable. */
  syncAll(): void {
    while (this.#process.log.committed.length > 0 || this.#publisher.onWay > 0) this.sync();
  }

  #appendOwn(group: readonly SimRecord[]): void {
    const { clock, counts, disk } = this.#context;
    for (const record of group) {
      disk.append(record);
      // It may have been written before the clock was set back.
      this.#schedules.stored(record, clock.latestWallMs);
      const { type, replaces, origin } = record;
      const copy = replaces > 0 ? ` copy of ${origin} from ${replaces}` : "";
      this.#context.trace(`own ${disk.last} type ${type}${copy}`);
    }
    counts.scheduled = this.#schedules.published;
    this.#oracle.stored(group);
  }

  #appendPublished(group: readonly Published[]): void {
    const { clock, disk } = this.#context;
    const { known } = this.#oracle;
    const members = group.map((published, index) => {
      const parts = { ...partsOf(published, clock.wall()), type: RECORD_TYPE.data };
      disk.append(new SimRecord(parts, index < group.length - 1));
      return known.add(published, disk.last);
    });
    for (const member of members) member.group = members;
  }
}
