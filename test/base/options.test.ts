import fc from "../property.ts";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  abortSignal,
  boolean,
  callback,
  integer,
  list,
  nearest,
  oneOf,
  optional,
  optionsObject,
  powerOfTwo,
  resolveOptions,
  type Rule,
  type Rules,
  text,
} from "@millrace/base";
import { throwsWith } from "../support.ts";

const rules = {
  processors: integer(1, 64, 4),
  ringBytes: powerOfTwo(16, 1024, 64),
  isLazy: boolean(false),
  wait: oneOf(["spin", "park"], "park"),
  directory: text("/tmp"),
  onDeath: optional(callback<() => void>()),
} satisfies Rules;

const defaults = { processors: 4, ringBytes: 64, isLazy: false, wait: "park", directory: "/tmp", onDeath: undefined };

/** Whether `rule` takes `value`: it comes back unchanged, or is refused with ERR_INVALID_OPTION. */
function takes(rule: Rule<unknown>, value: unknown): boolean {
  try {
    assert.is(resolveOptions("Test", { option: rule }, { option: value }).option, value);
    return true;
  } catch (thrown) {
    assert.is((thrown as { code?: string }).code, "ERR_INVALID_OPTION");
    return false;
  }
}

test("options that are left out or undefined get their defaults", () => {
  assert.equal(resolveOptions("Test", rules), defaults);
  assert.equal(resolveOptions("Test", rules, {}), defaults);
  assert.equal(resolveOptions("Test", rules, { processors: undefined, wait: undefined }), defaults);
});

test("options that are given replace the defaults, the others stay", () => {
  const onDeath = (): void => {};
  const given = { processors: 64, ringBytes: 1024, isLazy: true, wait: "spin", onDeath };
  assert.equal(resolveOptions("Test", rules, given), { ...defaults, ...given });
});

test("the user's object isn't touched, nor taken for the result", () => {
  const given = Object.freeze({ processors: 2 });
  const resolved = resolveOptions("Test", rules, given);
  assert.is.not(resolved, given);
  assert.is(resolved.processors, 2);
});

test("a default may be computed when it is needed, and isn't when it isn't", () => {
  let computed = 0;
  const computing = { option: integer(0, 9, () => (computed += 1)) };
  assert.is(resolveOptions("Test", computing, { option: 5 }).option, 5);
  assert.is(computed, 0);
  assert.is(resolveOptions("Test", computing).option, 1);
  assert.is(resolveOptions("Test", computing).option, 2);
});

test("an unknown option is refused with the nearest known one", () => {
  const error = throwsWith(() => resolveOptions("Test", rules, { procesors: 2 }), "ERR_INVALID_OPTION");
  assert.is(error.message, 'Test: unknown option "procesors"; did you mean "processors"?');
  assert.is(error.details.name, "procesors");
  assert.equal(error.details.known, Object.keys(rules));
});

test("an unknown option that is like no other is refused with all that are known", () => {
  const error = throwsWith(() => resolveOptions("Test", rules, { zzzzzzzzzz: 2 }), "ERR_INVALID_OPTION");
  assert.is(
    error.message,
    'Test: unknown option "zzzzzzzzzz"; known are processors, ringBytes, isLazy, wait, directory, onDeath',
  );
});

test("a name that differs in case, or is the beginning of one, is recognised", () => {
  const hintOf = (name: string): string =>
    throwsWith(() => resolveOptions("Test", rules, { [name]: 2 }), "ERR_INVALID_OPTION").message;
  assert.match(hintOf("ISLAZY"), 'did you mean "isLazy"?');
  assert.match(hintOf("dir"), 'did you mean "directory"?');
  assert.match(hintOf("ring"), 'did you mean "ringBytes"?');
  assert.match(hintOf("on"), "known are ");
});

test("what is no object with options is refused as a whole", () => {
  class Options {
    readonly processors = 2;
  }
  const wrong = [2, "two", true, null, [], [2], new Date(), new Map(), AbortSignal.abort(), () => {}, Symbol("2"), 2n];
  for (const given of wrong) {
    const error = throwsWith(() => resolveOptions("Test", rules, given as object), "ERR_INVALID_OPTION");
    assert.match(error.message, /^Test: the options must be an object with options, not /);
    assert.is(error.details.name, "options");
    assert.is(error.details.value, given);
    assert.is(error.details.allowed, "an object with options");
  }
  for (const given of [new Options(), Object.assign(Object.create(null), { processors: 2 }) as object]) {
    assert.is(resolveOptions("Test", rules, given).processors, 2);
  }
});

test("an unknown option is named with its value, without running a getter", () => {
  const given = {
    get colour(): string {
      throw new Error("must not be read");
    },
  };
  assert.is(throwsWith(() => resolveOptions("Test", rules, given), "ERR_INVALID_OPTION").details.value, undefined);
  const error = throwsWith(() => resolveOptions("Test", rules, { colour: "red" }), "ERR_INVALID_OPTION");
  assert.is(error.details.value, "red");
  assert.match(error.details.allowed as string, /^one of the options processors, ringBytes/);
});

test("functions, lists, signals and objects with options each have a rule", () => {
  for (const [rule, right, wrong] of [
    [callback(), [() => {}, class {}, async () => {}], [{}, "f"]],
    [list(), [[], [1]], [{ length: 0 }, new Set(), "ab"]],
    [abortSignal(), [AbortSignal.abort(), new AbortController().signal], [new EventTarget(), { aborted: false }]],
    [optionsObject(), [{}, { a: 1 }], [[], 1, new Date()]],
  ] as [Rule<unknown>, unknown[], unknown[]][]) {
    for (const value of right) assert.ok(takes(rule, value), String(value));
    for (const value of wrong) assert.not.ok(takes(rule, value), String(value));
  }
});

test("names that every object has are unknown options too", () => {
  for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
    const given = JSON.parse(`{ "${name}": 1 }`) as object;
    assert.is(throwsWith(() => resolveOptions("Test", rules, given), "ERR_INVALID_OPTION").details.name, name);
  }
});

test("an unknown option is refused even when it is undefined", () => {
  throwsWith(() => resolveOptions("Test", rules, { colour: undefined }), "ERR_INVALID_OPTION");
});

test("a value outside its range is refused with owner, name, value and range", () => {
  const error = throwsWith(() => resolveOptions("Test", rules, { processors: 65 }), "ERR_INVALID_OPTION");
  assert.is(error.message, 'Test: option "processors" must be a whole number from 1 to 64, not 65');
  assert.equal(error.details, { owner: "Test", name: "processors", value: 65, allowed: "a whole number from 1 to 64" });
});

test("every kind of wrong value is described in the message", () => {
  class Clock {
    readonly nowMs = 0;
  }
  const cases: [unknown, string][] = [
    ["4", 'not "4"'],
    [null, "not null"],
    [NaN, "not NaN"],
    [4n, "not 4n"],
    [Symbol("four"), "not Symbol(four)"],
    [[4], "not an object (Array)"],
    [new Clock(), "not an object (Clock)"],
    [Object.create(null), "not an object (no prototype)"],
  ];
  for (const [value, expected] of cases) {
    const error = throwsWith(() => resolveOptions("Test", rules, { processors: value }), "ERR_INVALID_OPTION");
    assert.ok(error.message.endsWith(expected), error.message);
  }
});

test("a required option that is missing is refused by name", () => {
  const required = { directory: text(), handler: callback<() => void>() };
  const error = throwsWith(() => resolveOptions("Test", required, { handler: () => {} }), "ERR_INVALID_OPTION");
  assert.is(error.message, 'Test: option "directory" is required: a text that is not empty');
  assert.is(
    throwsWith(() => resolveOptions("Test", required, { directory: "d" }), "ERR_INVALID_OPTION").details.name,
    "handler",
  );
});

test("an error in the computation of a default comes through as it is", () => {
  const failing = {
    option: integer(0, 9, () => {
      throw new RangeError("no default today");
    }),
  };
  assert.throws(
    () => resolveOptions("Test", failing),
    (thrown: unknown) => thrown instanceof RangeError,
  );
});

test("integer takes the whole numbers of its range and nothing else", () => {
  const number = fc.oneof(fc.integer({ min: -20, max: 20 }), fc.double({ min: -20, max: 20 }), fc.double());
  fc.assert(
    fc.property(fc.integer({ min: -10, max: 0 }), fc.integer({ min: 0, max: 10 }), number, (min, max, value) => {
      assert.is(takes(integer(min, max, 0), value), Math.floor(value) === value && value >= min && value <= max);
    }),
    { numRuns: 1000 },
  );
  for (const value of ["1", 1n, true, null, [1]]) assert.not(takes(integer(0, 9, 0), value));
});

test("powerOfTwo takes exactly the powers of two in its range", () => {
  const powers = Array.from({ length: 41 }, (_, exponent) => 2 ** exponent);
  for (const power of powers) {
    assert.ok(takes(powerOfTwo(1, 2 ** 40, 1), power), String(power));
    assert.ok(takes(powerOfTwo(power, power, 1), power), String(power));
    assert.not(takes(powerOfTwo(power * 2, 2 ** 45, 1), power), "below the range");
    assert.not(takes(powerOfTwo(0, power / 2, 1), power), "above the range");
    for (const near of [power * 3, power * 2 + 1, power * 4 - 1, power + 0.5, -power]) {
      assert.not(takes(powerOfTwo(-(2 ** 45), 2 ** 45, 1), near), String(near));
    }
  }
  for (const value of [0, NaN, Infinity, 0.5, "2", 2n])
    assert.not(takes(powerOfTwo(-1, 2 ** 40, 1), value), String(value));
});

test("boolean, oneOf and text take what their description says", () => {
  assert.ok(takes(boolean(true), false));
  for (const value of [0, 1, "true", null]) assert.not(takes(boolean(true), value), String(value));

  const rule = oneOf(["spin", "park"], "park");
  assert.is(rule.allowed, 'one of "spin", "park"');
  assert.ok(takes(rule, "spin"));
  for (const value of ["Spin", "", 0, ["spin"], null]) assert.not(takes(rule, value), String(value));

  assert.ok(takes(text(), "x"));
  for (const value of ["", 7, null, ["x"]]) assert.not(takes(text(), value), String(value));
});

test("optional takes what its rule takes, and gives undefined instead of a default", () => {
  const rule = optional(text());
  assert.is(resolveOptions("Test", { rule }).rule, undefined);
  assert.ok(takes(rule, "x"));
  for (const value of ["", null, 7]) assert.not(takes(rule, value), String(value));
});

test("nearest finds what a misspelt name meant", () => {
  const names = ["settle", "refund", "notify", "a"];
  assert.is(nearest("settle", names), "settle");
  assert.is(nearest("setle", names), "settle");
  assert.is(nearest("Refnd", names), "refund");
  assert.is(nearest("ntoify", names), "notify");
  assert.is(nearest("transfer", names), undefined);
  assert.is(nearest("settle", []), undefined);
});

test("nearest finds any name with one letter changed, lost or added", () => {
  const names = ["directory", "processors", "segmentBytesMax"];
  fc.assert(
    fc.property(fc.constantFrom(...names), fc.nat({ max: 8 }), fc.constantFrom("", "q", "qq"), (name, at, instead) => {
      assert.is(nearest(name.slice(0, at) + instead + name.slice(at + 1), names), name);
    }),
  );
});

test.run();
