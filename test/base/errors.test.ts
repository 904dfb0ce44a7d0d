import { createContext, runInContext } from "node:vm";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { baseErrors, errorFactory, invariant, isMillraceError, messageOf, MillraceError } from "@millrace/base";
import { throwsWith } from "../support.ts";

const make = errorFactory({
  ERR_TEST_ONE: { cause: "the first cause", cure: "the first cure" },
  ERR_TEST_TWO: { cause: "the second cause", cure: "the second cure" },
});

test("an error carries code, message, the cure of its code, details and cause", () => {
  const cause = new RangeError("deeper");
  const details = { limit: 3 };
  const error = make("ERR_TEST_TWO", "what happened", { cause, details });
  assert.ok(error instanceof MillraceError);
  assert.ok(error instanceof Error);
  assert.is(error.code, "ERR_TEST_TWO");
  assert.is(error.message, "what happened");
  assert.is(error.cure, "the second cure");
  assert.is(error.details, details);
  assert.is(error.cause, cause);
  assert.is(error.name, "MillraceError");
  assert.is(String(error), "MillraceError: what happened");
});

test("without details and cause there is an empty object and no cause at all", () => {
  const error = make("ERR_TEST_ONE", "what happened");
  assert.equal(error.details, {});
  assert.not("cause" in error);
});

test("an error of Millrace is recognised by its brand, with a code only that very one", () => {
  const error = make("ERR_TEST_ONE", "x");
  assert.ok(isMillraceError(error));
  assert.ok(isMillraceError(error, "ERR_TEST_ONE"));
  assert.not(isMillraceError(error, "ERR_TEST_TWO"));
});

test("an error from another copy of the package, or another realm, is recognised too", () => {
  const other = runInContext(
    'Object.defineProperty(Object.assign(new Error("x"), { code: "ERR_FAR" }), Symbol.for("millrace.error"), { value: true })',
    createContext({}),
  ) as unknown;
  assert.not(other instanceof Error);
  assert.ok(isMillraceError(other));
  assert.ok(isMillraceError(other, "ERR_FAR"));
});

test("nothing else is taken for an error of Millrace", () => {
  const lookAlike = Object.assign(new Error("x"), {
    name: "MillraceError",
    code: "ERR_TEST_ONE",
    cure: "",
    details: {},
  });
  for (const value of [
    lookAlike,
    new Error("x"),
    {},
    null,
    undefined,
    "ERR_TEST_ONE",
    0,
    Symbol.for("millrace.error"),
  ]) {
    assert.not(isMillraceError(value));
  }
});

test("the brand doesn't show in what is printed or copied", () => {
  const error = make("ERR_TEST_ONE", "x");
  assert.equal(Object.getOwnPropertySymbols(Object.assign({}, error)), []);
});

test("messageOf gives the message of an error and the text of anything else", () => {
  assert.is(messageOf(new TypeError("text")), "text");
  assert.is(messageOf("text"), "text");
  assert.is(messageOf(7), "7");
  assert.is(messageOf(undefined), "undefined");
  assert.is(messageOf(null), "null");
});

test("a broken invariant throws ERR_INVARIANT with the fact", () => {
  invariant(true, "never seen");
  const error = throwsWith(() => invariant(false, "the ring is full"), "ERR_INVARIANT");
  assert.is(error.message, "must hold: the ring is full");
});

test("every entry of the table says cause and cure", () => {
  assert.equal(Object.keys(baseErrors).toSorted(), [
    "ERR_INVALID_OPTION",
    "ERR_INVARIANT",
    "ERR_RUNTIME_UNSUPPORTED",
    "ERR_THREAD_FILE",
  ]);
  for (const { cause, cure } of Object.values(baseErrors)) {
    assert.match(cause, /\.$/);
    assert.match(cure, /\.$/);
  }
});

test.run();
