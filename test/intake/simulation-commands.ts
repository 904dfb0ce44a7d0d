/** The commands of operators: handlers paused and resumed, dead letters redriven and dropped. */
import type { Letters } from "@millrace/intake/internal/delivery/commands";
import type { SimContext } from "./simulation-context.ts";
import type { Known } from "./simulation-known.ts";
import type { SimOracle } from "./simulation-oracle.ts";
import { HANDLERS, type SimProcess } from "./simulation-process.ts";
import { PRODUCER } from "./simulation-publisher.ts";
import type { SimSchedules } from "./simulation-schedules.ts";

export class SimCommands {
  readonly #context: SimContext;
  readonly #process: SimProcess;
  readonly #schedules: SimSchedules;
  readonly #oracle: SimOracle;
  /** Commands that were given before, and may be given again when the letter is another. */
  readonly #letters: Letters[] = [];

  constructor(context: SimContext, process: SimProcess, schedules: SimSchedules, oracle: SimOracle) {
    this.#context = context;
    this.#process = process;
    this.#schedules = schedules;
    this.#oracle = oracle;
  }

  /** Any command. */
  command(): void {
    if (this.#context.random.below(3) === 0) {
      this.#schedules.command(this.#process.delivery.schedules, this.#context.clock.wall());
      return;
    }
    this.commandLetters();
  }

  /** Dead letters are redriven and dropped, and handlers paused. */
  commandLetters(): void {
    const { random } = this.#context;
    const { commands } = this.#process.delivery;
    const dead = [...this.#oracle.known.all()].filter(({ state, isDurable }) => state === "dead" && isDurable);
    const dice = random.below(5);
    if (dice === 0 && random.below(4) === 0) commands.dropProducer(PRODUCER);
    else if (dice === 0) {
      const handler = HANDLERS[random.below(HANDLERS.length)] as string;
      const isPaused = random.below(2) === 0;
      this.pause(handler, isPaused);
    } else if (dice === 4) this.#redriveLate();
    else if (dead.length > 0) {
      const { sequence, handler } = dead[random.below(dead.length)] as Known;
      const lastDeath = this.#process.delivery.states.dead.get(sequence)?.death ?? 0;
      const letters = { origins: [sequence, sequence], lastDeath: random.below(3) === 0 ? 0 : lastDeath };
      this.#letters.push(letters);
      if (dice === 1) commands.drop(letters);
      else {
        // Twice at once: it happens once. Naming its own handler changes nothing.
        commands.redrive(letters, random.below(2) === 0 ? "" : handler);
        if (dice === 2) commands.redrive(letters, "");
        this.#context.counts.redriven += 1;
      }
    }
  }

  /** A command that comes late: the letter may be another by now. */
  #redriveLate(): void {
    const { commands, states } = this.#process.delivery;
    const isOld = ({ origins, lastDeath }: Letters): boolean =>
      lastDeath > 0 && (states.dead.get(origins[0] as number)?.death ?? 0) > lastDeath;
    const old = this.#letters.find(isOld) ?? this.#letters.find(({ lastDeath }) => lastDeath > 0);
    if (old !== undefined) commands.redrive(old, "");
  }

  pause(handler: string, isPaused: boolean): void {
    this.#process.delivery.commands.pause(handler, isPaused);
    this.#oracle.pauses.commanded(handler, isPaused);
  }

  resumeAll(): void {
    for (const handler of HANDLERS) this.pause(handler, false);
  }

  /** Every letter that died until now is given up. */
  drop(dead: readonly Known[]): void {
    this.#process.delivery.commands.drop({ origins: dead.map(({ sequence }) => sequence), lastDeath: 0 });
  }
}
