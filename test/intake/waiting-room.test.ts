// Publishes that wait, while handlers stop and run again in any order: none overtakes another of
// its handler, none waits for ever, and those beside the line keep nobody from resting.
import type { Reactor } from "@millrace/atomics-sync";
import { type Random, seededRandom } from "@millrace/base";
import type { RecordParts } from "@millrace/journal/kernel";
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for it.
import { encodeHandler } from "@millrace/intake/internal/format/record-header";
import { WaitingRoom } from "@millrace/intake/internal/publisher/waiting-room";
import { countMarks } from "@millrace/intake/internal/publisher/water-level";
import { Water } from "@millrace/intake/internal/publisher/water";

const HANDLERS = ["a", "b", "c"] as const;
const RING_RECORDS = 3;
const WAITER = { durable: () => {}, failed: () => {} };
const PATIENCE = { isWaiting: true, timeoutMs: undefined, signal: undefined };
const REACTOR = { add: () => {}, remove: () => {}, expect: () => {}, check: () => {} } as unknown as Reactor;

interface Published {
  readonly handler: string;
  readonly n: number;
}

/** A waiting room, and a delivery that says what it knows when the test lets it. */
class Intake {
  readonly room: WaitingRoom;
  readonly stopped = new Set<string>();
  /** In the order in which they were stored. */
  readonly stored: Published[] = [];
  readonly #published = new Map<number, Published>();
  readonly #ring: Published[][] = [];
  #unfinished: Published[] = [];
  #balance = 0;
  #runnable = 0;
  #told = "";
  readonly #messages: ReadonlySet<string>[] = [];
  #below: number | undefined;
  #hasFallen = false;
  #isRung = false;
  #count = 0;

  constructor(high: number) {
    const marks = { ring: undefined, unfinished: countMarks(high, Math.floor(high / 2)), disk: undefined };
    const measures = {
      underWay: () => this.#ring.flat().length,
      ringBytes: () => this.#ring.flat().length,
      ringBytesMax: RING_RECORDS,
      balance: () => this.#balance,
      runnableBalance: () => this.#runnable,
      freeBytes: () => Infinity,
    };
    const append = (records: readonly RecordParts[]): boolean => {
      if (this.#ring.flat().length + records.length > RING_RECORDS) return false;
      this.#ring.push(records.map(({ timeMs }) => this.#published.get(timeMs) as Published));
      return true;
    };
    const ring = {
      tryAppendParts: (record: RecordParts) => append([record]),
      tryAppendGroupParts: append,
      pendingBytesMax: 100_000,
    };
    const water = new Water(marks, measures, () => {});
    this.room = new WaitingRoom(water, ring, REACTOR, (balance) => (this.#below = balance));
  }

  publish(handler: string): void {
    this.#count += 1;
    const n = this.#count;
    this.#published.set(n, { handler, n });
    const none = new Uint8Array(0);
    const parts = { type: 0, priority: 0, timeMs: n, header: encodeHandler(handler), key: none, payload: none };
    this.room.admit(parts, WAITER, () => {}, PATIENCE);
  }

  /** Delivery takes what is durable, finishes some of what can run, and says so. */
  deliver(random: Random): void {
    this.#isRung ||= this.#ring.length > 0;
    for (const records of this.#ring.splice(0)) {
      this.stored.push(...records);
      this.#unfinished.push(...records);
    }
    const canRun = ({ handler }: Published): boolean => !this.stopped.has(handler);
    this.#unfinished = this.#unfinished.filter((each) => !canRun(each) || random.below(3) > 0);
    this.#balance = this.#unfinished.length - this.stored.length;
    this.#runnable = this.#unfinished.filter(canRun).length - this.stored.length;
    const names = [...this.stopped].toSorted().join();
    if (names !== this.#told) this.#messages.push(new Set(this.stopped));
    this.#told = names;
    if (this.#below === undefined || this.#runnable > this.#below) return;
    this.#below = undefined;
    this.#hasFallen = true;
  }

  /** The opener reads what it was told, and nothing else wakes it. A message may come late. */
  read(isMessageThere: boolean): void {
    if (this.#hasFallen) {
      this.#hasFallen = false;
      this.room.balanceFell();
    }
    const handlers = isMessageThere ? this.#messages.shift() : undefined;
    if (handlers !== undefined) this.room.stopped(handlers);
    if (this.#isRung) this.room.poll();
    this.#isRung = false;
  }
}

function play(seed: number): void {
  const random = seededRandom(seed);
  const intake = new Intake(4 + random.below(6));
  const some = (): string => HANDLERS[random.below(HANDLERS.length)] as string;
  for (let step = 0; step < 300; step += 1) {
    const dice = random.below(10);
    const handler = some();
    if (dice < 5) intake.publish(handler);
    else if (dice === 5 && !intake.stopped.delete(handler)) intake.stopped.add(handler);
    else if (dice < 8) intake.deliver(random);
    else intake.read(random.below(2) === 0);
  }
  intake.stopped.clear();
  for (let turn = 0; turn < 500; turn += 1) {
    intake.deliver(random);
    intake.read(true);
  }
  assert.is(intake.room.size, 0, `seed ${seed}: some wait for ever`);
  for (const handler of HANDLERS) {
    const own = intake.stored.filter((each) => each.handler === handler).map(({ n }) => n);
    assert.equal(
      own,
      own.toSorted((left, right) => left - right),
      `seed ${seed}: ${handler} is out of order`,
    );
  }
}

test("publishes keep the order of their handler, and none waits for ever", () => {
  for (let seed = 1; seed <= 400; seed += 1) play(seed);
});

test("what waits beside the line keeps nobody from resting", () => {
  const random = seededRandom(1);
  const intake = new Intake(4);
  intake.stopped.add("a");
  for (let n = 0; n < 5; n += 1) {
    intake.publish("a");
    intake.deliver(random);
    intake.read(true);
  }
  assert.equal([intake.room.size, intake.room.isExpecting(), intake.room.restMs()], [1, true, Infinity]);
  // Of another one that waits for the ring.
  for (let n = 0; n <= RING_RECORDS; n += 1) intake.publish("b");
  assert.equal([intake.room.size, intake.room.restMs()], [2, 0]);
});

test.run();
