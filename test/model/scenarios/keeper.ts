/**
 * The keeper and the writer: every wish for the next segment is answered, also by a disk that is
 * full for a while.
 */
import type { MessagePort } from "node:worker_threads";
import * as assert from "uvu/assert";
import { Parker } from "@millrace/atomics-sync";
import { Keeper, type KeeperStart } from "@millrace/journal/internal/keeper/keeper";
import { CLOSED, STATE } from "@millrace/journal/internal/memory/control";
import { JournalProducer } from "@millrace/journal/internal/memory/producer";
import type { OpenMode, Storage } from "@millrace/journal/internal/storage/storage";
import {
  closeJournal,
  ENOSPC,
  type JournalShared,
  journalShared,
  OPENER,
  payload,
  SPARES,
  STATS,
  SYNCED,
  withThreads,
} from "../fixtures/journal.ts";
import { type Mutant, scenario, type Scenario } from "../api.ts";

const LIMITS = { recordBytesMax: 64, batchBytesMax: 256, segmentBytesMax: 4096 };

/**
 * A disk of the keeper's own that tells the log how many spares there are. It is full for the first
 * `refusals` files.
 */
function storageOver(disk: Int32Array, refusals: number): Storage {
  let left = refusals;
  return {
    // The spare that was there is a segment by now.
    list: () => ["reserve-4096.wal", ...(Atomics.load(disk, SPARES) > 0 ? ["spare-4096.wal"] : [])],
    open(_name: string, mode: OpenMode) {
      const file = { size: () => 4096, write: (buffers: Uint8Array[]) => buffers[0]?.length, sync() {}, close() {} };
      if (mode === "read") return file;
      left -= 1;
      if (left >= 0) throw Object.assign(new Error("full"), { errno: -ENOSPC, code: "ENOSPC", syscall: "open" });
      return file;
    },
    rename: () => void Atomics.add(disk, SPARES, 1),
    remove() {},
    syncDirectory() {},
  } as unknown as Storage;
}

const NO_COMMANDS = { receive: () => undefined, postMessage() {} } as unknown as MessagePort;

function runKeeper({ memory, disk }: JournalShared, refusals: number): void {
  const start: KeeperStart = {
    directory: "",
    logId: Buffer.alloc(16),
    firstSegment: 1,
    firstSequence: 1,
    unread: [],
    limits: LIMITS as never,
    isReusing: false,
    // Without marks, which are a matter of files.
    isSynced: false,
  };
  new Keeper(storageOver(disk, refusals), memory, start, NO_COMMANDS).run();
}

/** Awaits each record before the next one, so that each begins a segment. */
function produce(shared: JournalShared, count: number, log: unknown[]): void {
  const { memory, disk } = shared;
  const producer = new JournalProducer(memory, 0);
  const parker = new Parker(new Int32Array(memory.threads), OPENER);
  let isUnderWay = false;
  for (let turn = 0; log.filter((each) => each !== "refused").length < count; turn += 1) {
    assert.ok(turn < 16, "woken for nothing");
    parker.prepare();
    if (!isUnderWay && !producer.isFull()) {
      parker.cancel();
      assert.ok(producer.stageBytes(payload(1), 0));
      producer.commit();
      isUnderWay = true;
      continue;
    }
    if (producer.hasReceipts()) parker.cancel();
    else parker.wait(Infinity);
    if (!producer.nextReceipt()) continue;
    if (!producer.isRefused) assert.ok(Atomics.load(disk, SYNCED) >= producer.firstSequence);
    log.push(producer.isRefused ? "refused" : producer.firstSequence);
    isUnderWay = false;
  }
  closeJournal(shared);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "keeper: a segment that is wanted is made, while the writer waits for it",
    setUp: () => withThreads(journalShared([{}], false, { framesPerSegment: 1 }), 3),
    threads: {
      producer: (shared, log) => produce(shared, 2, log),
      writer: ({ writer }) => writer.run(),
      keeper: (shared) => runKeeper(shared, 0),
    },
    check({ memory }, { logs }) {
      assert.equal(logs["producer"], [1, 2]);
      assert.is(new Int32Array(memory.control)[STATE], CLOSED);
    },
    tickMs: 1,
    races: STATS,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "keeper: a disk that is full for one file, and then isn't",
    setUp: () => withThreads(journalShared([{}], false, { framesPerSegment: 1 }), 3),
    threads: {
      producer: (shared, log) => produce(shared, 2, log),
      writer: ({ writer }) => writer.run(),
      keeper: (shared) => runKeeper(shared, 1),
    },
    check({ memory }, { logs }) {
      assert.equal(
        logs["producer"]?.filter((each) => each !== "refused"),
        [1, 2],
      );
      assert.is(new Int32Array(memory.control)[STATE], CLOSED);
    },
    tickMs: 100,
    // Both look again from time to time while the disk is full.
    timePasses: true,
    races: STATS,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
];

const FILE = "journal/keeper/keeper";

export const mutants: Mutant[] = [
  {
    breaks: "the writer awaits an answer that has come already",
    file: "journal/writer/writer",
    from: "if (this.#hasNewAnswer())\n            this.#parker.cancel();",
    to: "if (false)\n            this.#parker.cancel();",
    by: "is wanted",
  },
  {
    breaks: "the keeper sleeps without a last look",
    file: FILE,
    from: "if (this.#hasWork(isBehind))",
    to: "if (false)",
  },
  {
    breaks: "the keeper keeps its pace although the writer waits",
    file: "journal/keeper/spare-maker",
    from: "|| this.#pace.isHurried;",
    to: ";",
    by: "is wanted",
  },
  {
    breaks: "the writer isn't told that its spare is ready",
    file: "journal/keeper/spare-maker",
    from: "if (outcome !== state)\n            unpark(this.#threads, this.#memory.writerThread);",
    to: "",
  },
  {
    breaks: "the last look doesn't see the end of the journal",
    file: FILE,
    from: "return (this.#isOver() ||",
    to: "return (",
  },
];
