/** The condition: no signal is lost, also when the latch is busy and when a party dies. */
import * as assert from "uvu/assert";
import { block } from "@millrace/atomics-sync/internal/objects/block";
import { CondCore } from "@millrace/atomics-sync/internal/locks/cond";
import { COND, MUTEX } from "@millrace/atomics-sync/internal/objects/kinds";
import { MutexCore } from "@millrace/atomics-sync/internal/locks/mutex-core";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import { assertNodesFree, bury, cellOf, setUpSpace, type Shared, spaceOf } from "../fixtures/spaces.ts";

function setUp(): Shared {
  const shared = setUpSpace([COND, MUTEX], 2);
  const cell = cellOf(shared, 1);
  condOf(shared, 0).tie({ type: "Mutex", space: 0, cell, generation: new MutexCore(spaceOf(shared, 0), cell).kind });
  return shared;
}

function condOf(shared: Shared, thread: number): CondCore {
  return new CondCore(spaceOf(shared, thread), cellOf(shared, 0));
}

function mutexOf(shared: Shared, thread: number): MutexCore {
  return new MutexCore(spaceOf(shared, thread), cellOf(shared, 1));
}

/** Word 0, under the mutex: how many may go on. */
function waitForOne(shared: Shared, thread: number): void {
  const cond = condOf(shared, thread);
  const mutex = mutexOf(shared, thread);
  mutex.lock(Infinity);
  for (let attempt = 0; shared.words[0] === 0; attempt += 1) {
    assert.ok(attempt < 4, "woken again and again for nothing");
    const node = cond.register(0, thread);
    mutex.unlock();
    block(spaceOf(shared, thread), cond, node, Infinity);
    mutex.lock(Infinity);
    cond.leave(node, true);
  }
  shared.words[0] = (shared.words[0] as number) - 1;
  mutex.unlock();
}

function allow(shared: Shared, thread: number, count: number): void {
  const mutex = mutexOf(shared, thread);
  mutex.lock(Infinity);
  shared.words[0] = (shared.words[0] as number) + count;
  mutex.unlock();
}

function allowAndSignal(shared: Shared, thread: number): void {
  const mutex = mutexOf(shared, thread);
  mutex.lock(Infinity);
  shared.words[0] = (shared.words[0] as number) + 1;
  condOf(shared, thread).signal();
  mutex.unlock();
}

function assertQuiet(shared: Shared): void {
  condOf(shared, 0).pump();
  mutexOf(shared, 0).pump();
  assertNodesFree(shared);
  assert.ok(condOf(shared, 0).close());
}

export const scenarios: Scenario[] = [
  scenario({
    name: "cond: a signal after the change is not lost",
    setUp,
    threads: {
      waiter: (shared) => waitForOne(shared, 0),
      signaller(shared) {
        allow(shared, 1, 1);
        condOf(shared, 1).signal();
      },
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "cond: a signal with the mutex held wakes when the mutex is free",
    setUp,
    threads: {
      waiter: (shared) => waitForOne(shared, 0),
      signaller: (shared) => allowAndSignal(shared, 1),
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "cond: who has signalled dies before it releases the mutex",
    setUp,
    threads: {
      waiter: (shared) => waitForOne(shared, 0),
      victim: (shared) => allowAndSignal(shared, 1),
      parent(shared) {
        if (!join("victim")) return;
        bury(shared, 3, 1);
        // It may have died before it had changed anything.
        const mutex = mutexOf(shared, 3);
        mutex.lock(Infinity);
        shared.words[0] = 1;
        condOf(shared, 3).signal();
        mutex.unlock();
      },
    },
    kill: ["victim"],
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "cond: as many go on as signals are given",
    setUp,
    threads: {
      one: (shared) => waitForOne(shared, 0),
      two: (shared) => waitForOne(shared, 1),
      signaller(shared) {
        allow(shared, 2, 2);
        condOf(shared, 2).signal();
        condOf(shared, 2).signal();
      },
    },
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "cond: a broadcast wakes all",
    setUp,
    threads: {
      one: (shared) => waitForOne(shared, 0),
      two: (shared) => waitForOne(shared, 1),
      signaller(shared) {
        allow(shared, 2, 2);
        condOf(shared, 2).broadcast();
      },
    },
    check: assertQuiet,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "cond: a waiter dies with the signal, and the other goes on",
    setUp() {
      const shared = setUp();
      // Both are registered: the first node of each one's chunk.
      condOf(shared, 0).register(0, 0);
      condOf(shared, 1).register(0, 1);
      return shared;
    },
    threads: {
      victim(shared) {
        const cond = condOf(shared, 0);
        const node = spaceOf(shared, 0).nodeAt(0, 0);
        block(spaceOf(shared, 0), cond, node, Infinity);
        // It has had what it wanted, and passes the signal on.
        cond.signal();
        cond.leave(node, true);
      },
      waiter(shared) {
        const cond = condOf(shared, 1);
        const node = spaceOf(shared, 1).nodeAt(1, 0);
        block(spaceOf(shared, 1), cond, node, Infinity);
        cond.leave(node, true);
      },
      signaller(shared) {
        condOf(shared, 2).signal();
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    bounds: { preemptions: 0 },
  }),
  scenario({
    name: "cond: a signal that comes during a broadcast is for a party that registers after it",
    setUp() {
      const shared = setUp();
      condOf(shared, 0).register(0, 0);
      return shared;
    },
    threads: {
      early(shared) {
        const cond = condOf(shared, 0);
        const node = spaceOf(shared, 0).nodeAt(0, 0);
        block(spaceOf(shared, 0), cond, node, Infinity);
        cond.leave(node, true);
      },
      late(shared) {
        const cond = condOf(shared, 1);
        const node = cond.register(0, 1);
        cond.signal();
        block(spaceOf(shared, 1), cond, node, Infinity);
        cond.leave(node, true);
      },
      broadcaster(shared) {
        condOf(shared, 2).broadcast();
      },
    },
    check: assertQuiet,
    bounds: { preemptions: 2 },
  }),
];

const FILE = "atomics-sync/locks/cond";

export const mutants: Mutant[] = [
  {
    breaks: "a broadcast counts signals as done that came after it had looked",
    file: FILE,
    from: "this.words[cell + SIGNALS_DONE] = signals;",
    to: "this.words[cell + SIGNALS_DONE] = Atomics.load(this.words, cell + SIGNALS);",
    by: "during a broadcast",
  },
  {
    breaks: "whom a signal has held back is forgotten when the mutex is released",
    file: "atomics-sync/locks/mutex-core",
    from: "if (this.space.wakesHeldBack.length > 0)\n            this.wakeHeldBack();",
    to: "",
    by: "with the mutex held",
  },
  {
    breaks: "a signal isn't counted",
    file: FILE,
    from: "Atomics.add(this.words, this.cell + word, 1);",
    to: "",
  },
  {
    breaks: "a signal isn't pumped",
    file: FILE,
    from: "Atomics.add(this.words, this.cell + word, 1);\n        this.pump();",
    to: "Atomics.add(this.words, this.cell + word, 1);",
  },
  {
    breaks: "who waits isn't counted",
    file: FILE,
    from: "Atomics.add(this.words, this.cell + WAITERS, 1);",
    to: "",
  },
  {
    breaks: "a broadcast is for one",
    file: FILE,
    from: "for (let node = this.oldest(); node !== 0; node = this.oldest())\n                    this.settleOldest(node, WAITING, GRANTED);",
    to: "{ const node = this.oldest(); if (node !== 0) this.settleOldest(node, WAITING, GRANTED); }",
  },
  {
    breaks: "a death with the signal wakes nobody",
    file: FILE,
    from: "this.words[this.cell + BROADCASTS_DONE] = (Atomics.load(this.words, this.cell + BROADCASTS) - 1) | 0;",
    to: "",
  },
  {
    breaks: "one signal is taken for all",
    file: FILE,
    from: "this.words[done] = (this.words[done] + 1) | 0;",
    to: "this.words[done] = signals;",
  },
];
