/** Select: two channels or more at once, selects that meet, and deaths at any step. */
import * as assert from "uvu/assert";
import { block as blockFor } from "@millrace/atomics-sync/internal/objects/block";
import { GRANTED, NODE_STATE } from "@millrace/atomics-sync/internal/objects/node";
import type { SelectGroup } from "@millrace/atomics-sync/internal/objects/select-group";
import { DONE } from "@millrace/channels/internal/outcomes";
import { type Operation, Selection } from "@millrace/channels/internal/selection";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";
import {
  assertConserved,
  assertQuiet,
  bury,
  channelOf,
  leftIn,
  operation,
  receives,
  select,
  send,
  sends,
  setUpChannels,
  type Shared,
  sorted,
  spaceOf,
  withFewSteps,
} from "../fixtures/channels.ts";

/** Thread 0 gives 1 to the first channel or 2 to the second. */
function gives(shared: Shared, log: unknown[]): void {
  const done = select(spaceOf(shared, 0), [
    operation(channelOf(shared, 0, 0), true, 1),
    operation(channelOf(shared, 0, 1), true, 2),
  ]);
  log.push(done?.low);
}

/** Thread 1 takes from either, and asks the second one first. */
function takes(shared: Shared, log: unknown[]): void {
  const done = select(spaceOf(shared, 1), [
    operation(channelOf(shared, 1, 1), false),
    operation(channelOf(shared, 1, 0), false),
  ]);
  log.push(done?.core.low);
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
      gives,
      takes,
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
      gives,
      takes,
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
      victim: gives,
      takes,
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
      gives,
      takes,
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

export const scenarios: Scenario[] = all.map(withFewSteps);

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
    breaks: "a claim doesn't decide the group",
    by: "select: waits for two channels",
    file: monitor,
    from: "if (Atomics.compareExchange(this.words, group + DECISION, ticket, node) !== ticket)\n            return false;",
    to: "if (Atomics.load(this.words, group + DECISION) !== ticket) return false;\n        Atomics.store(this.words, group + DECISION, node);",
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
