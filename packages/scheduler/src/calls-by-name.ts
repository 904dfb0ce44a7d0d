/**
 * The calls of this thread by the names of the handlers: one at a time, many at once, and lists in
 * pieces.
 */
import { type CallOptions, PLAIN_CALL } from "./calls/call-options.ts";
import type { Calls } from "./calls/calls.ts";
import { valuesOf } from "./calls/values-of.ts";
import { schedulerError } from "./errors.ts";
import { allOver, concatenated, cut, type Items, PIECES_PER_PROCESSOR } from "./handler/fork-join.ts";
import { bindHandlers, handlerNumber } from "./handler/handlers.ts";
import { manyOptions, reduceOptions, runOptions } from "./options.ts";
import type { ParallelMap, ParallelReduce, Run, RunMany, RunManyOptions, RunOptions } from "./run-types.ts";
import { BYTES, ITEMS } from "./shared/values.ts";
import type { Watchdog } from "./supervisor/watchdog.ts";

export interface CallsByNameParts {
  readonly handlerNames: readonly string[];
  readonly calls: Calls;
  /** It sleeps while there are no calls. */
  readonly watchdog: Watchdog;
  readonly processors: number;
}

export class CallsByName<Handlers> {
  readonly #handlerNames: readonly string[];
  readonly #calls: Calls;
  readonly #watchdog: Watchdog;
  readonly #piecesMax: number;
  readonly run: Run<Handlers>;
  readonly runMany: RunMany<Handlers>;
  readonly parallelMap: ParallelMap<Handlers>;
  readonly parallelReduce: ParallelReduce<Handlers>;

  constructor({ handlerNames, calls, watchdog, processors }: CallsByNameParts) {
    this.#handlerNames = handlerNames;
    this.#calls = calls;
    this.#watchdog = watchdog;
    this.#piecesMax = processors * PIECES_PER_PROCESSOR;
    this.run = this.#bindRun() as Run<Handlers>;
    this.runMany = this.#bindRunMany() as RunMany<Handlers>;
    this.parallelMap = this.#bindMap() as ParallelMap<Handlers>;
    this.parallelReduce = this.#bindReduce() as ParallelReduce<Handlers>;
  }

  #call(handler: number, options: CallOptions, argument: unknown): Promise<unknown> {
    this.#watchdog.wake();
    return this.#calls.call(handler, options, argument);
  }

  #bindRun(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        (argument: unknown, options?: RunOptions): Promise<unknown> =>
          options === undefined
            ? this.#call(handler, PLAIN_CALL, argument)
            : this.#callWith(name, handler, options, argument),
    );
  }

  /** Rejects with the fault of the options. */
  async #callWith(name: string, handler: number, options: RunOptions, argument: unknown): Promise<unknown> {
    return await this.#call(handler, runOptions(name, options), argument);
  }

  #bindRunMany(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        async (items: Iterable<unknown>, options?: RunManyOptions): Promise<unknown[]> => {
          const owner = `runMany.${name}`;
          const call = manyOptions(owner, options, BYTES);
          const values = valuesOf(owner, items);
          this.#watchdog.wake();
          return await this.#calls.callMany(handler, call, values);
        },
    );
  }

  #bindMap(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, handler) =>
        async (items: Iterable<unknown>, options?: RunManyOptions): Promise<unknown[]> => {
          const owner = `parallelMap.${name}`;
          const call = manyOptions(owner, options, ITEMS);
          return await this.#forkJoin(valuesOf(owner, items), handler, -1, call);
        },
    );
  }

  #bindReduce(): object {
    return bindHandlers(
      this.#handlerNames,
      (name, reduce) =>
        async (items: Iterable<unknown>, options?: RunManyOptions & { map?: string }): Promise<unknown> => {
          const owner = `parallelReduce.${name}`;
          const { map, call } = reduceOptions(owner, options);
          const mapper = map === undefined ? -1 : handlerNumber(map, this.#handlerNames);
          const values = valuesOf(owner, items);
          if (values.length === 0) throw schedulerError("ERR_LIST_EMPTY", `${owner}: the list has no values`);
          const parts = await this.#forkJoin(values, mapper, reduce, call);
          if (parts.length === 1) return parts[0];
          const [result] = (await this.#call(reduce, call, {
            items: parts,
            map: -1,
            reduce,
          } satisfies Items)) as unknown[];
          return result;
        },
    );
  }

  async #forkJoin(items: readonly unknown[], map: number, reduce: number, options: CallOptions): Promise<unknown[]> {
    const pieces = cut(items, this.#piecesMax);
    const handler = map < 0 ? reduce : map;
    const results = await allOver(
      pieces.map((piece) => this.#call(handler, options, { items: piece, map, reduce } satisfies Items)),
    );
    return concatenated(results as unknown[][]);
  }
}
