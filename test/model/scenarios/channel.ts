/**
 * Channels under a monitor, and select: conservation and order of values, close, time limits, and
 * deaths at any step.
 */
import * as assert from "uvu/assert";
import { block as blockFor } from "@millrace/atomics-sync/internal/objects/block";
import { GRANTED, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import type { SelectGroup } from "@millrace/atomics-sync/internal/objects/select-group";
import { CLOSED, DONE, VALUES } from "@millrace/channels/internal/outcomes";
import { type Operation, Selection } from "@millrace/channels/internal/selection";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import {
  assertQuiet,
  bury,
  channelOf,
  leftIn,
  operation,
  receive,
  receiveInto,
  select,
  send,
  setUpChannels,
  type Shared,
  spaceOf,
} from "../fixtures/channels.ts";

function sends(thread: number, values: readonly number[], index = 0): (shared: Shared, log: unknown[]) => void {
  return (shared, log) => {
    const chan = channelOf(shared, thread, index);
    for (const value of values) {
      assert.is(send(chan, value), DONE);
      log.push(value);
    }
  };
}

function receives(thread: number, count: number, index = 0): (shared: Shared, log: unknown[]) => void {
  return (shared, log) => receiveInto(channelOf(shared, thread, index), count, log);
}

/** Everything that threads received and that is left, in order of size. */
function sorted(...lists: readonly (readonly unknown[] | undefined)[]): number[] {
  return (lists.flatMap((list) => list ?? []) as number[]).toSorted((one, two) => one - two);
}

/** Each value at most once; those in `certain` exactly once. */
function assertConserved(values: readonly number[], certain: readonly number[], possible: readonly number[]): void {
  assert.is(new Set(values).size, values.length, `doubled: ${values.join()}`);
  for (const value of certain) assert.ok(values.includes(value), `lost: ${value}`);
  for (const value of values) assert.ok(certain.includes(value) || possible.includes(value), `invented: ${value}`);
}

interface Joined extends Shared {
  readonly selection: Selection;
  readonly group: SelectGroup;
  readonly giver: number;
}

/**
 * Thread 0 waits in a select for two channels without a buffer; `giver` has posted a 7 to the
 * first, and nobody has looked.
 */
function setUpJoined(giver: number): Joined {
  const shared = setUpChannels([0, 0], 3);
  const operations = [operation(channelOf(shared, 0, 0), false), operation(channelOf(shared, 0, 1), false)];
  const selection = new Selection(spaceOf(shared, 0), operations);
  const group = selection.join(0, false);
  const chan = channelOf(shared, giver, 0);
  const node = chan.prepareToSend(0, giver, 7, 0);
  chan.postNode(node);
  return { ...shared, selection, group, giver: node };
}

/** Waits as thread 0, and returns what was done. */
function conclude({ selection, group, ...shared }: Joined): Operation | undefined {
  blockFor(spaceOf(shared, 0), group, group.node, Infinity);
  return selection.conclude(group);
}

const all: Scenario[] = [
  scenario({
    name: "channel: a sender and a receiver at a buffer of one, over the wrap",
    setUp: () => setUpChannels([1]),
    threads: { sender: sends(0, [1, 2, 3]), receiver: receives(1, 3) },
    check(shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: a sender that waits goes on when a place is free, though nobody receives again",
    setUp: () => setUpChannels([1]),
    threads: { sender: sends(0, [1, 2]), receiver: receives(1, 1) },
    check(shared, { logs }) {
      assert.equal([logs["receiver"], leftIn(shared)], [[1], [2]]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: two senders and a receiver at a buffer of one",
    setUp: () => setUpChannels([1]),
    threads: { one: sends(0, [1, 2]), two: sends(1, [11]), receiver: receives(2, 3) },
    check(shared, { logs }) {
      const received = logs["receiver"] as number[];
      assert.equal(sorted(received), [1, 2, 11]);
      assert.ok(received.indexOf(1) < received.indexOf(2));
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: a sender and two receivers that meet without a buffer",
    setUp: () => setUpChannels([0]),
    threads: { sender: sends(0, [1, 2]), one: receives(1, 1), two: receives(2, 1) },
    check(shared, { logs }) {
      assert.equal(sorted(logs["one"], logs["two"]), [1, 2]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: two senders and two receivers meet without a buffer",
    setUp: () => setUpChannels([0]),
    threads: { one: sends(0, [1]), two: sends(1, [2]), three: receives(2, 1), four: receives(3, 1) },
    check(shared, { logs }) {
      assert.equal(sorted(logs["three"], logs["four"]), [1, 2]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: closing tells those who wait, after what is in the buffer",
    setUp: () => setUpChannels([1]),
    threads: {
      sender(shared) {
        const chan = channelOf(shared, 0);
        assert.is(send(chan, 1), DONE);
        assert.is(chan.end(), DONE);
        assert.is(send(chan, 2), CLOSED);
        assert.is(chan.end(), CLOSED);
      },
      one: receives(1, 9),
      two: receives(2, 9),
    },
    check(shared, { logs }) {
      assert.equal(sorted(logs["one"], logs["two"]), [1]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: a sender that waits while another closes is told, and its value isn't sent",
    setUp: () => setUpChannels([1]),
    threads: {
      sender(shared, log) {
        const chan = channelOf(shared, 0);
        for (const value of [1, 2]) if (send(chan, value) === DONE) log.push(value);
      },
      closer(shared) {
        assert.is(channelOf(shared, 1).end(), DONE);
      },
      receiver: receives(2, 9),
    },
    check(shared, { logs }) {
      assert.equal(logs["receiver"], logs["sender"]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: what a wait that runs out of time wanted to send isn't sent, or it was",
    setUp: () => setUpChannels([0]),
    threads: {
      impatient(shared, log) {
        if (send(channelOf(shared, 0), 1, 5) === DONE) log.push(1);
      },
      patient(shared, log) {
        if (send(channelOf(shared, 1), 2) === DONE) log.push(2);
      },
      receiver(shared, log) {
        const chan = channelOf(shared, 2);
        receiveInto(chan, 1, log);
        chan.end();
      },
    },
    check(shared, { logs }) {
      assert.equal(sorted(logs["receiver"]), sorted(logs["impatient"], logs["patient"]));
      assertQuiet(shared);
    },
    bounds: { timeouts: 2 },
  }),
  scenario({
    name: "channel: a sender dies anywhere; the others come through",
    setUp: () => setUpChannels([1]),
    threads: {
      victim: sends(0, [1, 2]),
      receiver: receives(1, 2),
      parent(shared) {
        if (join("victim")) bury(shared, 2, 0);
        const chan = channelOf(shared, 2);
        // As many as the receiver may still want, and the buffer takes.
        for (const value of [11, 12]) send(chan, value);
      },
    },
    kill: ["victim"],
    mayBlock: ["parent"],
    check(shared, { logs }) {
      const values = sorted(logs["receiver"], leftIn(shared));
      assertConserved(values, logs["victim"] as number[], [1, 2, 11, 12]);
      assert.is(logs["receiver"]?.length, 2);
    },
  }),
  scenario({
    name: "channel: a receiver dies anywhere; at most the value that was handed to it is gone",
    setUp: () => setUpChannels([1]),
    threads: {
      victim: receives(0, 2),
      sender: sends(1, [1, 2, 3]),
      parent(shared, log) {
        if (join("victim")) bury(shared, 2, 0);
        const chan = channelOf(shared, 2);
        for (let round = 0; round < 3; round += 1) if (chan.tryReceive() === DONE) log.push(chan.low);
      },
    },
    kill: ["victim"],
    mayBlock: ["sender"],
    check(shared, { logs, died }) {
      const got = sorted(logs["victim"], logs["parent"], leftIn(shared), leftIn(shared));
      const sent = (logs["sender"] as number[]).filter((value) => !got.includes(value));
      assert.ok(sent.length <= died.length, `lost ${sent.join()}`);
      assertConserved(got, [], [1, 2, 3]);
    },
  }),
  scenario({
    name: "channel: who lets others meet dies in the midst of it",
    setUp: () => setUpChannels([0]),
    threads: {
      victim(shared) {
        channelOf(shared, 0).pump();
      },
      sender: sends(1, [1]),
      receiver: receives(2, 1),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      assert.equal(logs["receiver"], [1]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: who moves values from senders to the buffer and on dies in the midst of it",
    setUp: () => setUpChannels([1]),
    threads: {
      victim(shared) {
        const chan = channelOf(shared, 0);
        chan.pump();
        chan.pump();
      },
      sender: sends(1, [1, 2, 3]),
      receiver: receives(2, 3),
      parent(shared) {
        if (join("victim")) bury(shared, 3, 0);
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      assert.equal(logs["receiver"], [1, 2, 3]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "channel: the block of a value belongs to one party at a time, whoever dies",
    setUp: () => setUpChannels([0], 1, VALUES),
    threads: {
      victim(shared, log) {
        const { heap } = spaceOf(shared, 0);
        const block = heap.allocate(8);
        heap.wordsOf(block, 1)[block * 16] = 7;
        assert.is(send(channelOf(shared, 0), block), DONE);
        log.push(7);
      },
      receiver(shared, log) {
        const { heap } = spaceOf(shared, 1);
        const chan = channelOf(shared, 1);
        if (receive(chan) === CLOSED) return;
        log.push(heap.wordsOf(chan.low, 1)[chan.low * 16]);
        heap.free(chan.low);
      },
      parent(shared) {
        if (join("victim")) bury(shared, 2, 0);
        channelOf(shared, 2).end();
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      assertConserved(logs["receiver"] as number[], logs["victim"] as number[], [7]);
      assertQuiet(shared);
      assert.ok(spaceOf(shared, 3).heap.usedBytes() <= 64, "at most the block in flight is lost");
    },
  }),
  scenario({
    name: "channel: the block of a receiver that dies is freed once",
    setUp: () => setUpChannels([1], 1, VALUES),
    threads: {
      sender(shared) {
        const { heap } = spaceOf(shared, 0);
        const chan = channelOf(shared, 0);
        for (let round = 0; round < 2; round += 1) chan.trySend(heap.allocate(8), 0);
      },
      victim(shared) {
        const { heap } = spaceOf(shared, 1);
        const chan = channelOf(shared, 1);
        for (let round = 0; round < 2; round += 1) {
          if (receive(chan) === CLOSED) return;
          heap.free(chan.low);
        }
      },
      parent(shared) {
        if (join("victim")) bury(shared, 2, 1);
        else channelOf(shared, 2).end();
      },
    },
    kill: ["victim"],
    mayBlock: ["victim", "parent"],
  }),
  scenario({
    name: "select: waits for two channels, and takes what comes from each once",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      selector(shared, log) {
        for (let round = 0; round < 2; round += 1) {
          const done = select(spaceOf(shared, 0), [
            operation(channelOf(shared, 0, 0), false),
            operation(channelOf(shared, 0, 1), false),
          ]);
          log.push(done?.core.low);
        }
      },
      left: sends(1, [1], 0),
      right: sends(2, [2], 1),
    },
    check(shared, { logs }) {
      assert.equal(sorted(logs["selector"]), [1, 2]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "select: two selects meet in one of two channels",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      gives(shared, log) {
        const done = select(spaceOf(shared, 0), [
          operation(channelOf(shared, 0, 0), true, 1),
          operation(channelOf(shared, 0, 1), true, 2),
        ]);
        log.push(done?.low);
      },
      takes(shared, log) {
        const done = select(spaceOf(shared, 1), [
          operation(channelOf(shared, 1, 1), false),
          operation(channelOf(shared, 1, 0), false),
        ]);
        log.push(done?.core.low);
      },
    },
    check(shared, { logs }) {
      assert.equal(logs["gives"], logs["takes"]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "select: two selects that could meet, and two others that each could serve one",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      gives(shared, log) {
        const done = select(spaceOf(shared, 0), [
          operation(channelOf(shared, 0, 0), true, 1),
          operation(channelOf(shared, 0, 1), true, 2),
        ]);
        log.push(done?.low);
      },
      takes(shared, log) {
        const done = select(spaceOf(shared, 1), [
          operation(channelOf(shared, 1, 1), false),
          operation(channelOf(shared, 1, 0), false),
        ]);
        log.push(done?.core.low);
      },
      sender: sends(2, [3], 0),
      receiver: receives(3, 1, 1),
    },
    mayBlock: ["sender", "receiver"],
    check(_shared, { logs, blocked }) {
      const sent = sorted(logs["gives"], logs["sender"]);
      assert.equal(sorted(logs["takes"], logs["receiver"]), sent);
      assert.ok(blocked.length === 0 || blocked.length === 2);
    },
  }),
  scenario({
    name: "select: both directions in both selects, exactly one meeting",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      one(shared, log) {
        const done = select(spaceOf(shared, 0), [
          operation(channelOf(shared, 0, 0), true, 1),
          operation(channelOf(shared, 0, 1), false),
        ]);
        log.push(done?.gives === true ? "gave" : `took ${done?.core.low}`);
      },
      two(shared, log) {
        const done = select(spaceOf(shared, 1), [
          operation(channelOf(shared, 1, 1), true, 2),
          operation(channelOf(shared, 1, 0), false),
        ]);
        log.push(done?.gives === true ? "gave" : `took ${done?.core.low}`);
      },
    },
    check(shared, { logs }) {
      const both = [...(logs["one"] as string[]), ...(logs["two"] as string[])].join();
      assert.ok(both === "gave,took 1" || both === "took 2,gave", both);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "select: a wait that runs out of time leaves nothing behind",
    setUp: () => setUpChannels([0, 1], 3),
    threads: {
      selector(shared, log) {
        const done = select(
          spaceOf(shared, 0),
          [operation(channelOf(shared, 0, 0), false), operation(channelOf(shared, 0, 1), false)],
          5,
        );
        if (done !== undefined) log.push(done.core.low);
      },
      sender(shared, log) {
        if (channelOf(shared, 1, 0).trySend(1, 0) === DONE) log.push(1);
        assert.is(send(channelOf(shared, 1, 1), 2), DONE);
        log.push(2);
      },
    },
    check(shared, { logs }) {
      assert.equal(sorted(logs["selector"], leftIn(shared, 1)), sorted(logs["sender"]));
      assertQuiet(shared);
    },
    bounds: { timeouts: 1 },
  }),
  scenario({
    name: "select: one of two selects that meet dies anywhere",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      victim(shared, log) {
        const done = select(spaceOf(shared, 0), [
          operation(channelOf(shared, 0, 0), true, 1),
          operation(channelOf(shared, 0, 1), true, 2),
        ]);
        log.push(done?.low);
      },
      takes(shared, log) {
        const done = select(spaceOf(shared, 1), [
          operation(channelOf(shared, 1, 1), false),
          operation(channelOf(shared, 1, 0), false),
        ]);
        log.push(done?.core.low);
      },
      parent(shared) {
        if (!join("victim")) return;
        bury(shared, 2, 0);
        // Nobody is left to meet: the other select is to hear of the end, with a 0.
        channelOf(shared, 2, 0).end();
      },
    },
    kill: ["victim"],
    check(shared, { logs, died }) {
      assert.is(logs["takes"]?.length, 1);
      assertConserved(logs["takes"] as number[], logs["victim"] as number[], died.length > 0 ? [0, 1, 2] : []);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "select: who lets two selects meet dies in the midst of it",
    setUp: () => setUpChannels([0, 0], 3),
    threads: {
      gives(shared, log) {
        const done = select(spaceOf(shared, 0), [
          operation(channelOf(shared, 0, 0), true, 1),
          operation(channelOf(shared, 0, 1), true, 2),
        ]);
        log.push(done?.low);
      },
      takes(shared, log) {
        const done = select(spaceOf(shared, 1), [
          operation(channelOf(shared, 1, 1), false),
          operation(channelOf(shared, 1, 0), false),
        ]);
        log.push(done?.core.low);
      },
      victim(shared) {
        channelOf(shared, 2, 0).pump();
      },
      parent(shared) {
        if (join("victim")) bury(shared, 3, 2);
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      assert.equal(logs["gives"], logs["takes"]);
      assertQuiet(shared);
    },
  }),
  scenario({
    name: "select: a claim that comes to nothing is made good at the other channel",
    setUp: () => setUpJoined(2),
    threads: {
      selector: (shared, log) => log.push(conclude(shared)?.core.low),
      pumper: (shared) => channelOf(shared, 3, 0).pump(),
      quitter(shared) {
        channelOf(shared, 2, 0).cancel(shared.giver);
      },
      sender: sends(1, [1], 1),
    },
    // Either sender may have met the select first.
    mayBlock: ["sender"],
    check(_shared, { logs, blocked }) {
      assert.is((logs["selector"] as number[])[0], blocked.length > 0 ? 7 : 1);
    },
  }),
  scenario({
    name: "select: who tells a select dies, and it is told again in its next round",
    setUp: () => setUpJoined(3),
    threads: {
      selector(shared, log) {
        log.push(conclude(shared)?.core.low);
        // Nobody gives anything here: it must not be told.
        const next = new Selection(spaceOf(shared, 0), [operation(channelOf(shared, 0, 1), false)]);
        const group = next.join(0, false);
        assert.is(group.node, shared.group.node, "the group is used again");
        log.push(group.node);
      },
      victim: (shared) => channelOf(shared, 1, 0).pump(),
      parent(shared) {
        if (join("victim")) bury(shared, 2, 1);
        channelOf(shared, 2, 0).pump();
      },
    },
    kill: ["victim"],
    check(shared, { logs }) {
      const [value, group] = logs["selector"] as number[];
      assert.is(value, 7);
      assert.is.not(
        spaceOf(shared, 0).words[(group as number) + NODE_STATE],
        GRANTED,
        "told although nobody has served it",
      );
    },
    bounds: { preemptions: 1 },
    races: ["const wakes = this.words[node + NODE_WAKES]", "const isAsync = "].map((line) => ({
      file: "atomics-sync/objects/wait-queue",
      line,
      reason: "read before the compare-and-swap from the ticket, which fails where the group is in its next round",
    })),
  }),
];

/**
 * A channel takes so many steps that one interruption is what a few minutes allow, and none beside
 * a death; `check:deep` does more.
 */
export const scenarios: Scenario[] = all.map((each) => ({
  ...each,
  bounds: { preemptions: each.kill === undefined ? 1 : 0, ...each.bounds },
  deep: { ...each.bounds, preemptions: 2 },
}));

const core = "channels/channel-core";
const monitor = "atomics-sync/objects/monitor";

export const mutants: Mutant[] = [
  {
    breaks: "a claim that comes to nothing is forgotten by the other channels",
    by: "comes to nothing",
    file: monitor,
    from: "if (group !== 0)\n            this.#owe(group);",
    to: "",
  },
  {
    breaks: "a group is told by whatever ticket it has",
    by: "told again in its next round",
    file: monitor,
    from: "this.settle(group, ticket, GRANTED);",
    to: "this.settle(group, Atomics.load(this.words, group + NODE_STATE), GRANTED);",
  },
  {
    breaks: "a value is published before it is written",
    file: core,
    from: "this.#put(tail, this.low, this.high);\n            this.words[giver + NODE_OUTCOME] = DONE;",
    to: "this.words[giver + NODE_OUTCOME] = DONE;",
  },
  {
    breaks: "one value too many",
    file: core,
    from: "if (used < this.capacity) {\n            const giver",
    to: "if (used <= this.capacity) {\n            const giver",
  },
  {
    breaks: "a value stays in the ring when it is handed to a waiting receiver",
    by: "channel: a sender dies anywhere",
    file: core,
    from: "this.commit(0, taker, RING_HEAD, (head + 1) | 0);",
    to: "this.commit(0, taker, 0, 0);",
  },
  {
    breaks: "a sender's value isn't counted",
    file: core,
    from: "this.commit(giver, 0, RING_TAIL, (tail + 1) | 0);",
    to: "this.commit(giver, 0, 0, 0);",
  },
  {
    breaks: "only one of two who meet is told",
    by: "channel: who lets others meet",
    file: core,
    from: "this.commit(giver, taker, 0, 0);",
    to: "this.commit(giver, 0, 0, 0);",
  },
  {
    breaks: "the end is told before the ring is empty",
    file: core,
    from: "if (this.words[this.cell + RING_TAIL] !== head) {",
    to: "if (!this.isEnded() && this.words[this.cell + RING_TAIL] !== head) {",
  },
  {
    breaks: "senders aren't told the end",
    by: "channel: a sender that waits while another closes",
    file: core,
    from: "let node = this.#claimFirst(ASKS_GIVES);\n        if (node === 0",
    to: "let node = 0;\n        if (node === 0",
  },
  {
    breaks: "the end wakes nobody",
    by: "channel: a sender that waits while another closes",
    file: core,
    from: "return CLOSED;\n        this.pump();\n        return DONE;",
    to: "return CLOSED;\n        return DONE;",
  },
  {
    breaks: "a select meets itself or nobody",
    by: "channel: who lets others meet",
    file: core,
    from: "if (!this.isOpen(taker) || !this.#claimBoth(giver, taker))",
    to: "if (!this.isOpen(taker) || !this.claim(taker))",
  },
  {
    breaks: "who waits isn't looked at when the latch is given up",
    by: "channel: a sender that waits goes on",
    file: monitor,
    from: "if (this.words[this.cell + HEAD] === 0 && this.#giveLatch())",
    to: "if (this.#giveLatch())",
  },
  {
    breaks: "a claim doesn't decide the group",
    by: "select: waits for two channels",
    file: monitor,
    from: "if (Atomics.compareExchange(this.words, group + DECISION, ticket, node) !== ticket)\n            return false;",
    to: "if (Atomics.load(this.words, group + DECISION) !== ticket) return false;\n        Atomics.store(this.words, group + DECISION, node);",
  },
  {
    breaks: "a step that was broken off isn't finished",
    by: "channel: a receiver dies anywhere",
    file: monitor,
    from: "#rebuild() {\n        this.#redo();",
    to: "#rebuild() {",
  },
  {
    breaks: "a step isn't written down first",
    by: "select: two selects that could meet, and",
    file: monitor,
    from: "Atomics.store(this.words, this.cell + REDO, 1);\n        this.#redo();",
    to: "this.words[this.cell + REDO] = 1;\n        Atomics.store(this.words, this.cell + word, value);\n        this.#redo();",
  },
  {
    breaks: "the group isn't told",
    by: "select: waits for two channels",
    file: monitor,
    from: "if (seen === CLAIMED || seen === GRANTED)\n            this.settle(group, ticket, GRANTED);",
    to: "",
  },
];
