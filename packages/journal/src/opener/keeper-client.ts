/**
 * The opener's side of the keeper thread. It starts the thread, starts it again after its death,
 * and hands it one command after the other.
 */
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import { type MillraceError, startThread, workerUrl, clearTimeout, setTimeout } from "@millrace/base";
import { decode } from "@millrace/codec";
import { unpark } from "@millrace/atomics-sync";
import { COMMANDS, type JournalMemory } from "../memory/control.ts";
import type { KeeperCommand, KeeperReply, KeeperStart } from "../keeper/keeper.ts";
import type { KeeperWorkerData } from "../keeper/keeper.worker.ts";
import type { DamageReport } from "../keeper/scrub.ts";
import type { StorageSource } from "../storage/storage.ts";

/** Keepers that may fail at the last marks before the journal's close does. */
const FINISH_TRIES_MAX = 2;
/** Pause before a keeper that died is replaced. */
const RESTART_MS = 1000;

type CommandWithoutId = KeeperCommand extends infer Each
  ? Each extends KeeperCommand
    ? Omit<Each, "id">
    : never
  : never;

interface Pending {
  readonly command: KeeperCommand;
  readonly promise: Promise<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface KeeperEvents {
  /** Whether a keeper that has ended is to be replaced. */
  readonly isNeeded: () => boolean;
  /** Why there is none any more. */
  readonly gone: () => MillraceError;
  readonly onDamage: (damage: DamageReport) => void;
}

export class KeeperClient {
  readonly #source: StorageSource;
  readonly #memory: JournalMemory;
  readonly #start: KeeperStart;
  readonly #events: KeeperEvents;
  readonly #control: Int32Array;
  readonly #threads: Int32Array;
  readonly #pending = new Map<number, Pending>();
  readonly #scrubbed = new Set<string>();
  #worker: Worker | undefined;
  #isRunning = false;
  /** Resolves when the thread has ended: with its error, unless it had done its work. */
  #ended: Promise<{ readonly error: unknown } | undefined> = Promise.resolve(undefined);
  #port: MessagePort | undefined;
  #restart: NodeJS.Timeout | undefined;
  #nextId = 1;
  #restarts = 0;

  constructor(source: StorageSource, memory: JournalMemory, start: KeeperStart, events: KeeperEvents) {
    this.#source = source;
    this.#memory = memory;
    this.#start = start;
    this.#events = events;
    this.#control = new Int32Array(memory.control);
    this.#threads = new Int32Array(memory.threads);
    this.#run();
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Segments that still wait for the scrub. */
  get unread(): number {
    return this.#start.unread.filter((name) => !this.#scrubbed.has(name)).length;
  }

  /**
   * Resolves with the command's result. When a keeper dies over a command, the next one gets it.
   */
  send(command: CommandWithoutId): Promise<unknown> {
    const whole = { ...command, id: this.#nextId } as KeeperCommand;
    this.#nextId += 1;
    let resolve: Pending["resolve"] = () => {};
    let reject: Pending["reject"] = () => {};
    const promise = new Promise((...settle) => ([resolve, reject] = settle));
    this.#pending.set(whole.id, { command: whole, promise, resolve, reject });
    this.#post(whole);
    return promise;
  }

  /** Resolves when no command is under way. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#pending.values()].map(({ promise }) => promise));
  }

  /**
   * Resolves when the keeper of a journal that is closed has written the last marks. Rejects with
   * what has kept it from that.
   */
  async finish(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      clearTimeout(this.#restart);
      if (!this.#isRunning) this.#run();
      const failure = await this.#ended;
      if (failure === undefined) return;
      if (tries === FINISH_TRIES_MAX) throw failure.error;
    }
  }

  /** Ends the thread, which can be interrupted anywhere in its work. Resolves when it is gone. */
  async stop(error: MillraceError): Promise<void> {
    this.#rejectAll(error);
    clearTimeout(this.#restart);
    this.#port?.close();
    await this.#worker?.terminate();
  }

  #run(): void {
    const { port1: theirs, port2: ours } = new MessageChannel();
    const data: KeeperWorkerData = { storage: this.#source, memory: this.#memory, start: this.#start, port: theirs };
    const worker = startThread(workerUrl("../keeper/keeper.worker", import.meta.url), {
      workerData: data,
      transferList: [theirs],
      name: "millrace journal keeper",
    });
    this.#worker = worker;
    this.#port = ours;
    ours.on("message", (reply: KeeperReply) => this.#replied(reply));
    ours.unref();
    this.#isRunning = true;
    let error: unknown;
    worker.on("error", (thrown) => (error = thrown));
    this.#ended = new Promise((resolve) => {
      worker.once("exit", (code) =>
        resolve(code === 0 ? undefined : { error: error ?? new Error("the keeper thread ended") }),
      );
    });
    worker.once("exit", () => {
      this.#isRunning = false;
      ours.close();
      // It holds nothing that matters; the writer and the commands wait for the next one.
      if (this.#events.isNeeded()) this.#restart = setTimeout(() => this.#again(), RESTART_MS);
      else this.#rejectAll(this.#events.gone());
    });
    for (const { command } of this.#pending.values()) this.#post(command);
  }

  #again(): void {
    if (!this.#events.isNeeded()) {
      this.#rejectAll(this.#events.gone());
      return;
    }
    this.#restarts += 1;
    this.#run();
  }

  #rejectAll(error: MillraceError): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #post(command: KeeperCommand): void {
    this.#port?.postMessage(command);
    // A caller waits: the process must not end before the answer.
    this.#port?.ref();
    Atomics.add(this.#control, COMMANDS, 1);
    unpark(this.#threads, this.#memory.keeperThread);
  }

  #replied(reply: KeeperReply): void {
    if ("damage" in reply) {
      this.#scrubbed.add(reply.damage.file);
      this.#events.onDamage(reply.damage);
      return;
    }
    if ("scrubbed" in reply) {
      this.#scrubbed.add(reply.scrubbed);
      return;
    }
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#port?.unref();
    if ("error" in reply) pending.reject(decode(reply.error));
    else pending.resolve(reply.result);
  }
}
