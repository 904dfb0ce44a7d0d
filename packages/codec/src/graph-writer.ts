/**
 * Writes a value down as a list of nodes (nodes.ts).
 *
 * Covers what structuredClone covers apart from ports, shared memory and host objects: cycles and
 * shared references, Map, Set, RegExp, errors, ArrayBuffer and all its views, boxed primitives,
 * sparse arrays, big integers, -0, ill-formed strings, class instances (as plain objects). Objects
 * keep their identity within the value. Two views of one ArrayBuffer become two buffers, each with
 * the bytes of its view.
 *
 * A part that can't be sent refuses the value, with the path to it. Within an error it is left out
 * instead, and the error lists its path: losing an error for a function among its members would
 * hide what happened (docs/adr/0016-errors-arrive-whole.md).
 */
import { types } from "node:util";
import { codecError } from "./errors.ts";
import { attempt, isError, partsOfError } from "./error-parts.ts";
import * as NODE from "./nodes.ts";
import type { Graph, Node, Slot } from "./nodes.ts";
import { Omissions } from "./omissions.ts";
import { nameOf, refusalOf, sizeOf } from "./refusals.ts";
import { isLongForeign } from "./text.ts";
import { isDetached, nameOfView, VIEWS } from "./views.ts";

/**
 * A member is named by its key, an element of an array by its index, an entry of a Map or Set by
 * `-1 - index`.
 */
type Key = string | number | symbol;

/** An object with a number. Its own number is its place in the list of them, plus 1. */
interface Numbered {
  readonly object: object;
  /** The number of the object that led here, 0 for the value itself, and the key there. */
  readonly parent: number;
  readonly key: Key;
  /** The number of the outermost error that it belongs to; STRICT outside of errors. */
  readonly error: number;
}

/** Outside of errors. */
const STRICT = -1;
/** The value itself, where it was thrown. */
const THROWN = 0;

/** About the bytes of a number or a reference. */
const SLOT_BYTES = 9;
/** About the bytes of the note at the end of a text that was cut. */
const CUT_NOTE_BYTES = 32;

/** The member is left out. */
const OMITTED: unique symbol = Symbol("omitted");

/**
 * Nodes of a value. Throws `ERR_VALUE_UNSUPPORTED` for a part that can't be sent, outside of
 * errors.
 */
export function toGraph(value: unknown): Graph {
  return new GraphWriter(STRICT, Infinity).write(value);
}

/** Nodes of a thrown value, as much of it as can be sent, in about `roomBytes`. */
export function thrownToGraph(thrown: unknown, roomBytes: number): Graph {
  return new GraphWriter(THROWN, roomBytes).write(thrown);
}

class GraphWriter {
  readonly #nodes: Node[] = [];
  readonly #texts: string[] = [];
  readonly #numbers = new Map<object, number>();
  readonly #objects: Numbered[] = [];
  readonly #outermost: number;
  /** Bytes that the rest of the value may take. */
  #roomBytes: number;
  /** By the number of the outermost error. */
  readonly #omissions = new Map<number, Omissions>();

  constructor(outermost: typeof STRICT | typeof THROWN, roomBytes: number) {
    this.#outermost = outermost;
    this.#roomBytes = roomBytes;
  }

  write(value: unknown): Graph {
    const slot = this.#slot(value, 0, "", this.#outermost);
    this.#nodes.push([NODE.BOX, slot === OMITTED ? [NODE.UNDEFINED] : slot]);
    // Ends: every object has one number.
    for (let next = 0; next < this.#objects.length; next += 1) this.#nodes.push(this.#node(next + 1));
    for (const [error, omissions] of this.#omissions) this.#addOmissions(error, omissions);
    return { nodes: this.#nodes, texts: this.#texts };
  }

  #addOmissions(error: number, omissions: Omissions): void {
    const node = this.#nodes[error] as Node;
    if (node[0] === NODE.ERROR) node[NODE.ERROR_OMITTED] = omissions.list();
    else node.push(omissions.list());
  }

  // ── slots ──────────────────────────────────────────────────────────────────────────────────

  /** The slot of a member, `OMITTED` if it is left out. */
  #slot(value: unknown, parent: number, key: Key, error: number): Slot {
    switch (typeof value) {
      case "undefined":
        return [NODE.UNDEFINED];
      case "number":
        return Object.is(value, -0) ? [NODE.MINUS_ZERO] : value;
      case "bigint":
        return [NODE.BIGINT, value.toString(16)];
      case "string":
        return this.#hasRoom(value.length, parent, key, error) ? this.#textSlot(value) : OMITTED;
      case "boolean":
        return value;
      case "object":
        return value === null ? null : this.#reference(value, parent, key, error);
      default:
        if (error !== STRICT && typeof value === "symbol" && Symbol.keyFor(value) !== undefined) {
          return [NODE.SYMBOL, Symbol.keyFor(value)];
        }
        return this.#refuse(`a ${typeof value}`, parent, key, error);
    }
  }

  #reference(object: object, parent: number, key: Key, error: number): Slot {
    const known = this.#numbers.get(object);
    if (known !== undefined) return [NODE.REFERENCE, known];
    if (error !== STRICT) {
      if (refusalOf(object) !== undefined) return this.#omit(parent, key, error);
      const isLimited = this.#roomBytes !== Infinity;
      if (isLimited && !this.#hasRoom(sizeOf(object), parent, key, error)) return OMITTED;
    }
    const number = this.#objects.length + 1;
    const outermost = error <= THROWN && isError(object) ? number : error;
    this.#objects.push({ object, parent, key, error: outermost });
    this.#numbers.set(object, number);
    return [NODE.REFERENCE, number];
  }

  /**
   * Takes bytes of the room, at most half of it, so that some is left for the members that follow.
   */
  #hasRoom(bytes: number, parent: number, key: Key, error: number): boolean {
    if (this.#roomBytes === Infinity || error === STRICT) return true;
    if (bytes > this.#roomBytes / 2) {
      this.#omit(parent, key, error);
      return false;
    }
    this.#roomBytes -= bytes;
    return true;
  }

  #refuse(what: string, parent: number, key: Key, error: number): typeof OMITTED {
    if (error !== STRICT) return this.#omit(parent, key, error);
    const path = `value${this.#path(parent, key, 0)}`;
    throw codecError("ERR_VALUE_UNSUPPORTED", `${path} is ${what}, which can't be sent or stored`, {
      details: { path, what },
    });
  }

  #omit(parent: number, key: Key, error: number): typeof OMITTED {
    let omissions = this.#omissions.get(error);
    if (omissions === undefined) {
      omissions = new Omissions();
      this.#omissions.set(error, omissions);
    }
    omissions.add(() => this.#path(parent, key, error));
    return OMITTED;
  }

  /** The way from the object `from` to a member of the object `parent`. */
  #path(parent: number, key: Key, from: number): string {
    let path = "";
    let at = parent;
    let step = key;
    // Ends: the number of an object's parent is smaller.
    while (at !== from) {
      path = stepOf(step) + path;
      ({ parent: at, key: step } = this.#objects[at - 1] as Numbered);
    }
    return at === 0 && step === "" ? path : stepOf(step) + path;
  }

  #textSlot(text: string): Slot {
    if (isLongForeign(text)) return [NODE.TEXT, this.#texts.push(text) - 1];
    return text.isWellFormed() ? text : [NODE.UTF16, Buffer.from(text, "utf16le")];
  }

  // ── nodes ──────────────────────────────────────────────────────────────────────────────────

  #node(number: number): Node {
    const { object, error } = this.#objects[number - 1] as Numbered;
    if (error !== STRICT && isError(object)) return this.#error(object, number, error);
    if (Array.isArray(object)) return this.#array(object, number, error);
    if (ArrayBuffer.isView(object)) return this.#view(object, number, error);
    if (types.isMap(object)) return this.#map(object, number, error);
    if (types.isSet(object)) return this.#set(object, number, error);
    if (types.isDate(object)) return [NODE.DATE, object.getTime()];
    if (types.isRegExp(object)) return [NODE.REGEXP, this.#textSlot(object.source), object.flags];
    if (types.isArrayBuffer(object)) return this.#buffer(object, number, error);
    if (types.isBoxedPrimitive(object)) return this.#boxed(object, number, error);
    const tag = Object.prototype.toString.call(object);
    if (tag !== "[object Object]" && error === STRICT) this.#refuseObject(nameOf(object), number, error);
    return this.#object(object, number, error);
  }

  /** An object that turned out as one that can't be sent: the member that led to it. */
  #refuseObject(what: string, number: number, error: number): void {
    const { parent, key } = this.#objects[number - 1] as Numbered;
    this.#refuse(what, parent, key, error);
  }

  #object(object: object, number: number, error: number): Node {
    const node: Node = [NODE.OBJECT];
    for (const key of Object.keys(object)) this.#member(node, object, key, number, error);
    return node;
  }

  #member(node: Node, object: object, key: string, number: number, error: number): void {
    if (!this.#hasRoom(key.length + SLOT_BYTES, number, key, error)) return;
    const slot = this.#slotOf(object, key, number, error);
    if (slot !== OMITTED) node.push(this.#textSlot(key), slot);
  }

  /** As `#slot`, for a member by its key; the getter of an error's part may throw. */
  #slotOf(object: object, key: Key, number: number, error: number): Slot {
    if (error === STRICT) return this.#slot((object as Record<Key, unknown>)[key], number, key, error);
    let value: unknown;
    try {
      value = (object as Record<Key, unknown>)[key];
    } catch {
      return this.#omit(number, key, error);
    }
    return this.#slot(value, number, key, error);
  }

  #array(array: readonly unknown[], number: number, error: number): Node {
    if (isSparse(array)) return this.#sparse(array, number, error);
    const node: Node = [NODE.ARRAY];
    for (let index = 0; index < array.length; index += 1) {
      const slot = this.#slotOf(array, index, number, error);
      node.push(slot === OMITTED ? [NODE.UNDEFINED] : slot);
    }
    return node;
  }

  #sparse(array: readonly unknown[], number: number, error: number): Node {
    const node: Node = [NODE.SPARSE, array.length];
    for (const key of Object.keys(array)) {
      const index = Number(key);
      if (String(index >>> 0) !== key) continue;
      const slot = this.#slotOf(array, index, number, error);
      if (slot !== OMITTED) node.push(index, slot);
    }
    return node;
  }

  #map(map: ReadonlyMap<unknown, unknown>, number: number, error: number): Node {
    const node: Node = [NODE.MAP];
    let index = 0;
    for (const [key, value] of map) {
      const keySlot = this.#slot(key, number, -1 - index, error);
      const slot = keySlot === OMITTED ? OMITTED : this.#slot(value, number, -1 - index, error);
      if (slot !== OMITTED) node.push(keySlot, slot);
      index += 1;
    }
    return node;
  }

  #set(set: ReadonlySet<unknown>, number: number, error: number): Node {
    const node: Node = [NODE.SET];
    let index = 0;
    for (const member of set) {
      const slot = this.#slot(member, number, -1 - index, error);
      if (slot !== OMITTED) node.push(slot);
      index += 1;
    }
    return node;
  }

  #view(view: ArrayBufferView, number: number, error: number): Node {
    const name = nameOfView(view);
    if (types.isSharedArrayBuffer(view.buffer)) this.#refuseObject("shared memory", number, error);
    if (isDetached(view.buffer)) this.#refuseObject("a view of a detached buffer", number, error);
    if (!(name in VIEWS)) this.#refuseObject(`a ${name}`, number, error);
    return [NODE.VIEW, name, new Uint8Array(view.buffer, view.byteOffset, view.byteLength)];
  }

  #buffer(buffer: ArrayBuffer, number: number, error: number): Node {
    if (isDetached(buffer)) this.#refuseObject("a detached buffer", number, error);
    return [NODE.BUFFER, new Uint8Array(buffer)];
  }

  #boxed(object: object, number: number, error: number): Node {
    if (types.isSymbolObject(object)) this.#refuseObject("a symbol", number, error);
    return [NODE.BOXED, this.#slot(unboxed(object), number, "", error)];
  }

  #error(object: object, number: number, error: number): Node {
    const { base, className, hidden, visible, symbols } = partsOfError(object);
    const node: Node = [NODE.ERROR, base, className, null];
    for (const key of hidden) {
      const slot = this.#hiddenSlot(object, key, number, error);
      if (slot !== OMITTED) node.push(key, slot);
    }
    for (const key of visible) this.#member(node, object, key, number, error);
    for (const key of symbols) this.#symbolMember(node, object, key, number, error);
    return node;
  }

  /** Message and stack are cut where there is no room for them. */
  #hiddenSlot(object: object, key: string, number: number, error: number): Slot {
    const value = attempt(() => (object as Record<string, unknown>)[key]);
    // A program may have made it a list of call sites (Error.prepareStackTrace).
    if (key === "stack" && typeof value !== "string") return this.#omit(number, key, error);
    if (typeof value !== "string" || value.length <= this.#roomBytes / 2) {
      return this.#slotOf(object, key, number, error);
    }
    this.#omit(number, key, error);
    const length = Math.max(0, Math.floor(this.#roomBytes / 2) - CUT_NOTE_BYTES);
    this.#roomBytes = Math.max(0, this.#roomBytes - length - CUT_NOTE_BYTES);
    return this.#textSlot(`${value.slice(0, length)}… (${value.length} characters)`);
  }

  /** A symbol of the program's registry is the same in every thread; another one can't be sent. */
  #symbolMember(node: Node, object: object, key: symbol, number: number, error: number): void {
    const name = Symbol.keyFor(key);
    if (name === undefined) {
      this.#omit(number, key, error);
      return;
    }
    const slot = this.#slotOf(object, key, number, error);
    if (slot !== OMITTED) node.push([NODE.SYMBOL, name], slot);
  }
}

function unboxed(object: object): unknown {
  if (types.isNumberObject(object)) return Number.prototype.valueOf.call(object);
  if (types.isStringObject(object)) return String.prototype.valueOf.call(object);
  if (types.isBooleanObject(object)) return Boolean.prototype.valueOf.call(object);
  return BigInt.prototype.valueOf.call(object);
}

function isSparse(array: readonly unknown[]): boolean {
  for (let index = 0; index < array.length; index += 1) if (!Object.hasOwn(array, index)) return true;
  return false;
}

/** A step of a path as it would be written in a program. */
function stepOf(key: Key): string {
  if (typeof key === "symbol") return `[${String(key)}]`;
  if (typeof key === "number") return key < 0 ? `.(${-1 - key})` : `[${key}]`;
  if (key.length <= 80 && /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key)) return `.${key}`;
  return `[${JSON.stringify(key.length <= 80 ? key : `${key.slice(0, 80)}…`)}]`;
}
