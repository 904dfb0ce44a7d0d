/**
 * The gate of every handler, known by its number; made when it is first asked for.
 *
 * All that ask gates ask with one time, which only grows: a question with an older time than the
 * last one would count the time between twice.
 */
import type { HeaderParser } from "../format/record-header.ts";
import type { BreakerEvent, DeliveryEvent } from "./events.ts";
import { HandlerGate } from "./handler-gate.ts";
import type { HandlerTerms } from "./policy.ts";
import type { Clock } from "./ports.ts";
import { handlerReport, type HandlerReport } from "./reports.ts";

export class Gates {
  readonly #gates = new Map<number, HandlerGate>();
  readonly #parser: HeaderParser;
  /** Numbers below this are of handlers that a module exports now. */
  readonly #handlers: number;
  readonly #termsOf: (name: string) => HandlerTerms;
  readonly #clock: Clock;
  readonly #told: (event: DeliveryEvent) => void;
  readonly #missing = new Set<number>();
  #now: number;
  /** How often a handler kept failing, and rested. */
  breakersOpened = 0;
  readonly #stateLog: { readonly isFull: boolean };

  constructor(
    parser: HeaderParser,
    handlers: number,
    termsOf: (name: string) => HandlerTerms,
    clock: Clock,
    stateLog: { readonly isFull: boolean },
    told: (event: DeliveryEvent) => void,
  ) {
    this.#stateLog = stateLog;
    this.#parser = parser;
    this.#handlers = handlers;
    this.#termsOf = termsOf;
    this.#clock = clock;
    this.#now = clock.now();
    this.#told = told;
  }

  /** When the clock was last read for the gates: each record would read it again. */
  get now(): number {
    return this.#now;
  }

  /** A turn begins, or somebody asks between two turns; the time. */
  renew(): number {
    this.#now = this.#clock.now();
    return this.#now;
  }

  of(handler: number): HandlerGate {
    let gate = this.#gates.get(handler);
    if (gate === undefined) {
      const name = this.#parser.nameOf(handler);
      const told = (event: BreakerEvent): void => this.#breaker(event);
      gate = new HandlerGate(name, this.#termsOf(name), handler < this.#handlers, told, this.#stateLog);
      this.#gates.set(handler, gate);
    }
    return gate;
  }

  named(name: string): HandlerGate {
    return this.of(this.#parser.numberOf(name));
  }

  /** A record of this handler can't be handed out now. */
  heldUp(handler: number): void {
    const { isThere, name } = this.of(handler);
    if (isThere || this.#missing.has(handler)) return;
    this.#missing.add(handler);
    this.#told({ name: "handlerMissing", handler: name });
  }

  #breaker(event: BreakerEvent): void {
    if (event.state === "open") this.breakersOpened += 1;
    this.#told({ name: "breaker", ...event });
  }

  isRunnable(handler: number): boolean {
    return this.of(handler).obstacle(this.#now) === undefined;
  }

  isStopped(handler: number): boolean {
    return this.of(handler).isStopped(this.#now);
  }

  /** Names of those that get no record now, however many of those in hand end. */
  stoppedNames(): string[] {
    const now = this.renew();
    const names: string[] = [];
    for (const gate of this.#gates.values()) if (gate.isStopped(now)) names.push(gate.name);
    return names;
  }

  /** Of all handlers that a module exports, and of those that records or commands have named. */
  reports(heldBy: ReadonlyMap<string, number>): HandlerReport[] {
    for (let handler = 0; handler < this.#handlers; handler += 1) this.of(handler);
    const now = this.renew();
    return Array.from(this.#gates.values(), (gate) => handlerReport(gate, now, heldBy.get(gate.name) ?? 0));
  }

  /** Records in hand whose handler has a time limit. */
  get timed(): number {
    let timed = 0;
    for (const gate of this.#gates.values()) if (gate.terms.timeoutMs !== undefined) timed += gate.running;
    return timed;
  }
}
