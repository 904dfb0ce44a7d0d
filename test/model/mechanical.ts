/**
 * Makes mutants of a compiled module by rule, wherever the rule applies:
 *
 *   plain     an Atomics.load or store becomes `a[i]` or `a[i] = v`
 *   torn      an operation that reads and writes at once becomes a load and, a step later, a store
 *   silent    a notification is left out
 *   always, never   a condition that depends on what was read atomically is evaluated, and its outcome ignored
 *   flipped   < becomes <=, === becomes !==, and so on, in functions that use Atomics
 *   swapped   two stores that follow each other change places
 *
 * A mutant is named by its module, function, rule and text, so that its name survives edits
 * elsewhere in the module.
 */
import type { Edit } from "./modules.ts";
import { childrenOf, isFunction, keyName, type Node, parseModule, walk, walkOwn } from "./syntax.ts";
import { isAtomics } from "./taint.ts";

export type Rule = "plain" | "torn" | "silent" | "always" | "never" | "flipped" | "swapped";

export interface MechanicalMutant extends Edit {
  readonly name: string;
  readonly rule: Rule;
  /** Where `from` begins. */
  readonly at: number;
  /** Lines of the function around it, from 1. */
  readonly first: number;
  readonly last: number;
  /** The line of the edit. */
  readonly line: number;
}

const FLIPPED: Readonly<Record<string, string>> = {
  "<": "<=",
  "<=": "<",
  ">": ">=",
  ">=": ">",
  "===": "!==",
  "!==": "===",
};

/**
 * The value that the operation leaves in the word, from the old value `old` and the operands `v`
 * and `w`.
 */
const TORN: Readonly<Record<string, string>> = {
  add: "Atomics.store(a, i, old + v);",
  sub: "Atomics.store(a, i, old - v);",
  and: "Atomics.store(a, i, old & v);",
  or: "Atomics.store(a, i, old | v);",
  xor: "Atomics.store(a, i, old ^ v);",
  exchange: "Atomics.store(a, i, v);",
  compareExchange: 'if (old === (typeof v === "number" ? v | 0 : v)) Atomics.store(a, i, w);',
};

/** `file` is the module as a mutant names it, such as `shared-memory/run-queue`. */
export function mechanicalMutants(file: string, text: string): MechanicalMutant[] {
  return new Maker(file, text).run();
}

class Maker {
  readonly #file: string;
  readonly #text: string;
  readonly #mutants: MechanicalMutant[] = [];
  readonly #names = new Map<string, number>();

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
  }

  run(): MechanicalMutant[] {
    walk(parseModule(this.#text), (node, parents) => {
      const around = parents.findLast((each) => isFunction(each) && !isInline(each, parents));
      if (around !== undefined) this.#look(node, around, parents);
    });
    return this.#mutants;
  }

  #look(node: Node, around: Node, parents: readonly Node[]): void {
    const put = (rule: Rule, to: string, first: Node = node, last: Node = node): void =>
      this.#put({ rule, to, first, last, around, parents });
    const operation = operationOf(node);
    if (operation !== undefined) this.#weaken(node, operation, put);
    const test: Node | null | undefined = /^(If|While|DoWhile|For)Statement$|^ConditionalExpression$/.test(node.type)
      ? node["test"]
      : undefined;
    if (test !== null && test !== undefined && readsShared(test, around)) {
      // A loop that always goes on ends as a livelock, which says little.
      if (/^(If|Conditional)/.test(node.type)) put("always", `(${this.#source(test)}, true)`, test, test);
      put("never", `(${this.#source(test)}, false)`, test, test);
    }
    const flipped = node.type === "BinaryExpression" ? FLIPPED[node["operator"]] : undefined;
    if (flipped !== undefined && usesAtomics(around)) {
      // Parentheses around an operand stand outside of it.
      const [from, to] = [node["left"].end, node["right"].start] as const;
      const between = this.#text.slice(from, to).replace(node["operator"], flipped);
      put("flipped", this.#text.slice(node.start, from) + between + this.#text.slice(to, node.end));
    }
    if (Array.isArray(node["body"])) this.#swap(node["body"] as Node[], put);
    if (Array.isArray(node["consequent"])) this.#swap(node["consequent"] as Node[], put);
  }

  #weaken(node: Node, operation: string, put: (rule: Rule, to: string) => void): void {
    const operands = (node["arguments"] as Node[]).map((each) => this.#source(each));
    const [array, index, value] = operands;
    if (operation === "load") put("plain", `(${array})[${index}]`);
    else if (operation === "store") put("plain", `((${array})[${index}] = ${value})`);
    else if (operation === "notify") put("silent", "0");
    else if (operation in TORN) {
      const body = `const old = Atomics.load(a, i); ${TORN[operation]} return old;`;
      put("torn", `((a, i, v, w) => { ${body} })(${operands.join(", ")})`);
    }
  }

  #swap(statements: readonly Node[], put: (rule: Rule, to: string, first: Node, last: Node) => void): void {
    for (const [index, first] of statements.entries()) {
      const second = statements[index + 1];
      if (second === undefined || !isStore(first) || !isStore(second)) continue;
      if (!usesAtomics(first) && !usesAtomics(second)) continue;
      const between = this.#text.slice(first.end, second.start);
      put("swapped", this.#source(second) + between + this.#source(first), first, second);
    }
  }

  #put(found: { rule: Rule; to: string; first: Node; last: Node; around: Node; parents: readonly Node[] }): void {
    const { rule, to, first, last, around, parents } = found;
    const from = this.#text.slice(first.start, last.end);
    const stem = `${this.#shortFile()} ${nameOf(around, parents)}: ${rule} ${from.replaceAll(/\s+/g, " ")}`;
    const nth = (this.#names.get(stem) ?? 0) + 1;
    this.#names.set(stem, nth);
    this.#mutants.push({
      file: this.#file,
      name: nth === 1 ? stem : `${stem} (${nth})`,
      rule,
      from,
      to,
      at: first.start,
      first: around["loc"]["start"]["line"],
      last: around["loc"]["end"]["line"],
      line: first["loc"]["start"]["line"],
    });
  }

  /** Package and file without the folders between, so that a module may move. */
  #shortFile(): string {
    const parts = this.#file.split("/");
    return `${parts[0]}/${parts.at(-1)}`;
  }

  #source(node: Node): string {
    return this.#text.slice(node.start, node.end);
  }
}

/** The lines of the innermost function around a place of the text, from 1. */
export function functionAround(text: string, at: number): { first: number; last: number } {
  let found = { first: 1, last: Infinity };
  walk(parseModule(text), (node) => {
    // Inner functions are visited after those around them.
    if (isFunction(node) && node.start <= at && at < node.end) {
      found = { first: node["loc"]["start"]["line"], last: node["loc"]["end"]["line"] };
    }
  });
  return found;
}

/** An arrow that stands within a function's body belongs to that function. */
function isInline(node: Node, parents: readonly Node[]): boolean {
  if (node.type !== "ArrowFunctionExpression") return false;
  return parents.slice(0, parents.indexOf(node)).some(isFunction);
}

function nameOf(node: Node, parents: readonly Node[]): string {
  if (node["id"] !== null && node["id"] !== undefined) return node["id"]["name"];
  const holder = parents[parents.indexOf(node) - 1];
  if (holder === undefined) return "a function";
  if (holder.type === "VariableDeclarator" && holder["id"].type === "Identifier") return holder["id"]["name"];
  return holder["key"] === undefined ? "a function" : (keyName(holder["key"], holder["computed"]) ?? "a function");
}

/** The name of the operation when the node is a call of one. */
function operationOf(node: Node): string | undefined {
  if (node.type !== "CallExpression") return undefined;
  const callee: Node = node["callee"];
  if (callee.type !== "MemberExpression" || !isAtomics(callee["object"])) return undefined;
  return keyName(callee["property"], callee["computed"]);
}

export function usesAtomics(node: Node): boolean {
  return operationOf(node) !== undefined || childrenOf(node).some(usesAtomics);
}

/** Whether the expression reads atomically, or a variable that was given what was read so. */
function readsShared(test: Node, around: Node): boolean {
  if (usesAtomics(test)) return true;
  const used = new Set<string>();
  walkOwn(test, (each) => {
    if (each.type === "Identifier") used.add(each["name"]);
  });
  let reads = false;
  walk(around["body"], (each) => {
    const isGiven = each.type === "VariableDeclarator" && each["init"] !== null && each["id"].type === "Identifier";
    if (isGiven && used.has(each["id"]["name"]) && usesAtomics(each["init"])) reads = true;
    const isSet = each.type === "AssignmentExpression" && each["left"].type === "Identifier";
    if (isSet && used.has(each["left"]["name"]) && usesAtomics(each["right"])) reads = true;
  });
  return reads;
}

const WRITES: ReadonlySet<string> = new Set([...Object.keys(TORN), "store", "notify"]);

/** A statement that is nothing but a write to memory that may be shared, or a notification. */
function isStore(statement: Node): boolean {
  if (statement.type !== "ExpressionStatement") return false;
  const expression: Node = statement["expression"];
  const operation = operationOf(expression);
  if (operation !== undefined) return WRITES.has(operation);
  const left: Node | undefined = expression.type === "AssignmentExpression" ? expression["left"] : undefined;
  return left?.type === "MemberExpression" && left["computed"] === true;
}
