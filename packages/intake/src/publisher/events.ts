/** What an intake tells of by itself: events with names and types. */
import { EventEmitter } from "node:events";
import { setImmediate } from "@millrace/base";
import type { LevelReport } from "./water.ts";

/** Events by name, with what their listeners get. */
export interface IntakeEvents {
  /** The level has changed. */
  readonly level: LevelReport;
}

type Listener<Name extends keyof IntakeEvents> = (event: IntakeEvents[Name]) => void;

export class Events {
  readonly #emitter = new EventEmitter();
  /** What happened before anybody could listen. */
  #early: (() => void)[] | undefined = [];

  on<Name extends keyof IntakeEvents>(name: Name, listener: Listener<Name>): void {
    this.#emitter.on(name, listener);
  }

  off<Name extends keyof IntakeEvents>(name: Name, listener: Listener<Name>): void {
    this.#emitter.off(name, listener);
  }

  /**
   * In a turn of the event loop of its own: a listener that throws ends as an uncaught exception,
   * and not in what the intake is doing.
   */
  emit<Name extends keyof IntakeEvents>(name: Name, event: IntakeEvents[Name]): void {
    const tell = (): unknown => this.#emitter.emit(name, event);
    if (this.#early !== undefined) this.#early.push(tell);
    else if (this.#emitter.listenerCount(name) > 0) setImmediate(tell);
  }

  /** From the next turn of the event loop on there may be listeners. */
  begin(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const tell of early) setImmediate(tell);
  }
}
