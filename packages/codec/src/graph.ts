/**
 * Values that are not a plain tree, written down as a list of nodes that refer to each other by
 * number.
 *
 * Covers what structuredClone covers apart from ports, shared memory and host objects: cycles and
 * shared references, Map, Set, RegExp, Error with cause and code, ArrayBuffer and all its views,
 * boxed primitives, sparse arrays, big integers, -0, ill-formed strings, class instances (as plain
 * objects). Objects keep their identity within the value; two views of one ArrayBuffer become two
 * buffers, each with the bytes of its view.
 *
 * The form is an array of nodes; node 0 is a box around the value. In a node a *slot* is either a
 * primitive that MessagePack carries as it is, or an array `[SLOT…]`. Children are numbers of
 * nodes, so nothing here recurses. docs/value-format.md has the table.
 */
import { types } from "node:util";
import { MillraceError } from "@millrace/base";
import { codecError } from "./errors.ts";

/** Slots: the forms of a member that MessagePack alone can't carry. */
const UNDEFINED = 0;
const REFERENCE = 1;
const MINUS_ZERO = 2;
const BIGINT = 3;
const UTF16 = 4;

/** Nodes: the first entry of each. */
const BOX = 10;
const OBJECT = 11;
const ARRAY = 12;
const SPARSE = 13;
const MAP = 14;
const SET = 15;
const DATE = 16;
const REGEXP = 17;
const ERROR = 18;
const BUFFER = 19;
const VIEW = 20;
const BOXED = 21;

type Slot = unknown;
type Node = unknown[];

export function toGraph(value: unknown): Node[] {
  return new GraphWriter().write(value);
}

class GraphWriter {
  readonly #nodes: Node[] = [];
  readonly #numbers = new Map<object, number>();
  /** Numbered objects without a node yet, with the path that led to each. */
  readonly #waiting: { object: object; path: string }[] = [];

  write(value: unknown): Node[] {
    const box: Node = [BOX];
    this.#nodes.push(box);
    box.push(this.#slot(value, "value"));
    // Ends: every object is queued once.
    for (let next = 0; next < this.#waiting.length; next += 1) {
      const { object, path } = this.#waiting[next] as { object: object; path: string };
      this.#nodes[next + 1] = this.#node(object, path);
    }
    return this.#nodes;
  }

  #slot(value: unknown, path: string): Slot {
    switch (typeof value) {
      case "undefined":
        return [UNDEFINED];
      case "number":
        return Object.is(value, -0) ? [MINUS_ZERO] : value;
      case "bigint":
        return [BIGINT, value.toString(16)];
      case "string":
        return value.isWellFormed() ? value : [UTF16, Buffer.from(value, "utf16le")];
      case "boolean":
        return value;
      case "object":
        return value === null ? null : [REFERENCE, this.#number(value, path)];
      default:
        throw unsupported(path, `a ${typeof value}`);
    }
  }

  #number(object: object, path: string): number {
    const known = this.#numbers.get(object);
    if (known !== undefined) return known;
    this.#waiting.push({ object, path });
    const number = this.#waiting.length;
    this.#numbers.set(object, number);
    return number;
  }

  #node(object: object, path: string): Node {
    if (Array.isArray(object)) return this.#array(object, path);
    if (ArrayBuffer.isView(object)) return view(object, path);
    if (types.isMap(object)) return this.#list(MAP, [...object].flat(1), path);
    if (types.isSet(object)) return this.#list(SET, [...object], path);
    if (types.isDate(object)) return [DATE, object.getTime()];
    if (types.isRegExp(object)) return [REGEXP, this.#slot(object.source, path), object.flags];
    if (types.isNativeError(object)) return this.#error(object, path);
    if (types.isArrayBuffer(object)) return [BUFFER, new Uint8Array(object)];
    if (types.isBoxedPrimitive(object)) return this.#boxed(object, path);
    const tag = Object.prototype.toString.call(object);
    if (tag !== "[object Object]") throw unsupported(path, `a ${object.constructor?.name ?? tag}`);
    return this.#list(OBJECT, Object.entries(object).flat(1), path, true);
  }

  #list(kind: number, members: readonly unknown[], path: string, named = false): Node {
    const node: Node = [kind];
    for (let index = 0; index < members.length; index += 1) {
      const name = named ? String(members[index - (index % 2)]) : `(${index})`;
      node.push(this.#slot(members[index], `${path}.${name}`));
    }
    return node;
  }

  #array(array: readonly unknown[], path: string): Node {
    const keys = Object.keys(array).filter((key) => String(Number(key) >>> 0) === key);
    if (keys.length === array.length) {
      // Not by its own methods: it may have another prototype.
      return [ARRAY, ...Array.from(array, (member, index) => this.#slot(member, `${path}[${index}]`))];
    }
    return this.#sparse(array, keys, path);
  }

  #sparse(array: readonly unknown[], keys: readonly string[], path: string): Node {
    const node: Node = [SPARSE, array.length];
    for (const key of keys) node.push(Number(key), this.#slot(array[Number(key)], `${path}[${key}]`));
    return node;
  }

  #error(error: Error, path: string): Node {
    const members: unknown[] = ["name", error.name, "message", error.message, "stack", error.stack];
    for (const key of ["cause", "errors"]) {
      if (Object.hasOwn(error, key)) members.push(key, (error as unknown as Record<string, unknown>)[key]);
    }
    for (const [key, value] of Object.entries(error)) {
      if (!members.includes(key) && typeof value !== "function" && typeof value !== "symbol") members.push(key, value);
    }
    return this.#list(ERROR, members, path, true);
  }

  #boxed(object: object, path: string): Node {
    const primitive = object.valueOf();
    if (typeof primitive === "symbol") throw unsupported(path, "a symbol");
    return [BOXED, this.#slot(primitive, path)];
  }
}

const VIEWS: Readonly<Record<string, (bytes: Uint8Array<ArrayBuffer>) => ArrayBufferView>> = {
  Buffer: (bytes) => Buffer.from(bytes.buffer),
  DataView: (bytes) => new DataView(bytes.buffer),
  Int8Array: (bytes) => new Int8Array(bytes.buffer),
  Uint8Array: (bytes) => bytes,
  Uint8ClampedArray: (bytes) => new Uint8ClampedArray(bytes.buffer),
  Int16Array: (bytes) => new Int16Array(bytes.buffer),
  Uint16Array: (bytes) => new Uint16Array(bytes.buffer),
  Int32Array: (bytes) => new Int32Array(bytes.buffer),
  Uint32Array: (bytes) => new Uint32Array(bytes.buffer),
  Float32Array: (bytes) => new Float32Array(bytes.buffer),
  Float64Array: (bytes) => new Float64Array(bytes.buffer),
  BigInt64Array: (bytes) => new BigInt64Array(bytes.buffer),
  BigUint64Array: (bytes) => new BigUint64Array(bytes.buffer),
};

function view(object: ArrayBufferView, path: string): Node {
  if (types.isSharedArrayBuffer(object.buffer)) throw unsupported(path, "shared memory");
  const name = Buffer.isBuffer(object) ? "Buffer" : Object.prototype.toString.call(object).slice("[object ".length, -1);
  if (!(name in VIEWS)) throw unsupported(path, name);
  return [VIEW, name, new Uint8Array(object.buffer, object.byteOffset, object.byteLength)];
}

function unsupported(path: string, what: string): Error {
  return codecError("ERR_VALUE_UNSUPPORTED", `${path} is ${what}, which can't be sent or stored`, {
    details: { path, what },
  });
}

/**
 * Rebuilds the value that `toGraph` wrote down. Throws for any other nodes; the caller adds a code.
 */
export function fromGraph(nodes: readonly Node[]): unknown {
  const objects = nodes.map((node, index) => (index === 0 ? undefined : shell(node)));
  for (let index = 1; index < nodes.length; index += 1) fill(nodes[index] as Node, objects[index] as object, objects);
  return readSlot((nodes[0] as Node)[1], objects);
}

function readSlot(slot: Slot, objects: readonly unknown[]): unknown {
  if (!Array.isArray(slot)) return slot;
  const [kind, content] = slot as [number, unknown];
  switch (kind) {
    case UNDEFINED:
      return undefined;
    case REFERENCE:
      return objects[content as number];
    case MINUS_ZERO:
      return -0;
    case BIGINT:
      return bigintFromHex(content as string);
    case UTF16:
      return Buffer.from(content as Uint8Array).toString("utf16le");
    default:
      throw new TypeError(`unknown slot ${String(kind)}`);
  }
}

function bigintFromHex(hex: string): bigint {
  return hex.startsWith("-") ? -BigInt(`0x${hex.slice(1)}`) : BigInt(`0x${hex}`);
}

/** The object of a node, without its members: they may refer to objects that come later. */
function shell(node: Node): object {
  switch (node[0]) {
    case OBJECT:
      return {};
    case ARRAY:
      return [];
    case SPARSE:
      return new Array(node[1] as number);
    case MAP:
      return new Map();
    case SET:
      return new Set();
    case DATE:
      return new Date(node[1] as number);
    case REGEXP:
      return new RegExp(readSlot(node[1], []) as string, node[2] as string);
    case ERROR:
      return errorShell(node);
    case BUFFER:
      return ownBytes(node[1] as Uint8Array).buffer;
    case VIEW:
      return (VIEWS[node[1] as string] as (bytes: Uint8Array<ArrayBuffer>) => object)(ownBytes(node[2] as Uint8Array));
    case BOXED:
      return Object(readSlot(node[1], [])) as object;
    default:
      throw new TypeError(`unknown node ${String(node[0])}`);
  }
}

function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function fill(node: Node, object: object, objects: readonly unknown[]): void {
  const at = (index: number): unknown => readSlot(node[index], objects);
  switch (node[0]) {
    case OBJECT:
      for (let index = 1; index < node.length; index += 2) define(object, at(index) as string, at(index + 1));
      return;
    case ARRAY:
      for (let index = 1; index < node.length; index += 1) (object as unknown[]).push(at(index));
      return;
    case SPARSE:
      for (let index = 2; index < node.length; index += 2) (object as unknown[])[node[index] as number] = at(index + 1);
      return;
    case MAP:
      for (let index = 1; index < node.length; index += 2)
        (object as Map<unknown, unknown>).set(at(index), at(index + 1));
      return;
    case SET:
      for (let index = 1; index < node.length; index += 1) (object as Set<unknown>).add(at(index));
      return;
    case ERROR:
      fillError(node, object as Error, at);
      return;
    default:
  }
}

/** Sets a member as an own property, even one named `__proto__`. */
function define(object: object, key: string, value: unknown, enumerable = true): void {
  Object.defineProperty(object, key, { value, enumerable, configurable: true, writable: true });
}

const ERROR_CLASSES: Readonly<Record<string, new () => Error>> = {
  EvalError,
  RangeError,
  ReferenceError,
  SyntaxError,
  TypeError,
  URIError,
};

function errorShell(node: Node): Error {
  const name = node[2];
  if (name === "MillraceError") return new MillraceError("", "", "");
  if (name === "AggregateError") return new AggregateError([]);
  const known = typeof name === "string" ? ERROR_CLASSES[name] : undefined;
  return known === undefined ? new Error() : new known();
}

const HIDDEN_ON_ERRORS: ReadonlySet<string> = new Set(["message", "stack", "cause", "errors"]);

function fillError(node: Node, error: Error, at: (index: number) => unknown): void {
  for (let index = 1; index < node.length; index += 2) {
    const key = at(index) as string;
    const value = at(index + 1);
    if (key === "name" && error.name === value) continue;
    define(error, key, value, !HIDDEN_ON_ERRORS.has(key) && key !== "name");
  }
}
