// Errors and other thrown values on their way to another thread: whole, or without what can't go.
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { runInNewContext } from "node:vm";
import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isMillraceError, MillraceError } from "@millrace/base";
import { decode, encode, encodeThrown } from "@millrace/codec";

interface Arrived extends Error {
  readonly details?: { readonly omitted?: readonly string[] };
  readonly [member: string]: unknown;
}

function arrived(thrown: unknown, bytesMax?: number): Arrived {
  const bytes = encodeThrown(thrown, bytesMax);
  assert.ok(bytes.length <= (bytesMax ?? Infinity), `${bytes.length} bytes`);
  return decode(bytes) as Arrived;
}

function thrownBy(run: () => unknown): Error {
  try {
    run();
  } catch (thrown) {
    return thrown as Error;
  }
  throw new Error("nothing was thrown");
}

const nothing = (): void => {};

test("a function among an error's members is left out alone, and named", () => {
  const error = Object.assign(new TypeError("x"), {
    code: "E42",
    status: 503,
    config: { retry: [() => 1, 2], url: "u" },
  });
  const copy = arrived(error);
  assert.ok(copy instanceof TypeError);
  assert.equal([copy.name, copy.message, copy.code, copy.status], ["TypeError", "x", "E42", 503]);
  assert.is(copy.stack, error.stack);
  assert.equal(copy.config, { retry: [undefined, 2], url: "u" });
  assert.equal(copy.details, { omitted: ["config.retry[0]"] });
});

test("symbols, promises, sockets, ports, timers, shared memory are left out and named", () => {
  const timer = setTimeout(nothing, 0);
  const request = get("http://127.0.0.1:9/").on("error", nothing);
  const parts = {
    symbol: Symbol("s"),
    promise: Promise.resolve(),
    weak: new WeakMap(),
    socket: new Socket(),
    signal: new AbortController().signal,
    port: new MessageChannel().port1,
    emitter: new EventEmitter(),
    timer,
    request,
    shared: new SharedArrayBuffer(8),
    view: new Uint8Array(new SharedArrayBuffer(8)),
    boxed: Object(Symbol("b")) as object,
    getter: Object.defineProperty({}, "in", { enumerable: true, get: () => thrownBy(nothing) }),
  };
  const copy = arrived(
    Object.assign(new Error("e"), parts, { fine: { a: [1, new Map([[1, nothing]]), new Set([nothing, 2])] } }),
  );
  clearTimeout(timer);
  request.destroy();
  const names = Object.keys(parts).map((name) => (name === "getter" ? "getter.in" : name));
  assert.equal(copy.details?.omitted?.toSorted(), [...names, "fine.a[1].(0)", "fine.a[2].(0)"].toSorted());
  assert.equal(copy.fine, { a: [1, new Map(), new Set([2])] });
});

test("an error like axios's: old kind of class, a request, headers, functions", () => {
  function AxiosError(this: Record<string, unknown>, message: string, request: object): void {
    Error.captureStackTrace(this);
    class AxiosHeaders {
      Accept = "text/plain";
      get [Symbol.toStringTag](): string {
        return "AxiosHeaders";
      }
    }
    const config = { timeout: 5, adapter: ["xhr", nothing], headers: new AxiosHeaders() };
    Object.assign(this, { message, name: "AxiosError", code: "ERR_BAD_RESPONSE", config, request });
    this["response"] = { status: 503, data: "down", config, request };
  }
  AxiosError.prototype = Object.create(Error.prototype, {
    constructor: { value: AxiosError },
    toJSON: { value: nothing },
  });
  const request = get("http://127.0.0.1:9/").on("error", nothing);
  const made = new (AxiosError as unknown as new (...parameters: unknown[]) => Error)("Request failed", request);
  request.destroy();
  const copy = arrived(made);
  assert.ok(copy instanceof Error);
  assert.equal(
    [copy.name, copy.message, copy.code, copy.stack],
    ["AxiosError", "Request failed", "ERR_BAD_RESPONSE", made.stack],
  );
  assert.is(copy.constructor.name, "AxiosError");
  assert.equal(copy.config, { timeout: 5, adapter: ["xhr", undefined], headers: { Accept: "text/plain" } });
  const response = copy.response as Record<string, unknown>;
  assert.equal([response.status, response.data, response.config], [503, "down", copy.config]);
  assert.equal(copy.details?.omitted?.toSorted(), ["config.adapter[1]", "request", "response.request"]);
});

test("a DOMException keeps class, name, message and code", () => {
  const timeout = new DOMException("too late", "TimeoutError");
  for (const error of [timeout, AbortSignal.abort().reason as DOMException, new DOMException("plain")]) {
    for (const copy of [arrived(error), (decode(encode({ error })) as { error: Arrived }).error]) {
      assert.ok(copy instanceof DOMException && copy instanceof Error);
      assert.equal([copy.name, copy.message, copy.code], [error.name, error.message, error.code]);
      assert.is(copy.stack, error.stack);
    }
  }
  assert.is(arrived(new Error("outer", { cause: timeout })).cause?.constructor, DOMException);
});

test("built-in classes keep instanceof, others their name and what they extend", () => {
  class HttpError extends RangeError {
    readonly #status = 404;
    get code(): string {
      return `HTTP_${this.#status}`;
    }
  }
  class Named extends HttpError {
    override get name(): string {
      return "Renamed";
    }
  }
  for (const made of [EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]) {
    const copy = arrived(new made("m"));
    assert.is(copy.constructor, made);
    assert.equal(Object.keys(copy), []);
  }
  const http = arrived(new HttpError("gone"));
  assert.ok(http instanceof RangeError);
  assert.equal([http.constructor.name, http.name, http.code], ["HttpError", "RangeError", "HTTP_404"]);
  const named = arrived(new Named("n"));
  assert.equal([named.constructor.name, named.name, named.message], ["Named", "Renamed", "n"]);
  const other = arrived(runInNewContext("Object.assign(new TypeError('of another realm'), { code: 1 })"));
  assert.ok(other instanceof TypeError && other.code === 1);
  const renamed = arrived(Object.assign(new TypeError("t"), { name: "ValidationError" }));
  assert.ok(renamed instanceof TypeError && renamed.name === "ValidationError");
});

test("errors of Node keep code, errno, syscall and path", () => {
  const missing = thrownBy(() => readFileSync("/not/there"));
  const copy = arrived(missing);
  assert.equal(Object.entries(copy), Object.entries(missing));
  assert.is(copy.code, "ENOENT");
  const wrong = arrived(thrownBy(() => readFileSync(5.5 as never)));
  assert.ok(wrong instanceof TypeError);
  assert.is(wrong.code, "ERR_INVALID_ARG_TYPE");
});

test("causes and errors come along, also in cycles; omissions in them are named", () => {
  const inner = Object.assign(new RangeError("inner"), { f: nothing });
  const both = new AggregateError([inner, nothing, { deep: [nothing] }], "both", { cause: inner });
  const copy = arrived(both) as unknown as AggregateError & Arrived;
  assert.ok(copy instanceof AggregateError);
  assert.is(copy.errors[0], copy.cause);
  assert.ok(copy.cause instanceof RangeError);
  assert.is(copy.errors.length, 3);
  assert.equal(copy.details?.omitted?.toSorted(), ["cause.f", "errors[1]", "errors[2].deep[0]"]);
  const cycle: Error & { self?: unknown } = new Error("cycle");
  cycle.cause = new Error("back", { cause: cycle });
  cycle.self = { cycle };
  const turned = arrived(cycle);
  assert.is((turned.cause as Error).cause, turned);
  assert.is((turned.self as { cycle: unknown }).cycle, turned);
});

test("errors of Millrace keep their class, errors with details keep those", () => {
  const ours = arrived(
    new MillraceError("ERR_X", "m", "cure", { details: { at: 3, f: nothing }, cause: new Error("c") }),
  );
  assert.ok(isMillraceError(ours, "ERR_X") && ours instanceof MillraceError);
  assert.equal(ours.details, { at: 3, omitted: ["details.f"] });
  assert.is((ours.cause as Error).message, "c");
  const twice = arrived(Object.assign(arrived(Object.assign(new Error("e"), { f: nothing })), { g: nothing }));
  assert.equal(twice.details, { omitted: ["f", "g"] });
  const text = arrived(Object.assign(new Error("e"), { details: "text", f: nothing }));
  assert.equal([text.details, text.omittedDetails], ["text", ["f"]]);
  assert.is(arrived(Object.assign(new Error("e"), { a: 1 })).details, undefined);
});

test("values that are no errors arrive too", () => {
  for (const value of [
    undefined,
    null,
    true,
    -0,
    NaN,
    10n,
    "text",
    "é".repeat(1000),
    "\ud800",
    { code: 5 },
    [1],
    Symbol.for("s"),
  ]) {
    assert.ok(Object.is(arrived(value), value) || typeof value === "object");
    assert.equal(arrived(value), value);
  }
  assert.is(arrived(Symbol("s")).message, "Symbol(s)");
  assert.is(arrived(nothing).message, "a function was thrown: nothing");
  assert.is(arrived(new Socket()).message, "a Socket was thrown");
  assert.is(arrived(Promise.resolve()).message, "a Promise was thrown");
  assert.equal(arrived(Object.assign(Object.create(null), { a: 1, f: nothing })), {
    a: 1,
    details: { omitted: ["f"] },
  });
  assert.equal(arrived([nothing, 1]), Object.assign([undefined, 1], { details: { omitted: ["[0]"] } }));
});

test("nothing that an object does when it is read keeps an error from arriving", () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const refusing = new Proxy(new Error("x"), {
    get: () => thrownBy(nothing),
    ownKeys: () => {
      throw new Error("no keys");
    },
  });
  assert.ok(arrived(proxy) instanceof Error);
  assert.ok(arrived(refusing) instanceof Error);
  assert.equal(arrived(Object.assign(new Error("e"), { proxy, refusing })).message, "e");
  const getters = Object.defineProperties(new Error("e"), {
    message: { get: () => thrownBy(nothing) },
    name: { get: () => thrownBy(nothing) },
    fine: { value: 1, enumerable: true },
    bad: { get: () => thrownBy(nothing), enumerable: true },
  });
  const copy = arrived(getters);
  assert.is(copy.fine, 1);
  for (const path of ["bad", "message", "name"]) assert.ok(copy.details?.omitted?.includes(path), path);
  assert.ok(arrived(new Proxy(new RangeError("behind"), {})) instanceof RangeError);
  assert.equal(arrived(Object.freeze(Object.assign(new Error("f"), { a: 1 }))).a, 1);
  const odd = arrived(Object.assign(new Error(), { message: { a: 1 }, name: 5, stack: [nothing] }));
  assert.equal([odd.message, odd.name], [{ a: 1 }, 5]);
});

test("symbols as keys: those of the program's registry arrive, others are named", () => {
  const known = Symbol.for("undici.error.UND_ERR");
  const copy = arrived(Object.assign(new Error("e"), { [known]: true, [Symbol("own")]: 1 })) as Arrived &
    Record<symbol, unknown>;
  assert.is(copy[known], true);
  assert.equal(copy.details?.omitted, ["[Symbol(own)]"]);
});

test("an error that is too large keeps what fits, the closest first, names the rest", () => {
  const error = Object.assign(new Error("m".repeat(1_000_000), { cause: new TypeError("cause") }), {
    code: "E_BIG",
    text: "t".repeat(1_000_000),
    list: Array.from({ length: 100_000 }, (_, n) => n),
    bytes: Buffer.alloc(1_000_000),
    map: new Map(Array.from({ length: 50_000 }, (_, n) => [n, n])),
    record: Object.fromEntries(Array.from({ length: 50_000 }, (_, n) => [`k${n}`, n])),
    small: { a: 1 },
  });
  for (const bytesMax of [100, 512, 1024, 4096, 65_536, 1_000_000]) {
    const copy = arrived(error, bytesMax);
    assert.ok(copy instanceof Error, `${bytesMax} bytes`);
    if (bytesMax < 4096) continue;
    assert.match(copy.message, /^m+… \(1000000 characters\)$/);
    assert.equal([copy.code, copy.small], ["E_BIG", { a: 1 }]);
    assert.is((copy.cause as Error).message, "cause");
    for (const path of ["message", "text", "bytes"])
      assert.ok(copy.details?.omitted?.includes(path), `${path}: ${bytesMax} bytes`);
  }
  assert.is(arrived(error).text, error.text);
  assert.match(arrived("x".repeat(100_000), 1000).message, "100000 characters");
  const many = arrived(Object.assign(new Error("e"), { list: Array.from({ length: 300 }, () => nothing) }));
  assert.is(many.details?.omitted?.length, 101);
  assert.is(many.details?.omitted?.at(-1), "… and 200 more");
});

test("an error within a value is sent so too; a function beside it refuses the value", () => {
  const reason = Object.assign(new Error("in"), { f: nothing });
  const [settled] = decode(encode([{ status: "rejected", reason }])) as { reason: Arrived }[];
  assert.equal(settled?.reason.details?.omitted, ["f"]);
  assert.throws(
    () => encode({ reason, g: nothing }),
    (thrown: unknown) =>
      isMillraceError(thrown, "ERR_VALUE_UNSUPPORTED") && thrown.message.startsWith("value.g is a function"),
  );
});

test("any value can be a member of an error, within any limit", () => {
  const anything = fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withSparseArray: true,
    withTypedArray: true,
    withNullPrototype: true,
    withUnicodeString: true,
  });
  fc.assert(
    fc.property(anything, fc.integer({ min: 100, max: 5000 }), (value, bytesMax) => {
      const error = Object.assign(new Error("e"), { value });
      assert.ok(arrived(error, bytesMax) instanceof Error);
      const whole = arrived(error);
      assert.is(whole.details, undefined);
      assert.ok(isDeepStrictEqual(whole.value, (decode(encode({ value })) as { value: unknown }).value));
    }),
    { numRuns: 500 },
  );
});

test.run();
