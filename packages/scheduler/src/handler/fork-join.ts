/**
 * A handler applied to many values. The list is cut into a few tasks at first. A machine that works
 * on one gives half of the rest away whenever it sees an idle machine (adaptive splitting, as
 * Rayon's). So the pieces stay large while all are busy, and become small at the end.
 */
import type { TaskContext } from "./context.ts";
import type { Parent } from "./parent.ts";
import type { TaskGroup } from "./task-group.ts";
import type { HandlerEntry } from "./handlers.ts";

/** Pieces per processor that a list is cut into at first. */
export const PIECES_PER_PROCESSOR = 4;
/** Fewer values than this are not split any further. */
const SPLIT_MIN = 2;

/** The argument of a task of this kind. Handlers by number, -1 for none. */
export interface Items {
  readonly items: readonly unknown[];
  /** Applied to each value first. */
  readonly map: number;
  /** Joins two neighbours, given as a pair. */
  readonly reduce: number;
}

/** The machine's part of the work. */
export interface ItemsHost {
  readonly isSharingWanted: boolean;
  /** Gives a piece to the others; its outcome comes to the group. */
  spawnItems(group: TaskGroup, items: Items): boolean;
  newGroup(parent: Parent): TaskGroup;
}

/**
 * The results of all values in order, or the reduced one in a list; a promise where a handler
 * returned one.
 */
export function runItems(
  host: ItemsHost,
  handlers: readonly HandlerEntry[],
  given: Items,
  context: TaskContext,
): unknown[] | Promise<unknown[]> {
  const { map, reduce } = given;
  const mapper = map < 0 ? undefined : (handlers[map] as HandlerEntry);
  const reducer = reduce < 0 ? undefined : (handlers[reduce] as HandlerEntry);
  const split = new Split(host, given, context);
  const results: unknown[] = [];
  let hasPromise = false;
  try {
    for (let index = 0; index < split.end; index += 1) {
      split.maybe(index + 1);
      const item = given.items[index];
      const result = mapper === undefined ? item : mapper.call(item, context);
      if (isThenable(result)) {
        hasPromise = true;
        if (mapper !== undefined) mapper.isAsync = true;
      }
      if (reducer === undefined || hasPromise || results.length === 0) results.push(result);
      else {
        const joined = reducer.call([results.pop(), result], context);
        if (isThenable(joined)) {
          hasPromise = true;
          reducer.isAsync = true;
        }
        results.push(joined);
      }
    }
  } catch (thrown) {
    return fail(thrown, hasPromise ? results : [], split);
  }
  // Where somebody has seen a promise what was given away needs an event loop, perhaps this one.
  const isAsync = hasPromise || (split.hasSplit && (mapper?.isAsync === true || reducer?.isAsync === true));
  if (isAsync) return finishAsync(results, reducer, split, context);
  const others = split.tryJoin();
  if (others === undefined) return finishAsync(results, reducer, split, context);
  const all = others.length > 0 ? [...results, ...others] : results;
  if (reducer === undefined || all.length < 2) return all;
  let reduced: unknown = all[0];
  for (let index = 1; index < all.length; index += 1) {
    reduced = reducer.call([reduced, all[index]], context);
    if (isThenable(reduced)) return finishAsync([reduced, ...all.slice(index + 1)], reducer, split, context);
  }
  return [reduced];
}

/** Throws the error of a handler, once nothing of the list runs any more. */
function fail(thrown: unknown, pending: readonly unknown[], split: Split): Promise<never> {
  try {
    if (pending.length > 0 || split.tryJoin() === undefined) return failLater(thrown, pending, split);
  } catch {
    // The first error counts.
  }
  throw thrown;
}

async function failLater(thrown: unknown, pending: readonly unknown[], split: Split): Promise<never> {
  await Promise.allSettled([...pending, split.done()]);
  throw thrown;
}

async function finishAsync(
  results: readonly unknown[],
  reducer: HandlerEntry | undefined,
  split: Split,
  context: TaskContext,
): Promise<unknown[]> {
  const [own, others] = (await allOver([allOver(results), split.done()])) as [unknown[], unknown[]];
  const all = [...own, ...others];
  if (reducer === undefined || all.length < 2) return all;
  let reduced: unknown = all[0];
  // One after the other: each needs the one before.
  // oxlint-disable-next-line no-await-in-loop
  for (let index = 1; index < all.length; index += 1) reduced = await reducer.call([reduced, all[index]], context);
  return [reduced];
}

/**
 * As `Promise.all`, but rejects with the first error in their order, and only once all are over.
 */
export async function allOver(values: readonly unknown[]): Promise<unknown[]> {
  const outcomes = await Promise.allSettled(values);
  return outcomes.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}

/** The pieces that were given away, from the end of the list backwards. */
class Split {
  readonly #host: ItemsHost;
  readonly #given: Items;
  readonly #parent: Parent;
  #group: TaskGroup | undefined;
  /** The values from here on were given away. */
  end: number;

  constructor(host: ItemsHost, given: Items, parent: Parent) {
    this.#host = host;
    this.#given = given;
    this.#parent = parent;
    this.end = given.items.length;
  }

  /** Gives half of the values from `next` on away if a machine idles. */
  maybe(next: number): void {
    const left = this.end - next;
    if (left < SPLIT_MIN || !this.#host.isSharingWanted) return;
    const middle = next + (left >> 1);
    this.#group ??= this.#host.newGroup(this.#parent);
    const { items, map, reduce } = this.#given;
    if (this.#host.spawnItems(this.#group, { items: items.slice(middle, this.end), map, reduce })) this.end = middle;
  }

  /** Whether there are any. */
  get hasSplit(): boolean {
    return this.#group !== undefined;
  }

  /**
   * Their results, in the order of the values: what was given away last comes first. Undefined
   * where a join can't wait for them on this thread.
   */
  tryJoin(): unknown[] | undefined {
    try {
      return flat(this.#group?.join());
    } catch (thrown) {
      if (this.#group?.needsJoin === true) return undefined;
      throw thrown;
    }
  }

  /** The same results. */
  async done(): Promise<unknown[]> {
    return flat(await this.#group?.done());
  }
}

function flat(pieces: readonly unknown[] | undefined): unknown[] {
  return concatenated((pieces ?? []).toReversed() as unknown[][]);
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  try {
    return typeof (value as PromiseLike<unknown>).then === "function";
  } catch {
    // A getter or a proxy throws. As a promise it rejects with that error; unhandled, it would end
    // the thread.
    return true;
  }
}

/** All values of all lists, in order. Not by `flat()`, which takes five times as long. */
export function concatenated(lists: readonly (readonly unknown[])[]): unknown[] {
  const all: unknown[] = [];
  for (const list of lists) for (let index = 0; index < list.length; index += 1) all.push(list[index]);
  return all;
}

/** Cuts `items` into at most `pieces` parts of nearly the same length. */
export function cut(items: readonly unknown[], pieces: number): unknown[][] {
  const count = Math.min(items.length, pieces);
  return Array.from({ length: count }, (_, piece) =>
    items.slice(Math.floor((piece * items.length) / count), Math.floor(((piece + 1) * items.length) / count)),
  );
}
