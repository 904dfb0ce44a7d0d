// Lives one after the other on one simulated disk. The explorer looks at every state that a power
// cut may leave before every operation.
import type { Random } from "@millrace/base";
import { type Operation, SimulatedStorage } from "@millrace/journal/internal/storage/simulated.fault";
import type { Engine } from "./engine.ts";
import { allSelections, describe, type Explorer } from "./explore.ts";
import { History } from "./history.ts";
import { Life } from "./rig.ts";
import { randomSteps } from "./workload.ts";

const LIVES = 3;
/** Operations of the journal until the other program gives its room back. */
const LOOKS = 120;

export interface LivesOptions {
  readonly engine: Engine;
  readonly random: Random;
  readonly explorer: Explorer;
  /** Names the workload, and its records. */
  readonly name: string;
  /** Commits in a life. */
  readonly steps: number;
  /**
   * Blocks of the disk. Another program fills it at some moment of each life. Default: there is
   * always room.
   */
  readonly blocksMax?: number;
}

/**
 * Each life ends cleanly, by the death of the process, or by a power cut at some moment. The next
 * one begins with what is left.
 */
export function liveAndDie({ engine, random, explorer, name, steps, blocksMax = Infinity }: LivesOptions): void {
  let disk = new SimulatedStorage();
  disk.blocksMax = blocksMax;
  let history = new History();
  // Decides which commands the keeper gets.
  history.commands = random.below(1 << 20);
  for (let life = 0; life < LIVES; life += 1) {
    let operations = 0;
    // The last operations of a life belong to its clean end.
    const endsAt = random.below(3) === 0 ? Infinity : 20 + random.below(4 * steps);
    const neighbour = new Neighbour(disk, blocksMax === Infinity ? Infinity : 5 + random.below(2 * steps));
    const look = (operation: Operation, promised: History): void => {
      operations += 1;
      neighbour.changed();
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
      fault: () => neighbour.looked(),
    });
    try {
      current.run();
    } catch (thrown) {
      // A full disk ends an opening, and nothing that it had promised is gone.
      if (!(thrown instanceof End) && (thrown as NodeJS.ErrnoException).code !== "ENOSPC") throw thrown;
    }
    history = current.history;
    explorer.explore(disk, history, `${name}, after life ${life}`);
    disk = random.below(2) === 0 ? disk.fork() : disk.crash(anySelection(disk, random));
  }
}

/**
 * Another program on the same disk. It takes all the room before one operation of a life, and gives
 * it back later.
 */
class Neighbour {
  readonly #disk: SimulatedStorage;
  readonly #fillsAt: number;
  #operations = 0;
  #looks = 0;

  constructor(disk: SimulatedStorage, fillsAt: number) {
    this.#disk = disk;
    this.#fillsAt = fillsAt;
  }

  /** The journal is about to change something. */
  changed(): void {
    this.#operations += 1;
    if (this.#operations === this.#fillsAt) this.#alone(() => this.#disk.fill("neighbour"));
  }

  /** The journal is about to do anything. After so many looks for room there is some again. */
  looked(): undefined {
    if (this.#operations < this.#fillsAt) return undefined;
    this.#looks += 1;
    if (this.#looks === LOOKS) this.#alone(() => this.#disk.remove("neighbour"));
    return undefined;
  }

  /** Unseen by the life. */
  #alone(act: () => void): void {
    const { before } = this.#disk;
    this.#disk.before = () => undefined;
    act();
    this.#disk.before = before;
  }
}

/** Ends a life from within. */
class End extends Error {}

function anySelection(disk: SimulatedStorage, random: Random): number[] {
  const all = [...allSelections(disk.choices(), random, 8)];
  return all[random.below(all.length)] as number[];
}
