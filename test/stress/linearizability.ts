/**
 * Decides whether some order, in which several threads used an object one after the other, explains
 * what they saw of it.
 *
 * Source: Wing & Gong, "Testing and verifying concurrent objects" (1993), with Lowe's memory of
 * what was tried ("Testing for linearizability", 2017), on the list of calls and returns of Horn &
 * Kroening ("Faster linearizability checking via P-compositionality", 2015), whose splitting into
 * parts that can be checked alone is `partition`.
 *
 * The search walks the list of calls and returns from its head. A call that the model allows is put
 * next in the order: its call and its return leave the list, and the walk begins anew. At a return
 * whose call is still in the list it is too late for that call, so the last choice is taken back.
 * The search remembers what it has tried as (the set of operations in the order so far, state), and
 * tries nothing twice.
 */

export interface Operation<Input, Output> {
  readonly thread: number;
  readonly input: Input;
  /**
   * Undefined where the thread died in it: it may have had its effect at any time after the call,
   * or not at all.
   */
  readonly output: Output | undefined;
  /**
   * Ticks of a clock that all threads share and that never shows the same twice: an atomic counter.
   */
  readonly calledAt: number;
  /** Infinity where the thread died. */
  readonly returnedAt: number;
}

/** The object's behaviour when one thread at a time uses it. */
export interface Model<State, Input, Output> {
  readonly initial: State;
  /**
   * The states after an operation with this output, each of them possible; none if it can't have
   * had this output. `output` is undefined for an operation that never returned.
   */
  readonly step: (state: State, input: Input, output: Output | undefined) => readonly State[];
  /** Tells states apart. */
  readonly keyOf: (state: State) => string;
  /** Operations with different parts don't influence each other. Left out: there is one part. */
  readonly partition?: (input: Input) => string;
}

export interface Verdict<Input, Output> {
  readonly isLinearizable: boolean;
  /** Pairs of order and state that were tried. */
  readonly tried: number;
  /**
   * When not: the part, and the operations that were never in an order together with those that
   * were in the longest one.
   */
  readonly part?: string;
  readonly unexplained?: readonly Operation<Input, Output>[];
}

/** Throws when more than `triedMax` pairs would have to be tried: then nothing is known. */
export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  triedMax = 2_000_000,
): Verdict<Input, Output> {
  const parts = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    const part = model.partition?.(operation.input) ?? "";
    const operations = parts.get(part) ?? [];
    operations.push(operation);
    parts.set(part, operations);
  }
  let tried = 0;
  for (const [part, operations] of parts) {
    const search = new Search(model, operations, triedMax - tried);
    const isLinearizable = search.run();
    tried += search.tried;
    if (!isLinearizable) return { isLinearizable, tried, part, unexplained: search.unexplained };
  }
  return { isLinearizable: true, tried };
}

/** A call or a return in the list; the call names its return. */
interface Event {
  readonly operation: number;
  /** Of a call: the return. Undefined for a return. */
  readonly match: Event | undefined;
  previous: Event | undefined;
  next: Event | undefined;
}

interface Choice<State> {
  readonly call: Event;
  readonly before: State;
  /** Other states after the same operation, still to be tried. */
  readonly others: State[];
}

class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #operations: readonly Operation<Input, Output>[];
  readonly #triedMax: number;
  readonly #head: Event = { operation: -1, match: undefined, previous: undefined, next: undefined };
  readonly #seen: Set<string> = new Set();
  /** A bit per operation that is in the order. */
  readonly #ordered: Uint16Array;
  readonly #choices: Choice<State>[] = [];
  /** Operations that returned and are not in the order yet. */
  #missing: number;
  #fewestMissing = Infinity;
  unexplained: readonly Operation<Input, Output>[] = [];
  tried = 0;

  constructor(model: Model<State, Input, Output>, operations: readonly Operation<Input, Output>[], triedMax: number) {
    this.#model = model;
    this.#operations = operations;
    this.#triedMax = triedMax;
    this.#ordered = new Uint16Array(Math.ceil(operations.length / 16));
    this.#missing = operations.filter(({ returnedAt }) => returnedAt !== Infinity).length;
    this.#link();
  }

  #link(): void {
    const events = this.#operations.flatMap(({ calledAt, returnedAt }, operation) => {
      const end: Event = { operation, match: undefined, previous: undefined, next: undefined };
      const call: Event = { operation, match: end, previous: undefined, next: undefined };
      return [
        { at: calledAt, event: call },
        { at: returnedAt, event: end },
      ];
    });
    // Those that never returned stay possible to the end; their returns are never met, for then
    // nothing is missing.
    events.sort((one, other) => (one.at === other.at ? 0 : one.at - other.at));
    let last = this.#head;
    for (const { event } of events) {
      last.next = event;
      event.previous = last;
      last = event;
    }
  }

  run(): boolean {
    let state = this.#model.initial;
    let event = this.#head.next;
    while (this.#missing > 0) {
      const chosen = event?.match === undefined ? undefined : this.#choose(event, state);
      if (chosen !== undefined) {
        state = chosen;
        event = this.#head.next;
      } else if (event?.match !== undefined) {
        event = event.next;
      } else {
        // A return (or the end of the list): too late for its call.
        this.#noteLongest();
        const choice = this.#choices.pop();
        if (choice === undefined) return false;
        this.#takeBack(choice.call);
        const other = this.#nextState(choice.call, choice.others);
        if (other === undefined) {
          state = choice.before;
          event = choice.call.next;
        } else {
          this.#put(choice.call, choice.before, choice.others);
          state = other;
          event = this.#head.next;
        }
      }
    }
    return true;
  }

  /**
   * Puts a call next in the order if the model allows it and that wasn't tried before; the state
   * after it.
   */
  #choose(call: Event, state: State): State | undefined {
    const { input, output } = this.#operations[call.operation] as Operation<Input, Output>;
    const states = [...this.#model.step(state, input, output)];
    const next = this.#nextState(call, states);
    if (next !== undefined) this.#put(call, state, states);
    return next;
  }

  /** The first of `states`, which it is taken from, that wasn't reached with this order before. */
  #nextState(call: Event, states: State[]): State | undefined {
    for (let state = states.shift(); state !== undefined; state = states.shift()) {
      this.#flip(call.operation);
      const key = `${String.fromCharCode(...this.#ordered)} ${this.#model.keyOf(state)}`;
      this.#flip(call.operation);
      if (this.#seen.has(key)) continue;
      this.#seen.add(key);
      this.tried += 1;
      if (this.tried > this.#triedMax)
        throw new Error(`more than ${this.#triedMax} orders to try: record less at a time`);
      return state;
    }
    return undefined;
  }

  #put(call: Event, before: State, others: State[]): void {
    this.#flip(call.operation);
    this.#countMissing(call.operation, -1);
    unlink(call);
    unlink(call.match as Event);
    this.#choices.push({ call, before, others });
  }

  #takeBack(call: Event): void {
    relink(call.match as Event);
    relink(call);
    this.#countMissing(call.operation, 1);
    this.#flip(call.operation);
  }

  #countMissing(operation: number, by: number): void {
    if ((this.#operations[operation] as Operation<Input, Output>).returnedAt !== Infinity) this.#missing += by;
  }

  #flip(operation: number): void {
    const word = operation >> 4;
    this.#ordered[word] = (this.#ordered[word] as number) ^ (1 << (operation & 15));
  }

  #noteLongest(): void {
    if (this.#missing >= this.#fewestMissing) return;
    this.#fewestMissing = this.#missing;
    this.unexplained = this.#operations.filter(
      (_, index) => ((this.#ordered[index >> 4] as number) & (1 << (index & 15))) === 0,
    );
  }
}

function unlink(event: Event): void {
  (event.previous as Event).next = event.next;
  if (event.next !== undefined) event.next.previous = event.previous;
}

function relink(event: Event): void {
  (event.previous as Event).next = event;
  if (event.next !== undefined) event.next.previous = event;
}
