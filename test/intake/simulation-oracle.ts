/**
 * The oracle stands outside of the intake. It follows what becomes of each record, by what the
 * process tells, by the log and by what handlers do, and checks at every step what
 * `docs/intake-states.md` promises. It asks four more oracles: `Produced` about records that are
 * published in groups, `RecordedEnds` about ends that are recorded, `BeginOracle` about begins,
 * `PauseOracle` about handlers that are paused.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { handlerName, termsOf } from "@millrace/intake/internal/format/record-header";
import { decodeFate } from "@millrace/intake/internal/format/state-records";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import type { Verdict } from "@millrace/intake/internal/states/dedupe-window";
import { originsOf, Produced, type Published } from "./produced.ts";
import { RecordedEnds } from "./recorded.ts";
import { BeginOracle } from "./simulation-begins.ts";
import type { SimContext } from "./simulation-context.ts";
import { isProducerDrop, isSteady, type SimRecord } from "./simulation-disk.ts";
import { type Known, KnownRecords } from "./simulation-known.ts";
import { PauseOracle } from "./simulation-pauses.ts";
import { HANDLERS, type SimProcess, type Watcher } from "./simulation-process.ts";
import type { SimTask } from "./simulation-runner.ts";

export class SimOracle implements Watcher {
  readonly wantsFinished = true;
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly known: KnownRecords;
  readonly produced: Produced;
  readonly recorded: RecordedEnds;
  readonly pauses: PauseOracle;
  readonly #begins: BeginOracle;
  /** Records that are handled in processes of their own, the oldest there first. */
  quarantined: number[] = [];

  constructor(context: SimContext, process: SimProcess) {
    this.#context = context;
    this.#process = process;
    this.known = new KnownRecords(context);
    this.produced = new Produced((what) => context.broken(what));
    this.recorded = new RecordedEnds((what) => context.broken(what));
    this.pauses = new PauseOracle(context);
    this.#begins = new BeginOracle(context, process, this.known);
  }

  // ── lives ─────────────────────────────────────────────────────────────────────────────────────

  /** `isAllLogged`: the log knows which attempts have failed. */
  processEnded(isAllLogged: boolean): void {
    this.quarantined = [];
    this.#begins.processEnded(isAllLogged);
  }

  processOpened(): void {
    for (const known of this.known.all()) {
      known.inHand = false;
      this.#believeTheDisk(known);
    }
    this.pauses.processOpened();
    this.compareProduced();
  }

  /** For decisions that weren't reported yet, the disk is right. */
  #believeTheDisk(known: Known): void {
    const { states } = this.#process.delivery;
    const { sequence } = known;
    if (states.isDead(sequence)) this.#died(known);
    else if (!states.isSettled(sequence)) {
      if (known.isDurable && known.state === "finished") this.#broken(`record ${sequence} was finished, and isn't`);
      known.state = "unfinished";
    } else if (known.state !== "finished") {
      if (known.state === "unfinished" && !this.#mayHaveEnded(known))
        this.#broken(`record ${sequence} wasn't finished, and is settled`);
      known.state = "expired";
    }
    known.isDurable = known.state !== "unfinished";
  }

  /** Whether a record may be over although no handler has finished it. */
  #mayHaveEnded(known: Known): boolean {
    const { expiresAtMs } = known.terms;
    if (expiresAtMs !== undefined && this.#context.clock.latestWallMs >= expiresAtMs) return true;
    if (this.known.repeatsSequence(known.sequence)) return true;
    // A member of a group is refused with the others.
    return [known, ...known.group].some((each) => this.known.repeatsKey(each));
  }

  compareProduced(): void {
    const { states } = this.#process.delivery;
    this.produced.compare(
      (origin) => states.isSettled(origin),
      states.results.all,
      (place) => this.#context.disk.at(place),
    );
  }

  // ── the log ───────────────────────────────────────────────────────────────────────────────────

  /** Records that the process has written together are durable. */
  stored(group: readonly SimRecord[]): void {
    const originOf = (place: number): number => (this.#context.disk.records[place - 1] as SimRecord).origin;
    for (const record of group) {
      if (isProducerDrop(record)) this.known.producerDropped(record.sequence);
      this.#checkRecorded(record, originOf);
    }
    for (const [index, published] of this.produced.appended(group, originOf).entries()) {
      const record = group[index] as SimRecord;
      if (published !== undefined) this.known.add(published, record.sequence);
      else if (record.type === RECORD_TYPE.data && record.replaces === 0)
        this.known.add(scheduledIn(record), record.sequence);
    }
    // A result that waited for room in the log may be over when its ACK comes.
    for (const record of group) if (isSteady(record)) this.produced.read(record.timeMs);
  }

  /** Checks the log's records of a handler whose ends are recorded. */
  #checkRecorded(record: SimRecord, originOf: (place: number) => number): void {
    const { type, replaces } = record;
    const isRecorded = (origin: number): boolean => this.known.get(origin)?.handler === "mail";
    if (type === RECORD_TYPE.attempt) this.recorded.attempted(record);
    else if (type === RECORD_TYPE.ack) {
      const origins = originsOf(record, originOf).filter((origin) => isRecorded(origin));
      for (const origin of origins) this.recorded.acknowledged(origin, this.produced.resultOf(origin));
    } else if ((type === RECORD_TYPE.retry || type === RECORD_TYPE.dead) && replaces === 0) {
      if (isRecorded(decodeFate(record.payload()).origin)) this.recorded.failed(record);
    }
  }

  // ── handlers ──────────────────────────────────────────────────────────────────────────────────

  handedOut(task: SimTask): void {
    this.pauses.handedOut(new TaskHeader(task.header).sequence, HANDLERS[task.handler] as string);
  }

  begun(task: SimTask): void {
    // It may begin late: what it leaves doesn't count.
    if (task.isAbandoned) return;
    const header = new TaskHeader(task.header);
    const { sequence } = header;
    this.#context.trace(`begun ${sequence} attempt ${header.attempt}`);
    const known = this.known.get(sequence);
    if (known === undefined) return this.#broken(`record ${sequence} is handled and was never published`);
    this.#context.counts.runs += 1;
    known.runs += 1;
    this.#openAgain(known);
    this.#begins.check(known, header, task);
    this.#isInHand(known);
    this.#begins.checkKills(known, header);
  }

  quarantine(origin: number): void {
    this.quarantined.push(origin);
    const known = this.known.of(origin);
    this.pauses.handedOut(origin, known.handler);
    this.#openAgain(known);
    this.#begins.checkAlone(known);
    this.#isInHand(known);
    known.runs += 1;
    this.#context.counts.quarantined += 1;
  }

  #isInHand(known: Known): void {
    this.recorded.began(known.sequence, this.#context.counts.steps);
    known.inHand = true;
    known.isDurable = false;
  }

  /** The handler's outcome was refused, since dead letters have no room. */
  #openAgain(known: Known): void {
    const wasRefused = known.state === "finished" && !known.isDurable && known.mayBeRefused;
    if (wasRefused) known.state = "unfinished";
  }

  abandoned(task: SimTask): void {
    const { sequence } = new TaskHeader(task.header);
    this.#context.trace(`time over ${sequence}`);
    if (!task.isBegun) this.#broken(`the time of record ${sequence} is over before a handler has it`);
    this.known.of(sequence).inHand = false;
  }

  /** A handler has returned before its time was over. */
  returned(origin: number): void {
    const known = this.known.of(origin);
    known.inHand = false;
    known.state = "finished";
  }

  /** A handler has failed on its thread, or has asked for another turn. */
  failed(header: TaskHeader, isSnoozed: boolean): void {
    if (!isSnoozed) this.#begins.failed(header);
    this.known.of(header.sequence).inHand = false;
  }

  /** A handler has failed in quarantine. */
  failedAlone(origin: number): void {
    this.#begins.failedAlone(origin);
    this.known.of(origin).inHand = false;
  }

  // ── what the process tells ────────────────────────────────────────────────────────────────────

  finished(origin: number): void {
    const known = this.known.get(origin);
    // An ACK range may name what isn't data.
    if (known === undefined) return;
    if (known.state === "unfinished") this.#broken(`record ${origin} is told as finished, and isn't`);
    known.isDurable = true;
  }

  dead(origin: number, history: Uint8Array): void {
    const known = this.known.of(origin);
    if (history.length === 0) this.#broken(`dead record ${origin} has no errors`);
    this.#openAgain(known);
    if (known.state === "finished") this.#broken(`record ${origin} is dead, and was finished`);
    known.isDurable = true;
    this.#died(known);
  }

  #died(known: Known): void {
    known.state = "dead";
    this.#begins.died(known);
  }

  expired(origin: number): void {
    const known = this.known.of(origin);
    if (known.state === "finished" && known.isDurable) this.#broken(`record ${origin} expires, and was finished`);
    known.state = "expired";
    known.isDurable = true;
  }

  judged(place: number, verdict: Verdict): void {
    const known = this.known.of(place);
    if (verdict.kind === "first") return;
    if (verdict.first > place) this.#broken(`record ${place} is called a duplicate of a later one`);
    known.first = verdict.first;
    const refused = verdict.kind === "mismatch" ? [known, ...known.group] : [known];
    for (const each of refused) {
      if (each.runs > 0) this.#broken(`record ${each.sequence} of a group that is refused was handled`);
      each.state = "expired";
      each.isDurable = true;
    }
  }

  told(): void {}

  /** Dead letters take no more than they may, and are in the order in which they died. */
  turned(): void {
    const { dead } = this.#process.delivery.states;
    if (dead.size > 1 && dead.bytes > this.#context.conditions.deadBytesMax) {
      this.#broken(`dead letters take ${dead.bytes} bytes`);
    }
    let last = 0;
    for (const [origin, { death }] of dead) {
      if (death <= last || this.#context.disk.records[death - 1]?.replaces !== 0) {
        this.#broken(`record ${origin} died by ${death}, behind ${last}`);
      }
      last = death;
    }
  }

  #broken(what: string): never {
    return this.#context.broken(what);
  }
}

/** The record that a schedule has published. */
function scheduledIn(record: SimRecord): Published {
  const header = record.header();
  const terms = termsOf(header);
  const key = terms.isOrdered === true ? record.key().toString() : undefined;
  const payload = record.payload().toString();
  return { handler: handlerName(header), priority: record.priority, key, terms, payload };
}
