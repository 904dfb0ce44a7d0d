/**
 * Runs handlers of another module on threads of their own, one record a task: their errors, their
 * time and the threads that they end affect nothing else.
 *
 * An attempt whose time is over is given up: its handler is told, and its thread is ended a while
 * later if it is blocked or holds many such attempts. Other records that ran on a thread that ends
 * run again.
 */
import { Reactor, type Source } from "@millrace/atomics-sync";
import { clearInterval, isMillraceError, performance, setInterval, workerUrl } from "@millrace/base";
import { decode } from "@millrace/codec";
import { type OutcomeSink, PRIORITY, Scheduler, Submitter } from "@millrace/scheduler";
import { FULL } from "@millrace/shared-memory";
import { type StagedRecord, unpackFailure, unpackOutcome } from "../format/outcome.ts";
import type { ReasonName } from "../format/state-records.ts";

/** Between two looks for attempts whose time is over. */
const LOOK_MS = 20;
/** Time in which an attempt that was given up may end by itself. */
const GRACE_MS = 500;
/** Attempts that were given up and run on one thread, at most. */
const ABANDONED_MAX = 32;
const OUTCOMES_MAX = 256;
/** Time for `teardown`, and for handlers that still run, at the end. */
const CLOSE_MS = 2000;

/** How an attempt ended. */
export interface ShadowEnd {
  /** Undefined when the handler has returned. */
  readonly reason: ReasonName | undefined;
  /** The result, or the error. */
  readonly value: unknown;
  /** The handler has returned what can't be encoded: `value` says why. */
  readonly isRefused: boolean;
  readonly staged: readonly StagedRecord[];
  readonly ranMs: number | undefined;
}

export interface ShadowRunnerOptions {
  readonly handlers: URL | string;
  readonly processors: number;
  readonly startTimeoutMs: number;
  readonly timeoutMs: number;
}

interface Hand {
  readonly resolve: (end: ShadowEnd) => void;
  /** It was given up then, by the clock that only grows; 0 while it wasn't. */
  givenUpAt: number;
}

export class ShadowRunner implements Source, OutcomeSink {
  readonly pollMs = 0.05;
  readonly #scheduler: Scheduler;
  readonly #submitter: Submitter;
  readonly #timeoutMs: number;
  readonly #reactor: Reactor = Reactor.current();
  readonly #hands = new Map<number, Hand>();
  readonly #timer: NodeJS.Timeout;

  private constructor(scheduler: Scheduler, timeoutMs: number) {
    const { memory, submitter } = scheduler.submitterHandle(0);
    this.#scheduler = scheduler;
    this.#submitter = new Submitter(memory, submitter);
    this.#timeoutMs = timeoutMs;
    this.#reactor.add(this);
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** Throws `ERR_HANDLER_MODULE`, `ERR_THREAD_FILE`, `ERR_INVALID_OPTION`. */
  static async open({ handlers, processors, startTimeoutMs, timeoutMs }: ShadowRunnerOptions): Promise<ShadowRunner> {
    const scheduler = await Scheduler.open({
      handlers,
      processors,
      startTimeoutMs,
      guests: [Reactor.current().thread],
      headerReader: workerUrl("../handler/shadow-hooks", import.meta.url),
      // The end of a thread counts as the end of its record.
      onMachineDeath: () => {},
      onHint: () => {},
    });
    return new ShadowRunner(scheduler, timeoutMs);
  }

  get handlerNames(): readonly string[] {
    return this.#scheduler.handlerNames;
  }

  /** Undefined when there is no room: another record has to end first. */
  run(handler: string, payload: Uint8Array, header: Uint8Array): Promise<ShadowEnd> | undefined {
    const number = this.handlerNames.indexOf(handler);
    const slot = this.#submitter.submitBytes(number, PRIORITY.normal, payload, header, true);
    if (slot === FULL) return undefined;
    const ended = new Promise<ShadowEnd>((resolve) => this.#hands.set(slot, { resolve, givenUpAt: 0 }));
    this.#submitter.publish();
    this.#reactor.expect();
    return ended;
  }

  // ── outcomes ──────────────────────────────────────────────────────────────────────────────────

  poll(): number {
    return this.#submitter.drain(this, OUTCOMES_MAX);
  }

  isExpecting(): boolean {
    return this.#hands.size > 0;
  }

  settled(slot: number): void {
    const hand = this.#hands.get(slot);
    this.#hands.delete(slot);
    if (hand !== undefined && hand.givenUpAt === 0) hand.resolve(this.#endOf(slot));
  }

  #endOf(slot: number): ShadowEnd {
    const { slots } = this.#submitter;
    try {
      const value = slots.value(slot);
      if (!slots.isOk(slot)) return failed(value);
      const { staged, result, ranMs } = unpackOutcome(value) ?? { staged: [] };
      const isRefused = result?.isOk === false;
      const returned = result === undefined ? undefined : decode(Buffer.from(result.bytes));
      return { reason: undefined, value: returned, isRefused, staged, ranMs };
    } catch (thrown) {
      return failed(thrown);
    }
  }

  // ── time limits ───────────────────────────────────────────────────────────────────────────────

  #look(): void {
    const now = performance.now();
    const lasting = new Map<number, number>();
    for (const [slot, hand] of this.#hands) {
      if (hand.givenUpAt === 0) {
        if ((this.#submitter.runningMs(slot) ?? 0) > this.#timeoutMs) this.#giveUp(slot, hand, now);
      } else if (now - hand.givenUpAt > GRACE_MS) {
        const machine = this.#submitter.machineOf(slot);
        lasting.set(machine, (lasting.get(machine) ?? 0) + 1);
      }
    }
    for (const [machine, count] of lasting) this.#scheduler.endMachine(machine, count < ABANDONED_MAX);
  }

  #giveUp(slot: number, hand: Hand, now: number): void {
    hand.givenUpAt = now;
    this.#submitter.askToStop(slot);
    const value = new Error(`the handler took longer than ${this.#timeoutMs} ms`);
    hand.resolve({ reason: "timeout", value, isRefused: false, staged: [], ranMs: undefined });
  }

  /** Ends the threads, whatever runs there; `teardown` is called where nothing runs. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const isQuiet = this.#hands.size === 0;
    try {
      await (isQuiet ? this.#scheduler.close({ timeoutMs: CLOSE_MS }) : this.#scheduler.terminate());
    } catch (thrown) {
      // The findings so far stay.
      process.emitWarning(thrown as Error);
    } finally {
      this.#hands.clear();
      this.#reactor.remove(this);
    }
  }
}

function failed(value: unknown): ShadowEnd {
  const { error, ranMs } = unpackFailure(value);
  const reason = isMillraceError(error, "ERR_MACHINE_DIED") ? "death" : "error";
  return { reason, value: error, isRefused: false, staged: [], ranMs };
}
