import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  allocateTraceRings,
  type ChromeEvent,
  type ChromeTrace,
  chromeTrace,
  PID,
  readTrace,
  TraceRecorder,
  type TraceRings,
} from "@millrace/scheduler";

const HANDLERS = ["add", "settle"];

function exported(rings: TraceRings): ChromeTrace {
  // As a file holds it: what JSON can't carry must not be in it.
  return JSON.parse(JSON.stringify(chromeTrace(rings, readTrace(rings), HANDLERS))) as ChromeTrace;
}

function eventsOf(trace: ChromeTrace, ph: ChromeEvent["ph"], cat?: string): ChromeEvent[] {
  return trace.traceEvents.filter((event) => event.ph === ph && (cat === undefined || event.cat === cat));
}

/** Slices of a track either lie apart or one inside the other: what a viewer draws as one track. */
function assertNested(trace: ChromeTrace): void {
  const slices = eventsOf(trace, "X").filter(({ pid }) => pid === PID.machines);
  for (const tid of new Set(slices.map((slice) => slice.tid))) {
    const ends: number[] = [];
    const inOrder = slices
      .filter((slice) => slice.tid === tid)
      .toSorted((left, right) => left.ts - right.ts || (right.dur as number) - (left.dur as number));
    for (const { ts, dur = 0 } of inOrder) {
      while ((ends.at(-1) ?? Infinity) <= ts) ends.pop();
      assert.ok(ts + dur <= (ends.at(-1) ?? Infinity) + 0.0005, "a slice ends within the one around it");
      ends.push(ts + dur);
    }
  }
}

test("a task is a slice with its handler's name, what it waited, and how it ended", () => {
  const rings = allocateTraceRings(1, 1, 64);
  const machine = new TraceRecorder(rings, 0);
  const main = new TraceRecorder(rings, 1);
  main.submitted(5, 3 << 4, 1, 2);
  machine.started(5, 3 << 4, 1, 0, 1);
  machine.ended(5, 3 << 4, 1, false);
  main.outcome(5, 3 << 4, 1, false);
  const trace = exported(rings);
  const [slice, ...rest] = eventsOf(trace, "X", "task") as [ChromeEvent];
  assert.is(rest.length, 0);
  assert.is(slice.name, "settle");
  assert.is(slice.pid, PID.machines);
  const { waitedUs, ...args } = slice.args as { waitedUs: number };
  assert.equal(args, { task: 5, attempt: 1, processor: 0, submitter: 1, ok: false });
  assert.ok(waitedUs >= 0 && waitedUs <= slice.ts + 0.001);
  assert.equal(
    eventsOf(trace, "i").map(({ name, args: more }) => [name, more]),
    [
      ["submit settle", { task: 5, priority: 2 }],
      ["outcome of settle", { task: 5, ok: false }],
    ],
  );
  assert.equal(
    eventsOf(trace, "M").map((event) => event.args?.name),
    ["machines", "processors", "submitters", "machine 0", "submitter 0"],
  );
});

test("tasks that a join runs are slices inside the slice of the joining one", () => {
  const rings = allocateTraceRings(1, 1, 64);
  const machine = new TraceRecorder(rings, 0);
  machine.started(1, 0, 0, 0, 1);
  for (const task of [2, 3]) {
    machine.started(task, 0, 1, 0, 0);
    machine.ended(task, 0, 1, true);
  }
  machine.ended(1, 0, 0, true);
  const trace = exported(rings);
  assert.is(eventsOf(trace, "X", "task").length, 3);
  assertNested(trace);
  const outer = eventsOf(trace, "X").find(({ name }) => name === "add") as ChromeEvent;
  for (const inner of eventsOf(trace, "X").filter(({ name }) => name === "settle")) {
    assert.ok(inner.ts >= outer.ts && inner.ts + (inner.dur as number) <= outer.ts + (outer.dur as number));
  }
});

test("an async handler is a slice, then an async slice until its promise settles", () => {
  const rings = allocateTraceRings(2, 1, 64);
  const machine = new TraceRecorder(rings, 0);
  machine.started(1, 0, 0, 0, 2);
  machine.suspended(1, 0, 0);
  machine.parked(1);
  machine.settled(1, 0, 0, true);
  machine.unparked(true);
  const trace = exported(rings);
  const [begin] = eventsOf(trace, "b") as [ChromeEvent];
  const [end] = eventsOf(trace, "e") as [ChromeEvent];
  assert.is(begin.id, end.id);
  assert.equal([begin.name, end.args], ["add", { task: 1, ok: true }]);
  const [park, ...parks] = eventsOf(trace, "X", "park");
  assert.is(parks.length, 0);
  assert.equal(park?.args, { how: "in its event loop", woken: true });
  assert.ok(end.ts <= (park?.ts as number) + (park?.dur as number), "settling doesn't end the sleep");
});

test("a steal is a flow from the victim's track to the first stolen task", () => {
  const rings = allocateTraceRings(2, 1, 64);
  const thief = new TraceRecorder(rings, 1);
  thief.depth(0, 1);
  thief.stole(9, -1, 0, 4);
  thief.started(9, 0, 0, 1, 2);
  thief.ended(9, 0, 0, true);
  thief.depth(3, 1);
  const trace = exported(rings);
  const [steal] = eventsOf(trace, "X", "steal") as [ChromeEvent];
  assert.equal([steal.pid, steal.tid, steal.args], [PID.processors, 0, { by: 1, tasks: 4, first: 9 }]);
  const [from] = eventsOf(trace, "s") as [ChromeEvent];
  const [to] = eventsOf(trace, "f") as [ChromeEvent];
  assert.is(from.id, to.id);
  assert.equal([from.pid, from.tid, from.ts], [steal.pid, steal.tid, steal.ts]);
  const [task] = eventsOf(trace, "X", "task") as [ChromeEvent];
  assert.equal([to.pid, to.tid, to.ts, to.bp], [task.pid, task.tid, task.ts, "e"]);
  assert.equal(
    eventsOf(trace, "C").map(({ tid, args }) => [tid, args]),
    [
      [1, { tasks: 0 }],
      [1, { tasks: 3 }],
    ],
  );
});

test("what was dropped is counted, and slices that were cut say at which end", () => {
  const rings = allocateTraceRings(1, 1, 4);
  const machine = new TraceRecorder(rings, 0);
  for (let task = 0; task < 10; task += 1) {
    machine.started(task, 0, 0, 0, 1);
    machine.ended(task, 0, 0, true);
  }
  machine.started(10, 0, 1, 0, 1);
  const trace = exported(rings);
  // Of 21 records in a ring of four the newest three are sure to be whole: the end of 8 is
  // overwritten, 9 and the beginning of 10 stay.
  assert.equal(trace.otherData.dropped, [18, 0]);
  assert.equal(
    eventsOf(trace, "X", "task").map(({ name, args }) => [name, args?.task, args?.cut]),
    [
      ["add", 9, undefined],
      ["settle", 10, "end"],
    ],
  );
  machine.ended(10, 0, 1, true);
  machine.started(11, 0, 0, 0, 1);
  machine.ended(11, 0, 0, true);
  const [first] = eventsOf(exported(rings), "X", "task");
  assert.equal([first?.name, first?.args?.task, first?.args?.cut], ["settle", 10, "begin"]);
  assertNested(exported(rings));
});

test("a trace without a record is a trace all the same", () => {
  const trace = exported(allocateTraceRings(2, 1, 8));
  assert.is(trace.otherData.durationMs, 0);
  assert.ok(trace.traceEvents.every(({ ph }) => ph === "M"));
});

test.run();
