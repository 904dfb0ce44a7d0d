/**
 * Turns of records in cases that the simulation meets seldom: suspects and their groups after
 * unclean ends (the rules are in `docs/intake-states.md`), records that wait and their keys,
 * results and clocks that are set. In each test one process has its turns by hand.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { RECORD_TYPE } from "@millrace/journal";
import { BEHIND_LEASE_MAX, findSuspects, QUARANTINE_ENDS } from "@millrace/intake/internal/delivery/suspects";
import { Lane } from "@millrace/intake/internal/delivery/lane";
import type { LogWalk } from "@millrace/intake/internal/delivery/ports";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { TaskHeader } from "@millrace/intake/internal/format/task-header";
import { World } from "./delivery-harness.ts";
import type { SimRecord } from "./simulation-disk.ts";

/** Suspects that are tried at once. */
const GROUP_MAX = 32;

test("a delayed record holds no key after an unclean end", () => {
  const world = new World({ pay: {} });
  world.publish("pay");
  const late = world.publish("pay", "k", { notBeforeMs: world.wall + 3_600_000 });
  world.turn();
  world.crash();
  const next = world.publish("pay", "k");
  world.turn();
  assert.ok(world.begun.includes(next), `${late} holds the key: ${world.delivery.describe()}`);
});

test("a delayed record holds no key when it is moved", () => {
  for (const restarts of [false, true]) {
    const world = new World({ pay: {} });
    world.publish("pay");
    const late = world.publish("pay", "k", { notBeforeMs: world.wall + 3_600_000 });
    world.turn();
    world.end(1);
    world.turn();
    if (!restarts) world.close();
    // Copied forward.
    const { parts } = world.disk.at(late) as SimRecord;
    world.log.stage({ ...parts, moved: { origin: late, replaces: late } });
    world.log.commit(true);
    world.sync();
    world.turn();
    if (restarts) world.close();
    const next = world.publish("pay", "k");
    world.turn();
    assert.ok(world.begun.includes(next), `${restarts}: ${late} holds the key: ${world.delivery.describe()}`);
  }
});

test("a suspect that hangs holds no other suspect", () => {
  const world = new World({ pay: {}, other: {} });
  const hanging = world.publish("pay");
  for (let other = 1; other < GROUP_MAX; other += 1) world.publish("pay");
  const nextGroup = [world.publish("pay"), world.publish("pay")];
  world.turn();
  world.crash();
  for (let round = 0; round < 40; round += 1) {
    world.turn(2);
    for (const origin of world.begun) if (origin !== hanging && world.isInHand(origin)) world.end(origin);
    world.advance(1000);
  }
  assert.ok(
    nextGroup.every((origin) => world.begun.includes(origin)),
    `${world.begun.join(" ")} ${world.delivery.describe()}`,
  );
});

test("a suspect whose handler is paused holds no other suspect", () => {
  for (let pausedAt = 1; pausedAt < 12; pausedAt += 1) {
    const world = new World({ pay: { concurrencyMax: 1 }, other: {} });
    // More than a group of each.
    const count = GROUP_MAX + 8;
    for (let each = 0; each < count; each += 1) world.publish("pay");
    const others = Array.from({ length: count }, () => world.publish("other"));
    world.turn();
    world.crash();
    for (let round = 0; round < 100; round += 1) {
      world.turn(2);
      if (round === pausedAt) world.delivery.commands.pause("pay", true);
      for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
      world.advance(1000);
    }
    assert.equal(
      others.filter((origin) => !world.begun.includes(origin)),
      [],
      `${pausedAt} ${world.begun.join(" ")} ${world.delivery.describe()}`,
    );
  }
});

test("a suspect whose handler was paused is no more suspect after the next end", () => {
  const world = new World({ pay: { concurrencyMax: 1 } });
  for (let each = 0; each < 4 * GROUP_MAX; each += 1) world.publish("pay");
  world.turn();
  world.crash();
  const seconds = (rounds: number): void => {
    for (let round = 0; round < rounds; round += 1) {
      world.turn(2);
      for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
      world.advance(1001);
    }
  };
  // One runs at a time; the others of its group were named, and wait.
  seconds(6);
  const last = world.begun.at(-1) as number;
  const named = /trying ([\d ]+)/.exec(world.delivery.describe())?.[1]?.split(" ").map(Number) ?? [];
  const waiting = named.filter((origin) => origin !== last);
  assert.ok(waiting.length > 0, world.delivery.describe());
  world.delivery.commands.pause("pay", true);
  seconds(4);
  world.crash();
  const suspects = findSuspects(world.log, world.delivery.states, world.wall);
  assert.equal(
    waiting.filter((origin) => suspects.get(origin) !== 1),
    [],
  );
});

test("the backlog of a handler that runs again holds up no other", () => {
  const world = new World({ pay: {}, other: {} });
  world.delivery.commands.pause("pay", true);
  const backlog = Array.from({ length: 400 }, () => world.publish("pay"));
  world.turn();
  world.delivery.commands.pause("pay", false);
  const others = Array.from({ length: 40 }, () => world.publish("other"));
  for (let round = 0; round < 400 && world.begun.length < 440; round += 1) {
    world.turn(1);
    for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
  }
  assert.equal(
    world.begun.toSorted((left, right) => left - right),
    [...backlog, ...others],
  );
  // As many of the backlog come before the last of the others as there are others, give or take.
  const last = world.begun.indexOf(others.at(-1) as number);
  assert.ok(last < 3 * others.length, `the last of ${others.length} others came as number ${last}`);
});

test("new records of a lower priority take turns with those that come again", () => {
  const world = new World({ pay: {} });
  const again = Array.from({ length: 100 }, () => world.publish("pay", undefined, { notBeforeMs: world.wall + 1000 }));
  world.turn();
  assert.equal(world.begun, []);
  world.advance(1001);
  // A higher priority that always has a record.
  for (let each = 0; each < 4000; each += 1) world.publish("pay", undefined, {}, 0);
  const fresh = Array.from({ length: 20 }, () => world.publish("pay"));
  const lower = new Set([...again, ...fresh]);
  const begun = (): number[] => world.begun.filter((origin) => lower.has(origin));
  for (let round = 0; round < 400 && begun().length < lower.size; round += 1) {
    world.turn(1);
    for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
  }
  const last = begun().indexOf(fresh.at(-1) as number);
  assert.ok(last >= 0 && last < 3 * fresh.length, `the last of ${fresh.length} came as number ${last}`);
});

test("a suspect that has come back is cleared by the last group too", () => {
  const world = new World({ pay: {} });
  world.publish("pay");
  world.turn();
  world.crash();
  world.turn();
  world.end(1, new Error("no"));
  world.turn();
  world.advance(1000);
  world.turn();
  world.crash();
  world.advance(70_000);
  world.turn();
  assert.equal(world.quarantined, []);
});

test("a retry that ends its process is suspect although the clock was set back", () => {
  const world = new World({ pay: {} });
  world.publish("pay");
  world.turn();
  world.end(1, new Error("no"));
  world.turn();
  world.advance(61_000);
  world.turn();
  let kills = 1;
  world.wall -= 3_600_000;
  for (; kills < 10; kills += 1) {
    world.crash();
    world.advance(61_000);
    world.turn();
    if (world.quarantined.length > 0) break;
    assert.ok(world.begun.includes(1));
  }
  assert.ok(kills <= QUARANTINE_ENDS, `${kills} kills`);
});

/** How many processes a record ends before it is in quarantine; its handler ends each at once. */
function killsOf(world: World, origin: number): number {
  for (let kills = 0; kills < 5; kills += 1) {
    for (let turn = 0; ; turn += 1) {
      if (world.begun.includes(origin)) break;
      assert.ok(turn < 40_000, `its turn never comes: ${world.delivery.describe()}`);
      world.turn(1);
      // Groups of suspects take time. Without them none passes for a lease by time alone.
      if (world.delivery.suspects > 0) world.advance(1000);
      if (world.quarantined.includes(origin)) return kills;
      for (const each of world.quarantined.splice(0)) world.delivery.quarantined(each, undefined);
      for (const each of world.runner.tasks.values()) {
        const { sequence } = new TaskHeader(each.header);
        if (sequence !== 1 && sequence !== origin && !each.isOver) world.end(sequence);
      }
    }
    world.crash();
  }
  return Infinity;
}

test("a record that ends its process behind many of one key is soon in quarantine", () => {
  for (const before of [BEHIND_LEASE_MAX >> 1, BEHIND_LEASE_MAX + 900, BEHIND_LEASE_MAX * 5]) {
    const world = new World({ pay: {} });
    for (let each = 0; each < before; each += 1) world.publish("pay", "k");
    const deadly = world.publish("pay");
    world.open();
    const kills = killsOf(world, deadly);
    assert.ok(kills <= QUARANTINE_ENDS, `${kills} kills behind ${before}`);
  }
});

test("a record that ends its process behind new ones is soon in quarantine", () => {
  const world = new World({ pay: {} });
  world.turn();
  for (let each = 0; each < BEHIND_LEASE_MAX + 900; each += 1) world.publish("pay", "k");
  const deadly = world.publish("pay");
  const kills = killsOf(world, deadly);
  assert.ok(kills <= QUARANTINE_ENDS, `${kills} kills`);
});

test("a record that ends its process behind many that are done is soon in quarantine", () => {
  const world = new World({ pay: {} });
  for (let each = 0; each < BEHIND_LEASE_MAX * 4; each += 1) world.publish("pay");
  const deadly = world.publish("pay");
  world.open();
  const kills = killsOf(world, deadly);
  assert.ok(kills <= QUARANTINE_ENDS, `${kills} kills`);
});

test("a lane waits for a lease, but not on a full disk, and not at an end", () => {
  for (const isFull of [false, true]) {
    const world = new World({ pay: {} }, { behindLeaseMax: 40 });
    for (let each = 0; each < 200; each += 1) world.publish("pay");
    world.open();
    world.turn(3);
    world.log.isFull = isFull;
    // Nothing that the process writes becomes durable.
    for (let round = 0; round < 200; round += 1) {
      world.delivery.turn();
      for (const task of world.runner.tasks.values()) {
        if (!task.isBegun) world.runner.begin(task);
        task.isOver = true;
        task.isOk = true;
      }
      world.advance(300);
    }
    assert.is(world.begun.length === 200, isFull, `${world.begun.length} begun`);
    if (isFull) continue;
    assert.ok(world.log.isUrgent, "somebody waits for the lease");
    assert.is(world.delivery.turn(), 0, "the thread sleeps meanwhile");
    const before = world.begun.length;
    world.turn(3);
    assert.ok(world.begun.length > before, "it goes on");
    world.delivery.drain();
    for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
    for (let round = 0; round < 20 && !world.delivery.isOver; round += 1) {
      world.delivery.turn();
      world.sync();
    }
    assert.ok(world.delivery.isOver, world.delivery.describe());
  }
});

for (const others of [BEHIND_LEASE_MAX >> 1, BEHIND_LEASE_MAX * 3]) {
  test(`what a lane of its own has in hand is suspect, with ${others} others before it`, () => {
    const world = new World({ pay: { concurrencyMax: 1 }, other: {} });
    // The second one waits for the first, so that the handler gets a lane of its own.
    for (let pay = 0; pay < 2; pay += 1) world.publish("pay");
    for (let other = 0; other < others; other += 1) world.publish("other");
    const ahead = world.publish("pay");
    world.open();
    for (let round = 0; round < 4000 && !world.begun.includes(ahead); round += 1) {
      world.turn(1);
      // Few of `other` end, so that the lane of the others stays as far behind as it may.
      for (const origin of world.begun.filter((each) => world.isInHand(each)).slice(0, 8)) {
        if (origin !== ahead) world.end(origin);
      }
      world.advance(1000);
    }
    assert.ok(world.isInHand(ahead), world.delivery.describe());
    assert.ok(world.begun.length < others, "it is ahead of the others");
    world.crash();
    assert.ok(findSuspects(world.log, world.delivery.states, world.wall).has(ahead));
  });
}

test("many suspects that expire at once are cleared in records that the journal takes", () => {
  const world = new World({ pay: { concurrencyMax: 1 } });
  world.publish("pay");
  for (let i = 0; i < 2000; i += 1) world.publish("pay", undefined, { expiresAtMs: world.wall + 60_000 });
  world.turn();
  world.advance(1000);
  world.turn();
  world.crash();
  world.turn();
  world.close();
  world.advance(120_000);
  for (let round = 0; round < 5; round += 1) world.turn(12);
  world.close();
  const largest = Math.max(
    ...world.disk.records.filter(({ type }) => type !== RECORD_TYPE.data).map((each) => each.payload().length),
  );
  assert.ok(largest <= world.log.payloadBytesMax, `${largest} bytes`);
});

test("after an end in order a suspect has its turn behind earlier records of its key", () => {
  const world = new World({ pay: {} });
  const earlier = world.publish("pay", "k");
  world.turn();
  world.end(earlier, Object.assign(new Error("never"), { name: "NonRetryable" }));
  world.turn();
  const suspect = world.publish("pay", "k");
  world.turn();
  assert.ok(world.isInHand(suspect), "it is in hand when the process ends");
  world.crash();
  world.turn();
  assert.ok(world.isInHand(suspect), "it is tried in its group");
  world.delivery.commands.redrive({ origins: [earlier], lastDeath: 0 }, "");
  world.turn();
  world.close();
  world.turn();
  assert.equal(world.begun, [earlier]);
  world.end(earlier);
  world.turn();
  assert.equal(world.begun, [earlier, suspect]);
});

test("a clock that is set ahead ends no kept result early", () => {
  const world = new World({ pay: { result: "keep", resultKeepMs: 20_000 } });
  const keep = (): number => {
    const origin = world.publish("pay");
    world.turn();
    world.endWith(origin, Buffer.from("r"));
    world.turn();
    return origin;
  };
  const first = keep();
  const { all } = world.delivery.states.results;
  assert.ok(all.has(first));
  world.wall += 86_400_000;
  const second = keep();
  assert.ok(all.has(first) && all.has(second));
  world.now += 21_000;
  keep();
  assert.not(all.has(first) || all.has(second), "their time is over");
});

test("a redriven record that holds its key and is moved doesn't wait behind itself", () => {
  const world = new World({ pay: { attemptsMax: 1, holdsKeyWhenDead: true } });
  world.publish("pay");
  const dead = world.publish("pay", "k");
  world.turn();
  world.end(dead, new Error("no"));
  world.delivery.commands.pause("pay", true);
  world.turn();
  world.close();
  world.turn();
  world.delivery.commands.redrive({ origins: [dead], lastDeath: 0 }, "");
  world.turn();
  const { parts } = world.disk.at(dead) as SimRecord;
  world.log.stage({ ...parts, moved: { origin: dead, replaces: dead } });
  world.log.commit(false);
  world.sync();
  world.delivery.commands.pause("pay", false);
  world.turn();
  world.end(dead);
  world.turn();
  const next = world.publish("pay", "k");
  world.turn();
  assert.ok(world.begun.includes(next), world.delivery.describe());
});

test("a dead letter that another handler gets holds its key no more", () => {
  const world = new World({ pay: { attemptsMax: 1, holdsKeyWhenDead: true }, mail: {} });
  const dead = world.publish("pay", "k");
  world.turn();
  world.end(dead, new Error("no"));
  world.turn();
  const next = world.publish("pay", "k");
  world.turn();
  world.delivery.commands.redrive({ origins: [dead], lastDeath: 0 }, "mail");
  world.turn();
  world.end(dead);
  world.turn();
  assert.ok(world.begun.includes(next), world.delivery.describe());
});

test("a record that a lane has found isn't handed out from there once it has moved", () => {
  const records = [1, 2, 3].map((sequence) => ({ sequence }) as LogRecord);
  let next = 0;
  const walk = { seek: () => {}, skipTo: () => {}, next: () => records[next++], close: () => {} };
  const host = { wants: () => true, nextUnsettled: (place: number) => place, laneRecordsMax: 0, known: () => 3 };
  const lane = new Lane({ ...host, walk: () => walk as unknown as LogWalk }, 1, undefined);
  lane.fallBehind(1);
  assert.is(lane.peek(10)?.sequence, 1);
  lane.moved(2);
  assert.is(lane.peek(10)?.sequence, 1, "another one has moved");
  lane.moved(1);
  assert.is(lane.peek(10)?.sequence, 2);
});

test.run();
