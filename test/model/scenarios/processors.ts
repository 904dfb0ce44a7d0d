/** Processors: who holds one, who waits for one, and nobody sleeps beside one that is free. */
import * as assert from "uvu/assert";
import { Parker } from "@millrace/atomics-sync";
import { Shared } from "@millrace/scheduler/internal/shared/shared";
import { NONE, type Processors } from "@millrace/scheduler/internal/shared/processors";
import { type SchedulerShared, schedulerMemory } from "../fixtures/scheduler.ts";
import { join, type Mutant, scenario, type Scenario } from "../api.ts";

/**
 * A thread without a processor: it announces itself, looks once more, sleeps. Returns the processor
 * that it got, or `NONE` when it gave up.
 */
function waitForProcessor(shared: Shared, processors: Processors, machine: number): number {
  const parker = new Parker(shared.threads, machine);
  for (let turn = 0; turn < 3; turn += 1) {
    const processor = processors.acquire(machine);
    if (processor !== NONE) return processor;
    processors.announceSpare(machine);
    parker.prepare();
    if (processors.isAnyFree()) parker.cancel();
    else parker.wait(Infinity);
    processors.cancelSpare(machine);
  }
  return processors.acquire(machine);
}

/**
 * A plain word that only the holder of processor 0 touches: the race check then sees two holders.
 */
function useProcessor({ memory }: SchedulerShared): void {
  const slots = new Int32Array(memory.slots);
  slots[3] = (slots[3] as number) + 1;
}

function yieldProcessor(machine: number) {
  return (given: SchedulerShared): number => {
    const shared = new Shared(given.memory);
    const processors = shared.processors();
    const processor = waitForProcessor(shared, processors, machine);
    assert.is(processor, 0, "it got the processor");
    useProcessor(given);
    processors.release(processor);
    processors.wakeSpare();
    return processor;
  };
}

export const scenarios: Scenario[] = [
  scenario({
    name: "processors: three threads have the only processor one after the other, and none waits beside a free one",
    setUp: () => schedulerMemory(1, 1, 1, 2, 3),
    threads: { first: yieldProcessor(0), second: yieldProcessor(1), third: yieldProcessor(2) },
    check({ memory }) {
      assert.is(new Int32Array(memory.slots)[3], 3);
      assert.is(new Shared(memory).processors().owner(0), -1);
    },
    bounds: { preemptions: 2 },
  }),
  scenario({
    name: "processors: a thread that dies with the processor, or while it gives it away",
    setUp: () => schedulerMemory(1, 1, 1, 2, 2),
    threads: {
      first: yieldProcessor(0),
      second: yieldProcessor(1),
      supervisor({ memory }) {
        if (!join("first")) return;
        const processors = new Shared(memory).processors();
        processors.forget(0);
        processors.wakeSpareAgain();
      },
    },
    check({ memory }, { results }) {
      assert.is(results["second"], 0);
      assert.is(new Shared(memory).processors().owner(0), -1);
    },
    kill: ["first"],
    bounds: { preemptions: 1 },
  }),
  scenario({
    name: "processors: never more threads wait in handlers than there are spares",
    setUp: () => schedulerMemory(1, 1, 1, 2, 2),
    threads: {
      first: ({ memory }) => new Shared(memory).processors().tryBlock(0),
      second: ({ memory }) => new Shared(memory).processors().tryBlock(1),
    },
    check({ memory }, { results }) {
      assert.is([results["first"], results["second"]].filter((ok) => ok === true).length, 1, "one of them may");
      const processors = new Shared(memory).processors();
      assert.is(processors.isBlocked(0), results["first"]);
      assert.is(processors.isBlocked(1), results["second"]);
    },
    bounds: { preemptions: Infinity },
  }),
  scenario({
    name: "processors: a thread isn't refused while another goes from one permit to the next",
    setUp() {
      const shared = schedulerMemory(1, 1, 1, 2, 3);
      assert.ok(new Shared(shared.memory).processors().tryBlock(0), "it has the first of two permits");
      return shared;
    },
    threads: {
      // Its permit is free before another is taken: there is room for one at any time.
      leaver: ({ memory }) => new Shared(memory).processors().unblock(0),
      mover: ({ memory }) => new Shared(memory).processors().tryBlock(1),
      asker: ({ memory }) => new Shared(memory).processors().tryBlock(2),
    },
    check({ memory }, { results }) {
      const processors = new Shared(memory).processors();
      // Of three at most two wait, so a refusal is right only if both others waited at a time.
      if (results["mover"] === true) assert.ok(processors.isBlocked(1));
      assert.ok(results["mover"] === true || results["asker"] === true);
      assert.is(processors.countBlocked(), [results["mover"], results["asker"]].filter((ok) => ok === true).length);
    },
    bounds: { preemptions: Infinity },
  }),
];

const FILE = "scheduler/shared/processors";

export const mutants: Mutant[] = [
  {
    breaks: "a processor is taken without a compare-and-swap",
    file: FILE,
    from: "if (Atomics.load(this.#words, word) !== NOBODY)\n            return false;\n        return Atomics.compareExchange(this.#words, word, NOBODY, machine + 1) === NOBODY;",
    to: "if (Atomics.load(this.#words, word) !== NOBODY)\n            return false;\n        Atomics.store(this.#words, word, machine + 1);\n        return true;",
  },
  {
    breaks: "whoever gives a processor back wakes nobody",
    file: FILE,
    from: "unpark(this.#threads, this.#numbers.machineThreads[machine]);\n                    return machine;",
    to: "return machine;",
  },
  {
    breaks: "the processor of a dead thread stays its own",
    file: FILE,
    from: "this.release(processor);\n            held = true;",
    to: "held = true;",
  },
  {
    breaks: "a permit is taken without a compare-and-swap",
    file: FILE,
    from: "return Atomics.compareExchange(this.#words, word, NOBODY, machine + 1) === NOBODY;\n    }\n    /** The machine waits no more. */",
    to: "Atomics.store(this.#words, word, machine + 1);\n        return true;\n    }\n    /** The machine waits no more. */",
  },
  {
    breaks: "a thread that waits no more keeps its permit",
    file: FILE,
    from: "if (word !== NONE)\n            Atomics.store(this.#words, word, NOBODY);",
    to: "",
  },
  {
    breaks: "one thread more than there are spares may block",
    file: FILE,
    from: "return this.#numbers.machines - this.#numbers.processors;",
    to: "return this.#numbers.machines - this.#numbers.processors + 1;",
  },
];
