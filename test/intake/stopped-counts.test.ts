// Records that can't run since their handler is stopped are counted, wherever they wait.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { World } from "./delivery-harness.ts";
import { SimRecord } from "./simulation-disk.ts";
import { CAPACITY } from "./simulation-runner.ts";

const REST_MS = 1000;

function publish(world: World, handler: string, count: number, key?: string): void {
  for (let n = 0; n < count; n += 1) world.publish(handler, key);
}

/** Names of stopped handlers, records that are set aside, and all that are unfinished. */
function countsOf({ delivery, log }: World): [string[], number, number] {
  return [delivery.stoppedNames(), delivery.aside, log.known - delivery.states.settled.size];
}

test("a handler that may have one record in hand is stopped while that is a probe", () => {
  const world = new World({ down: { concurrencyMax: 1, failuresMax: 1 } });
  publish(world, "down", 5);
  world.turn();
  assert.equal(countsOf(world), [[], 0, 5]);
  world.end(1, new Error("away"));
  world.turn();
  assert.equal(countsOf(world), [["down"], 4, 5]);
  world.advance(REST_MS);
  world.turn();
  assert.ok(world.isInHand(2));
  assert.equal(countsOf(world), [["down"], 3, 5]);
  world.end(2);
  world.turn();
  assert.equal(countsOf(world), [[], 0, 4]);
});

test("records behind another of their key can't run while their handler is paused", () => {
  const world = new World({ pay: {} });
  publish(world, "pay", 5, "k");
  world.turn();
  world.delivery.commands.pause("pay", true);
  world.turn();
  assert.equal(countsOf(world), [["pay"], 4, 5]);
  world.end(1);
  world.turn();
  assert.equal(countsOf(world), [["pay"], 4, 4]);
  world.delivery.commands.pause("pay", false);
  world.turn();
  assert.ok(world.isInHand(2));
  assert.equal(countsOf(world), [[], 0, 4]);
  for (const origin of [2, 3, 4, 5]) {
    world.end(origin);
    world.turn();
  }
  world.delivery.commands.pause("pay", true);
  world.turn();
  assert.equal(countsOf(world), [["pay"], 0, 0]);
});

test("redriven records of a paused handler count where its lane reads on", () => {
  const world = new World({ pay: { attemptsMax: 1 } });
  publish(world, "pay", 5);
  world.turn();
  for (const origin of [2, 3, 4]) world.end(origin, new Error("no"));
  world.delivery.commands.pause("pay", true);
  world.turn();
  world.close();
  world.turn();
  assert.equal(countsOf(world), [["pay"], 2, 2]);
  world.delivery.commands.redrive({ origins: [2, 3, 4], lastDeath: 0 }, "");
  world.turn();
  assert.equal(countsOf(world), [["pay"], 5, 5]);
  world.delivery.commands.pause("pay", false);
  world.turn();
  assert.equal(world.begun, [1, 2, 3, 4, 5]);
});

test("a letter that is redriven elsewhere the second time goes there", () => {
  const world = new World({ pay: { attemptsMax: 1 }, mail: {} });
  publish(world, "pay", 2);
  world.turn();
  world.end(2, new Error("no"));
  world.delivery.commands.pause("pay", true);
  world.turn();
  world.close();
  world.turn();
  // Its lane reads it from the log, and nobody asks for what memory may have of it.
  world.delivery.commands.redrive({ origins: [2], lastDeath: 0 }, "");
  world.turn();
  world.delivery.commands.pause("pay", false);
  world.turn();
  world.end(2, new Error("no"));
  world.turn();
  world.delivery.commands.redrive({ origins: [2], lastDeath: 0 }, "mail");
  world.turn();
  assert.is(world.handlerOf(2), "mail");
});

test("a record that is moved before it was counted doesn't count for another", () => {
  const world = new World({ pay: {}, mail: {} });
  world.delivery.commands.pause("pay", true);
  world.turn();
  const [first, , second] = ["pay", "mail", "pay", "pay"].map((handler) => world.publish(handler));
  world.open();
  // Nothing is handed out before its beginning is durable: what is behind "mail" isn't read.
  world.delivery.turn();
  assert.is(world.delivery.aside, 1, `${first}: ${world.delivery.describe()}`);
  const { parts } = world.disk.at(second as number) as SimRecord;
  world.disk.append(new SimRecord({ ...parts, moved: { origin: second as number, replaces: second as number } }));
  world.turn();
  assert.equal(countsOf(world), [["pay"], 3, 4]);
});

test("a member of a group counts once, although its handler's lane begins with another", () => {
  const world = new World({ pay: {}, mail: {} }, { laneRecordsMax: 0 });
  publish(world, "mail", 1);
  world.turn();
  world.delivery.commands.pause("pay", true);
  // The first of `pay` gets a lane of its own, and the lane of the others falls behind.
  const others = Array.from({ length: 2 * CAPACITY }, () => "mail");
  for (const handler of ["pay", ...others, "pay"]) {
    world.publish(handler);
    (world.disk.records.at(-1) as { continues: boolean }).continues = true;
  }
  publish(world, "pay", 1);
  for (let round = 0; round < others.length; round += 1) {
    world.turn(2);
    for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
  }
  world.turn();
  assert.equal(countsOf(world), [["pay"], 3, 3]);
});

test.run();
