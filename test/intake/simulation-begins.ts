/**
 * The oracle of begins: what must hold when the handler of a record is called, by all that is known
 * of the record, of others of its key, and of the log.
 */
import { RECORD_TYPE } from "@millrace/journal";
import { QUARANTINE_ENDS } from "@millrace/intake/internal/delivery/suspects";
import type { Terms } from "@millrace/intake/internal/format/record-header";
import { decodeFate, decodeRedrive } from "@millrace/intake/internal/format/state-records";
import type { TaskHeader } from "@millrace/intake/internal/format/task-header";
import type { SimContext } from "./simulation-context.ts";
import { hasKey, type Known, type KnownRecords } from "./simulation-known.ts";
import { HANDLERS, LIMITS, type SimProcess } from "./simulation-process.ts";
import { DEADLY } from "./simulation-publisher.ts";
import type { SimTask } from "./simulation-runner.ts";

export class BeginOracle {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #known: KnownRecords;
  /** Attempts that have failed since the latest crash, by record and redrive. */
  readonly #failed = new Map<string, number>();
  /** Records that have ended a process of their own, or had to be ended there. */
  readonly #onlyAlone = new Set<number>();
  /** Records that were dead once, and have lost their places in line. */
  readonly #outOfLine = new Set<number>();

  constructor(context: SimContext, process: SimProcess, known: KnownRecords) {
    this.#context = context;
    this.#process = process;
    this.#known = known;
  }

  // ── what happened before ──────────────────────────────────────────────────────────────────────

  /** An attempt has failed on its thread. */
  failed(header: TaskHeader): void {
    const name = attemptsName(header);
    this.#failed.set(name, (this.#failed.get(name) ?? 0) + 1);
  }

  /** An attempt has failed in quarantine. */
  failedAlone(origin: number): void {
    this.#onlyAlone.add(origin);
  }

  /** A dead letter of `mail` holds its key until it is redriven; any other loses its place. */
  died({ handler, sequence }: Known): void {
    if (handler !== "mail") this.#outOfLine.add(sequence);
  }

  /** `isAllLogged`: the log knows which attempts have failed. */
  processEnded(isAllLogged: boolean): void {
    this.#onlyAlone.clear();
    if (!isAllLogged) this.#failed.clear();
  }

  // ── what must hold ────────────────────────────────────────────────────────────────────────────

  /** A thread calls the handler. */
  check(known: Known, header: TaskHeader, task: SimTask): void {
    const { sequence, handler, terms } = known;
    this.#checkAttempt(header);
    this.#checkSuspect(sequence);
    const name = HANDLERS[task.handler];
    if (name !== handler) this.#broken(`record ${sequence} of ${handler} is handled by ${name}`);
    if (Buffer.from(task.payload).toString() !== known.payload) this.#broken(`record ${sequence} has another payload`);
    this.#checkState(known, "is handled");
    if (this.#known.repeatsSequence(sequence)) {
      this.#broken(`record ${sequence} repeats its producer's sequence, and is handled`);
    }
    if (known.first !== undefined) this.#broken(`record ${sequence} is a duplicate of ${known.first}, and is handled`);
    // It may have been handed out before the clock was set back.
    if (terms.notBeforeMs !== undefined && this.#context.clock.latestWallMs < terms.notBeforeMs) {
      this.#broken(`record ${sequence} is handled too early`);
    }
    this.#checkOrder(known);
    this.#checkKey(sequence, handler, terms);
    this.#checkDeaths(header);
  }

  /** The handler is called in quarantine. */
  checkAlone(known: Known): void {
    this.#checkState(known, "is put into quarantine");
    this.#checkOrder(known);
  }

  /** A record that ends its process may do so a few times. */
  checkKills(known: Known, { redriven }: TaskHeader): void {
    if (known.payload !== DEADLY) return;
    if (known.redriven !== redriven) known.kills = 0;
    known.redriven = redriven;
    // On a full disk no lane waits for the lease by which the next process finds the record.
    if (this.#process.log.wasFull) return;
    known.kills += 1;
    if (known.kills > QUARANTINE_ENDS) {
      this.#broken(`record ${known.sequence} ends the process for the ${known.kills}th time`);
    }
  }

  /** Attempts count from 1. None is forgotten that the log says, or that failed since then. */
  #checkAttempt(header: TaskHeader): void {
    const { sequence, attempt } = header;
    const failed = this.#failed.get(attemptsName(header)) ?? 0;
    if (attempt <= failed) this.#broken(`record ${sequence} has attempt ${attempt} after ${failed} that failed`);
    const said = this.#process.delivery.states.retries.get(sequence)?.attempts ?? 0;
    if (attempt <= said) this.#broken(`record ${sequence} has attempt ${attempt}, and the log says ${said}`);
  }

  #checkSuspect(origin: number): void {
    if (this.#onlyAlone.has(origin)) this.#broken(`record ${origin} may end its process, and isn't alone there`);
    const { suspects, trying } = this.#process.delivery.states.endings;
    if (suspects.has(origin) && !trying.includes(origin)) {
      this.#broken(`record ${origin} is suspect, and is handled without a word in the log`);
    }
  }

  /** It isn't in hand, and isn't over unless it was redriven. */
  #checkState(known: Known, what: string): void {
    const { sequence, state } = known;
    if (known.inHand) this.#broken(`record ${sequence} is in hand twice`);
    const wasRedriven = state === "dead" && !this.#process.delivery.states.isDead(sequence);
    if (state !== "unfinished" && !wasRedriven) this.#broken(`record ${sequence} ${what} although it is ${state}`);
    known.state = "unfinished";
  }

  /** A key is remembered for its time, by a clock that nobody sets, unless there are too many. */
  #checkKey(sequence: number, handler: string, { idempotency }: Terms): void {
    if (idempotency === undefined) return;
    const before = [...this.#known.all()].filter(
      (other) => other.sequence < sequence && other.terms.idempotency !== undefined,
    );
    let newestMs = 0;
    for (const each of before.slice(-LIMITS.keysMax + 1).toReversed()) {
      newestMs = Math.max(newestMs, each.steadyMs);
      const isSame = each.handler === handler && hasKey(each, idempotency);
      if (!isSame || each.runs === 0 || newestMs - each.steadyMs > LIMITS.forMs - 1000) continue;
      this.#broken(`record ${sequence} is handled, and so was ${each.sequence} of the same idempotency key`);
    }
  }

  /** A death is redriven once, by a command that knew of it; the end of attempts is an end. */
  #checkDeaths({ sequence, redriven }: TaskHeader): void {
    const { states } = this.#process.delivery;
    if (states.retries.get(sequence)?.dueMs === Infinity) {
      this.#broken(`record ${sequence} is handled although it has no attempt left`);
    }
    let death = 0;
    let times = 0;
    for (const record of this.#context.disk.records) {
      if (record.sequence > this.#process.log.known) break;
      if (record.type === RECORD_TYPE.dead && record.replaces === 0) {
        if (decodeFate(record.payload()).origin === sequence) death = record.sequence;
      } else if (record.type === RECORD_TYPE.redrive && death > 0) {
        const { origins, lastDeath } = decodeRedrive(record.payload());
        if (!origins.includes(sequence) || (lastDeath > 0 && lastDeath < death)) continue;
        death = 0;
        times += 1;
      }
    }
    if (redriven !== times) this.#broken(`record ${sequence} was redriven ${times} times, and learns ${redriven}`);
  }

  /** Records of one key are handled one at a time, and in order where that is asked for. */
  #checkOrder(known: Known): void {
    const { key, handler, priority, sequence } = known;
    if (key === undefined) return;
    for (const other of this.#known.all()) {
      if (other === known || other.key !== key || other.handler !== handler || other.priority !== priority) continue;
      if (other.inHand) this.#broken(`records ${other.sequence} and ${sequence} of key ${key} are in hand together`);
      if (handler === "skip" || other.sequence > sequence || other.first !== undefined) continue;
      const { ends, states } = this.#process.delivery;
      if (ends.isEnding(other.sequence, states.placeOf(other.sequence))) continue;
      const isInLine = !this.#outOfLine.has(other.sequence);
      const isBefore = other.state === "unfinished" && !this.#isDelayed(other) && isInLine;
      if (isBefore) this.#broken(`record ${sequence} of key ${key} is handled before ${other.sequence}`);
      if (handler === "mail" && other.state === "dead" && other.isDurable && isInLine) {
        this.#broken(
          `record ${sequence} of key ${key} is handled although ${other.sequence} is dead and holds the key`,
        );
      }
    }
  }

  /**
   * A delayed record takes its place when it is due, and a redriven one when it is redriven. If the
   * clock was set back, one that has run already may be delayed again after a restart.
   */
  #isDelayed({ terms: { notBeforeMs, expiresAtMs }, runs }: Known): boolean {
    if (notBeforeMs !== undefined && this.#context.clock.wasSetBack) return true;
    return runs === 0 && (notBeforeMs !== undefined || expiresAtMs !== undefined);
  }

  #broken(what: string): never {
    return this.#context.broken(what);
  }
}

function attemptsName({ sequence, redriven }: TaskHeader): string {
  return `${sequence}/${redriven}`;
}
