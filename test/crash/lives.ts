// Lives one after the other on one simulated disk, with every state that a power cut may leave explored before every operation.
import type { Random } from "@millrace/base";
import { type Operation, SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Engine } from "./engine.ts";
import { allSelections, describe, type Explorer } from "./explore.ts";
import { History } from "./history.ts";
import { Life } from "./rig.ts";
import { randomSteps } from "./workload.ts";

const LIVES = 3;

export interface LivesOptions {
  readonly engine: Engine;
  readonly random: Random;
  readonly explorer: Explorer;
  /** Names the workload, and its records. */
  readonly name: string;
  /** Commits in a life. */
  readonly steps: number;
}

/** Each life ends cleanly, by the death of the process, or by a power cut at some moment; the next one goes on with what is left. */
export function liveAndDie({ engine, random, explorer, name, steps }: LivesOptions): void {
  let disk = new SimulatedStorage();
  let history = new History();
  // Decides which commands the keeper gets.
  history.commands = random.below(1 << 20);
  for (let life = 0; life < LIVES; life += 1) {
    let operations = 0;
    // The last operations of a life belong to its clean end.
    const endsAt = random.below(3) === 0 ? Infinity : 20 + random.below(4 * steps);
    const look = (operation: Operation, promised: History): void => {
      operations += 1;
      explorer.explore(disk, promised, `${name}, life ${life}, before ${describe(operation)}`);
      if (operations === endsAt) throw new End();
    };
    const current = new Life({
      engine,
      disk,
      history,
      steps: randomSteps(random, steps, `${name}.${life}`),
      commandEvery: 2,
      look,
    });
    try {
      current.run();
    } catch (thrown) {
      if (!(thrown instanceof End)) throw thrown;
    }
    history = current.history;
    explorer.explore(disk, history, `${name}, after life ${life}`);
    disk = random.below(2) === 0 ? disk.fork() : disk.crash(anySelection(disk, random));
  }
}

/** Ends a life from within. */
class End extends Error {}

function anySelection(disk: SimulatedStorage, random: Random): number[] {
  const all = [...allSelections(disk.choices(), random, 8)];
  return all[random.below(all.length)] as number[];
}
