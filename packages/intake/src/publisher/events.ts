/** The events of an intake, with names and types. */
import { EventEmitter } from "node:events";
import { callback, checkArgument, oneOf, setImmediate } from "@millrace/base";
import type { BreakerEvent, DeliveryEvent, HandlerMissingEvent, KeysEvictedEvent } from "../delivery/events.ts";
import type { RecordDeath } from "../delivery/messages.ts";
import { tell } from "../spans/channels.ts";
import type { LevelReport } from "./water.ts";

/** Events by name, with what their listeners get. */
export interface IntakeEvents {
  /** The level has changed. */
  readonly level: LevelReport;
  /** A handler that kept failing rests, is tested with one record, or works again. */
  readonly breaker: BreakerEvent;
  /** Records wait for a handler that isn't there; a warning says so too. */
  readonly handlerMissing: HandlerMissingEvent;
  /** Idempotency keys were forgotten before their time; a warning says so too. */
  readonly keysEvicted: KeysEvictedEvent;
  /** A record has become a dead letter, and that is durable. */
  readonly dead: RecordDeath;
}

const NAMES: readonly (keyof IntakeEvents)[] = ["level", "breaker", "handlerMissing", "keysEvicted", "dead"];

type Listener<Name extends keyof IntakeEvents> = (event: IntakeEvents[Name]) => void;

export class Events {
  readonly #emitter = new EventEmitter();
  readonly #directory: string | undefined;
  /** Events that happened before anybody could listen. */
  #early: (() => void)[] | undefined = [];

  /** `directory` names the intake, for listeners to all of them. */
  constructor(directory: string | undefined) {
    this.#directory = directory;
  }

  on<Name extends keyof IntakeEvents>(name: Name, listener: Listener<Name>): void {
    checkListener("on", name, listener);
    this.#emitter.on(name, listener);
  }

  off<Name extends keyof IntakeEvents>(name: Name, listener: Listener<Name>): void {
    checkListener("off", name, listener);
    this.#emitter.off(name, listener);
  }

  /**
   * In a turn of the event loop of its own: an error of a listener becomes an uncaught exception,
   * and doesn't disturb the intake.
   */
  emit<Name extends keyof IntakeEvents>(name: Name, event: IntakeEvents[Name]): void {
    tell(name, () => ({ ...event, directory: this.#directory }));
    const emit = (): unknown => this.#emitter.emit(name, event);
    if (this.#early !== undefined) this.#early.push(emit);
    else if (this.#emitter.listenerCount(name) > 0) setImmediate(emit);
  }

  /** An event of delivery. If something is lost, or waits for a person, it is a warning as well. */
  told({ name, ...event }: DeliveryEvent): void {
    if (name === "handlerMissing") {
      const { handler } = event as HandlerMissingEvent;
      warn("MILLRACE_HANDLER_MISSING", `records wait for the handler "${handler}", which the module doesn't export`);
    } else if (name === "keysEvicted") {
      const { count, keysMax, forMs } = event as KeysEvictedEvent;
      const text = `${count} idempotency keys were forgotten before ${forMs} ms, because there were more than ${keysMax}`;
      warn("MILLRACE_KEYS_EVICTED", `${text}: raise dedupe.keysMax`);
    }
    this.emit(name, event as IntakeEvents[typeof name]);
  }

  /** From the next turn of the event loop on there may be listeners. */
  begin(): void {
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const emit of early) setImmediate(emit);
  }
}

/** A misspelt event would never be told. */
function checkListener(owner: string, name: unknown, listener: unknown): void {
  checkArgument(owner, "the event", oneOf(NAMES, "dead"), name);
  checkArgument(owner, "the listener", callback(), listener);
}

function warn(code: string, text: string): void {
  process.emitWarning(text, { type: "MillraceWarning", code });
}
