/**
 * Locks and channels in event loops: what the promises of `lockAsync` and its kin stand on, beside
 * threads that block.
 */
import { setEnvironmentData } from "node:worker_threads";
import * as assert from "uvu/assert";
import { Barrier, Cond, Mutex, type SyncHandle, ThreadTable, WaitGroup } from "@millrace/atomics-sync";
import { asyncWaits } from "@millrace/atomics-sync/internal/objects/current";
import { finishBurial, mournEverywhere } from "@millrace/atomics-sync/internal/objects/burial";
import { CHANNEL, PIPE } from "@millrace/atomics-sync/internal/objects/kinds";
import { SyncSpace } from "@millrace/atomics-sync/internal/objects/space";
import { ChannelCore } from "@millrace/channels/internal/channel-core";
import type { Core } from "@millrace/channels/internal/core";
import { BLOCKED, BUSY, DONE, INT32 } from "@millrace/channels/internal/outcomes";
import { PipeCore } from "@millrace/channels/internal/pipe-core";
import { Selection } from "@millrace/channels/internal/selection";
import { createSharedHeap, SharedHeap } from "@millrace/shared-memory";
import { join, type Mutant, NEAR_WRAP, pause, scenario, type Scenario } from "../api.ts";
import { COUNT_LOOK } from "../fixtures/races.ts";

const THREADS = 3;
/** And as many again for the event loops. */
const NUMBERS = 2 * THREADS;

interface Shared {
  readonly spaces: readonly SyncSpace[];
  /** [0] and [1] plain: what a lock protects. */
  readonly words: Int32Array;
}

interface Objects extends Shared {
  readonly handles: readonly SyncHandle[];
}

interface Channels extends Shared {
  readonly cells: readonly number[];
}

/** A view of one space for each thread; the reactors take their numbers from the same table. */
function setUp(cells: number): Shared {
  const table = ThreadTable.allocate(NUMBERS);
  setEnvironmentData("millrace.threads", table);
  const memory = SyncSpace.allocate({ cells, chunks: THREADS, chunkNodes: 4 }, 1);
  const heapMemory = createSharedHeap(2 ** 10 * 8, 10);
  const spaces: SyncSpace[] = [];
  for (let thread = 0; thread < THREADS; thread += 1) {
    const threads = new ThreadTable(table);
    threads.reserve();
    const heap = new SharedHeap(heapMemory, thread);
    spaces.push(new SyncSpace(memory, threads, thread, { spins: 0, napsMax: 0, mayBlock: true, now: () => 0, heap }));
  }
  return { spaces, words: new Int32Array(new SharedArrayBuffer(8)) };
}

function setUpObjects(make: (space: SyncSpace) => readonly { readonly handle: SyncHandle }[], cells = 1): Objects {
  const shared = setUp(cells);
  const handles = make(spaceOf(shared, 0)).map(({ handle }) => handle);
  return { ...shared, handles };
}

function setUpChannels(capacities: readonly number[]): Channels {
  const shared = setUp(capacities.length);
  const space = spaceOf(shared, 0);
  const cells: number[] = [];
  for (const capacity of capacities) {
    const cell = space.takeCell(CHANNEL);
    assert.ok(ChannelCore.make(space, cell, INT32, capacity, NEAR_WRAP));
    cells.push(cell);
  }
  return { ...shared, cells };
}

function setUpPipe(capacity: number): Channels {
  const shared = setUp(1);
  const cell = spaceOf(shared, 0).takeCell(PIPE);
  assert.ok(PipeCore.make(spaceOf(shared, 0), cell, INT32, capacity, NEAR_WRAP));
  return { ...shared, cells: [cell] };
}

const spaceOf = ({ spaces }: Shared, thread: number): SyncSpace => spaces[thread] as SyncSpace;
const handleOf = ({ handles }: Objects, index = 0): SyncHandle => handles[index] as SyncHandle;
const mutexOf = (shared: Objects, thread: number): Mutex => Mutex.from(handleOf(shared), spaceOf(shared, thread));
const groupOf = (shared: Objects, thread: number): WaitGroup =>
  WaitGroup.from(handleOf(shared), spaceOf(shared, thread));
const condOf = (shared: Objects, thread: number): Cond => Cond.from(handleOf(shared, 1), spaceOf(shared, thread));
const barrierOf = (shared: Objects, thread: number): Barrier => Barrier.from(handleOf(shared), spaceOf(shared, thread));
const channelOf = (shared: Channels, thread: number, index = 0): ChannelCore =>
  new ChannelCore(spaceOf(shared, thread), shared.cells[index] as number);
const pipeOf = (shared: Channels, thread: number): PipeCore =>
  new PipeCore(spaceOf(shared, thread), shared.cells[0] as number);

/** The data that a lock protects; the race check watches. */
function inside({ words }: Shared): void {
  words[0] = (words[0] as number) + 1;
}

function bury(shared: Shared, by: number, dead: number): void {
  const space = spaceOf(shared, by);
  space.threads.markDead(dead);
  while (!mournEverywhere(space, dead)) pause();
  finishBurial(space, dead);
}

/** Sends as `Chan.sendAsync` does. */
async function sendLater(chan: Core, value: number): Promise<number> {
  let outcome = chan.trySend(value, 0);
  while (outcome === BLOCKED || outcome === BUSY) outcome = chan.finish(await chan.sendLater(value, 0, {}));
  return outcome;
}

/** Receives as `Chan.recvAsync` does, into the log; false at the end. */
async function receiveLater(chan: Core, log: unknown[]): Promise<boolean> {
  let outcome = chan.tryReceive();
  while (outcome === BLOCKED || outcome === BUSY) outcome = chan.finish(await chan.receiveLater({}));
  if (outcome !== DONE) return false;
  log.push(chan.low);
  return true;
}

function send(chan: Core, value: number): number {
  const outcome = chan.trySend(value, 0);
  return outcome === BLOCKED || outcome === BUSY ? chan.send(value, 0, Infinity) : outcome;
}

function receive(chan: Core, log: unknown[]): number {
  let outcome = chan.tryReceive();
  if (outcome === BLOCKED || outcome === BUSY) outcome = chan.receive(Infinity);
  if (outcome === DONE) log.push(chan.low);
  return outcome;
}

export const scenarios: Scenario[] = [
  scenario({
    name: "flows: a mutex goes between two event loops and a thread that blocks",
    setUp: () => setUpObjects((space) => [new Mutex({}, space)]),
    threads: {
      async one(shared) {
        const hold = await mutexOf(shared, 0).lockAsync();
        inside(shared);
        hold.unlock();
      },
      blocking(shared) {
        const hold = mutexOf(shared, 1).lock();
        inside(shared);
        hold.unlock();
      },
      async two(shared) {
        const hold = await mutexOf(shared, 2).lockAsync();
        inside(shared);
        hold.unlock();
      },
    },
    check(shared) {
      assert.is(shared.words[0], 3);
      mutexOf(shared, 0).close();
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "flows: a busy event loop that waits for a mutex keeps nobody behind it from it",
    setUp: () => {
      const shared = setUpObjects((space) => [new Mutex({}, space)]);
      mutexOf(shared, 0).tryLock();
      return shared;
    },
    threads: {
      // Waits, and doesn't come to its event loop before the other has had the lock.
      async busy(shared, log) {
        const waiting = mutexOf(shared, 1).lockAsync();
        Atomics.store(shared.words, 1, 1);
        Atomics.notify(shared.words, 1);
        Atomics.wait(shared.words, 1, 1);
        const hold = await waiting;
        log.push("had it");
        hold.unlock();
      },
      behind(shared, log) {
        Atomics.wait(shared.words, 1, 0);
        const hold = mutexOf(shared, 2).lock();
        log.push("had it");
        hold.unlock();
        Atomics.store(shared.words, 1, 2);
        Atomics.notify(shared.words, 1);
      },
      holder(shared) {
        Atomics.wait(shared.words, 1, 0);
        mutexOf(shared, 0).unlock();
      },
    },
    check(_shared, { logs }) {
      assert.equal([logs["behind"], logs["busy"]], [["had it"], ["had it"]]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a holder dies, and the mutex comes to an event loop",
    setUp: () => setUpObjects((space) => [new Mutex({}, space)]),
    threads: {
      mortal(shared) {
        const hold = mutexOf(shared, 0).lock();
        hold.unlock();
      },
      async flow(shared, log) {
        const hold = await mutexOf(shared, 1).lockAsync();
        log.push("had it");
        hold.unlock();
      },
      parent(shared) {
        if (join("mortal")) bury(shared, 2, 0);
      },
    },
    kill: ["mortal"],
    check(shared, { logs }) {
      assert.equal(logs["flow"], ["had it"]);
      mutexOf(shared, 2).close();
    },
    tickMs: 1,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "flows: two threads serve two nodes of one event loop at once, and no news is lost",
    setUp: () => setUpChannels([0, 0]),
    threads: {
      async flow(shared, log) {
        const both = [receiveLater(channelOf(shared, 0, 0), log), receiveLater(channelOf(shared, 0, 1), log)];
        await both[0];
        await both[1];
      },
      left: (shared) => send(channelOf(shared, 1, 0), 1),
      right: (shared) => send(channelOf(shared, 2, 1), 2),
    },
    check(_shared, { logs }) {
      assert.equal(
        (logs["flow"] as number[]).toSorted((one, two) => one - two),
        [1, 2],
      );
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
    deep: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a channel between an event loop and a thread that blocks, and its end",
    setUp: () => setUpChannels([1]),
    threads: {
      async sender(shared) {
        const chan = channelOf(shared, 0);
        for (const value of [1, 2, 3]) assert.is(await sendLater(chan, value), DONE);
        chan.end();
      },
      receiver(shared, log) {
        const chan = channelOf(shared, 1);
        while (receive(chan, log) === DONE);
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a sender dies anywhere beside an event loop that receives",
    setUp: () => setUpChannels([0]),
    threads: {
      mortal: (shared, log) => {
        if (send(channelOf(shared, 0), 1) === DONE) log.push(1);
      },
      async flow(shared, log) {
        const chan = channelOf(shared, 1);
        while (await receiveLater(chan, log));
      },
      parent(shared) {
        if (join("mortal")) bury(shared, 2, 0);
        channelOf(shared, 2).end();
      },
    },
    kill: ["mortal"],
    check(_shared, { logs }) {
      const received = logs["flow"] as number[];
      assert.ok(received.length <= 1 && received.length >= (logs["mortal"] as number[]).length);
    },
    tickMs: 1,
    bounds: { preemptions: 0 },
    deep: { preemptions: 1 },
  }),
  scenario({
    name: "flows: a select in an event loop takes one value from each of two channels",
    setUp: () => setUpChannels([0, 0]),
    threads: {
      async selector(shared, log) {
        const space = spaceOf(shared, 0);
        for (let round = 0; round < 2; round += 1) {
          const operations = [0, 1].map((index) => ({
            core: channelOf(shared, 0, index),
            gives: false,
            low: 0,
            high: 0,
            node: 0,
          }));
          const selection = new Selection(space, operations);
          const first = { below: (): number => 0, fraction: (): number => 0 };
          let done = selection.attempt(first);
          if (done === undefined) {
            const waits = asyncWaits(space);
            const group = selection.join(waits.thread, true);
            await waits.wait(group, group.node, {});
            done = selection.conclude(group);
          }
          log.push(done?.core.low);
        }
      },
      left: (shared) => send(channelOf(shared, 1, 0), 1),
      right: (shared) => send(channelOf(shared, 2, 1), 2),
    },
    check(_shared, { logs }) {
      assert.equal(
        (logs["selector"] as number[]).toSorted((one, two) => one - two),
        [1, 2],
      );
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "flows: a one-to-one channel whose sender waits in its event loop",
    setUp: () => setUpPipe(1),
    threads: {
      async sender(shared) {
        const pipe = pipeOf(shared, 0);
        for (const value of [1, 2, 3]) assert.is(await sendLater(pipe, value), DONE);
        pipe.end();
      },
      receiver(shared, log) {
        const pipe = pipeOf(shared, 1);
        while (receive(pipe, log) === DONE);
      },
    },
    check(shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3]);
      assert.ok(pipeOf(shared, 2).free(() => {}));
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a one-to-one channel whose receiver waits in its event loop",
    setUp: () => setUpPipe(1),
    threads: {
      sender(shared) {
        const pipe = pipeOf(shared, 0);
        for (const value of [1, 2, 3]) assert.is(send(pipe, value), DONE);
        pipe.end();
      },
      async receiver(shared, log) {
        const pipe = pipeOf(shared, 1);
        while (await receiveLater(pipe, log));
      },
    },
    check(_shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3]);
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a one-to-one channel's sender dies, and the event loop that receives is told",
    setUp: () => setUpPipe(1),
    threads: {
      mortal(shared, log) {
        const pipe = pipeOf(shared, 0);
        for (const value of [1, 2]) if (send(pipe, value) === DONE) log.push(value);
        pipe.end();
      },
      async receiver(shared, log) {
        const pipe = pipeOf(shared, 1);
        while (await receiveLater(pipe, log));
      },
      parent(shared) {
        if (join("mortal")) bury(shared, 2, 0);
      },
    },
    kill: ["mortal"],
    // It died before it was the sender: another may be that.
    mayBlock: ["receiver"],
    check(_shared, { logs, blocked }) {
      const received = logs["receiver"] as number[];
      assert.equal(received, [1, 2].slice(0, received.length));
      assert.ok(received.length >= (logs["mortal"] as number[]).length);
      if (blocked.length > 0) assert.equal(received, []);
    },
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "flows: a wait group is over for an event loop as for a thread",
    races: [COUNT_LOOK],
    setUp: () =>
      setUpObjects((space) => {
        const group = new WaitGroup(space);
        group.add(2);
        return [group];
      }),
    threads: {
      worker(shared) {
        shared.words[0] = 1;
        groupOf(shared, 0).done();
      },
      async claimer(shared) {
        const claim = await groupOf(shared, 1).claimAsync();
        shared.words[1] = 1;
        claim.done();
      },
      async waiter(shared) {
        assert.equal(await groupOf(shared, 2).waitAsync(), { abandoned: 0 });
        assert.equal([shared.words[0], shared.words[1]], [1, 1]);
      },
    },
    check: (shared) => groupOf(shared, 0).close(),
    tickMs: 1,
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "flows: a condition is signalled to an event loop, which has the mutex then",
    setUp: () =>
      setUpObjects((space) => {
        const mutex = new Mutex({}, space);
        return [mutex, new Cond(mutex, space)];
      }, 2),
    threads: {
      async waiter(shared) {
        const hold = await mutexOf(shared, 0).lockAsync();
        while (shared.words[0] === 0) await condOf(shared, 0).waitAsync(hold);
        shared.words[0] = 0;
        hold.unlock();
      },
      signaller(shared) {
        const hold = mutexOf(shared, 1).lock();
        inside(shared);
        condOf(shared, 1).signal();
        hold.unlock();
      },
    },
    check(shared) {
      assert.is(shared.words[0], 0);
      condOf(shared, 0).close();
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "flows: a barrier lets an event loop and a thread that blocks pass together",
    setUp: () => setUpObjects((space) => [new Barrier(2, space)]),
    threads: {
      async flow(shared, log) {
        shared.words[0] = 1;
        const barrier = barrierOf(shared, 0);
        log.push(await barrier.waitAsync());
        assert.equal([shared.words[0], shared.words[1]], [1, 1]);
        barrier.leave();
      },
      blocking(shared, log) {
        shared.words[1] = 1;
        const barrier = barrierOf(shared, 1);
        log.push(barrier.wait());
        assert.equal([shared.words[0], shared.words[1]], [1, 1]);
        barrier.leave();
      },
    },
    check(shared, { logs }) {
      assert.is.not((logs["flow"] as boolean[])[0], (logs["blocking"] as boolean[])[0], "one of them came last");
      barrierOf(shared, 2).close();
    },
    tickMs: 1,
    bounds: { preemptions: 2 },
  }),
];

const WAITS = "atomics-sync/objects/async-waits";
const CORE = "atomics-sync/locks/mutex-core";

export const mutants: Mutant[] = [
  {
    breaks: "news is taken by a load and a store",
    file: "atomics-sync/objects/space",
    from: "const news = Atomics.exchange(this.words, word, 0);",
    to: "const news = Atomics.load(this.words, word);\n            Atomics.store(this.words, word, 0);",
    by: "no news is lost",
  },
  {
    breaks: "news is announced by a load and a store",
    file: "atomics-sync/objects/space",
    from: "Atomics.or(this.words, this.#chunkAt(this.chunkOf(node)) + CHUNK_NEWS, 1 << this.#indexOf(node));",
    to: "const at = this.#chunkAt(this.chunkOf(node)) + CHUNK_NEWS;\n        Atomics.store(this.words, at, Atomics.load(this.words, at) | (1 << this.#indexOf(node)));",
    by: "no news is lost",
  },
  {
    breaks: "an event loop is woken without news",
    file: "atomics-sync/objects/monitor",
    from: "if (node !== 0)\n            this.space.announce(node);",
    to: "",
    by: "no news is lost",
  },
  {
    breaks: "a release invites a busy event loop alone",
    file: CORE,
    from: "if (answersSoon)\n            return true;\n        const invited",
    to: "if (true)\n            return true;\n        const invited",
    by: "busy event loop",
  },
  {
    breaks: "a burial is no reason to look after what waits in an event loop",
    file: WAITS,
    from: "if (deaths !== this.#deaths) {",
    to: "if (false) {",
    by: "a holder dies",
  },
  {
    breaks: "a flow that waits at a one-to-one channel doesn't say so",
    file: "channels/pipe-waits",
    from: "end.announce(this.#reactor.thread);",
    to: "",
    by: "whose receiver waits",
  },
  {
    breaks: "a flow of a one-to-one channel is forgotten while another waits at the other end",
    file: "channels/pipe-core",
    from: "if (sends.length === 0)\n                this.#sending.retract();",
    to: "this.#receiving.retract();",
    by: "one-to-one channel whose",
  },
];
