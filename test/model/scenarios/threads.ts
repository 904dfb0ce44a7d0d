/**
 * The table of threads: an entry is one thread's, and nobody is taken for the thread that had it
 * before.
 */
import { setEnvironmentData } from "node:worker_threads";
import * as assert from "uvu/assert";
import { adoptThread, ownThread, ThreadTable } from "@millrace/atomics-sync";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

function setUp(entries: number): SharedArrayBuffer {
  const buffer = ThreadTable.allocate(entries);
  setEnvironmentData("millrace.threads", buffer);
  return buffer;
}

export const scenarios: Scenario[] = [
  scenario({
    name: "threads: two that reserve at once get different entries",
    setUp: () => setUp(2),
    threads: {
      one: () => ownThread(),
      two(buffer) {
        const table = new ThreadTable(buffer);
        const id = table.reserve(7);
        assert.is(table.nodeThreadOf(id), 7);
        assert.ok(table.isInUse(id));
        table.release(id);
        return table.reserve(8);
      },
    },
    check(buffer, { results }) {
      assert.not.equal(results["one"], results["two"]);
      const table = new ThreadTable(buffer);
      assert.is(table.nodeThreadOf(results["two"] as number), 8);
      assert.ok(table.isTaken(0) && table.isTaken(1));
      assert.is(table.used, 2, "a look at all threads reaches both");
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "threads: whoever takes an entry after another isn't taken for it",
    setUp() {
      const buffer = setUp(1);
      new ThreadTable(buffer).reserve(7);
      return buffer;
    },
    threads: {
      leaver: (buffer) => new ThreadTable(buffer).release(0),
      comer(buffer, log) {
        try {
          log.push(new ThreadTable(buffer).reserve(8));
        } catch {
          log.push("full");
        }
      },
    },
    check(buffer, { logs }) {
      const table = new ThreadTable(buffer);
      const [got] = logs["comer"] as [number | string];
      assert.is(table.isInUse(0), got === 0);
      // A burial looks for the entry by this number.
      assert.is(table.nodeThreadOf(0), got === 0 ? 8 : -1);
    },
    bounds: { preemptions: 3 },
  }),
  scenario({
    name: "threads: a thread that was given a number uses that, and none of its own",
    setUp() {
      const buffer = setUp(2);
      new ThreadTable(buffer).reserve();
      return buffer;
    },
    threads: {
      adopted(buffer) {
        adoptThread(0);
        assert.ok(new ThreadTable(buffer).nodeThreadOf(0) >= 0);
        return ownThread();
      },
      parent(buffer, log) {
        if (!join("adopted")) return;
        const table = new ThreadTable(buffer);
        table.markDead(0);
        assert.ok(table.isDead(0) && table.isInUse(0) && !table.isTaken(0));
        table.renew(0);
        log.push("renewed");
      },
    },
    check(buffer, { results, died, logs }) {
      const table = new ThreadTable(buffer);
      assert.not.ok(table.isInUse(1));
      assert.ok(table.isTaken(0));
      if (died.length === 0) assert.is(results["adopted"], 0);
      else assert.equal([logs["parent"], table.nodeThreadOf(0)], [["renewed"], -1]);
    },
    kill: ["adopted"],
    bounds: { preemptions: 3 },
  }),
];

const FILE = "atomics-sync/threads/threads";

export const mutants: Mutant[] = [
  {
    breaks: "an entry is taken before a look at all threads reaches it",
    file: FILE,
    from: "if (id >= this.used)\n                this.#use(id + 1);",
    to: "",
  },
  {
    breaks: "two threads reserve one entry",
    file: FILE,
    from: "if (Atomics.compareExchange(this.words, id * ENTRY_WORDS + STATE, FREE, TAKEN) !== FREE)",
    to: "if (Atomics.load(this.words, id * ENTRY_WORDS + STATE) !== FREE || Atomics.exchange(this.words, id * ENTRY_WORDS + STATE, TAKEN) < 0)",
  },
  {
    breaks: "an entry that was given back isn't free",
    file: FILE,
    from: "Atomics.store(this.words, id * ENTRY_WORDS + STATE, FREE);",
    to: "",
  },
  {
    breaks: "an entry is free before its number is gone",
    file: FILE,
    from: "Atomics.store(this.words, id * ENTRY_WORDS + NODE_THREAD, NOBODY);\n        Atomics.store(this.words, id * ENTRY_WORDS + STATE, FREE);",
    to: "Atomics.store(this.words, id * ENTRY_WORDS + STATE, FREE);\n        Atomics.store(this.words, id * ENTRY_WORDS + NODE_THREAD, NOBODY);",
  },
  {
    breaks: "an adopted thread takes another number",
    file: FILE,
    from: "isOwnAdopted = true;",
    to: "isOwnAdopted = true; own = NOBODY;",
  },
];
