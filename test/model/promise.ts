/**
 * A stand-in for Promise whose reactions run where the explorer lets them: in the microtasks of a
 * virtual thread.
 */
import { type Steps, type Thread, world } from "./world.ts";

type Callback = ((value: unknown) => unknown) | null | undefined;

interface Reaction {
  readonly onFulfilled: Callback;
  readonly onRejected: Callback;
  readonly next: PromiseStandIn;
}

interface Thenable {
  then(onFulfilled: (value: unknown) => unknown, onRejected: (reason: unknown) => unknown): unknown;
}

export class PromiseStandIn {
  state: "pending" | "fulfilled" | "rejected" = "pending";
  value: unknown;
  /** Whether somebody looks at a rejection. */
  isHandled = false;
  readonly #thread: Thread = world.thread;
  #isResolved = false;
  #reactions: Reaction[] = [];

  static resolve(value?: unknown): PromiseStandIn {
    if (value instanceof PromiseStandIn) return value;
    const promise = new PromiseStandIn();
    promise.resolve(value);
    return promise;
  }

  static reject(reason?: unknown): PromiseStandIn {
    const promise = new PromiseStandIn();
    promise.reject(reason);
    return promise;
  }

  static withResolvers(): {
    promise: PromiseStandIn;
    resolve: (value?: unknown) => void;
    reject: (reason?: unknown) => void;
  } {
    const promise = new PromiseStandIn();
    return { promise, resolve: (value) => promise.resolve(value), reject: (reason) => promise.reject(reason) };
  }

  static all(values: Iterable<unknown>): PromiseStandIn {
    return gather(values, (each, results, index, all) => {
      each.then(
        (value) => all.store(results, index, value),
        (reason) => all.promise.reject(reason),
      );
    });
  }

  static allSettled(values: Iterable<unknown>): PromiseStandIn {
    return gather(values, (each, results, index, all) => {
      each.then(
        (value) => all.store(results, index, { status: "fulfilled", value }),
        (reason) => all.store(results, index, { status: "rejected", reason }),
      );
    });
  }

  static race(values: Iterable<unknown>): PromiseStandIn {
    const promise = new PromiseStandIn();
    for (const value of values) {
      PromiseStandIn.resolve(value).then(
        (first) => promise.resolve(first),
        (reason) => promise.reject(reason),
      );
    }
    return promise;
  }

  // A promise is what `then` makes thenable.
  // eslint-disable-next-line unicorn/no-thenable
  then(onFulfilled?: Callback, onRejected?: Callback): PromiseStandIn {
    const reaction: Reaction = { onFulfilled, onRejected, next: new PromiseStandIn() };
    this.isHandled = true;
    if (this.state === "pending") this.#reactions.push(reaction);
    else this.#react(reaction);
    return reaction.next;
  }

  catch(onRejected?: Callback): PromiseStandIn {
    return this.then(undefined, onRejected);
  }

  finally(last: () => unknown): PromiseStandIn {
    return this.then(
      function* (value): Steps {
        yield* settled(last());
        return value;
      },
      function* (reason): Steps {
        yield* settled(last());
        throw reason;
      },
    );
  }

  resolve(value?: unknown): void {
    if (this.#isResolved) return;
    this.#isResolved = true;
    if (isThenable(value)) {
      this.#thread.microtasks.push(() =>
        value.then(
          (given) => {
            this.#isResolved = false;
            this.resolve(given);
          },
          (reason) => this.#settle("rejected", reason),
        ),
      );
    } else this.#settle("fulfilled", value);
  }

  reject(reason?: unknown): void {
    if (this.#isResolved) return;
    this.#isResolved = true;
    this.#settle("rejected", reason);
  }

  /** Called by the platform: fulfils the promise with a plain value. */
  settle(value: unknown): void {
    this.resolve(value);
  }

  #settle(state: "fulfilled" | "rejected", value: unknown): void {
    this.state = state;
    this.value = value;
    if (state === "rejected") this.#thread.rejections.push(this);
    for (const reaction of this.#reactions) this.#react(reaction);
    this.#reactions = [];
  }

  #react({ onFulfilled, onRejected, next }: Reaction): void {
    const callback = this.state === "fulfilled" ? onFulfilled : onRejected;
    this.#thread.microtasks.push(
      function* (this: PromiseStandIn): Steps {
        if (typeof callback !== "function") {
          if (this.state === "fulfilled") next.resolve(this.value);
          else next.reject(this.value);
          return undefined;
        }
        try {
          next.resolve(yield* run(callback(this.value)));
        } catch (thrown) {
          if (world.failure !== undefined) throw thrown;
          next.reject(thrown);
        }
        return undefined;
      }.bind(this),
    );
  }
}

function gather(
  values: Iterable<unknown>,
  each: (
    promise: PromiseStandIn,
    results: unknown[],
    index: number,
    all: { promise: PromiseStandIn; store: (results: unknown[], index: number, value: unknown) => void },
  ) => void,
): PromiseStandIn {
  const promise = new PromiseStandIn();
  const results: unknown[] = [];
  const list = [...values];
  let open = list.length;
  const store = (into: unknown[], index: number, value: unknown): void => {
    into[index] = value;
    open -= 1;
    if (open === 0) promise.resolve(into);
  };
  if (open === 0) promise.resolve(results);
  for (const [index, value] of list.entries()) each(PromiseStandIn.resolve(value), results, index, { promise, store });
  return promise;
}

function isThenable(value: unknown): value is Thenable {
  if (value instanceof Promise) {
    world.fail("unsupported", "a native promise: the checker can't drive it");
  }
  return typeof value === "object" && value !== null && typeof (value as Thenable).then === "function";
}

/** Whether a call gave a generator: then it has yet to be run. */
function* run(value: unknown): Steps {
  return isSteps(value) ? yield* value : value;
}

/** Waits for nothing but runs what a callback returned. */
function* settled(value: unknown): Steps {
  const given = yield* run(value);
  if (given instanceof PromiseStandIn) world.fail("unsupported", "`finally` with a promise as result");
  return given;
}

const GENERATOR: object = Object.getPrototypeOf(
  Object.getPrototypeOf(
    (function* (): Steps {
      return yield;
    })(),
  ),
);
function Generators(): void {
  // Only its prototype counts.
}
Generators.prototype = GENERATOR;

/** Whether a call gave a generator: then it has yet to be run. */
export function isSteps(value: unknown): value is Steps {
  return typeof value === "object" && value !== null && value instanceof (Generators as unknown as new () => object);
}
