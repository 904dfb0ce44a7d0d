// Every operation of a life fails once, in every way that it may. The log keeps its promises and
// writes nothing any more.
import type { Random } from "@millrace/base";
import { type Fault, type Operation, SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Engine } from "./engine.ts";
import { describe, Explorer, StateError } from "./explore.ts";
import { History, Violation } from "./history.ts";
import { Life, type Step } from "./rig.ts";
import { randomSteps } from "./workload.ts";

/** The faults of an operation; a write may also have been made in part. */
const FAULTS: Readonly<Partial<Record<Operation["kind"], readonly Fault[]>>> = {
  write: [
    { code: "EIO", bytes: 0 },
    { code: "EIO", bytes: 5000 },
    { code: "ENOSPC", bytes: 4096 },
    { code: "EDQUOT", bytes: 0 },
    { code: "EROFS", bytes: 0 },
    { bytes: 1 },
    { bytes: 4097 },
  ],
  sync: [{ code: "EIO" }, { code: "ENOSPC" }, { code: "EDQUOT" }],
  truncate: [{ code: "EIO" }, { code: "EROFS" }],
  rename: [{ code: "EIO" }, { code: "EROFS" }, { code: "ENOSPC" }],
  remove: [{ code: "EIO" }, { code: "EROFS" }],
  open: [{ code: "EIO" }],
  read: [{ code: "EIO" }],
  makeDirectory: [{ code: "ENOSPC" }],
  syncDirectory: [{ code: "EIO" }],
};

/** Errors that pass by themselves while nothing but a spare is being prepared. */
const PASSING: ReadonlySet<string | undefined> = new Set(["ENOSPC", "EDQUOT"]);

/** The files that an opening on a full disk does without. */
const NEEDLESS = /^(quarantine|marks)/;

export interface FaultCounts {
  fired: number;
  states: number;
}

/** `lives`: how many different lives, each with every fault at every operation (one of `every`). */
export function failEverything(engine: Engine, random: Random, lives: number, every: number): FaultCounts {
  const counts = { fired: 0, states: 0 };
  for (let life = 0; life < lives; life += 1) {
    const before = firstLife(engine, random, life);
    const steps = randomSteps(random, 6, `second ${life}`);
    const operations = record(engine, before, steps);
    for (const [index, operation] of operations.entries()) {
      for (const fault of FAULTS[operation.kind] ?? []) {
        if (random.below(every) !== 0) continue;
        const where = `life ${life}, operation ${index}: ${describe(operation)} fails with ${JSON.stringify(fault)}`;
        counts.states += failOnce(engine, random, { before, steps, index, fault, where });
        counts.fired += 1;
      }
    }
  }
  return counts;
}

interface Before {
  readonly disk: SimulatedStorage;
  readonly history: History;
}

/** A log to begin with: closed properly, or left at a random moment. */
function firstLife(engine: Engine, random: Random, number: number): Before {
  const disk = new SimulatedStorage();
  const end = number % 2 === 0 ? Infinity : 15 + random.below(10);
  let operations = 0;
  const life = new Life({
    engine,
    disk,
    history: new History(),
    steps: randomSteps(random, 6, `first ${number}`),
    look: () => {
      operations += 1;
      if (operations === end) throw new End();
    },
  });
  try {
    life.run();
  } catch (thrown) {
    if (!(thrown instanceof End)) throw thrown;
  }
  return { disk, history: life.history };
}

class End extends Error {}

/** The operations of the second life when nothing fails. */
function record(engine: Engine, before: Before, steps: readonly Step[]): Operation[] {
  const operations: Operation[] = [];
  const fault = (operation: Operation): undefined => void operations.push(operation);
  new Life({ engine, disk: before.disk.fork(), history: before.history.copy(), steps, fault }).run();
  return operations;
}

interface Case {
  readonly before: Before;
  readonly steps: readonly Step[];
  readonly index: number;
  readonly fault: Fault;
  readonly where: string;
}

/** Returns how many states were checked after the fault. */
function failOnce(engine: Engine, random: Random, { before, steps, index, fault, where }: Case): number {
  const disk = before.disk.fork();
  const seen = { operations: 0, fired: false, byKeeper: false, onSpare: false, needsNoRoom: false, writesLater: 0 };
  const life = new Life({
    engine,
    disk,
    history: before.history.copy(),
    steps,
    fault: ({ kind, name }, isKeeper) => {
      seen.operations += 1;
      if (seen.operations === index + 1) {
        seen.fired = true;
        seen.byKeeper = isKeeper;
        seen.onSpare = /^(spare|reserve)-/.test(name);
        seen.needsNoRoom = kind === "write" || NEEDLESS.test(name);
        return fault;
      }
      if (seen.fired && !isKeeper && kind === "write" && name.startsWith("log-")) seen.writesLater += 1;
      return undefined;
    },
  });
  const thrown = errorOf(() => life.run());
  const fail = (what: string): never => {
    throw new StateError(`${what}\n  after: ${where}`, { cause: thrown });
  };
  if (!seen.fired) fail("the fault did not fire");
  if (thrown instanceof Violation || thrown instanceof StateError) fail(thrown.message);
  const passes = fault.code === undefined || (seen.byKeeper && PASSING.has(fault.code));
  if (passes && thrown !== undefined) fail(`the life ended with ${thrown.message}`);
  // An opening on a full disk takes the reserve, if there is one, and does without copies and
  // marks. The log refuses a batch for which there is no room.
  const mayPass = passes || seen.byKeeper || ((seen.onSpare || seen.needsNoRoom) && PASSING.has(fault.code));
  if (!mayPass) {
    if (thrown === undefined) fail("the error was ignored");
    if (seen.writesLater > 0) fail(`${seen.writesLater} writes came after the error`);
  }
  const explorer = new Explorer({
    engine,
    random,
    samples: 4,
    nestedSamples: 1,
    depth: 1,
    nestedEvery: 1000,
    killEvery: 2,
  });
  explorer.explore(disk, life.history, where);
  return explorer.states + explorer.kills;
}

function errorOf(run: () => void): Error | undefined {
  try {
    run();
  } catch (thrown) {
    return thrown as Error;
  }
  return undefined;
}
