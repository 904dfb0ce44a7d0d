/**
 * `select`: waits for the first of several channel operations that is possible, and does that one.
 *
 * Source: Go's select (runtime/select.go): a pass over the cases in random order, then a party in
 * the queue of every channel, then leaving the queues of those that didn't serve it. There all
 * channels are locked meanwhile; here a group (atomics-sync, group.ts) makes sure that only one of
 * them serves. So with `otherwise` each case is looked at at its own moment.
 */
import { custom, type Random, resolveOptions, type Rules, seededRandom } from "@millrace/base";
import {
  assertMayBlock,
  asyncWaits,
  block,
  currentSpace,
  type SelectGroup,
  milliseconds,
  type SyncSpace,
  waitOptions,
  type WaitOptions,
} from "@millrace/atomics-sync/kernel";
import type { Chan } from "./chan.ts";
import { ChannelCore } from "./channel-core.ts";
import { channelError } from "./errors.ts";
import { failure } from "./failures.ts";
import type { Format } from "./formats.ts";
import { CLOSED, TIMED_OUT } from "./outcomes.ts";
import { type Operation, Selection } from "./selection.ts";

/** As many cases as Go's compiler takes would be 65,536; each needs a node. */
const CASES_MAX = 64;

export interface ReceiveCase<T> {
  readonly kind: "receive";
  readonly chan: Chan<T>;
}
export interface SendCase<T> {
  readonly kind: "send";
  readonly chan: Chan<T>;
  readonly value: T;
}
export interface AfterCase {
  readonly kind: "after";
  readonly ms: number;
}
export interface OtherwiseCase {
  readonly kind: "otherwise";
}

/** A case that receives from `chan`. */
export function recv<T>(chan: Chan<T>): ReceiveCase<T> {
  return { kind: "receive", chan };
}

/** @deprecated The old name of `recv`. */
export const receive: typeof recv = recv;

/** A case that sends `value` to `chan`. */
export function send<T>(chan: Chan<T>, value: T): SendCase<T> {
  return { kind: "send", chan, value };
}

/** A case that is ready after `ms` milliseconds. */
export function after(ms: number): AfterCase {
  return { kind: "after", ms };
}

/** A case that is ready when no other is: the select doesn't wait. Go's `default`. */
export function otherwise(): OtherwiseCase {
  return { kind: "otherwise" };
}

/** The case that was done: its index, and the received value if the case receives. */
type Chosen<Index extends number, Case> =
  Case extends ReceiveCase<infer T>
    ? | { readonly index: Index; readonly ok: true; readonly value: T }
      | { readonly index: Index; readonly ok: false; readonly value: undefined }
    : { readonly index: Index; readonly ok: true; readonly value: undefined };
type IndexOf<Key> = Key extends `${infer Index extends number}` ? Index : never;

/** The outcome of a select: a union over its cases, told apart by `index`. */
export type Selected<Cases extends readonly unknown[]> = {
  [Key in keyof Cases]: Chosen<IndexOf<Key>, Cases[Key]>;
}[number];

export interface SelectOptions {
  /** Decides between cases that are ready at the same time. */
  readonly random?: Random;
}

/** Any case; the types of the values are told by the functions that make cases. */
// oxlint-disable-next-line typescript/no-explicit-any
export type SelectCase = ReceiveCase<any> | SendCase<any> | AfterCase | OtherwiseCase;

const defaultRandom: Random = seededRandom(Math.floor(Math.random() * 2 ** 32));
const isRandom = (value: unknown): value is Random =>
  typeof value === "object" && value !== null && typeof (value as Partial<Random>).below === "function";
const selectRules = { random: custom("a source of random numbers", isRandom, () => defaultRandom) } satisfies Rules;
const afterRules = { ms: milliseconds } satisfies Rules;

/**
 * Does the first of the cases that is possible. Blocks until one is; not on the main thread
 * (`ERR_BLOCKING_MAIN`). If several are ready, it takes a random one. Throws `ERR_CHAN_CLOSED` for
 * a case that sends to a closed channel. A receive from a closed channel is always ready, with `ok`
 * false. `ERR_SELECT_CASES` for more than 64 cases, and for one-to-one channels.
 */
export function select<const Cases extends readonly SelectCase[]>(
  cases: Cases,
  options?: SelectOptions,
): Selected<Cases> {
  const { random } = resolveOptions("select", selectRules, options);
  const plan = new Plan(cases);
  try {
    if (plan.attempt(random)) return plan.chosen() as Selected<Cases>;
    assertMayBlock(plan.space, "select", "selectAsync");
    const group = plan.selection.join(plan.space.thread, false);
    plan.conclude(group, waitIn(plan, group));
    return plan.chosen() as Selected<Cases>;
  } catch (thrown) {
    // Without a call: there may be no room for one.
    plan.broken = thrown instanceof RangeError;
    throw thrown;
  } finally {
    plan.dropValues();
  }
}

function waitIn(plan: Plan, group: SelectGroup): boolean {
  try {
    return plan.selection.assertJoined(block(plan.space, group, group.node, plan.selection.limit(plan.afterMs)));
  } catch (thrown) {
    plan.selection.leave(group);
    throw thrown;
  }
}

/**
 * The same without blocking. Rejects with the signal's reason, and with `ERR_SYNC_TIMEOUT` after
 * `timeoutMs`: then no case was done.
 */
export async function selectAsync<const Cases extends readonly SelectCase[]>(
  cases: Cases,
  options: SelectOptions & WaitOptions = {},
): Promise<Selected<Cases>> {
  const { random: given, ...wait } = options;
  const { random } = resolveOptions("selectAsync", selectRules, { random: given });
  const { signal, timeoutMs: limitMs } = waitOptions("selectAsync", wait);
  const plan = new Plan(cases);
  try {
    if (plan.attempt(random)) return plan.chosen() as Selected<Cases>;
    const waits = asyncWaits(plan.space);
    const timeoutMs = Math.min(limitMs, plan.afterMs);
    const group = plan.selection.join(waits.thread, true);
    let isServed = false;
    try {
      isServed = await waits.wait(group, group.node, { signal, timeoutMs: plan.selection.limit(timeoutMs) });
      plan.selection.assertJoined(isServed);
      if (!isServed && limitMs < plan.afterMs) throw failure(TIMED_OUT, limitMs);
    } catch (thrown) {
      plan.selection.leave(group);
      throw thrown;
    }
    plan.conclude(group, isServed);
    return plan.chosen() as Selected<Cases>;
  } catch (thrown) {
    // Without a call: there may be no room for one.
    plan.broken = thrown instanceof RangeError;
    throw thrown;
  } finally {
    plan.dropValues();
  }
}

interface Choice {
  readonly index: number;
  readonly ok: boolean;
  readonly value: unknown;
}

const NOTHING = -1;

/** The cases of one select, and its outcome. */
class Plan {
  readonly space: SyncSpace;
  readonly selection: Selection;
  /** Until the first `after` is due. */
  readonly afterMs: number;
  readonly #afterIndex: number;
  readonly #otherwiseIndex: number;
  readonly #operations: Operation[] = [];
  /** The case of each operation, and the format of its channel. */
  readonly #indexes: number[] = [];
  readonly #formats: Format[] = [];
  /** A stack overflow has broken it off: any of its values may have been sent. */
  broken = false;
  #chosen: Choice = { index: NOTHING, ok: true, value: undefined };

  constructor(cases: readonly SelectCase[]) {
    if (cases.length === 0 || cases.length > CASES_MAX) {
      throw channelError("ERR_SELECT_CASES", `select takes 1 to ${CASES_MAX} cases, not ${cases.length}`);
    }
    this.space = spaceOf(cases);
    this.#otherwiseIndex = cases.findIndex(({ kind }) => kind === "otherwise");
    let [afterMs, afterIndex] = [Infinity, NOTHING];
    try {
      for (let index = 0; index < cases.length; index += 1) {
        const each = cases[index] as SelectCase;
        if (each.kind === "after") {
          const { ms } = resolveOptions("after", afterRules, { ms: each.ms });
          if (ms < afterMs) [afterMs, afterIndex] = [ms, index];
        } else if (each.kind === "receive" || each.kind === "send") this.#add(each, index);
      }
    } catch (thrown) {
      this.dropValues();
      throw thrown;
    }
    this.afterMs = afterMs;
    this.#afterIndex = afterIndex;
    this.selection = new Selection(this.space, this.#operations);
  }

  // oxlint-disable-next-line typescript/no-explicit-any
  #add(given: ReceiveCase<any> | SendCase<any>, index: number): void {
    const { core, format } = given.chan.place;
    if (!(core instanceof ChannelCore)) {
      throw channelError("ERR_SELECT_CASES", `case ${index}: select can't wait for a one-to-one channel`);
    }
    given.chan.assertOpen();
    const gives = given.kind === "send";
    if (gives) format.encode(given.value);
    const [low, high] = gives ? [format.low, format.high] : [0, 0];
    this.#operations.push({ core, gives, low, high, node: 0 });
    this.#formats.push(format);
    this.#indexes.push(index);
  }

  /** Does a case that is ready, or the one for when none is; false when the select must wait. */
  attempt(random: Random): boolean {
    const done = this.selection.attempt(random);
    if (done !== undefined) this.#choose(done);
    else if (this.#otherwiseIndex !== NOTHING)
      this.#chosen = { index: this.#otherwiseIndex, ok: true, value: undefined };
    return this.#chosen.index !== NOTHING;
  }

  /** After the wait. */
  conclude(group: SelectGroup, isServed: boolean): void {
    const done = isServed ? this.selection.conclude(group) : undefined;
    if (done !== undefined) {
      this.#choose(done);
      return;
    }
    this.selection.leave(group);
    this.#chosen = { index: this.#afterIndex, ok: true, value: undefined };
  }

  #choose(done: Operation): void {
    const operation = this.#operations.indexOf(done);
    const index = this.#indexes[operation] as number;
    const { core, gives } = done;
    const { outcome } = this.selection;
    if (gives && outcome === CLOSED) throw failure(CLOSED, 0);
    // The receiver's from now on.
    if (gives) done.low = 0;
    const format = this.#formats[operation] as Format;
    const value = gives || outcome === CLOSED ? undefined : format.decode(core.low, core.high);
    this.#chosen = { index, ok: gives || outcome !== CLOSED, value };
  }

  chosen(): Choice {
    return this.#chosen;
  }

  /** Frees the values that weren't sent. */
  dropValues(): void {
    if (this.broken) return;
    for (const [index, operation] of this.#operations.entries()) {
      if (operation.gives) this.#formats[index]?.drop(operation.low);
      operation.low = 0;
    }
  }
}

function spaceOf(cases: readonly SelectCase[]): SyncSpace {
  for (const each of cases) if (each.kind === "receive" || each.kind === "send") return each.chan.place.space;
  return currentSpace();
}
