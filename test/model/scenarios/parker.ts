/** Sleeping and waking, in Atomics.wait and in the event loop. */
import * as assert from "uvu/assert";
import { Parker, ThreadTable, unpark, unparkAgain } from "@millrace/atomics-sync";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

interface Shared {
  readonly threads: Int32Array;
  /** 0: items that were published. */
  readonly work: Int32Array;
}

function setUp(): Shared {
  return {
    threads: new Int32Array(ThreadTable.allocate(3)),
    work: new Int32Array(new SharedArrayBuffer(4)),
  };
}

/** Sleeps until `count` items are there; false when it was woken more often than that. */
function sleepUntil({ threads, work }: Shared, count: number, timeoutMs: number): boolean {
  const parker = new Parker(threads, 0);
  for (let turn = 0; turn <= count + 1; turn += 1) {
    if (Atomics.load(work, 0) >= count) return true;
    parker.prepare();
    if (Atomics.load(work, 0) >= count) parker.cancel();
    else if (!parker.wait(timeoutMs)) assert.not.equal(timeoutMs, Infinity);
  }
  return Atomics.load(work, 0) >= count;
}

/** The same in the event loop, and one bell for several announcements. */
async function sleepInLoopUntil({ threads, work }: Shared, count: number, log: unknown[]): Promise<boolean> {
  const parker = new Parker(threads, 0);
  for (let turn = 0; turn <= count + 1; turn += 1) {
    parker.prepareAsync();
    if (Atomics.load(work, 0) >= count) {
      parker.cancel();
      return true;
    }
    const ring = parker.listen();
    if (typeof ring === "string") log.push(ring);
    else await ring;
    parker.answered();
  }
  return Atomics.load(work, 0) >= count;
}

function publish({ threads, work }: Shared): boolean {
  Atomics.add(work, 0, 1);
  return unpark(threads, 0);
}

/** Does for a waker that has died what it may not have come to. */
function mend({ threads, work }: Shared): void {
  if (!join("waker")) return;
  Atomics.store(work, 0, 1);
  unparkAgain(threads, 0);
}

export const scenarios: Scenario[] = [
  scenario({
    name: "parker: two wakers, a blocking sleeper",
    setUp,
    threads: {
      sleeper: (shared) => sleepUntil(shared, 2, Infinity),
      first: publish,
      second: publish,
    },
    check(_shared, { results }) {
      assert.is(results["sleeper"], true);
    },
    bounds: { preemptions: Infinity },
  }),
  scenario({
    name: "parker: who sleeps once is woken by one",
    setUp,
    threads: {
      sleeper: (shared) => sleepUntil(shared, 1, Infinity),
      first: publish,
      second: publish,
    },
    check(_shared, { results }) {
      assert.is(results["sleeper"], true);
      assert.not(results["first"] === true && results["second"] === true);
    },
    bounds: { preemptions: Infinity },
  }),
  scenario({
    name: "parker: a wait that may run out of time",
    setUp,
    threads: {
      sleeper: (shared) => sleepUntil(shared, 2, 100),
      first: publish,
      second: publish,
    },
    check({ threads }, { results }) {
      assert.is(results["sleeper"], true);
      assert.is(unpark(threads, 0), false, "nobody sleeps any more");
    },
    bounds: { preemptions: 3, timeouts: 1 },
  }),
  scenario({
    name: "parker: two wakers, a sleeper in its event loop",
    setUp,
    threads: {
      sleeper: (shared, log) => sleepInLoopUntil(shared, 2, log),
      first: publish,
      second: publish,
    },
    check(_shared, { results }) {
      assert.is(results["sleeper"], true);
    },
    bounds: { preemptions: Infinity },
  }),
  scenario({
    name: "parker: a waker that dies halfway, a blocking sleeper",
    setUp,
    threads: {
      sleeper: (shared) => sleepUntil(shared, 1, Infinity),
      waker: publish,
      mender: mend,
    },
    check(_shared, { results }) {
      assert.is(results["sleeper"], true);
    },
    kill: ["waker"],
    bounds: { preemptions: Infinity },
  }),
  scenario({
    name: "parker: a waker that dies halfway, a sleeper in its event loop",
    setUp,
    threads: {
      sleeper: (shared, log) => sleepInLoopUntil(shared, 1, log),
      waker: publish,
      mender: mend,
    },
    check(_shared, { results }) {
      assert.is(results["sleeper"], true);
    },
    kill: ["waker"],
    bounds: { preemptions: Infinity },
  }),
];

const FILE = "atomics-sync/threads/parker";

export const mutants: Mutant[] = [
  {
    breaks: "a waker doesn't notify a blocking sleeper",
    file: FILE,
    from: "Atomics.notify(words, word, 1);",
    to: "",
  },
  {
    breaks: "a waker notifies before it has changed the word",
    file: FILE,
    from: "if (Atomics.compareExchange(words, word, state, NOTIFIED) !== state)\n        return false;\n    if (state === SYNC) {\n        Atomics.notify(words, word, 1);",
    to: "if (state === SYNC)\n        Atomics.notify(words, word, 1);\n    if (Atomics.compareExchange(words, word, state, NOTIFIED) !== state)\n        return false;\n    if (state === SYNC) {",
  },
  {
    breaks: "a waker doesn't look whether another one was faster",
    file: FILE,
    from: "if (Atomics.compareExchange(words, word, state, NOTIFIED) !== state)\n        return false;",
    to: "Atomics.store(words, word, NOTIFIED);",
  },
  {
    breaks: "a waker wakes only blocking sleepers",
    file: FILE,
    from: "if (state !== SYNC && state !== ASYNC)",
    to: "if (state !== SYNC)",
  },
  {
    breaks: "the bell rings without its word",
    file: FILE,
    from: "else {\n        Atomics.store(words, bellWord(id), RUNG);",
    to: "else {",
  },
  {
    breaks: "the bell's word changes and nobody is notified",
    file: FILE,
    from: "Atomics.store(words, bellWord(id), RUNG);\n        Atomics.notify(words, bellWord(id));",
    to: "Atomics.store(words, bellWord(id), RUNG);",
  },
  {
    breaks: "the sleeper announces nothing",
    file: FILE,
    from: "Atomics.store(this.#words, parkWord(this.id), SYNC);",
    to: "",
  },
  {
    breaks: "the sleeper waits on whatever the word holds",
    file: FILE,
    from: "Atomics.wait(this.#words, parkWord(this.id), SYNC, timeoutMs);",
    to: "Atomics.wait(this.#words, parkWord(this.id), Atomics.load(this.#words, parkWord(this.id)), timeoutMs);",
  },
  {
    breaks: "a wake-up that came before the wait counts as a time-out",
    file: FILE,
    from: 'return outcome !== "timed-out";',
    to: 'return outcome === "ok";',
  },
  {
    breaks: "the bell is made quiet after the announcement",
    file: FILE,
    from: "if (!this.#listening)\n            Atomics.store(this.#words, bellWord(this.id), QUIET);\n        Atomics.store(this.#words, parkWord(this.id), ASYNC);",
    to: "Atomics.store(this.#words, parkWord(this.id), ASYNC);\n        if (!this.#listening)\n            Atomics.store(this.#words, bellWord(this.id), QUIET);",
  },
  {
    breaks: "the bell stays rung",
    file: FILE,
    from: "if (!this.#listening)\n            Atomics.store(this.#words, bellWord(this.id), QUIET);",
    to: "",
  },
  {
    breaks: "whoever mends doesn't wake a sleeper that was made NOTIFIED",
    file: FILE,
    from: "if (unpark(words, id) || Atomics.load(words, parkWord(id)) !== NOTIFIED)",
    to: "if (unpark(words, id) || true)",
  },
  {
    breaks: "whoever mends doesn't notify a blocking sleeper",
    file: FILE,
    from: "Atomics.notify(words, parkWord(id));",
    to: "",
  },
  {
    breaks: "whoever mends doesn't ring the bell",
    file: FILE,
    from: "Atomics.notify(words, parkWord(id));\n    Atomics.store(words, bellWord(id), RUNG);\n    Atomics.notify(words, bellWord(id));",
    to: "Atomics.notify(words, parkWord(id));",
  },
];
