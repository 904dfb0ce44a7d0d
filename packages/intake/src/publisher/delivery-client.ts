/**
 * The opener's side of the delivery thread: starts it, gives it orders and commands, hands on its
 * reports, and notices its end. A command is answered by its number; an order isn't answered.
 */
import type { Worker } from "node:worker_threads";
import { clearTimeout, isMillraceError, type MillraceError, setTimeout, startThread, workerUrl } from "@millrace/base";
import { ThreadTable, unpark } from "@millrace/atomics-sync";
import { decode } from "@millrace/codec";
import { COMMANDS, controlBytes, STATS_BYTES } from "../delivery/control.ts";
import type { Answers, Command, DeliveryData, DeliveryOrder, DeliveryReport } from "../delivery/messages.ts";
import { ABANDONING, DRAINING, StateWord, STOPPED } from "../delivery/state-word.ts";
import { intakeError } from "../errors.ts";

/** Time that a thread may take to load its modules. */
const LOADING_MS = 10_000;

/** Reports that the client doesn't take itself. */
export type OpenReport = Exclude<
  DeliveryReport,
  { readonly ready: true } | { readonly error: Uint8Array } | { readonly id: number }
>;

/** The asker of a command. */
interface Asker {
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

export class DeliveryClient {
  /** The memory that both threads share: see control.ts. */
  readonly words: SharedArrayBuffer = new SharedArrayBuffer(controlBytes());
  readonly cells: SharedArrayBuffer = new SharedArrayBuffer(STATS_BYTES);
  readonly #commandCount: Int32Array = new Int32Array(this.words);
  readonly #state: StateWord = new StateWord(this.#commandCount);
  readonly #threads: ThreadTable = ThreadTable.current();
  /** Its number in the table of threads. */
  readonly #thread: number;
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  readonly #askers = new Map<number, Asker>();
  #nextCommand = 1;
  #error: unknown;
  #isOver = false;
  /** Until the thread is ready, `begin` reports its end. */
  #isReady = false;
  /** The intake closes: the end of the thread is meant. */
  #isClosing = false;
  #isTerminated = false;
  #begun: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;

  onReport: (report: OpenReport) => void = () => {};
  /** Called again and again while it ends and the disk has no room for its last records. */
  onWithoutRoom: (seconds: number) => void = () => {};
  /** Called when it ends, and the disk had no room for what so many handlers have left. */
  onGroupsGivenUp: (count: number) => void = () => {};
  /** Called when the thread has ended and nobody meant it to. `wasReady`: `begin` had resolved. */
  onDeath: (error: MillraceError, wasReady: boolean) => void = () => {};

  /** `thread`: reserved in the table of threads. The thread waits for `begin`. */
  constructor(thread: number) {
    this.#thread = thread;
    this.#worker = startThread(workerUrl("../delivery/delivery.worker", import.meta.url), {
      name: "millrace delivery",
    });
    this.#worker.on("message", (report: DeliveryReport) => this.#reported(report));
    this.#worker.on("error", (thrown) => (this.#error = thrown));
    this.#exited = new Promise((resolve) => {
      this.#worker.once("exit", () => {
        this.#ended();
        resolve();
      });
    });
  }

  get thread(): number {
    return this.#thread;
  }

  /** Gives the thread its work; resolves when it delivers. Throws what kept it from that. */
  begin(data: Omit<DeliveryData, "words" | "stats">): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) {
        reject(this.#deathError());
        return;
      }
      this.#begun = { resolve, reject };
      this.#worker.postMessage({ ...data, words: this.words, stats: this.cells } satisfies DeliveryData);
    });
  }

  /** Resolves with the answer; for a command that writes, when that is durable. */
  command<Given extends Command>(command: Given): Promise<Answers[Given["kind"]]> {
    return new Promise((resolve, reject) => {
      if (this.#isOver) {
        reject(this.endError());
        return;
      }
      const id = this.#nextCommand;
      this.#nextCommand += 1;
      this.#askers.set(id, { resolve, reject });
      this.#post({ id, command });
    });
  }

  /** Nothing when the thread has ended. */
  order(order: DeliveryOrder): void {
    if (!this.#isOver) this.#post(order);
  }

  /** From now on the end of the thread is no failure. */
  expectEnd(): void {
    this.#isClosing = true;
  }

  /** The thread hands out nothing more, and ends when all in hand is over. */
  drain(): void {
    this.#state.tell(DRAINING, this.#threads.words, this.#thread);
  }

  /** The thread waits for no handler any more. */
  abandon(): void {
    this.#state.tell(ABANDONING, this.#threads.words, this.#thread);
  }

  exited(): Promise<void> {
    return this.#exited;
  }

  async terminate(): Promise<void> {
    this.#isTerminated = true;
    await this.#worker.terminate();
  }

  /**
   * Ends a thread that never began. It ends by itself once its modules are loaded: Node leaves the
   * files open that a thread loads when it is terminated.
   */
  async dismiss(): Promise<void> {
    if (this.#begun !== undefined) return await this.terminate();
    this.#isTerminated = true;
    this.#worker.postMessage(null);
    const late = setTimeout(() => void this.#worker.terminate(), LOADING_MS);
    await this.#exited;
    clearTimeout(late);
  }

  /** Gives its number in the table of threads back. */
  release(): void {
    this.#threads.release(this.#thread);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get state(): "running" | "draining" | "stopped" {
    const state = this.#state.value;
    if (this.#isOver || state === STOPPED) return "stopped";
    return state >= DRAINING ? "draining" : "running";
  }

  /** For those whom the thread answers no more. */
  endError(): MillraceError {
    if (!this.#isClosing || this.#error !== undefined) return this.#deathError();
    return intakeError("ERR_INTAKE_CLOSED", "the intake is closed");
  }

  #post(order: DeliveryOrder): void {
    this.#worker.postMessage(order);
    Atomics.add(this.#commandCount, COMMANDS, 1);
    unpark(this.#threads.words, this.#thread);
  }

  #reported(report: DeliveryReport): void {
    if ("id" in report) {
      this.#askers.get(report.id)?.resolve(report.result as never);
      this.#askers.delete(report.id);
    } else if ("ready" in report) {
      this.#isReady = true;
      this.#begun?.resolve();
    } else if ("error" in report) {
      this.#error = decode(report.error);
      this.#begun?.reject(this.#error);
    } else this.onReport(report);
  }

  #ended(): void {
    this.#isOver = true;
    for (const { reject } of this.#askers.values()) reject(this.endError());
    this.#askers.clear();
    const isMeant = this.#isTerminated || (this.#isClosing && this.#state.value === STOPPED);
    if (!isMeant) this.onDeath(this.#deathError(), this.#isReady);
    this.#begun?.reject(this.#deathError());
  }

  #deathError(): MillraceError {
    const cause = this.#error;
    if (isMillraceError(cause)) return cause;
    return intakeError("ERR_DELIVERY_DIED", "the delivery thread has ended", { cause });
  }
}
