// Code that compiles, and code that must not; this file fails to compile when a type has become
// wrong. The code that compiles also runs.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import {
  type Acknowledgement,
  type Context,
  type DeliveredRecord,
  type Millrace,
  open,
  type PublishedName,
  type PublishedNowAnswer,
  type PublishOptions,
  type RecordOptions,
  type RunOptions,
  type TaskContext,
} from "millrace";
import type * as handlers from "../fixtures/typed-handlers.ts";
import type { Payment } from "../fixtures/typed-handlers.ts";
import { temporaryDirectory } from "../support.ts";

const url = new URL("../fixtures/typed-handlers.js", import.meta.url);

/** Compiles only if both are the same type. */
type Same<Left, Right> = (<T>() => T extends Left ? 1 : 2) extends <T>() => T extends Right ? 1 : 2 ? true : false;
function same<Left, Right>(...differ: Same<Left, Right> extends true ? [] : [never]): void {
  assert.is(differ.length, 0);
}

type Mill = Millrace<typeof handlers>;
type Names =
  | "settle"
  | "sync"
  | "nested"
  | "opt"
  | "byDefault"
  | "orUndefined"
  | "none"
  | "nothingButContext"
  | "generic"
  | "overloaded"
  | "arrow"
  | "default";

test("handlers are the functions of a module, however they are typed; hooks are none", () => {
  same<PublishedName<typeof handlers>, Names>();
  same<keyof Mill["run"], Names>();
  same<keyof Mill["runMany"], Names>();
  same<keyof Mill["parallelMap"], Names>();
  same<keyof Mill["blocking"], Names>();
  same<keyof Mill["publish"], Names>();
});

test("calls take and promise what the handler does", () => {
  same<Mill["run"]["settle"], (argument: Payment, options?: RunOptions) => Promise<number | undefined>>();
  same<Mill["run"]["sync"], (argument: Payment, options?: RunOptions) => Promise<string>>();
  same<Mill["run"]["opt"], (argument?: number, options?: RunOptions) => Promise<number>>();
  same<Mill["run"]["byDefault"], (argument?: number, options?: RunOptions) => Promise<number>>();
  same<Mill["run"]["orUndefined"], (argument?: number, options?: RunOptions) => Promise<number>>();
  same<Mill["run"]["none"], (argument?: undefined, options?: RunOptions) => Promise<string>>();
  same<Mill["run"]["generic"], (argument: object, options?: RunOptions) => Promise<object>>();
  same<Mill["run"]["default"], (argument: string, options?: RunOptions) => Promise<string>>();
  same<
    Mill["publish"]["settle"],
    (argument: Payment, options?: PublishOptions) => Promise<Acknowledgement<number | undefined>>
  >();
  same<Mill["publish"]["arrow"], (argument: Payment, options?: PublishOptions) => Promise<Acknowledgement<boolean>>>();
  same<Mill["publish"]["opt"], (argument?: number, options?: PublishOptions) => Promise<Acknowledgement<number>>>();
  same<Mill["publish"]["none"], (argument?: undefined, options?: PublishOptions) => Promise<Acknowledgement<string>>>();
});

test("the context of a handler has its record", () => {
  same<Context["record"], DeliveredRecord | undefined>();
  same<TaskContext["record"], DeliveredRecord | undefined>();
  same<Context<typeof handlers>["record"], DeliveredRecord | undefined>();
});

test("a handler publishes as the module's handlers take it", () => {
  type Own = Context<typeof handlers>;
  same<keyof Own["publish"], Names>();
  same<Own["publish"]["settle"], (argument: Payment, options?: RecordOptions) => void>();
  same<Own["publish"]["opt"], (argument?: number, options?: RecordOptions) => void>();
  same<Own["publishNow"]["arrow"], (argument: Payment, options?: RecordOptions) => Promise<PublishedNowAnswer>>();
});

test("a module without types, or with handlers in its default export, has them too", () => {
  // oxlint-disable-next-line typescript/no-explicit-any
  same<Millrace["run"][string], (argument?: any, options?: RunOptions) => Promise<unknown>>();
  interface CommonJs {
    readonly default: { double(value: number): number; teardown(): void };
    readonly limit: number;
  }
  same<PublishedName<CommonJs>, "double">();
  same<Millrace<CommonJs>["run"]["double"], (argument: number, options?: RunOptions) => Promise<number>>();
});

test("wrong names and arguments don't compile", () => {
  const check = async (mill: Mill, context: Context<typeof handlers>): Promise<void> => {
    // @ts-expect-error a hook is no handler
    await mill.run.initialize({ machine: 1 });
    // @ts-expect-error a hook is no handler
    await mill.publish.initialize({ machine: 1 });
    // @ts-expect-error a hook is no handler
    await mill.run.teardown();
    // @ts-expect-error a hook is no handler
    await mill.publish.teardown();
    // @ts-expect-error a hook is no handler
    await mill.blocking.teardown();
    // @ts-expect-error a number is no handler
    await mill.run.limit();
    // @ts-expect-error a class is no handler
    await mill.publish.Account();
    // @ts-expect-error no handler of that name
    await mill.publish.setle({ account: "a", amount: 1 });
    // @ts-expect-error a wrong payload
    await mill.publish.settle({ account: "a", amount: "1" });
    // @ts-expect-error a payload is missing
    await mill.publish.settle();
    // @ts-expect-error an argument is missing
    await mill.run.sync();
    // @ts-expect-error a wrong optional argument
    await mill.publish.opt("1");
    // @ts-expect-error it takes no argument
    await mill.publish.none(1);
    // @ts-expect-error no overload takes it
    await mill.run.overloaded(true);
    // @ts-expect-error outside of the constraint
    await mill.run.generic(1);
    // @ts-expect-error an unknown option
    await mill.publish.opt(1, { prioritty: "high" });
    // @ts-expect-error a hook is no handler
    await mill.pause("initialize");
    // @ts-expect-error a hook is no handler
    await mill.publishMany([{ handler: "teardown" }]);
    // @ts-expect-error it may be undefined
    void context.record.sequence;
    // @ts-expect-error a record has no such member
    void context.record?.sequnce;
    // @ts-expect-error no handler of that name
    await context.run("initialize", { machine: 1 });
    // @ts-expect-error an argument is missing
    context.spawn("settle");
  };
  assert.type(check, "function");
});

test("arguments that may be left out are, in run and in publish", async () => {
  const directory = temporaryDirectory();
  const mill = await open<typeof handlers>({
    handlers: url,
    processors: 1,
    journal: { directory: join(directory, "journal") },
  });
  try {
    assert.not(mill.handlerNames.some((name) => name === "initialize" || name === "teardown"));
    assert.is(await mill.run.opt(), -1);
    assert.is(await mill.run.byDefault(), 5);
    assert.is(await mill.run.orUndefined(), -2);
    assert.is(await mill.run.none(), "none");
    assert.is(await mill.run.nothingButContext(), 0);
    const parsed: number = await mill.run.overloaded("4");
    const printed: string = await mill.run.overloaded(4);
    assert.equal([parsed, printed], [4, "4"]);
    assert.is(await mill.run.nested(4), 4);
    assert.is(await mill.run.default("text"), "main text");
    assert.is(await mill.blocking.none(), "none");
    const calls = [mill.publish.opt(), mill.publish.byDefault(), mill.publish.none(), mill.publish.nothingButContext()];
    for (const { done } of await Promise.all(calls)) await done;
    const file = join(directory, "notes");
    const { sequence, done } = await mill.publish.settle({ account: "a", amount: 1, file });
    await done;
    assert.is(readFileSync(file, "utf8"), `settle ${sequence}\n`);
  } finally {
    await mill.close();
  }
});

test.run();
