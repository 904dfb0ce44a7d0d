/** One-to-one channels: the ring, its two ways of waiting, close, and the death of either end. */
import * as assert from "uvu/assert";
import { ThreadTable } from "@millrace/atomics-sync";
import { finishBurial, mournEverywhere } from "@millrace/atomics-sync/internal/objects/burial";
import { PIPE } from "@millrace/atomics-sync/internal/objects/kinds";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { BLOCKED, CLOSED, DONE, INT32, ORPHANED, TIMED_OUT } from "@millrace/channels/internal/outcomes";
import { PipeCore } from "@millrace/channels/internal/pipe-core";
import { createSharedHeap, SharedHeap } from "@millrace/shared-memory";
import { join, type Mutant, NEAR_WRAP, pause, scenario, type Scenario } from "../api.ts";

interface Shared {
  readonly spaces: readonly SyncSpace[];
  readonly cell: number;
}

function setUp(capacity: number): Shared {
  const table = ThreadTable.allocate(3);
  const memory = SyncSpace.allocate({ cells: 1, chunks: 1, chunkNodes: 1 }, 1);
  const heapMemory = createSharedHeap(4 * 1024, 10);
  const spaces: SyncSpace[] = [];
  for (let thread = 0; thread < 3; thread += 1) {
    const threads = new ThreadTable(table);
    threads.reserve();
    const heap = new SharedHeap(heapMemory, thread);
    spaces.push(new SyncSpace(memory, threads, thread, { spins: 0, napsMax: 0, mayBlock: true, now: () => 0, heap }));
  }
  const space = spaces[0] as SyncSpace;
  const cell = space.takeCell(PIPE);
  assert.ok(PipeCore.make(space, cell, INT32, capacity, NEAR_WRAP));
  return { spaces, cell };
}

function pipeOf({ spaces, cell }: Shared, thread: number): PipeCore {
  return new PipeCore(spaces[thread] as SyncSpace, cell);
}

/** Sends until all is sent or the outcome isn't DONE, which is returned. */
function sendAll(shared: Shared, values: readonly number[], log: unknown[]): number {
  const pipe = pipeOf(shared, 0);
  for (const value of values) {
    let outcome = pipe.trySend(value, 0);
    if (outcome === BLOCKED) outcome = pipe.send(value, 0, Infinity);
    if (outcome !== DONE) return outcome;
    log.push(value);
  }
  return pipe.end();
}

/** Receives until the outcome isn't DONE, which is returned. */
function receiveAll(shared: Shared, most: number, log: unknown[]): number {
  const pipe = pipeOf(shared, 1);
  for (let count = 0; count < most; count += 1) {
    let outcome = pipe.tryReceive();
    if (outcome === BLOCKED) outcome = pipe.receive(Infinity);
    if (outcome !== DONE) return outcome;
    log.push(pipe.low);
  }
  return DONE;
}

/** A ring that thread 0 has filled. */
function setUpFull(capacity: number): Shared {
  const shared = setUp(capacity);
  const pipe = pipeOf(shared, 0);
  for (let value = 1; value <= capacity; value += 1) assert.is(pipe.trySend(value, 0), DONE);
  return shared;
}

function takeOneByOne(shared: Shared): void {
  const pipe = pipeOf(shared, 1);
  for (const value of [1, 2]) {
    assert.is(pipe.tryReceive(), DONE);
    assert.is(pipe.low, value);
  }
}

/** More than the half, which it steps over. */
function takeAtOnce(shared: Shared): void {
  const into = new Int32Array(3);
  assert.is(pipeOf(shared, 1).tryReceiveMany(into, 0, 3), 3);
  assert.equal(into, Int32Array.of(1, 2, 3));
}

function bury({ spaces }: Shared, dead: number): void {
  const space = spaces[2] as SyncSpace;
  space.threads.markDead(dead);
  while (!mournEverywhere(space, dead)) pause();
  finishBurial(space, dead);
}

export const scenarios: Scenario[] = [
  ...[1, 2].map((capacity) =>
    scenario({
      name: `pipe: all values in order and the end, capacity ${capacity}, over the wrap`,
      setUp: () => setUp(capacity),
      threads: {
        sender: (shared, log) => sendAll(shared, [1, 2, 3], log),
        receiver: (shared, log) => receiveAll(shared, 9, log),
      },
      check(_shared, { logs, results }) {
        assert.equal(logs["receiver"], [1, 2, 3]);
        assert.is(results["receiver"], CLOSED);
        assert.is(results["sender"], DONE);
      },
      bounds: { preemptions: 2 },
    }),
  ),
  scenario({
    name: "pipe: batches that wrap, and a sender that waits for half of the ring",
    setUp: () => setUp(2),
    threads: {
      sender(shared, log) {
        const pipe = pipeOf(shared, 0);
        const values = Int32Array.of(1, 2, 3, 4, 5);
        let sent = 0;
        while (sent < 5) {
          const some = pipe.trySendMany(values, sent, 5);
          sent += some;
          if (some > 0) continue;
          assert.is(pipe.send(values[sent] as number, 0, Infinity), DONE);
          sent += 1;
        }
        log.push(sent);
        pipe.end();
      },
      receiver(shared, log) {
        const pipe = pipeOf(shared, 1);
        const into = new Int32Array(2);
        for (let round = 0; round < 9; round += 1) {
          let count = pipe.tryReceiveMany(into, 0, 2);
          if (count === 0) {
            if (pipe.receive(Infinity) === CLOSED) return;
            into[0] = pipe.low;
            count = 1;
          }
          for (let index = 0; index < count; index += 1) log.push(into[index]);
        }
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3, 4, 5]);
    },
    bounds: { preemptions: 2 },
  }),
  ...[
    { takes: "one by one", receive: takeOneByOne },
    { takes: "at once", receive: takeAtOnce },
  ].map(({ takes, receive }) =>
    scenario({
      name: `pipe: half of a full ring is taken ${takes}, and the sender that waits is woken`,
      setUp: () => setUpFull(4),
      threads: {
        sender: (shared) => pipeOf(shared, 0).send(5, 0, Infinity),
        receiver: receive,
      },
      check(_shared, { results }) {
        assert.is(results["sender"], DONE);
      },
      bounds: { preemptions: Infinity },
    }),
  ),
  scenario({
    name: "pipe: a wait that runs out of time has sent nothing, and received nothing",
    setUp: () => setUp(1),
    threads: {
      sender(shared, log) {
        const pipe = pipeOf(shared, 0);
        for (const value of [1, 2]) {
          const outcome = pipe.send(value, 0, 5);
          assert.ok(outcome === DONE || outcome === TIMED_OUT);
          if (outcome === DONE) log.push(value);
        }
        pipe.end();
      },
      receiver: (shared, log) => receiveAll(shared, 9, log),
    },
    check(_shared, { logs }) {
      assert.equal(logs["receiver"], logs["sender"]);
    },
    bounds: { preemptions: 2, timeouts: 1 },
  }),
  scenario({
    name: "pipe: the sender dies anywhere; the receiver gets what was sent, and is told",
    setUp: () => setUp(1),
    threads: {
      victim: (shared, log) => sendAll(shared, [1], log),
      receiver: (shared, log) => receiveAll(shared, 9, log),
      parent(shared) {
        if (join("victim")) bury(shared, 0);
      },
    },
    kill: ["victim"],
    // It died before it was the sender: another may be that.
    mayBlock: ["receiver"],
    check(shared, { logs, results, died, blocked }) {
      const received = logs["receiver"] as number[];
      for (const [index, value] of received.entries()) assert.is(value, index + 1);
      assert.ok(received.length >= (logs["victim"] as number[]).length);
      if (blocked.length > 0) {
        assert.equal([died, received], [["victim"], []]);
        assert.is(pipeOf(shared, 0).trySend(1, 0), DONE, "nobody is the sender yet");
      } else assert.ok(results["receiver"] === CLOSED || results["receiver"] === ORPHANED);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "pipe: the sender dies anywhere while it waits for room, and nothing of that wait is left",
    setUp: () => setUpFull(1),
    threads: {
      victim: (shared, log) => sendAll(shared, [2], log),
      receiver: (shared, log) => receiveAll(shared, 9, log),
      parent(shared) {
        if (join("victim")) bury(shared, 0);
      },
    },
    kill: ["victim"],
    check(_shared, { logs, results }) {
      const received = logs["receiver"] as number[];
      assert.equal(received, [1, 2].slice(0, received.length));
      assert.ok(received.length >= 1 + (logs["victim"] as number[]).length);
      assert.ok(results["receiver"] === CLOSED || results["receiver"] === ORPHANED);
    },
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "pipe: the receiver dies anywhere; the sender is told once the ring is full",
    setUp: () => setUp(1),
    threads: {
      sender: (shared, log) => sendAll(shared, [1, 2], log),
      victim: (shared, log) => receiveAll(shared, 1, log),
      parent(shared) {
        join("victim");
        bury(shared, 1);
      },
    },
    kill: ["victim"],
    mayBlock: ["sender"],
    check(shared, { logs, results, blocked }) {
      const received = logs["victim"] as number[];
      for (const [index, value] of received.entries()) assert.is(value, index + 1);
      if (blocked.length > 0) assert.is(pipeOf(shared, 1).tryReceive(), DONE, "nobody is the receiver yet");
      else assert.ok(results["sender"] === ORPHANED || results["sender"] === DONE);
    },
    bounds: { preemptions: 2 },
  }),
];

const file = "channels/pipe-core";

export const mutants: Mutant[] = [
  {
    breaks: "a value is published before it is written",
    file,
    from: "this.#put(tail, low, high);\n        this.#tail = (tail + 1) | 0;\n        Atomics.store(this.#ring, this.#at + TAIL, this.#tail);",
    to: "this.#tail = (tail + 1) | 0;\n        Atomics.store(this.#ring, this.#at + TAIL, this.#tail);\n        this.#put(tail, low, high);",
  },
  {
    breaks: "a slot is given back before it is read",
    file,
    from: "this.#get(head);\n        this.#release((head + 1) | 0);",
    to: "this.#release((head + 1) | 0);\n        this.#get(head);",
  },
  {
    breaks: "one value too many",
    file,
    from: "if (((tail - this.#headSeen) | 0) >= this.capacity) {",
    to: "if (((tail - this.#headSeen) | 0) > this.capacity) {",
  },
  {
    breaks: "the middle of the ring isn't looked at",
    file,
    from: "if (((this.#tailSeen - head) | 0) === this.#half)",
    to: "if (false)",
  },
  {
    breaks: "waits are announced after the last look",
    file,
    from: "parker.prepare();\n            const outcome = this.#try(end, low, high);",
    to: "const outcome = this.#try(end, low, high);\n            parker.prepare();",
  },
  {
    breaks: "waits aren't announced",
    file,
    from: "const before = end.announce(this.#space.thread);",
    to: "const before = 0;",
  },
  {
    breaks: "TAIL isn't looked at again after the end",
    file,
    from: "// Nothing comes any more; it may have come since the look.\n        this.#tailSeen = Atomics.load(this.#ring, this.#at + TAIL);",
    to: "",
  },
  {
    breaks: "the end wakes nobody",
    file,
    from: "Atomics.store(this.#words, this.#cell + CELL_STATE, CLOSED_STATE);\n        if (Atomics.load(this.#ring, this.#at + RECEIVER_WAITS) !== 0)\n            this.#wake(this.#receiving);",
    to: "Atomics.store(this.#words, this.#cell + CELL_STATE, CLOSED_STATE);",
  },
  {
    breaks: "the receiver's counter doesn't wrap",
    file,
    from: "this.#release((head + 1) | 0);",
    to: "this.#release(head + 1);",
  },
  {
    breaks: "room is not counted modulo 2^32",
    file,
    from: "if (((tail - this.#headSeen) | 0) >= this.capacity) {",
    to: "if (tail - this.#headSeen >= this.capacity) {",
  },
  {
    breaks: "the middle of the ring is stepped over",
    file,
    from: "if (used > this.#half && used - count < this.#half)",
    to: "if (false)",
  },
  {
    breaks: "a receiver that has run out of values doesn't say so",
    file,
    from: "((this.#tailSeen - this.#head) | 0) <= this.#half) {",
    to: "false) {",
  },
  {
    breaks: "a dead sender isn't told",
    file: "atomics-sync/objects/burial",
    from: "Atomics.compareExchange(space.words, cell + end, dead + 1, GONE);",
    to: ";",
  },
  {
    breaks: "a batch wraps too late",
    file,
    from: "return (this.#mask + 1 - (position & this.#mask)) * this.width;",
    to: "return (this.#mask + 2 - (position & this.#mask)) * this.width;",
  },
];
