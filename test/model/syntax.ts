/** Small helpers over acorn's syntax trees. */
import { type Options, parse } from "acorn";

/** A node of the tree; which fields it has follows from its type (the ESTree specification). */
export interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  // Fields differ by type, and naming all of ESTree here would say nothing about the checker.
  // eslint-disable-next-line typescript/no-explicit-any
  readonly [field: string]: any;
}

const OPTIONS: Options = { ecmaVersion: "latest", sourceType: "module", locations: true };

export function parseModule(text: string): Node {
  return parse(text, OPTIONS) as unknown as Node;
}

export function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Node).type === "string";
}

/** The direct children in the order of the text. */
export function childrenOf(node: Node): Node[] {
  const children: Node[] = [];
  for (const [field, value] of Object.entries(node)) {
    if (field === "loc" || (field === "value" && node["shorthand"] === true)) continue;
    if (isNode(value)) children.push(value);
    else if (Array.isArray(value)) for (const each of value) if (isNode(each)) children.push(each);
  }
  return children.toSorted((a, b) => a.start - b.start);
}

export function isFunction(node: Node): boolean {
  return (
    node.type === "FunctionDeclaration" || node.type === "FunctionExpression" || node.type === "ArrowFunctionExpression"
  );
}

/** Visits `node` and everything in it, apart from the inside of nested functions. */
export function walkOwn(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const child of childrenOf(node)) {
    if (isFunction(child)) visit(child);
    else walkOwn(child, visit);
  }
}

/** Visits `node` and everything in it. */
export function walk(node: Node, visit: (node: Node, parents: readonly Node[]) => void): void {
  const parents: Node[] = [];
  const step = (each: Node): void => {
    visit(each, parents);
    parents.push(each);
    for (const child of childrenOf(each)) step(child);
    parents.pop();
  };
  step(node);
}

/** The names that a pattern binds. */
export function namesIn(pattern: Node): string[] {
  switch (pattern.type) {
    case "Identifier":
      return [pattern["name"]];
    case "ObjectPattern":
      return pattern["properties"].flatMap((each: Node) => namesIn(each.type === "Property" ? each["value"] : each));
    case "ArrayPattern":
      return pattern["elements"].flatMap((each: Node | null) => (each === null ? [] : namesIn(each)));
    case "AssignmentPattern":
      return namesIn(pattern["left"]);
    case "RestElement":
      return namesIn(pattern["argument"]);
    default:
      return [];
  }
}

/** The name of a member or key: `x` for `.x`, `#x` for `.#x`; undefined when computed. */
export function keyName(key: Node, computed: boolean): string | undefined {
  if (key.type === "PrivateIdentifier") return `#${key["name"]}`;
  if (computed) return undefined;
  return key.type === "Identifier" ? key["name"] : String(key["value"]);
}
