// Concurrency, rate and rests of a handler, by a clock that the test moves.
import { test } from "uvu";
import * as assert from "uvu/assert";
// Internal to the package; only its own tests reach for it.
import { HandlerGate } from "@millrace/intake/internal/delivery/handler-gate";
import { type HandlerOptions, handlerTerms } from "@millrace/intake/internal/delivery/policy";
import { World } from "./delivery-harness.ts";

const DAY_MS = 86_400_000;

interface Told {
  readonly state: string;
  readonly restMs: number;
}

function gateOf(options: HandlerOptions): { readonly gate: HandlerGate; readonly told: Told[] } {
  const told: Told[] = [];
  const gate = new HandlerGate("h", handlerTerms("h", options, {}), true, ({ state, restMs }) => {
    told.push({ state, restMs });
  });
  return { gate, told };
}

/** Begins what may begin at `now`; how many that was. */
function begun(gate: HandlerGate, now: number, most = 1000): number {
  let count = 0;
  for (; count < most && gate.obstacle(now) === undefined; count += 1) {
    gate.given(now);
    gate.succeeded();
  }
  return count;
}

test("a handler that leaves more than an ACK gets nothing while that waits for room", () => {
  const noRoom = { isFull: true };
  const handler = (options: HandlerOptions): HandlerGate =>
    new HandlerGate("h", handlerTerms("h", options, {}), true, () => {}, noRoom);
  assert.is(handler({ result: "keep" }).obstacle(0), "unwritten");
  assert.is(handler({}).obstacle(0), undefined);
});

test("half a record a second begins one every two seconds, the first at once", () => {
  for (const start of [0, 1, 123_456]) {
    const { gate } = gateOf({ ratePerSecond: 0.5 });
    const times = [];
    for (let now = start; now <= start + 6000; now += 100) if (begun(gate, now) > 0) times.push(now - start);
    assert.equal(times, [0, 2000, 4000, 6000]);
  }
});

test("a burst after a rest is a second's worth, however long the rest was", () => {
  const { gate } = gateOf({ ratePerSecond: 10 });
  assert.is(begun(gate, 0), 10);
  assert.is(begun(gate, 1000), 10);
  assert.is(begun(gate, 1000), 0);
  assert.is(gate.retryAt(1000), 1100);
  assert.is(begun(gate, 1100), 1);
  assert.is(begun(gate, 30 * DAY_MS), 10);
});

test("over a long time the rate is as it was asked for", () => {
  for (const rate of [0.5, 3, 7.3, 250]) {
    const { gate } = gateOf({ ratePerSecond: rate });
    let count = 0;
    for (let now = 0; now <= 100_000; now += 7) count += begun(gate, now);
    const burst = Math.max(1, rate);
    assert.ok(count <= rate * 100 + burst + 1e-6 && count >= rate * 100 - 1, `${count} at ${rate} a second`);
  }
});

test("a clock that jumps by a day neither stops a rate nor lets a storm through", () => {
  const { gate } = gateOf({ ratePerSecond: 5 });
  assert.is(begun(gate, DAY_MS), 5);
  assert.is(begun(gate, 0), 0);
  assert.is(begun(gate, 1000), 5);
  assert.is(begun(gate, 2 * DAY_MS), 5);
  assert.is(begun(gate, 2 * DAY_MS), 0);
});

test("a question with a time before the last one gives nothing twice", () => {
  const { gate } = gateOf({ ratePerSecond: 100 });
  let count = 0;
  for (let now = 10_000; now <= 20_000; now += 5) {
    count += begun(gate, now);
    count += begun(gate, now - 40);
  }
  assert.ok(count <= 1100 && count >= 1000, `${count} in ten seconds`);
});

test("a rate holds although time passes within a turn", () => {
  for (const other of [0, 400]) {
    const world = new World({ pay: { ratePerSecond: 100 }, other: {} });
    world.delivery.commands.pause("pay", true);
    const backlog = new Set(Array.from({ length: 1500 }, () => world.publish("pay")));
    world.turn();
    world.delivery.commands.pause("pay", false);
    for (let each = 0; each < other; each += 1) world.publish("other");
    world.readingMs = 3;
    const since = world.now;
    while (world.now < since + 4000) {
      world.turn(1);
      for (const origin of world.begun) if (world.isInHand(origin)) world.end(origin);
    }
    const count = world.begun.filter((origin) => backlog.has(origin)).length;
    assert.ok(count >= 400 && count <= 510, `${count} in ${world.now - since} ms beside ${other}`);
  }
});

test("a limit of concurrency holds while records are in hand", () => {
  const { gate } = gateOf({ concurrencyMax: 1, ratePerSecond: 100 });
  gate.given(0);
  assert.is(gate.obstacle(0), "busy");
  assert.is(gate.retryAt(0), Infinity);
  gate.failed(0, true);
  assert.is(gate.obstacle(0), undefined);
});

test("a handler that keeps failing rests, is tried with one record, and works again", () => {
  const { gate, told } = gateOf({ failuresMax: 2 });
  const fail = (now: number): void => {
    gate.given(now);
    gate.failed(now, true);
  };
  fail(0);
  fail(0);
  assert.equal(told, [{ state: "open", restMs: 1000 }]);
  assert.is(gate.obstacle(999), "resting");
  assert.is(gate.obstacle(1000), undefined);
  gate.given(1000);
  assert.is(gate.obstacle(1000), "resting", "one at a time");
  gate.failed(1000, true);
  assert.is(gate.obstacle(2999), "resting");
  assert.is(gate.retryAt(2000), 3000);
  gate.given(3000);
  gate.succeeded();
  assert.is(gate.obstacle(3000), undefined);
  assert.equal(
    told.map(({ state, restMs }) => `${state} ${restMs}`),
    ["open 1000", "halfOpen 0", "open 2000", "halfOpen 0", "closed 0"],
  );
});

test("a rest isn't longer because the clock was set back", () => {
  const { gate } = gateOf({ failuresMax: 1 });
  gate.given(DAY_MS);
  gate.failed(DAY_MS, true);
  assert.is(gate.obstacle(0), "resting");
  assert.is(gate.retryAt(0), 1000);
  assert.is(gate.obstacle(1000), undefined);
});

test.run();
