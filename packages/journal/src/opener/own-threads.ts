/** The two threads that a journal starts: the writer, and the keeper once the log is open. */
import { ThreadTable } from "@millrace/atomics-sync";
import type { MillraceError } from "@millrace/base";
import type { JournalLimits } from "../files/limits.ts";
import type { DamageReport } from "../keeper/scrub.ts";
import type { JournalMemory } from "../memory/control.ts";
import type { StorageSource } from "../storage/storage.ts";
import { KeeperClient } from "./keeper-client.ts";
import type { ResolvedJournalOptions } from "./options.ts";
import type { JournalState } from "./state.ts";
import { type OpenedLog, WriterClient } from "./writer-client.ts";

export interface OwnThreadsParts {
  readonly options: ResolvedJournalOptions;
  readonly source: StorageSource;
  readonly memory: JournalMemory;
  readonly state: JournalState;
  /** The writer's thread has ended, whatever the cause. */
  readonly writerEnded: () => void;
  readonly damaged: (damage: DamageReport) => void;
}

export class OwnThreads {
  readonly #parts: OwnThreadsParts;
  #writer: WriterClient | undefined;
  #keeper: KeeperClient | undefined;
  #isEnded = false;

  constructor(parts: OwnThreadsParts) {
    this.#parts = parts;
  }

  /** Undefined until the log is open. */
  get keeper(): KeeperClient | undefined {
    return this.#keeper;
  }

  /** Undefined until `start`. */
  get writer(): WriterClient | undefined {
    return this.#writer;
  }

  /** Starts the writer, which recovers the log, and then the keeper. Rejects as `Journal.open`. */
  async start(limits: JournalLimits): Promise<OpenedLog> {
    const opened = await this.#startWriter(limits);
    this.#startKeeper(opened, limits);
    return opened;
  }

  /** Why the journal takes no more records. */
  poisonedError(): MillraceError {
    return (this.#writer as WriterClient).poisonedError();
  }

  /** Ends both, wherever they are. Resolves when they are gone, and gives their numbers back. */
  async end(reason: MillraceError): Promise<void> {
    this.#isEnded = true;
    await Promise.all([this.#writer?.terminate(), this.#keeper?.stop(reason)]);
    const { writerThread, keeperThread } = this.#parts.memory;
    ThreadTable.current().release(writerThread);
    ThreadTable.current().release(keeperThread);
  }

  #startWriter(limits: JournalLimits): Promise<OpenedLog> {
    const { options, source, memory, writerEnded } = this.#parts;
    const { directory, recovery, verifyAll, sync } = options;
    const data = {
      directory,
      storage: source,
      memory,
      limits,
      recovery: { strict: recovery === "strict", everything: verifyAll },
      isSynced: sync !== "none",
    };
    this.#writer = new WriterClient(data, writerEnded);
    return this.#writer.opened;
  }

  #startKeeper({ summary, logId, firstSegment, unread }: OpenedLog, limits: JournalLimits): void {
    const { options, source, memory, state, damaged } = this.#parts;
    const { directory, recovery, sync } = options;
    const start = {
      directory,
      logId: Buffer.from(logId),
      firstSegment,
      firstSequence: summary.firstSequence,
      unread,
      limits,
      // Leftovers in a reused file can't be told from a torn batch, and "strict" wants to be told.
      isReusing: recovery !== "strict",
      isSynced: sync !== "none",
    };
    this.#keeper = new KeeperClient(source, memory, start, {
      isNeeded: () => !this.#isEnded && (state.name === "open" || state.name === "closing"),
      gone: () => this.poisonedError(),
      onDamage: damaged,
    });
  }
}
