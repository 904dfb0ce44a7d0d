/** The gate of every handler, known by its number; made when it is first asked for. */
import type { HeaderParser } from "../format/record-header.ts";
import { HandlerGate } from "./handler-gate.ts";
import type { HandlerTerms } from "./policy.ts";
import type { Clock } from "./ports.ts";

export class Gates {
  readonly #gates = new Map<number, HandlerGate>();
  readonly #parser: HeaderParser;
  /** Numbers below this are of handlers that a module exports now. */
  readonly #handlers: number;
  readonly #termsOf: (name: string) => HandlerTerms;
  readonly #clock: Clock;

  constructor(parser: HeaderParser, handlers: number, termsOf: (name: string) => HandlerTerms, clock: Clock) {
    this.#parser = parser;
    this.#handlers = handlers;
    this.#termsOf = termsOf;
    this.#clock = clock;
  }

  of(handler: number): HandlerGate {
    let gate = this.#gates.get(handler);
    if (gate === undefined) {
      const name = this.#parser.nameOf(handler);
      gate = new HandlerGate(name, this.#termsOf(name), handler < this.#handlers);
      this.#gates.set(handler, gate);
    }
    return gate;
  }

  named(name: string): HandlerGate {
    return this.of(this.#parser.numberOf(name));
  }

  isRunnable(handler: number): boolean {
    return this.of(handler).obstacle(this.#clock.now()) === undefined;
  }

  /** Records in hand whose handler has a time limit. */
  get timed(): number {
    let timed = 0;
    for (const gate of this.#gates.values()) if (gate.terms.timeoutMs !== undefined) timed += gate.running;
    return timed;
  }
}
