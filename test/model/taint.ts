/**
 * Decides which functions become generators: those that contain a scheduling point, or call
 * something that may.
 *
 * It is a fixpoint over names, across all modules: a function is tainted if it uses `Atomics`, is
 * async, calls a tainted name, or calls something unknown (a parameter, a variable, the result of a
 * call). Too much taint costs a little speed; too little would drop a call, which the "wrap" form
 * of the rewriting finds.
 */
import type { Module, ModuleSet } from "./modules.ts";
import { isRealTime, isTransformed } from "./modules.ts";
import { isFunction, keyName, namesIn, type Node, walk, walkOwn } from "./syntax.ts";

export type Binding =
  | { readonly kind: "function" | "class" | "param" | "state" | "constant" }
  | { readonly kind: "local"; readonly init: Node | null }
  | { readonly kind: "import"; readonly imported: string; readonly url: string };

/** The names that a function or module declares; blocks are not told apart. */
export type Scope = ReadonlyMap<string, Binding>;

/** The role of a function in its surroundings; decides whether it can become a generator. */
export type Role = "plain" | "getter" | "setter" | "constructor" | "native callback" | "generator";

export interface FunctionInfo {
  readonly node: Node;
  readonly module: Module;
  readonly role: Role;
  /** For people. */
  readonly title: string;
  readonly names: readonly string[];
  readonly scope: Scope;
  readonly scopes: readonly Scope[];
  tainted: boolean;
}

export interface Taint {
  readonly functions: ReadonlyMap<Node, FunctionInfo>;
  readonly moduleScopes: ReadonlyMap<Module, Scope>;
  readonly names: ReadonlySet<string>;
  readonly getters: ReadonlySet<string>;
}

/** Methods of the language that call their argument at once and can't wait for a generator. */
export const NATIVE_CALLERS: ReadonlySet<string> = new Set(
  (
    "forEach map filter find findIndex findLast findLastIndex some every reduce reduceRight sort toSorted flatMap from " +
    "fromAsync replace replaceAll groupBy"
  ).split(" "),
);

/** Functions of the checker's own platform that run listeners at once. */
const TAINTED_BY_NATURE = ["abort", "dispatchEvent", "join", "pause"];

/** Stand-ins made by `new` of these are pure as functions. */
const PURE_GLOBALS = /^[A-Za-z]/;

export function analyse(set: ModuleSet, plainYields: boolean): Taint {
  const functions = new Map<Node, FunctionInfo>();
  const moduleScopes = new Map<Module, Scope>();
  for (const module of set.modules.values()) {
    const scope = scopeOfModule(module);
    moduleScopes.set(module, scope);
    collect(module, scope, functions);
  }
  const names = new Set(TAINTED_BY_NATURE);
  const getters = new Set<string>();
  const aliases = aliasesOf(set, moduleScopes, functions, names);
  const facts = new Map([...functions.values()].map((info) => [info, factsOf(info, plainYields)]));
  for (let changed = true; changed;) {
    changed = false;
    for (const [from, to] of aliases) {
      if (names.has(from) && !names.has(to)) {
        names.add(to);
        changed = true;
      }
    }
    for (const [info, fact] of facts) {
      if (info.tainted || info.role === "native callback") continue;
      const reads = fact.reads.some((name) => getters.has(name));
      if (!fact.always && !reads && !fact.calls.some((name) => names.has(name))) continue;
      info.tainted = true;
      changed = true;
      if (info.role === "getter") for (const name of info.names) getters.add(name);
      else if (info.role !== "constructor") for (const name of info.names) names.add(name);
    }
  }
  return { functions, moduleScopes, names, getters };
}

/** Whether a call may reach a scheduling point. */
export function isTaintedCall(callee: Node, scopes: readonly Scope[], names: ReadonlySet<string>): boolean {
  const name = calledName(callee, scopes);
  return name === UNKNOWN || (name !== PURE && names.has(name));
}

const UNKNOWN = "?";
const PURE = "";

function calledName(callee: Node, scopes: readonly Scope[]): string {
  if (callee.type === "ParenthesizedExpression") return calledName(callee["expression"], scopes);
  if (callee.type === "ChainExpression") return calledName(callee["expression"], scopes);
  if (callee.type === "Super" || callee.type === "Import") return PURE;
  if (callee.type === "MemberExpression") return keyName(callee["property"], callee["computed"]) ?? UNKNOWN;
  if (callee.type !== "Identifier") return UNKNOWN;
  const name = callee["name"] as string;
  const binding = lookup(name, scopes);
  if (binding === undefined) return PURE_GLOBALS.test(name) ? PURE : UNKNOWN;
  switch (binding.kind) {
    case "import":
      return isTransformed(binding.url) || NATURE.has(name) ? name : PURE;
    case "function":
    case "class":
    case "constant":
      return name;
    case "local":
      return binding.init !== null && isFunction(binding.init) ? name : UNKNOWN;
    default:
      return UNKNOWN;
  }
}

const NATURE = new Set(TAINTED_BY_NATURE);

export function lookup(name: string, scopes: readonly Scope[]): Binding | undefined {
  for (let index = scopes.length - 1; index >= 0; index -= 1) {
    const binding = (scopes[index] as Scope).get(name);
    if (binding !== undefined) return binding;
  }
  return undefined;
}

interface Facts {
  always: boolean;
  readonly calls: string[];
  readonly reads: string[];
}

/** Facts about the function's own body; nested functions count for themselves. */
function factsOf(info: FunctionInfo, plainYields: boolean): Facts {
  const facts: Facts = { always: info.node["async"] === true, calls: [], reads: [] };
  walkOwn(info.node["body"], (node) => {
    if (isFunction(node) && node !== info.node) return;
    if (node.type === "MemberExpression") {
      const name = keyName(node["property"], node["computed"]);
      if (name !== undefined) facts.reads.push(name);
      else if (plainYields) facts.always = true;
      if (isAtomics(node["object"])) facts.always = true;
    } else if (node.type === "NewExpression" && node["callee"]["name"] === "Promise") facts.always = true;
    else if (node.type === "CallExpression") {
      const name = calledName(node["callee"], info.scopes);
      if (name === UNKNOWN) facts.always = true;
      else if (name !== PURE) facts.calls.push(name);
    }
  });
  return facts;
}

export function isAtomics(node: Node): boolean {
  return node.type === "Identifier" && node["name"] === "Atomics";
}

// ── scopes ──────────────────────────────────────────────────────────────────────────────────────

/** Constructors of constants that hold nothing between two calls. */
const STATELESS = new Set(["TextEncoder", "TextDecoder", "RegExp", "URL", "Error"]);

function isState(kind: string, init: Node | null, isChanged: boolean): boolean {
  if (kind !== "const") return true;
  if (init === null) return false;
  if (init.type === "NewExpression") return !STATELESS.has(init["callee"]["name"]);
  if (init.type === "ArrayExpression") return isChanged || init["elements"].length === 0;
  return init.type === "ObjectExpression" && isChanged;
}

/** The variables of which some member is assigned to. */
function changedObjects(tree: Node): Set<string> {
  const names = new Set<string>();
  walk(tree, (node) => {
    const target: Node | undefined = node.type === "AssignmentExpression" ? node["left"] : node["argument"];
    if (!/^(Assignment|Update)Expression$/.test(node.type) || target?.type !== "MemberExpression") return;
    let root: Node = target;
    while (root.type === "MemberExpression") root = root["object"];
    if (root.type === "Identifier") names.add(root["name"]);
  });
  return names;
}

function scopeOfModule(module: Module): Scope {
  const scope = new Map<string, Binding>();
  const changed = changedObjects(module.tree);
  for (const { local, imported, url } of module.imports)
    if (local !== "") scope.set(local, { kind: "import", imported, url });
  for (const statement of module.tree["body"] as Node[]) {
    const isExport = statement.type === "ExportNamedDeclaration" || statement.type === "ExportDefaultDeclaration";
    const declaration: Node | null = isExport ? statement["declaration"] : statement;
    if (declaration === null) continue;
    if (declaration.type === "FunctionDeclaration" || declaration.type === "ClassDeclaration") {
      const kind = declaration.type === "FunctionDeclaration" ? "function" : "class";
      if (declaration["id"] !== null) scope.set(declaration["id"]["name"], { kind });
    } else if (declaration.type === "VariableDeclaration") {
      for (const declarator of declaration["declarations"] as Node[]) {
        const init: Node | null = declarator["init"];
        const isChanged = declarator["id"].type === "Identifier" && changed.has(declarator["id"]["name"]);
        const state = !isExport && isState(declaration["kind"], init, isChanged);
        for (const name of namesIn(declarator["id"])) {
          if (state) scope.set(name, { kind: "state" });
          else if (init !== null && isFunction(init)) scope.set(name, { kind: "function" });
          else scope.set(name, { kind: "constant" });
        }
      }
    }
  }
  return scope;
}

function scopeOfFunction(node: Node): Scope {
  const scope = new Map<string, Binding>();
  for (const param of node["params"] as Node[]) for (const name of namesIn(param)) scope.set(name, { kind: "param" });
  if (node.type === "FunctionExpression" && node["id"] !== null) scope.set(node["id"]["name"], { kind: "function" });
  walkOwn(node["body"], (each) => {
    if (each.type === "VariableDeclarator") {
      for (const name of namesIn(each["id"])) scope.set(name, { kind: "local", init: each["init"] });
    } else if (each.type === "FunctionDeclaration") scope.set(each["id"]["name"], { kind: "function" });
    else if (each.type === "ClassDeclaration") scope.set(each["id"]["name"], { kind: "class" });
    else if (each.type === "CatchClause" && each["param"] !== null) {
      for (const name of namesIn(each["param"])) scope.set(name, { kind: "param" });
    }
  });
  return scope;
}

// ── functions and their names ───────────────────────────────────────────────────────────────────

function collect(module: Module, moduleScope: Scope, functions: Map<Node, FunctionInfo>): void {
  walk(module.tree, (node, parents) => {
    if (!isFunction(node)) return;
    const outer = parents
      .filter((parent) => functions.has(parent))
      .map((parent) => (functions.get(parent) as FunctionInfo).scope);
    const scope = scopeOfFunction(node);
    const names = namesOf(node, parents);
    const scopes = [moduleScope, ...outer, scope];
    const line = node["loc"]["start"]["line"];
    functions.set(node, {
      node,
      module,
      role: roleOf(node, parents, [moduleScope, ...outer]),
      title: `${names[0] ?? "a function"} (${module.label}:${line})`,
      names,
      scope,
      scopes,
      tainted: false,
    });
  });
}

function namesOf(node: Node, parents: readonly Node[]): string[] {
  const names: string[] = [];
  if (node["id"] !== null && node["id"] !== undefined) names.push(node["id"]["name"]);
  const parent = parents.at(-1);
  if (parent === undefined) return names;
  const key = keyOf(parent);
  if (key !== undefined) names.push(key);
  return names;
}

/** The name under which the value of this declarator, assignment or property will be called. */
function keyOf(node: Node): string | undefined {
  switch (node.type) {
    case "VariableDeclarator":
      return node["id"].type === "Identifier" ? node["id"]["name"] : undefined;
    case "AssignmentExpression":
      return node["left"].type === "MemberExpression"
        ? keyName(node["left"]["property"], node["left"]["computed"])
        : node["left"]["name"];
    case "Property":
    case "MethodDefinition":
    case "PropertyDefinition":
      return keyName(node["key"], node["computed"]);
    default:
      return undefined;
  }
}

function roleOf(node: Node, parents: readonly Node[], scopes: readonly Scope[]): Role {
  if (node["generator"] === true) return "generator";
  const parent = parents.at(-1);
  if (parent === undefined) return "plain";
  if (parent.type === "MethodDefinition" || parent.type === "Property") {
    if (parent["kind"] === "get") return "getter";
    if (parent["kind"] === "set") return "setter";
    if (parent["kind"] === "constructor") return "constructor";
  }
  const isArgument = (parent.type === "CallExpression" || parent.type === "NewExpression") && parent["callee"] !== node;
  return isArgument && isNativeCall(parent, scopes) ? "native callback" : "plain";
}

/** Whether this call hands its functions to code that can't wait for a generator. */
export function isNativeCall(call: Node, scopes: readonly Scope[]): boolean {
  const callee: Node = call["callee"];
  if (call.type === "NewExpression") {
    // The executor of a promise is run by a stand-in that can wait.
    return callee.type === "Identifier" && callee["name"] !== "Promise" && lookup(callee["name"], scopes) === undefined;
  }
  if (callee.type === "MemberExpression") {
    return NATIVE_CALLERS.has(keyName(callee["property"], callee["computed"]) ?? "");
  }
  if (callee.type !== "Identifier") return false;
  const binding = lookup(callee["name"], scopes);
  if (binding?.kind !== "import" || isRealTime(binding.url)) return false;
  return !isTransformed(binding.url) && !binding.url.includes("/model/");
}

/**
 * Names under which functions are reached by another name: `x.name = name`, `{ name: fn }`,
 * imports, results of calls.
 */
function aliasesOf(
  set: ModuleSet,
  moduleScopes: ReadonlyMap<Module, Scope>,
  functions: ReadonlyMap<Node, FunctionInfo>,
  unknown: Set<string>,
): [from: string, to: string][] {
  const aliases: [string, string][] = [];
  for (const module of set.modules.values()) {
    for (const { local, imported } of module.imports) if (local !== imported) aliases.push([imported, local]);
    walk(module.tree, (node, parents) => {
      const to = keyOf(node);
      const value: Node | null | undefined =
        node.type === "VariableDeclarator"
          ? node["init"]
          : node.type === "AssignmentExpression"
            ? node["right"]
            : node["value"];
      if (to === undefined || !isAlias(value)) return;
      const scopes = [
        moduleScopes.get(module) as Scope,
        ...parents
          .filter((parent) => functions.has(parent))
          .map((parent) => (functions.get(parent) as FunctionInfo).scope),
      ];
      const from = value.type === "CallExpression" ? calledName(value["callee"], scopes) : sourceName(value, scopes);
      if (from === UNKNOWN) {
        // A parameter that is stored under a name: a call of that name calls something unknown.
        if (node.type !== "VariableDeclarator") unknown.add(to);
      } else if (from !== PURE && from !== to) aliases.push([from, to]);
    });
  }
  return aliases;
}

function isAlias(value: unknown): value is Node {
  const type = (value as Node | null | undefined)?.type;
  return type === "Identifier" || type === "MemberExpression" || type === "CallExpression";
}

function sourceName(value: Node, scopes: readonly Scope[]): string {
  if (value.type === "MemberExpression") return keyName(value["property"], value["computed"]) ?? PURE;
  const binding = lookup(value["name"], scopes);
  if (binding?.kind === "param") return UNKNOWN;
  return binding === undefined ? PURE : value["name"];
}
