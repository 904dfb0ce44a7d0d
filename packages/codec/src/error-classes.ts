/**
 * Makes errors of classes that the receiving thread may not have.
 *
 * The classes of JavaScript and Node are there, so `instanceof` works for them. For a class of a
 * program a class of that name stands in: `error.constructor.name` and what is
 * printed are right, `instanceof` is that of the class that it extends.
 */
import { MillraceError } from "@millrace/base";

export interface NewError {
  readonly base: string;
  readonly className: string;
  name: string | undefined;
  message: string | undefined;
}

const NATIVE: Readonly<Record<string, new () => Error>> = {
  Error,
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

/** Names of classes come from other threads and from files: there may be any number of them. */
const CLASSES_MAX = 256;
/** By base and name. */
const prototypes = new Map<string, object>();

/** An error without its members. */
export function newError({ base, className, name, message }: NewError): Error {
  const error = newBase(base, name, message);
  if (className !== "") {
    const prototype = prototypeFor(className, error);
    if (prototype !== undefined) Object.setPrototypeOf(error, prototype);
  }
  return error;
}

function newBase(base: string, name: string | undefined, message: string | undefined): Error {
  if (base === "MillraceError") return new MillraceError("", "", "");
  if (base === "AggregateError") return new AggregateError([]);
  // Its name and message can't be set later.
  if (base === "DOMException") return new DOMException(message ?? "", name ?? "Error");
  const known = Object.hasOwn(NATIVE, base) ? NATIVE[base] : undefined;
  return new (known ?? Error)();
}

function prototypeFor(className: string, error: Error): object | undefined {
  const parent = Object.getPrototypeOf(error) as object;
  const key = `${parent.constructor.name} ${className}`;
  const known = prototypes.get(key);
  if (known !== undefined || prototypes.size >= CLASSES_MAX) return known;
  const { [className]: standIn } = { [className]: class extends (parent.constructor as new () => Error) {} };
  const { prototype } = standIn as { readonly prototype: object };
  prototypes.set(key, prototype);
  return prototype;
}
