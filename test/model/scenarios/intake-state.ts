// The word that says where the intake is in its life: opener and delivery thread raise it.
import * as assert from "uvu/assert";
import { Parker, ThreadTable } from "@millrace/atomics-sync";
import { ABANDONING, DRAINING, RUNNING, StateWord, STOPPED } from "@millrace/intake/internal/delivery/state-word";
import { type Mutant, scenario, type Scenario } from "../api.ts";

interface Shared {
  readonly threads: Int32Array;
  readonly words: Int32Array;
}

const DELIVERY = 0;
/** It sees each state above RECOVERING at most once before it sleeps. */
const TURNS_MAX = 6;

const setUp = (): Shared => ({
  threads: new Int32Array(ThreadTable.allocate(2)),
  words: new Int32Array(new SharedArrayBuffer(128)),
});

/** The loop of `DeliveryThread`, with a handler in hand or without. */
function deliver({ threads, words }: Shared, log: unknown[], hasInHand: boolean): void {
  const state = new StateWord(words);
  const parker = new Parker(threads, DELIVERY);
  state.raise(RUNNING);
  for (let turn = 0; turn < TURNS_MAX; turn += 1) {
    const seen = state.value;
    log.push(seen);
    if (seen === ABANDONING || (seen === DRAINING && !hasInHand)) {
      state.raise(STOPPED);
      return;
    }
    parker.prepare();
    if (state.value === seen) parker.wait(Infinity);
    else parker.cancel();
  }
  throw new Error("too many turns");
}

function end({ threads, words }: Shared, ...states: number[]): void {
  const state = new StateWord(words);
  for (const to of states) state.tell(to, threads, DELIVERY);
}

const seenBy = (log: unknown): number[] => log as number[];

export const scenarios: Scenario[] = [
  scenario({
    name: "intake state: a close is heard, however early, and an end is never taken back",
    setUp,
    threads: {
      delivery: (shared, log) => deliver(shared, log, false),
      opener: (shared) => end(shared, DRAINING, ABANDONING),
    },
    check: ({ words }, { logs }) => {
      const seen = seenBy(logs["delivery"]);
      assert.ok((seen.at(-1) as number) >= DRAINING);
      assert.equal(
        seen,
        seen.toSorted((left, right) => left - right),
        "it only grows",
      );
      assert.is(new StateWord(words).value, STOPPED);
    },
  }),
  scenario({
    name: "intake state: a thread that waits for a handler hears that it needn't",
    setUp,
    threads: {
      delivery: (shared, log) => deliver(shared, log, true),
      opener: (shared) => end(shared, DRAINING, ABANDONING),
    },
    check: ({ words }, { logs }) => {
      assert.is(seenBy(logs["delivery"]).at(-1), ABANDONING);
      assert.is(new StateWord(words).value, STOPPED);
    },
  }),
  scenario({
    name: "intake state: the death of the delivery thread holds up no opener",
    setUp,
    threads: {
      delivery: (shared, log) => deliver(shared, log, true),
      opener: (shared) => end(shared, DRAINING, ABANDONING),
    },
    kill: ["delivery"],
    check: ({ words }, { died }) => {
      const value = new StateWord(words).value;
      assert.ok(value === STOPPED || (died.length > 0 && value >= ABANDONING));
    },
  }),
];

export const mutants: Mutant[] = [
  {
    breaks: "stores over what the other thread has stored",
    file: "intake/delivery/state-word",
    from: "Atomics.compareExchange(this.#words, STATE, value, to)",
    to: "Atomics.exchange(this.#words, STATE, to)",
  },
  {
    breaks: "gives up when the other thread was faster",
    file: "intake/delivery/state-word",
    from: "value = found;",
    to: "return;",
  },
  {
    breaks: "lowers the word",
    file: "intake/delivery/state-word",
    from: "while (value < to)",
    to: "while (value !== to)",
  },
  {
    breaks: "wakes nobody",
    file: "intake/delivery/state-word",
    from: "unpark(threads, deliveryThread);",
    to: "void unpark;",
  },
];
