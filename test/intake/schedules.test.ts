// Schedules publish, by a clock of the test's own and a log that is a list.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encode } from "@millrace/codec";
import type { Log } from "@millrace/intake/internal/delivery/ports";
import { Schedules } from "@millrace/intake/internal/delivery/schedules";
import { termsOf } from "@millrace/intake/internal/format/record-header";
import type { ScheduleDefinition, Scheduled } from "@millrace/intake/internal/format/schedule";
import type { StateLog } from "@millrace/intake/internal/delivery/state-log";
import { ScheduleStates } from "@millrace/intake/internal/states/schedule-states";
import type { RecordParts } from "@millrace/journal/kernel";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.parse("2026-11-30T00:00:00Z");

/** A world that outlives its processes: a log, and a clock that is told the time. */
class World {
  wallMs = START;
  nowMs = 0;
  isFull = false;
  hasRoom = true;
  readonly records: Scheduled[] = [];
  staged: RecordParts[] = [];
  states = new ScheduleStates();
  missingHandlers = new Set<string>();
  #schedules: Schedules;

  constructor(definition: Partial<ScheduleDefinition>) {
    this.define(definition);
    this.#schedules = this.start();
  }

  define(definition: Partial<ScheduleDefinition>): void {
    this.states.defined({
      name: "s",
      isDeclared: false,
      atMs: this.wallMs,
      definition: {
        handler: "h",
        payload: encode(null),
        headers: undefined,
        cron: definition.everyMs === undefined ? "0 * * * *" : undefined,
        everyMs: undefined,
        timeZone: "UTC",
        catchUp: "last",
        catchUpMax: 100,
        priority: 1,
        key: undefined,
        ttlMs: undefined,
        ...definition,
      },
    });
  }

  /** A process begins: what wasn't durable is gone. */
  start(): Schedules {
    this.staged = [];
    this.#schedules = new Schedules({
      states: this.states,
      stateLog: { control: () => {}, urge: () => {} } as unknown as StateLog,
      log: {
        isDiskFull: () => this.isFull,
        payloadBytesMax: 100_000,
        stage: (parts: RecordParts) => this.hasRoom && this.staged.push(parts) > 0,
        commit: () => {},
      } as unknown as Log,
      clock: { now: () => this.nowMs, wall: () => this.wallMs },
      isThere: (handler) => !this.missingHandlers.has(handler),
    });
    return this.#schedules;
  }

  get schedules(): Schedules {
    return this.#schedules;
  }

  /** Time passes, turn by turn, and what is published becomes durable. */
  pass(ms: number, stepMs = 10 * 60_000): number[] {
    const before = this.records.length;
    for (let left = ms; left > 0; left -= stepMs) {
      this.wallMs += Math.min(stepMs, left);
      this.nowMs += Math.min(stepMs, left);
      this.turn();
    }
    return this.#hoursSince(before);
  }

  turn(): number[] {
    const before = this.records.length;
    this.#schedules.turn();
    this.sync();
    return this.#hoursSince(before);
  }

  sync(): void {
    for (const { header } of this.staged.splice(0)) {
      const { scheduled } = termsOf(Buffer.from(header));
      if (this.states.judge(scheduled as Scheduled)) this.records.push(scheduled as Scheduled);
    }
  }

  #hoursSince(count: number): number[] {
    return this.records.slice(count).map(({ dueMs }) => (dueMs - START) / HOUR);
  }
}

test("each due time gets one record", () => {
  assert.equal(new World({}).pass(4 * HOUR), [1, 2, 3, 4]);
  assert.equal(new World({ everyMs: HOUR / 2 }).pass(2 * HOUR), [0.5, 1, 1.5, 2]);
});

test("a crash between two turns neither loses nor repeats a due time", () => {
  const world = new World({});
  world.pass(HOUR - 1);
  world.wallMs += 1;
  world.schedules.turn();
  assert.is(world.staged.length, 1);
  // Not durable: the next process publishes it.
  world.start();
  assert.equal(world.turn(), [1]);
  world.start();
  assert.equal(world.turn(), []);
  assert.equal(world.pass(HOUR), [2]);
});

test("a second record for a due time is a duplicate, whoever wrote it", () => {
  const world = new World({});
  world.pass(2 * HOUR);
  assert.not(world.states.judge({ name: "s", dueMs: START + HOUR, missed: 0 }));
  assert.not(world.states.judge({ name: "s", dueMs: START + 2 * HOUR, missed: 0 }));
  assert.ok(world.states.judge({ name: "s", dueMs: START + 3 * HOUR, missed: 0 }));
});

test("what passed while no process ran is caught up with as the schedule says", () => {
  const after = (definition: Partial<ScheduleDefinition>, lateMs = 30 * 60_000): World => {
    const world = new World(definition);
    world.pass(HOUR);
    world.wallMs += 5 * HOUR + lateMs;
    world.start();
    world.turn();
    return world;
  };
  const hours = (world: World): number[] => world.records.map(({ dueMs }) => (dueMs - START) / HOUR);
  assert.equal(hours(after({ catchUp: "last" })), [1, 6]);
  assert.is(after({ catchUp: "last" }).states.get("s")?.missed, 4);
  assert.equal(hours(after({ catchUp: "all" })), [1, 2, 3, 4, 5, 6]);
  assert.equal(hours(after({ catchUp: "all", catchUpMax: 2 })), [1, 5, 6]);
  assert.is(after({ catchUp: "all", catchUpMax: 2 }).states.get("s")?.missed, 3);
  const none = after({ catchUp: "none" });
  assert.equal(hours(none), [1]);
  // Counted with the next record.
  assert.equal(none.pass(HOUR), [7]);
  assert.is(none.states.get("s")?.missed, 5);
  // A minute late is on time.
  assert.equal(hours(after({ catchUp: "none" }, 30_000)), [1, 6]);
});

test("a schedule that was due each second for years is caught up with at once", () => {
  const world = new World({ everyMs: 1000, catchUp: "all" });
  world.wallMs += 10 * 365 * DAY;
  world.start();
  const begin = performance.now();
  world.turn();
  assert.ok(performance.now() - begin < 5000);
  assert.is(world.records.length, 100);
  // Counted up to a limit.
  assert.is(world.states.get("s")?.missed, 1000);
});

test("a clock that jumps ahead by a day makes no storm", () => {
  for (const [catchUp, count] of [
    ["none", 1],
    ["last", 1],
    ["all", 24],
  ] as const) {
    const world = new World({ catchUp });
    world.pass(HOUR);
    world.wallMs += DAY;
    assert.is(world.turn().length, count, catchUp);
    assert.equal(world.turn(), [], catchUp);
    assert.equal(world.pass(2 * HOUR), [26, 27], catchUp);
  }
});

test("a clock that is set back repeats no due time, and loses none that had no record", () => {
  const world = new World({});
  world.pass(30 * HOUR);
  world.wallMs -= DAY;
  assert.equal(world.pass(DAY), []);
  assert.equal(world.pass(2 * HOUR), [31, 32]);
  world.start();
  world.wallMs -= DAY;
  assert.equal(world.pass(DAY + HOUR), [33]);
  // It was ahead by mistake, and passed over times that are still to come.
  const none = new World({ catchUp: "none" });
  none.pass(HOUR);
  none.wallMs += DAY + HOUR / 2;
  assert.equal(none.turn(), []);
  none.wallMs -= DAY + HOUR / 2;
  assert.equal(none.pass(2 * HOUR), [2, 3]);
});

test("another pattern begins when it is defined, and another payload changes no time", () => {
  const world = new World({});
  world.pass(HOUR);
  world.wallMs += 3 * HOUR;
  world.define({ catchUp: "all", payload: encode("new") });
  world.start();
  assert.equal(world.turn(), [2, 3, 4]);
  world.wallMs += 3 * HOUR;
  world.define({ catchUp: "all", cron: "30 * * * *" });
  world.start();
  assert.equal(world.turn(), []);
  assert.equal(world.pass(2 * HOUR), [7.5, 8.5]);
});

test("the due times of a distance don't drift over restarts", () => {
  const world = new World({ everyMs: 7 * 60_000 });
  for (let life = 0; life < 20; life += 1) {
    world.pass(13 * 60_000 + 777, 60_000);
    world.start();
  }
  for (const { dueMs } of world.records) assert.is((dueMs - START) % (7 * 60_000), 0);
  assert.is(world.records.length, Math.floor((20 * (13 * 60_000 + 777)) / (7 * 60_000)));
});

test("a schedule rests without its handler or room, and while it changes", () => {
  const world = new World({ catchUp: "all" });
  world.missingHandlers.add("h");
  world.start();
  assert.equal(world.pass(2 * HOUR), []);
  assert.is(world.schedules.nextTurnAt(), Infinity);
  world.missingHandlers.clear();
  world.start();
  world.isFull = true;
  assert.equal(world.turn(), []);
  // No turn for each millisecond of a full disk.
  assert.ok(world.schedules.nextTurnAt() >= world.nowMs + 100);
  world.isFull = false;
  world.hasRoom = false;
  assert.equal(world.turn(), []);
  world.hasRoom = true;
  assert.equal(world.turn(), [1, 2]);
  world.schedules.remove("s");
  assert.equal(world.pass(HOUR), []);
  world.schedules.changed("s");
  assert.equal(world.turn(), [3]);
  assert.is(world.states.get("s")?.missed, 0);
});

test("a removed schedule publishes nothing, and one of its name begins anew", () => {
  const world = new World({});
  world.pass(HOUR);
  world.schedules.remove("s");
  world.states.removed("s");
  world.schedules.changed("s");
  assert.equal(world.pass(3 * HOUR), []);
  world.define({});
  world.schedules.changed("s");
  assert.equal(world.pass(HOUR), [5]);
});

test.run();
