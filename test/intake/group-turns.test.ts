import { test } from "uvu";
import * as assert from "uvu/assert";
import { findSuspects } from "@millrace/intake/internal/delivery/suspects";
import { Lane } from "@millrace/intake/internal/delivery/lane";
import type { LogWalk } from "@millrace/intake/internal/delivery/ports";
import type { LogRecord } from "@millrace/intake/internal/format/log-record";
import { World } from "./delivery-harness.ts";

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
    if (!restarts) {
      world.close();
    }
    // Copied forward.
    world.log.stage({
      ...(world.disk.at(late) as never as { parts: object }).parts,
      moved: { origin: late, replaces: late },
    } as never);
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
  for (let i = 0; i < 34; i += 1) world.publish("pay");
  world.turn();
  world.crash();
  for (let round = 0; round < 40; round += 1) {
    world.turn(2);
    for (const origin of world.begun) if (origin !== 1 && world.task(origin) !== undefined) world.end(origin);
    world.advance(1000);
  }
  assert.ok(
    world.begun.includes(33) && world.begun.includes(34),
    `${world.begun.join(" ")} ${world.delivery.describe()}`,
  );
});

test("a suspect whose handler is paused holds no other suspect", () => {
  for (let pausedAt = 1; pausedAt < 12; pausedAt += 1) {
    const world = new World({ pay: { concurrencyMax: 1 }, other: {} });
    for (let i = 0; i < 40; i += 1) world.publish("pay");
    for (let i = 0; i < 40; i += 1) world.publish("other");
    world.turn();
    world.crash();
    for (let round = 0; round < 100; round += 1) {
      world.turn(2);
      if (round === pausedAt) world.delivery.commands.pause("pay", true);
      for (const origin of world.begun) if (world.task(origin) !== undefined) world.end(origin);
      world.advance(1000);
    }
    assert.is(
      world.begun.filter((origin) => origin > 40).length,
      40,
      `${pausedAt} ${world.begun.join(" ")} ${world.delivery.describe()}`,
    );
  }
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
  assert.ok(kills <= 2, `${kills} kills`);
});
test("what a lane of its own has in hand far ahead of the others is suspect", () => {
  const world = new World({ pay: { concurrencyMax: 1 }, other: {} });
  world.close();
  world.publish("pay");
  world.publish("pay");
  for (let i = 0; i < 14_000; i += 1) world.publish("other");
  const deadly = world.publish("pay");
  world.open();
  const until = () => {
    for (let round = 0; round < 400 && !world.begun.includes(deadly); round += 1) {
      world.turn(1);
      const ending = [1, 2, ...world.begun.filter((origin) => world.task(origin) !== undefined).slice(0, 2)];
      for (const origin of new Set(ending))
        if (origin !== deadly && world.task(origin) !== undefined) world.end(origin);
      world.advance(1000);
    }
    return [
      world.begun.includes(deadly),
      world.quarantined.includes(deadly),
      world.begun.length,
      world.delivery.suspects,
    ];
  };
  const lives = [until()];
  world.crash();
  assert.ok(world.delivery.describe().length > 0);
  console.log(
    "deadly suspect:",
    findSuspects(world.log, world.delivery.states, world.wall).has(deadly),
    world.delivery.states.endings.lease,
  );
  for (let life = 0; life < 4; life += 1) {
    world.crash();
    lives.push(until());
  }
  console.log(JSON.stringify(lives));
  assert.ok(lives[0]);
});

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
  const largest = Math.max(...world.disk.records.filter(({ type }) => type !== 1).map((each) => each.payload().length));
  assert.ok(largest <= 4000, `${largest} bytes`);
});
test("after an end in order a suspect has its turn behind earlier records of its key", () => {
  const world = new World({ pay: {} });
  const earlier = world.publish("pay", "k");
  world.turn();
  world.end(earlier, Object.assign(new Error("never"), { name: "NonRetryable" }));
  world.turn();
  const suspect = world.publish("pay", "k");
  world.turn();
  assert.ok(world.task(suspect) !== undefined, "it is in hand when the process ends");
  world.crash();
  world.turn();
  assert.ok(world.task(suspect) !== undefined, "it is tried in its group");
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
