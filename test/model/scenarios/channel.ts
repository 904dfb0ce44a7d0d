/**
 * Channels under a monitor: conservation and order of values, close, time limits, and deaths at any
 * step.
 */
import * as assert from "uvu/assert";
import { CLOSED, DONE, VALUES } from "@millrace/channels/internal/outcomes";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import {
  assertConserved,
  assertQuiet,
  bury,
  channelOf,
  leftIn,
  receive,
  receiveInto,
  receives,
  send,
  sends,
  setUpChannels,
  sorted,
  spaceOf,
  withFewSteps,
} from "../fixtures/channels.ts";

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
];

export const scenarios: Scenario[] = all.map(withFewSteps);

const core = "channels/channel-core";
const monitor = "atomics-sync/objects/monitor";

export const mutants: Mutant[] = [
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
    breaks: "a step that was broken off isn't finished",
    by: "channel: a receiver dies anywhere",
    file: monitor,
    from: "#rebuild() {\n        this.#redo();",
    to: "#rebuild() {",
  },
];
