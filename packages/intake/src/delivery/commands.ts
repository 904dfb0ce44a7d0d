/** The commands of people: pause and resume, redrive, drop. */
import { RECORD_TYPE } from "@millrace/journal";
import { DROPPED, encodeExpire, encodeRedrive } from "../format/state-records.ts";
import type { Gates } from "./gates.ts";
import type { StagedAdmission } from "./staged-admission.ts";
import type { StateLog } from "./state-log.ts";

/** Dead letters that a command is about, and the last death that was known when it was given. */
export interface Letters {
  readonly origins: readonly number[];
  readonly lastDeath: number;
}

export class Commands {
  readonly #gates: Gates;
  readonly #stateLog: StateLog;
  readonly #stagedAdmission: StagedAdmission;

  constructor(gates: Gates, stateLog: StateLog, stagedAdmission: StagedAdmission) {
    this.#gates = gates;
    this.#stateLog = stateLog;
    this.#stagedAdmission = stagedAdmission;
  }

  /** Nothing of the handler is begun any more, or again; `onDurable` when that outlives a crash. */
  pause(name: string, isPaused: boolean, onDurable?: () => void): void {
    this.#gates.named(name).isPaused = isPaused;
    this.#stateLog.control({ kind: isPaused ? "paused" : "resumed", handler: name }, onDurable);
    this.#stateLog.urge();
  }

  /** Forgets the sequences that a producer has stored, from here on in the order of the log. */
  dropProducer(producer: string, onDurable?: () => void): void {
    this.#stagedAdmission.dropped(producer);
    this.#stateLog.control({ kind: "producerDropped", producer }, onDurable);
    this.#stateLog.urge();
  }

  /**
   * Dead letters get another turn, from their handler or, unless it is empty, from another one.
   * Those that died later than `lastDeath` aren't meant; 0: all are.
   */
  redrive(letters: Letters, handler: string, onDurable?: () => void): void {
    const { origins, lastDeath } = letters;
    const encodePart = (part: readonly number[]): Buffer => encodeRedrive({ handler, origins: part, lastDeath });
    this.#stateLog.writeOrigins(RECORD_TYPE.redrive, origins, encodePart, onDurable);
  }

  /** Dead letters are given up for good. */
  drop({ origins, lastDeath }: Letters, onDurable?: () => void): void {
    const encodePart = (part: readonly number[]): Buffer => encodeExpire({ kind: DROPPED, origins: part, lastDeath });
    this.#stateLog.writeOrigins(RECORD_TYPE.expire, origins, encodePart, onDurable);
  }
}
