// The calls to a log and its answers; says whether the records that are read back agree with them.

/** A record on its way: nobody has been told that it is durable. */
export interface PendingRecord {
  readonly text: string;
  /** Whether it belongs to one atomic group with the next one. */
  readonly continues: boolean;
}

/** The content of the log when it is read: `texts` from sequence `from` on. */
export interface Content {
  readonly from: number;
  readonly texts: readonly string[];
}

export interface Snapshot {
  /** Counts up. */
  readonly id: number;
  readonly from: number;
  readonly text: string;
}

export class History {
  /** The acknowledged records; index 0 has sequence 1. */
  readonly acked: string[];
  /** Per ring, in order. */
  readonly pending: PendingRecord[][];
  /** Where the log may begin: up to this sequence somebody asked that it be given up. */
  mayBeginAt = 1;
  /** Where it begins at least: so it was answered. */
  beginsAt = 1;
  /** The last checkpoint that was answered, and those on their way. */
  checkpoint: Snapshot | undefined;
  checkpoints: readonly Snapshot[] = [];
  /** Commands to keepers so far. Their numbers order them, also over several lives. */
  commands = 0;

  constructor(acked: string[] = [], pending: PendingRecord[][] = []) {
    this.acked = acked;
    this.pending = pending;
  }

  copy(): History {
    const copy = new History(
      [...this.acked],
      this.pending.map((ring) => [...ring]),
    );
    return copy.#adopt(this);
  }

  /** Equal for histories that allow the same content. */
  key(): string {
    const pending = this.pending.map((ring) => ring.length).join();
    const checkpoints = `${this.checkpoint?.text} ${this.checkpoints.length}`;
    return `${this.acked.length} ${pending} ${this.mayBeginAt} ${this.beginsAt} ${checkpoints}`;
  }

  appended(ring: number, record: PendingRecord): void {
    while (this.pending.length <= ring) this.pending.push([]);
    (this.pending[ring] as PendingRecord[]).push(record);
  }

  /** The log has said that `count` records of a ring are durable, from `firstSequence` on. */
  acknowledged(ring: number, firstSequence: number, count: number): void {
    if (firstSequence !== this.acked.length + 1) {
      throw new Violation(`sequence ${firstSequence} was acknowledged after ${this.acked.length}`);
    }
    for (const { text } of this.#take(ring, count)) this.acked.push(text);
  }

  /** The log has said that the next `count` records of a ring are certainly not stored. */
  refused(ring: number, count: number): void {
    this.#take(ring, count);
  }

  /**
   * Throws unless the log may hold this now: everything acknowledged and not given up, then records
   * that were appended, in the order of their rings, and no group in part.
   */
  check({ from, texts }: Content): void {
    if (from > this.mayBeginAt) throw new Violation(`the log begins at ${from}, only ${this.mayBeginAt} was given up`);
    if (from < this.beginsAt) throw new Violation(`the log begins at ${from}, ${this.beginsAt} was answered`);
    for (const [index, text] of this.acked.entries()) {
      const found = texts[index + 1 - from];
      if (index + 1 < from || found === text) continue;
      const what = found === undefined ? "is missing" : `is ${excerpt(found)}`;
      throw new Violation(`sequence ${index + 1} was acknowledged as ${excerpt(text)} and ${what}`);
    }
    const taken = this.pending.map(() => 0);
    for (let sequence = this.acked.length + 1; sequence < from + texts.length; sequence += 1) {
      const text = texts[sequence - from] as string;
      const ring = this.pending.findIndex((each, number) => each[taken[number] as number]?.text === text);
      if (ring < 0) throw new Violation(`sequence ${sequence} is ${excerpt(text)}, which was not appended there`);
      taken[ring] = (taken[ring] as number) + 1;
    }
    for (const [ring, count] of taken.entries()) {
      if (count > 0 && this.pending[ring]?.[count - 1]?.continues === true) {
        throw new Violation(`half of a group is there, up to ${excerpt(this.pending[ring][count - 1]?.text)}`);
      }
    }
  }

  /** The checkpoint `id` was answered: it is durable, and no earlier one is the newest any more. */
  checkpointed(id: number): void {
    this.checkpoint = this.checkpoints.find((each) => each.id === id);
    this.checkpoints = this.checkpoints.filter((each) => each.id > id);
  }

  /** Throws unless `found` may be the newest checkpoint now, in a log that begins at `begin`. */
  checkSnapshot(found: Omit<Snapshot, "id"> | undefined, begin: number): void {
    if (found !== undefined && found.from < begin) {
      throw new Violation(`the checkpoint reads on from ${found.from}, and the log begins at ${begin}`);
    }
    const allowed = [this.checkpoint, ...this.checkpoints];
    if (allowed.some((each) => each?.from === found?.from && each?.text === found?.text)) return;
    throw new Violation(`the checkpoint is ${excerpt(found?.text)}, and must be ${excerpt(this.checkpoint?.text)}`);
  }

  /** The log was opened again with this content, which is promised from now on. */
  reopened(content: Content): History {
    this.check(content);
    const before = this.acked.slice(0, content.from - 1);
    const next = new History([...before, ...content.texts]).#adopt(this);
    next.beginsAt = content.from;
    return next;
  }

  #take(ring: number, count: number): PendingRecord[] {
    const records = (this.pending[ring] ?? []).splice(0, count);
    if (records.length < count) throw new Violation(`${count - records.length} records too many were answered`);
    return records;
  }

  #adopt(other: History): this {
    this.mayBeginAt = other.mayBeginAt;
    this.beginsAt = other.beginsAt;
    this.checkpoint = other.checkpoint;
    this.checkpoints = [...other.checkpoints];
    this.commands = other.commands;
    return this;
  }
}

/** The log has broken a promise. */
export class Violation extends Error {}

export function excerpt(text: string | undefined): string {
  if (text === undefined) return "nothing";
  return JSON.stringify(text.length > 24 ? `${text.slice(0, 24)}… (${text.length})` : text);
}
