/**
 * The journal's memory: producers' rings, the writer's loop over a log in memory, receipts, and
 * readers that wait for more.
 */
import * as assert from "uvu/assert";
import { Parker, Reactor, unpark, unparkAgain } from "@millrace/atomics-sync";
import { JournalLog } from "@millrace/intake/internal/delivery/journal-log";
import type { DeliveryHandle } from "@millrace/journal/internal/opener/journal";
import { JournalAppender } from "@millrace/journal/internal/opener/appender";
import { Followers } from "@millrace/journal/internal/opener/followers";
import {
  CLOSED,
  ERRNO,
  POISONED,
  producerWord,
  SPARE_ERRNO,
  SPARE_FAILED,
  SPARE_READY,
  SPARE_STATE,
  SPARE_WANTED,
  STATE,
  STEP,
  STEPS,
} from "@millrace/journal/internal/memory/control";
import { JournalProducer } from "@millrace/journal/internal/memory/producer";
import { writerStats } from "@millrace/journal/internal/memory/stats";
import type { Storage } from "@millrace/journal/internal/storage/storage";
import {
  closeJournal,
  DELIVERY,
  EIO,
  ENOSPC,
  type JournalShared,
  journalShared,
  KEEPER,
  OPENER,
  payload,
  ROOM,
  STATS,
  SYNCED,
  withThreads,
  WRITER,
} from "../fixtures/journal.ts";
import { type Mutant, pause, scenario, type Scenario } from "../api.ts";

/**
 * Commits records, `perCommit` at once, and reads receipts until all are durable. Logs
 * `sequence:payload` of each.
 */
function produce(shared: JournalShared, first: number, count: number, perCommit: number, log: unknown[]): void {
  const { memory, disk } = shared;
  const producer = new JournalProducer(memory, 0);
  const parker = new Parker(new Int32Array(memory.threads), OPENER);
  let next = 0;
  let told = 0;
  for (let turn = 0; told < count; turn += 1) {
    assert.ok(turn < 16, "woken without a receipt or room");
    while (next < count && producer.stageBytes(payload(first + next), 0)) {
      next += 1;
      if (next % perCommit === 0) producer.commit();
    }
    parker.prepare();
    if (producer.hasReceipts()) parker.cancel();
    else parker.wait(Infinity);
    while (producer.nextReceipt()) {
      for (let each = 0; each < producer.count; each += 1) {
        const sequence = producer.firstSequence + each;
        assert.ok(Atomics.load(disk, SYNCED) >= sequence, "told before it was synced");
        log.push(disk[sequence + 1]);
      }
      told += producer.count;
    }
  }
}

/** The files are no part of this. */
const NO_FILES = {} as unknown as Storage;

/**
 * Answers the writer's wishes until the end, as the keeper does. The disk is full for the first
 * one. The keeper tries that one again by itself.
 */
function answerWishes({ memory, disk }: JournalShared): void {
  const control = new Int32Array(memory.control);
  const threads = new Int32Array(memory.threads);
  const parker = new Parker(threads, KEEPER);
  const isOver = (): boolean => Atomics.load(control, STATE) >= CLOSED;
  const hasWish = (state: number): boolean => state === SPARE_WANTED || state === SPARE_FAILED;
  let outcome: number = SPARE_FAILED;
  for (let turn = 0; !isOver(); turn += 1) {
    assert.ok(turn < 32, "asked without an end");
    const state = Atomics.load(control, SPARE_STATE);
    if (hasWish(state)) {
      Atomics.store(control, SPARE_ERRNO, ENOSPC);
      if (outcome === SPARE_READY) Atomics.store(disk, ROOM, 1);
      Atomics.compareExchange(control, SPARE_STATE, state, outcome);
      unpark(threads, WRITER);
      // The writer runs first, up to its sleep if nothing holds it up.
      if (outcome === SPARE_FAILED) pause();
      outcome = SPARE_READY;
      continue;
    }
    parker.prepare();
    if (hasWish(Atomics.load(control, SPARE_STATE)) || isOver()) parker.cancel();
    else parker.wait(Infinity);
  }
}

export const scenarios: Scenario[] = [
  scenario({
    name: "journal: what a producer is told was synced, in its order",
    setUp: () => withThreads(journalShared(), 3),
    threads: {
      producer(shared, log) {
        produce(shared, 1, 3, 1, log);
        closeJournal(shared);
      },
      writer: ({ writer }) => writer.run(),
    },
    check({ memory }, { logs }) {
      assert.equal(logs["producer"], [1, 2, 3]);
      assert.is(new Int32Array(memory.control)[STATE], CLOSED);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "journal: an appender and a reader that waits for more, on their event loops",
    setUp: () => withThreads(journalShared([{}, {}]), 3),
    threads: {
      async opener(shared, log) {
        const { memory } = shared;
        const threads = new Int32Array(memory.threads);
        const reactor = new Reactor(threads, OPENER);
        const stats = writerStats(memory.stats);
        const control = new Int32Array(memory.control);
        const isOver = (): boolean => Atomics.load(control, STATE) >= CLOSED;
        const followers = new Followers(reactor, control, () => stats.get("durableSequence"), isOver);
        await followers.moreThan(0, undefined);
        log.push(stats.get("durableSequence") > 0);
        followers.detach();
        closeJournal(shared);
      },
      async appender(shared, log) {
        const { memory, disk } = shared;
        const appender = JournalAppender.connect({ memory, ring: 1, pendingBytesMax: 1024, pollMs: 0 });
        const sequence = await appender.append(payload(7));
        assert.ok(Atomics.load(disk, SYNCED) >= sequence, "told before it was synced");
        log.push(sequence);
        await appender.close();
      },
      writer: ({ writer }) => writer.run(),
    },
    check({ memory }, { logs }) {
      assert.equal(logs["appender"], [1]);
      assert.equal(logs["opener"], [true]);
      assert.is(new Int32Array(memory.control)[producerWord(1)], -1, "the ring was left");
    },
    tickMs: 1,
    races: STATS,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "journal: a lazy record that somebody awaits starts a sync",
    setUp: () => withThreads(journalShared([{ isLazy: true }]), 3),
    threads: {
      producer(shared, log) {
        const { memory, disk } = shared;
        const producer = new JournalProducer(memory, 0);
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        assert.ok(producer.stageBytes(payload(1), 0));
        producer.commitLazily();
        producer.urge();
        // Nobody urges the second one: only its time limit ends its wait, or the end of the
        // journal.
        assert.ok(producer.stageBytes(payload(2), 0));
        producer.commitLazily();
        for (let turn = 0; log.length === 0; turn += 1) {
          assert.ok(turn < 8, "woken without a receipt");
          parker.prepare();
          if (producer.hasReceipts()) parker.cancel();
          else parker.wait(Infinity);
          while (producer.nextReceipt()) log.push(producer.firstSequence);
        }
        assert.ok(Atomics.load(disk, SYNCED) >= 1, "told before it was synced");
        closeJournal(shared);
      },
      writer: ({ writer }) => writer.run(),
    },
    check({ disk }, { logs }) {
      assert.is(logs["producer"]?.[0], 1);
      assert.is(disk[SYNCED], 2, "what was lazy is synced at the close");
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "journal: the opener poisons it while the writer waits for a reader of receipts",
    setUp: () => withThreads(journalShared([{}]), 3),
    threads: {
      producer({ memory }, log) {
        const producer = new JournalProducer(memory, 0);
        assert.ok(producer.stageBytes(payload(1), 0));
        producer.commit();
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        for (let turn = 0; !producer.isPoisoned(); turn += 1) {
          assert.ok(turn < 8, "woken for nothing");
          parker.prepare();
          if (producer.isPoisoned() || producer.hasReceipts()) parker.cancel();
          else parker.wait(Infinity);
          while (producer.nextReceipt()) log.push(producer.firstSequence);
        }
      },
      opener({ memory }) {
        // As `Journal.poison` does.
        Atomics.store(new Int32Array(memory.control), STATE, POISONED);
        unparkAgain(new Int32Array(memory.threads), OPENER);
        unparkAgain(new Int32Array(memory.threads), WRITER);
      },
      writer({ writer }, log) {
        try {
          writer.run();
          log.push("closed");
        } catch {
          log.push("poisoned");
        }
      },
    },
    check({ memory, disk }, { logs }) {
      assert.equal(logs["writer"], ["poisoned"]);
      assert.is(new Int32Array(memory.control)[STATE], POISONED);
      assert.ok((logs["producer"] as unknown[]).length <= (disk[SYNCED] as number));
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "journal: a write that fails poisons it, with what failed",
    setUp: () => withThreads(journalShared([{}], false, { failsAt: 2 }), 3),
    threads: {
      producer({ memory }, log) {
        const producer = new JournalProducer(memory, 0);
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        for (let each = 1; each <= 2; each += 1) {
          assert.ok(producer.stageBytes(payload(each), 0));
          producer.commit();
        }
        for (let turn = 0; !producer.isPoisoned(); turn += 1) {
          assert.ok(turn < 8, "woken for nothing");
          parker.prepare();
          if (producer.isPoisoned() || producer.hasReceipts()) parker.cancel();
          else parker.wait(Infinity);
          while (producer.nextReceipt()) log.push(producer.firstSequence);
        }
        while (producer.nextReceipt()) log.push(producer.firstSequence);
        const control = new Int32Array(memory.control);
        assert.is(Atomics.load(control, ERRNO), EIO);
        assert.is(STEPS[Atomics.load(control, STEP)], "writing a batch");
      },
      writer({ writer }, log) {
        try {
          writer.run();
        } catch (thrown) {
          log.push((thrown as Error).message);
        }
      },
    },
    check({ disk }, { logs }) {
      assert.equal(logs["writer"], ["the disk"]);
      assert.is((logs["producer"] as unknown[]).length, disk[SYNCED]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "journal: a full disk refuses data until there is room again",
    setUp: () => withThreads(journalShared([{}, { isState: true }], false, { isFullAtFirst: true }), 3),
    threads: {
      producer(shared, log) {
        const { memory } = shared;
        const data = new JournalProducer(memory, 0);
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        let isUnderWay = false;
        for (let turn = 0; log.at(-1) !== "durable"; turn += 1) {
          assert.ok(turn < 8, "woken for nothing, or refused for ever");
          parker.prepare();
          if (!isUnderWay && !data.isFull()) {
            parker.cancel();
            assert.ok(data.stageBytes(payload(1), 0));
            data.commit();
            isUnderWay = true;
            continue;
          }
          if (data.hasReceipts()) parker.cancel();
          else parker.wait(Infinity);
          if (!data.nextReceipt()) continue;
          log.push(data.isRefused ? "refused" : "durable");
          isUnderWay = false;
        }
        closeJournal(shared);
      },
      keeper: answerWishes,
      writer: ({ writer }) => writer.run(),
    },
    check({ memory, disk }, { logs }) {
      const told = logs["producer"] as string[];
      assert.is(told.at(-1), "durable");
      assert.ok(told.slice(0, -1).every((each) => each === "refused"));
      assert.is(disk[SYNCED], 1);
      assert.is(new Int32Array(memory.control)[STATE], CLOSED);
    },
    // The time for another wish has come at each look. Only the keeper's answer ends a sleep.
    tickMs: 300,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "journal: a state record waits for the keeper to find room",
    setUp: () => withThreads(journalShared([{ isState: true }], false, { isFullAtFirst: true }), 3),
    threads: {
      producer(shared, log) {
        const { memory, disk } = shared;
        const producer = new JournalProducer(memory, 0);
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        assert.ok(producer.stageBytes(payload(1), 0));
        producer.commit();
        for (let turn = 0; log.length === 0; turn += 1) {
          assert.ok(turn < 8, "woken without a receipt");
          parker.prepare();
          if (producer.hasReceipts()) parker.cancel();
          else parker.wait(Infinity);
          while (producer.nextReceipt()) log.push(producer.isRefused ? "refused" : Atomics.load(disk, SYNCED));
        }
        closeJournal(shared);
      },
      keeper: answerWishes,
      writer: ({ writer }) => writer.run(),
    },
    check({ memory }, { logs }) {
      assert.equal(logs["producer"], [1]);
      assert.is(new Int32Array(memory.control)[STATE], CLOSED);
    },
    tickMs: 300,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "journal: the delivery thread gives back the space that a producer waits for",
    // The second ring is that of the delivery thread itself.
    setUp: () => withThreads(journalShared([{}, { isLazy: true }], true), 4),
    threads: {
      producer(shared) {
        const { memory } = shared;
        const producer = new JournalProducer(memory, 0);
        const parker = new Parker(new Int32Array(memory.threads), OPENER);
        // One more than the ring takes.
        for (let next = 1, turn = 0; next <= 5; turn += 1) {
          assert.ok(turn < 16, "woken without room");
          parker.prepare();
          if (producer.stageBytes(payload(next), 0)) {
            parker.cancel();
            producer.commit();
            next += 1;
          } else parker.wait(Infinity);
          while (producer.nextReceipt());
        }
      },
      delivery(shared, log) {
        const { memory, disk } = shared;
        const handle = { memory, ring: 1, firstSequence: 1, recoveredSequence: 0 } as DeliveryHandle;
        const journalLog = new JournalLog(handle, NO_FILES);
        const parker = new Parker(new Int32Array(memory.threads), DELIVERY);
        for (let turn = 0; journalLog.known < 5; turn += 1) {
          assert.ok(turn < 16, "woken without a receipt");
          parker.prepare();
          if (journalLog.hasNews()) parker.cancel();
          else parker.wait(Infinity);
          journalLog.takeNews(({ sequence }) => {
            assert.ok(Atomics.load(disk, SYNCED) >= sequence, "delivered before it was synced");
            log.push(sequence);
          });
        }
        closeJournal(shared);
      },
      writer: ({ writer }) => writer.run(),
    },
    check(_shared, { logs }) {
      assert.equal(logs["delivery"], [1, 2, 3, 4, 5].slice(0, logs["delivery"]?.length));
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
];

const WRITER_FILE = "journal/writer/writer";

export const mutants: Mutant[] = [
  {
    breaks: "a receipt is written before the batch is synced",
    file: WRITER_FILE,
    from: "const firstSequence = this.#log.nextSequence;",
    to: 'const firstSequence = this.#stats.get("durableSequence") + 1; this.#rings.acknowledge(firstSequence);',
    by: "was synced",
  },
  {
    breaks: "the writer sleeps without a last look at the rings",
    file: WRITER_FILE,
    from: "if (this.#isDue() || this.#hasNewAnswer()) {",
    to: "if (this.#hasNewAnswer()) {",
  },
  {
    breaks: "the writer sleeps on a full disk although the keeper has answered",
    file: WRITER_FILE,
    from: "if (this.#isDue() || this.#hasNewAnswer()) {",
    to: "if (this.#isDue()) {",
    by: "full disk",
  },
  {
    breaks: "the writer puts a batch back and sleeps although the keeper has answered",
    file: WRITER_FILE,
    from: "if (this.#hasNewAnswer())\n            this.#parker.cancel();",
    to: "if (false)\n            this.#parker.cancel();",
    by: "state record",
  },
  {
    breaks: "the writer notes an answer that it hasn't acted on",
    file: WRITER_FILE,
    from: "if (this.#isStarved)\n            this.#awaitAnswer();",
    to: "if (this.#isStarved) { this.#noteAnswer(); this.#awaitAnswer(); }",
    by: "state record",
  },
  {
    breaks: "the writer gives back space that delivery still reads",
    file: "journal/writer/rings",
    from: "if (this.#deliveryReceipts === undefined)\n            ring.releaser.release(ring.taker.end);",
    to: "ring.releaser.release(ring.taker.end);",
  },
  {
    breaks: "those who wait for more are not woken",
    file: WRITER_FILE,
    from: "if (Atomics.load(this.#control, FOLLOWERS) > 0)",
    to: "if (false)",
  },
  {
    breaks: "producers aren't woken when the disk has room again",
    file: WRITER_FILE,
    from: "Atomics.store(this.#control, SPACE, SPACE_OK);\n            this.#rings.wakeAll();",
    to: "Atomics.store(this.#control, SPACE, SPACE_OK);",
  },
  {
    breaks: "the cause of a poisoned journal is told after the poisoning",
    file: WRITER_FILE,
    from: "Atomics.store(this.#control, STEP, STEPS.indexOf(this.#step));\n        Atomics.store(this.#control, STATE, POISONED);",
    to: "Atomics.store(this.#control, STATE, POISONED);\n        Atomics.store(this.#control, STEP, STEPS.indexOf(this.#step));",
  },
  {
    breaks: "a commit wakes nobody",
    file: "journal/memory/producer",
    from: "this.#ring.commit();\n        unpark(this.#threads, this.#memory.writerThread);\n    }\n    /**\n     * Hands everything",
    to: "this.#ring.commit();\n    }\n    /**\n     * Hands everything",
  },
  {
    breaks: "who urges a lazy ring doesn't wake the writer",
    file: "journal/memory/producer",
    from: "Atomics.store(this.#control, urgentWord(this.#index), this.#ring.committed);\n        unpark(this.#threads, this.#memory.writerThread);",
    to: "Atomics.store(this.#control, urgentWord(this.#index), this.#ring.committed);",
  },
  {
    breaks: "an appender takes its ring over and doesn't say whom to wake",
    file: "journal/opener/appender",
    from: "Atomics.store(new Int32Array(memory.control), producerWord(ring), reactor.thread);",
    to: "producerWord(ring);",
  },
  {
    breaks: "a reader waits without an announcement",
    file: "journal/opener/followers",
    from: "Atomics.store(this.#control, FOLLOWERS, this.#waiting.length);\n            // The writer",
    to: "// The writer",
  },
  {
    breaks: "delivery gives space back and wakes nobody",
    file: "intake/delivery/journal-log",
    from: "if (thread !== NO_THREAD)\n            unpark(this.#threads, thread);",
    to: "",
  },
];
