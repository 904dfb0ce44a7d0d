/** Rebuilds a value from its list of nodes (nodes.ts). */
import { newError, type NewError } from "./error-classes.ts";
import * as NODE from "./nodes.ts";
import type { Graph, Node, Slot } from "./nodes.ts";
import { VIEWS } from "./views.ts";

/** Throws for any other nodes than a writer's; the caller adds a code. */
export function fromGraph(graph: Graph): unknown {
  return new GraphReader(graph).read();
}

class GraphReader {
  readonly #nodes: readonly Node[];
  readonly #texts: readonly string[];
  /** By node; none for the box. */
  readonly #objects: (object | undefined)[];

  constructor({ nodes, texts }: Graph) {
    this.#nodes = nodes;
    this.#texts = texts;
    // First without members: they may refer to objects that come later.
    this.#objects = nodes.map((node, index) => (index === 0 ? undefined : this.#shell(node)));
  }

  read(): unknown {
    for (let index = 1; index < this.#nodes.length; index += 1) {
      this.#fill(this.#nodes[index] as Node, this.#objects[index] as object);
    }
    const [, slot, omitted] = this.#nodes[0] as Node;
    const value = this.#slot(slot);
    if (omitted !== undefined) addOmitted(value, omitted as string[]);
    this.#nodes.forEach((node, index) => {
      if (node[0] !== NODE.ERROR) return;
      const paths = node[NODE.ERROR_OMITTED];
      if (paths !== null) addOmitted(this.#objects[index], paths as string[]);
    });
    return value;
  }

  #slot(slot: Slot): unknown {
    if (!Array.isArray(slot)) return slot;
    const [kind, content] = slot as [number, unknown];
    switch (kind) {
      case NODE.UNDEFINED:
        return undefined;
      case NODE.REFERENCE:
        return this.#objects[content as number];
      case NODE.MINUS_ZERO:
        return -0;
      case NODE.BIGINT:
        return bigintFromHex(content as string);
      case NODE.UTF16:
        return Buffer.from(content as Uint8Array).toString("utf16le");
      case NODE.TEXT:
        return this.#text(content as number);
      case NODE.SYMBOL:
        return Symbol.for(content as string);
      default:
        throw new TypeError(`unknown slot ${String(kind)}`);
    }
  }

  #text(index: number): string {
    const text = this.#texts[index];
    if (text === undefined) throw new RangeError(`there is no text ${index}`);
    return text;
  }

  #shell(node: Node): object {
    switch (node[0]) {
      case NODE.OBJECT:
        return {};
      case NODE.ARRAY:
        return [];
      case NODE.SPARSE:
        return new Array(node[1] as number);
      case NODE.MAP:
        return new Map();
      case NODE.SET:
        return new Set();
      case NODE.DATE:
        return new Date(node[1] as number);
      case NODE.REGEXP:
        return new RegExp(this.#slot(node[1]) as string, node[2] as string);
      case NODE.OLD_ERROR:
        return newError(oldError(node));
      case NODE.ERROR:
        return newError(this.#describedError(node));
      case NODE.BUFFER:
        return ownBytes(node[1] as Uint8Array).buffer;
      case NODE.VIEW:
        return (VIEWS[node[1] as string] as (bytes: Uint8Array<ArrayBuffer>) => object)(
          ownBytes(node[2] as Uint8Array),
        );
      case NODE.BOXED:
        return Object(this.#slot(node[1])) as object;
      default:
        throw new TypeError(`unknown node ${String(node[0])}`);
    }
  }

  /** Name and message come first: a DOMException is made with them. */
  #describedError(node: Node): NewError {
    const made: NewError = {
      base: node[1] as string,
      className: node[2] as string,
      name: undefined,
      message: undefined,
    };
    for (let index = NODE.ERROR_MEMBERS; index < node.length; index += 2) {
      const key = node[index];
      if (key !== "name" && key !== "message") break;
      const slot = node[index + 1];
      // Another object isn't there yet, and no constructor takes one.
      if (Array.isArray(slot) && slot[0] === NODE.REFERENCE) continue;
      const text = this.#slot(slot);
      if (typeof text === "string") made[key] = text;
    }
    return made;
  }

  #fill(node: Node, object: object): void {
    switch (node[0]) {
      case NODE.OBJECT:
        for (let index = 1; index < node.length; index += 2) {
          setMember(object, this.#slot(node[index]) as string, this.#slot(node[index + 1]));
        }
        return;
      case NODE.ARRAY:
        for (let index = 1; index < node.length; index += 1) (object as unknown[]).push(this.#slot(node[index]));
        return;
      case NODE.SPARSE:
        for (let index = 2; index < node.length; index += 2) {
          (object as unknown[])[node[index] as number] = this.#slot(node[index + 1]);
        }
        return;
      case NODE.MAP:
        for (let index = 1; index < node.length; index += 2) {
          (object as Map<unknown, unknown>).set(this.#slot(node[index]), this.#slot(node[index + 1]));
        }
        return;
      case NODE.SET:
        for (let index = 1; index < node.length; index += 1) (object as Set<unknown>).add(this.#slot(node[index]));
        return;
      case NODE.OLD_ERROR:
        this.#fillError(node, 1, object as Error);
        return;
      case NODE.ERROR:
        this.#fillError(node, NODE.ERROR_MEMBERS, object as Error);
        return;
      default:
    }
  }

  #fillError(node: Node, from: number, error: Error): void {
    let hasStack = false;
    for (let index = from; index < node.length; index += 2) {
      const key = this.#slot(node[index]) as string | symbol;
      const value = this.#slot(node[index + 1]);
      if (key === "stack") hasStack = true;
      // A DOMException has them already, and the old form always gives the name.
      if ((key === "name" || key === "message") && error[key] === value) continue;
      define(error, key, value, !HIDDEN.has(key));
    }
    // Otherwise it would show where it was read.
    if (!hasStack) define(error, "stack", titleOf(error), false);
  }
}

/** As a stack begins. */
function titleOf({ name, message }: { readonly name: unknown; readonly message: unknown }): string {
  const title = typeof name === "string" ? name : "Error";
  return typeof message === "string" && message !== "" ? `${title}: ${message}` : title;
}

function bigintFromHex(hex: string): bigint {
  return hex.startsWith("-") ? -BigInt(`0x${hex.slice(1)}`) : BigInt(`0x${hex}`);
}

function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

/** Sets a member as an own property, even where objects inherit a setter of that name. */
function setMember(object: object, key: string, value: unknown): void {
  if (key in Object.prototype) define(object, key, value, true);
  else (object as Record<string, unknown>)[key] = value;
}

function define(object: object, key: string | symbol, value: unknown, enumerable: boolean): void {
  Object.defineProperty(object, key, { value, enumerable, configurable: true, writable: true });
}

// ── errors ─────────────────────────────────────────────────────────────────────────────────────

const HIDDEN: ReadonlySet<unknown> = new Set(["name", "message", "stack", "cause", "errors"]);

/** `[18, "name", slot, "message", slot, …]` */
function oldError(node: Node): NewError {
  const base = typeof node[2] === "string" ? node[2] : "Error";
  return { base, className: "", name: base, message: "" };
}

/**
 * Tells in `details.omitted` what was left out of an error. Where `details` is the error's own and
 * no object, `omittedDetails` tells it.
 */
function addOmitted(value: unknown, omitted: readonly string[]): void {
  if (typeof value !== "object" || value === null) return;
  const { details } = value as { readonly details?: unknown };
  if (details === undefined) define(value, "details", { omitted }, true);
  else if (typeof details !== "object" || details === null) define(value, "omittedDetails", omitted, true);
  else {
    const { omitted: before } = details as { readonly omitted?: unknown };
    define(details, "omitted", Array.isArray(before) ? [...(before as string[]), ...omitted] : omitted, true);
  }
}
