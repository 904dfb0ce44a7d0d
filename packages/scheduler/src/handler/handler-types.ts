/**
 * Types derived from the type of a handlers' module: its handlers, their arguments and results, and
 * the calls of each.
 */

/**
 * Every function is assignable, whatever it takes: the parameter of a handler may be a context of
 * a narrower type than `TaskContext`.
 */
type AnyFunction = (...parameters: never[]) => unknown;

/** Exports with these names are called by the runtime itself, and by nobody else. */
type HookName = "initialize" | "teardown";

type FunctionName<From> = {
  [Name in keyof From]-?: Name extends HookName ? never : From[Name] extends AnyFunction ? Name : never;
}[keyof From] &
  string;

/** Where the handlers of a module lie: in its default export, if nothing else is a handler. */
type Exports<Module> = [FunctionName<Module>] extends [never]
  ? Module extends { readonly default: infer Default }
    ? Default
    : Module
  : Module;

/** The exports of a module that are handlers. */
export type HandlerName<Module> = FunctionName<Exports<Module>>;

/** The handler with this name. */
export type HandlerOf<Module, Name> = Name extends keyof Exports<Module> ? Exports<Module>[Name] : never;

/** Parameters and result of each overload; of a function without overloads, once. */
type Overload<H> = H extends {
  (...parameters: infer P1): infer R1;
  (...parameters: infer P2): infer R2;
  (...parameters: infer P3): infer R3;
  (...parameters: infer P4): infer R4;
}
  ? [P1, R1] | [P2, R2] | [P3, R3] | [P4, R4]
  : never;

type FirstOf<Parameters> = Parameters extends readonly [] ? undefined : Parameters[0 & keyof Parameters];

/**
 * The argument of a handler, and its promised result; the union over overloads, of which four
 * count.
 */
export type ArgumentOf<H> =
  Overload<H> extends infer Each ? (Each extends [infer P, unknown] ? FirstOf<P> : never) : never;
export type ResultOf<H> =
  Overload<H> extends infer Each ? (Each extends [unknown, infer R] ? Awaited<R> : never) : never;

/** The argument of a call; it may be left out where the handler does without. */
export type ArgumentsOf<H> = undefined extends ArgumentOf<H> ? [argument?: ArgumentOf<H>] : [argument: ArgumentOf<H>];

/**
 * A handler as a call with options; one signature per overload. It promises `Answer`, by default
 * what the handler does.
 */
export type CallOf<H, Options, Answer = Own> = Intersection<
  Overload<H> extends infer Each
    ? Each extends [infer P, infer R]
      ? OneCall<FirstOf<P>, Options, AnswerOf<R, Answer>>
      : never
    : never
>;

declare const own: unique symbol;
type Own = typeof own;
type AnswerOf<R, Answer> = [Answer] extends [Own] ? Awaited<R> : Answer;

type OneCall<Argument, Options, Answer> = undefined extends Argument
  ? (argument?: Argument, options?: Options) => Promise<Answer>
  : (argument: Argument, options?: Options) => Promise<Answer>;

type Intersection<Union> = (Union extends unknown ? (each: Union) => void : never) extends (all: infer All) => void
  ? All
  : never;
