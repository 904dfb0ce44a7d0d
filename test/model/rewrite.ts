/**
 * Rewrites a compiled module so that the explorer can stop it at every access to shared memory.
 * Line numbers are kept.
 *
 *   Atomics.load(a, i)      (yield $op(LOAD, site, a, i))             a scheduling point
 *   this.#park(x)           ($g($t = this.#park(x)) ? yield* $t : $t)  when the name may reach a scheduling point
 *   a[i]                    $rd(a, i, site)                            for the race check; yields too with `plain: "yield"`
 *   a[i] = v                $wr(a, i, v, site)
 *   m() { … }               *m() { … }                                 when tainted ("star" form)
 *   m() { … }               m() { return $made(function*() { … }) }    ("wrap" form: counts generators made and started)
 *   async m() { … }         *m() { return yield* $co(function*() { … }) }
 *   let current;            $S.c.current                               a module's state, one per virtual thread and execution
 *   Promise, setTimeout …   $env.Promise …                             stand-ins that the explorer drives (platform.ts)
 *
 * What can't be rewritten faithfully is refused, with file and line: here when the text shows it,
 * otherwise when it is reached.
 */
import { type ImportedName, isAsItIs, isRealTime, type Module } from "./modules.ts";
import { OP, type OpName } from "./operations.ts";
import { addSite } from "./sites.ts";
import { childrenOf, isFunction, keyName, type Node } from "./syntax.ts";
import {
  type Binding,
  type FunctionInfo,
  isAtomics,
  isNativeCall,
  isTaintedCall,
  lookup,
  type Scope,
  type Taint,
} from "./taint.ts";

export interface Form {
  readonly calls: "star" | "wrap";
  /**
   * Whether plain accesses are scheduling points too; needed where a thread may die between two of
   * them.
   */
  readonly plain: "check" | "yield";
}

/** Platform names that get stand-ins. */
const STANDINS: ReadonlySet<string> = new Set(
  (
    "Promise setTimeout clearTimeout setInterval clearInterval setImmediate clearImmediate queueMicrotask performance Date " +
    "process AbortController AbortSignal"
  ).split(" "),
);
/** Methods of typed arrays that read or write many elements behind the checker's back. */
const BULK = new Set(
  (
    "fill copyWithin slice sort toSorted reverse toReversed indexOf includes at join map filter forEach reduce " +
    "some every find findIndex values entries with"
  ).split(" "),
);
/** Methods of a Buffer that read or write numbers. */
const BUFFER_ACCESS = /^(?:read|write)(?:U?[Ii]nt|Big|Float|Double)/;
/** Classes whose static functions copy what they are given. */
const COPYING = new Set(["Buffer", "Uint8Array", "Int32Array", "Float64Array", "Array"]);
const COPIERS = new Set([
  "Set",
  "Map",
  "Uint8Array",
  "Int32Array",
  "Uint32Array",
  "Float64Array",
  "Int16Array",
  "Uint16Array",
]);

const IN_DEFAULT = "in a default parameter";
const IN_NATIVE_CALLBACK = "in a native callback";

interface Context {
  /** Whether a scheduling point may stand here. */
  readonly yields: boolean;
  /** Why not, for the message. */
  readonly why: string;
  readonly scopes: readonly Scope[];
}

export class UnsupportedError extends Error {
  override readonly name = "UnsupportedError";
}

/** Names of the modules' files after rewriting, by URL. */
export type FileNames = ReadonlyMap<string, string>;

export function rewrite(module: Module, taint: Taint, form: Form, files: FileNames, runtimeUrl: string): string {
  return new Rewriter(module, taint, form, files).run(runtimeUrl);
}

class Rewriter {
  readonly #module: Module;
  readonly #text: string;
  readonly #taint: Taint;
  readonly #form: Form;
  readonly #files: FileNames;
  readonly #state: string[] = [];

  constructor(module: Module, taint: Taint, form: Form, files: FileNames) {
    this.#module = module;
    this.#text = module.text;
    this.#taint = taint;
    this.#form = form;
    this.#files = files;
  }

  run(runtimeUrl: string): string {
    const scope = this.#taint.moduleScopes.get(this.#module) as Scope;
    const body = this.#children(this.#module.tree, {
      yields: false,
      why: "at the top level of a module",
      scopes: [scope],
    });
    const state = this.#state.length > 0 ? `const $S = $state(() => ({ ${this.#state.join(", ")} })); ` : "";
    const names =
      "$op, $direct, $g, $pure, $rd, $wr, $pr, $pw, $v, $unshared, $set, $made, $started, $co, $await, $state, $env, $dead, $turn, $promise, $view, $foreign";
    return `import { ${names} } from ${JSON.stringify(runtimeUrl)}; ${state}${body}`;
  }

  // ── nodes ─────────────────────────────────────────────────────────────────────────────────────

  #render(node: Node, context: Context): string {
    switch (node.type) {
      case "ImportDeclaration":
        return this.#lines(node, this.#import(node));
      case "ExportNamedDeclaration":
        return this.#export(node, context);
      case "ExportAllDeclaration":
        return this.#exportAll(node);
      case "VariableDeclaration":
        return this.#declaration(node, context);
      case "FunctionDeclaration":
      case "FunctionExpression":
      case "ArrowFunctionExpression":
        return this.#function(node, context, "");
      case "MethodDefinition":
        return this.#method(node, context);
      case "Property":
        return this.#property(node, context);
      case "PropertyDefinition":
        return this.#field(node, context);
      case "StaticBlock":
        return this.#children(node, { ...context, yields: false, why: "in a static block" });
      case "CallExpression":
        return this.#call(node, context, false);
      case "NewExpression":
        return this.#new(node, context);
      case "ChainExpression":
        return this.#chain(node, context);
      case "MemberExpression":
        return this.#member(node, context);
      case "AssignmentExpression":
        return this.#assignment(node, context);
      case "UpdateExpression":
        return node["prefix"]
          ? `${node["operator"]}${this.#target(node["argument"], context)}`
          : `${this.#target(node["argument"], context)}${node["operator"]}`;
      case "UnaryExpression":
        return node["operator"] === "delete"
          ? `delete ${this.#target(node["argument"], context)}`
          : this.#children(node, context);
      case "VariableDeclarator":
        return node["id"].type === "ArrayPattern" && node["init"] !== null
          ? this.#replace(node, context, [[node["init"], this.#unshared(node["init"], context)]])
          : this.#children(node, context);
      case "AwaitExpression":
        return this.#await(node, context);
      case "ForOfStatement":
        return this.#forOf(node, context);
      case "ForInStatement":
        return this.#replace(node, context, [
          [node["left"], this.#loopLeft(node["left"], context)],
          this.#turn(node, context),
        ]);
      case "ForStatement":
      case "WhileStatement":
      case "DoWhileStatement":
        return this.#replace(node, context, [this.#turn(node, context)]);
      case "SpreadElement":
        return `...${this.#unshared(node["argument"], context)}`;
      case "TaggedTemplateExpression":
        return this.#refuse(node, "a tagged template hides calls");
      case "Identifier":
        return this.#identifier(node, context);
      default:
        return this.#children(node, context);
    }
  }

  /** The node's text with its children rendered. */
  #children(node: Node, context: Context): string {
    return this.#replace(node, context, []);
  }

  /** The node's text with some children given and the others rendered. */
  #replace(node: Node, context: Context, given: readonly (readonly [Node, string])[]): string {
    const start = node.type === "Program" ? 0 : node.start;
    const end = node.type === "Program" ? this.#text.length : node.end;
    let text = "";
    let at = start;
    for (const child of childrenOf(node)) {
      if (isLabelOf(node, child)) continue;
      text += this.#text.slice(at, child.start);
      text += given.find(([each]) => each === child)?.[1] ?? this.#render(child, context);
      at = child.end;
    }
    return text + this.#text.slice(at, end);
  }

  /** Pads `text` so that it has as many lines as the node had. */
  #lines(node: Node, text: string): string {
    const had = count(this.#text.slice(node.start, node.end));
    return text + "\n".repeat(Math.max(0, had - count(text)));
  }

  #site(node: Node): number {
    const { line, column } = node["loc"]["start"];
    return addSite(this.#module, line, column);
  }

  #refuse(node: Node, what: string): never {
    const { line, column } = node["loc"]["start"];
    const source = this.#text.split("\n")[line - 1]?.trim() ?? "";
    throw new UnsupportedError(`${this.#module.label}:${line}:${column + 1}: ${what}\n    ${source}`);
  }

  // ── imports and exports ───────────────────────────────────────────────────────────────────────

  #import(node: Node): string {
    const locals = new Set((node["specifiers"] as Node[]).map((each) => each["local"]["name"]));
    const names = this.#module.imports.filter((each) => locals.has(each.local));
    return names.map((each) => this.#importOf(each)).join(" ");
  }

  #importOf({ local, imported, url }: ImportedName): string {
    if (url === "node:worker_threads") return "";
    const from = JSON.stringify(this.#address(url));
    if (imported === "*") return `import * as ${local} from ${from};`;
    return `import { ${imported} as ${local} } from ${from};`;
  }

  #address(url: string): string {
    const file = this.#files.get(url);
    return file === undefined ? url : `./${file}`;
  }

  #export(node: Node, context: Context): string {
    if (node["source"] !== null) {
      const exported = (node["specifiers"] as Node[]).map((specifier) => {
        const name = specifier["local"]["name"];
        const found = this.#module.imports.find((each) => each.local === "" && each.imported === name);
        const url = found?.url ?? this.#refuse(node, "a re-export that can't be resolved");
        return `export { ${name} as ${specifier["exported"]["name"]} } from ${JSON.stringify(this.#address(url))};`;
      });
      return this.#lines(node, exported.join(" "));
    }
    if (node["declaration"] === null) return this.#text.slice(node.start, node.end);
    const declaration: Node = node["declaration"];
    if (declaration.type === "VariableDeclaration" && declaration["kind"] !== "const") {
      return this.#refuse(node, "a module's state must not be exported: every thread has its own");
    }
    return this.#children(node, context);
  }

  #exportAll(node: Node): string {
    const value: Node = node["source"];
    const specifier = value["value"] as string;
    const all = this.#module.imports.filter((each) => each.local === "" && each.imported === "*");
    const url = specifier.startsWith(".") ? new URL(specifier, this.#module.url).href : specifier;
    const found = all.find((each) => each.url === url) ?? this.#refuse(node, "a re-export that can't be resolved");
    return `${this.#text.slice(node.start, value.start)}${JSON.stringify(this.#address(found.url))};`;
  }

  #declaration(node: Node, context: Context): string {
    const isTop = context.scopes.length === 1 && !context.yields;
    const declarators = node["declarations"] as Node[];
    const state = declarators.filter(
      (each) =>
        isTop && each["id"].type === "Identifier" && lookup(each["id"]["name"], context.scopes)?.kind === "state",
    );
    if (state.length === 0) {
      return this.#children(node, context);
    }
    if (state.length < declarators.length) return this.#refuse(node, "declare a module's state by itself");
    for (const each of state) {
      const init = each["init"] === null ? "undefined" : this.#render(each["init"], context);
      this.#state.push(`${each["id"]["name"]}: ${init}`);
    }
    return this.#lines(node, "");
  }

  // ── functions ─────────────────────────────────────────────────────────────────────────────────

  #info(node: Node): FunctionInfo {
    return this.#taint.functions.get(node) as FunctionInfo;
  }

  /** Where the body of a function stands. */
  #inside(info: FunctionInfo): Context {
    const yields = info.tainted && (info.role === "plain" || info.role === "getter");
    return {
      yields,
      why: yields ? "" : `in a ${info.role === "plain" ? "function without atomics" : info.role}`,
      scopes: info.scopes,
    };
  }

  #params(node: Node): string {
    const info = this.#info(node);
    const context: Context = { yields: false, why: IN_DEFAULT, scopes: info.scopes };
    const params = node["params"] as Node[];
    return `(${params.map((param) => this.#render(param, context)).join(", ")})`;
  }

  #body(node: Node, context: Context, first: string): string {
    const body: Node = node["body"];
    if (body.type !== "BlockStatement") return `{ ${first}return ${this.#render(body, context)}; }`;
    const text = this.#children(body, context);
    return `{ ${first}${text.slice(1)}`;
  }

  /** A function as a value or declaration; `before` is put between `function` and the name. */
  #function(node: Node, outer: Context, before: string): string {
    const info = this.#info(node);
    const name = node["id"]?.["name"] ?? "";
    const isArrow = node.type === "ArrowFunctionExpression";
    const inside = this.#inside(info);
    if (!info.tainted || !inside.yields) {
      if (info.node["async"] === true) return this.#refuse(node, `an async function ${why(info)} can't be driven`);
      const defaults: Context = { ...inside, why: IN_DEFAULT };
      const params = node["params"] as Node[];
      return this.#replace(
        node,
        inside,
        params.map((param) => [param, this.#render(param, defaults)] as const),
      );
    }
    this.#refuseReflection(node, isArrow);
    const text = `function${before}${this.#generator(node, name, inside)}`;
    if (!isArrow) return text;
    // The grave case: an arrow sees the `this` around it.
    void outer;
    return this.#usesThis(node) ? `(${text}).bind(this)` : `(${text})`;
  }

  /** `*name(params) { body }` in the form that was asked for. */
  #generator(node: Node, name: string, inside: Context): string {
    const info = this.#info(node);
    const params = this.#params(node);
    const isAsync = node["async"] === true;
    const head = "let $t; ";
    if (this.#form.calls === "star") {
      if (!isAsync) return `* ${name}${params} ${this.#body(node, inside, head)}`;
      return `* ${name}${params} { return yield* $co((function* () ${this.#body(node, inside, head)}).call(this)); }`;
    }
    const title = JSON.stringify(info.title);
    const started = `$started(); ${head}`;
    const inner = isAsync
      ? `{ $started(); return yield* $co((function* () ${this.#body(node, inside, head)}).call(this)); }`
      : this.#body(node, inside, started);
    return ` ${name}${params} { return $made(${title}, (function* () ${inner}).call(this)); }`;
  }

  #usesThis(node: Node): boolean {
    const own = (each: Node): boolean => {
      if (each.type === "ThisExpression") return true;
      if (isFunction(each) && each.type !== "ArrowFunctionExpression") return false;
      return childrenOf(each).some(own);
    };
    return childrenOf(node).some(own);
  }

  #refuseReflection(node: Node, isArrow: boolean): void {
    const look = (each: Node): void => {
      if (each.type === "Super") this.#refuse(each, "`super` in a function with atomics");
      if (each.type === "Identifier" && each["name"] === "arguments")
        this.#refuse(each, "`arguments` in a function with atomics");
      for (const child of childrenOf(each)) {
        if (!isFunction(child) || child.type === "ArrowFunctionExpression") look(child);
      }
    };
    void isArrow;
    look(node["body"]);
  }

  #method(node: Node, context: Context): string {
    const value: Node = node["value"];
    const info = this.#info(value);
    if (info.role === "setter" && info.tainted) return this.#refuse(node, "a setter with atomics");
    if (!info.tainted || !this.#inside(info).yields) {
      if (value["async"] === true || value["generator"] === true)
        return this.#lines(node, this.#unsupportedMethod(node));
      return this.#replace(node, context, [
        [node["key"], this.#key(node, context)],
        [value, `${this.#params(value)} ${this.#body(value, this.#inside(info), "")}`],
      ]);
    }
    this.#refuseReflection(value, false);
    const prefix = node["static"] ? "static " : "";
    return this.#lines(node, prefix + this.#tainted(node, value, info, context));
  }

  /** A generator or async generator: the checker refuses a call of it. */
  #unsupportedMethod(node: Node): string {
    const { line } = node["loc"]["start"];
    const message = JSON.stringify(`${this.#module.label}:${line}: a generator method can't be driven by the checker`);
    const prefix = node["static"] ? "static " : "";
    return `${prefix}${this.#text.slice(node["key"].start, node["key"].end).replace(/^/, node["computed"] ? "[" : "")}${node["computed"] ? "]" : ""}() { $dead(${message}); }`;
  }

  /** A tainted method or getter, without `static`. */
  #tainted(node: Node, value: Node, info: FunctionInfo, context: Context): string {
    const key = this.#key(node, context);
    const name = node["computed"] ? `[${key}]` : key;
    if (info.role !== "getter") return this.#generator(value, name, this.#inside(info)).trimStart();
    const body = this.#body(
      value,
      this.#inside(info),
      this.#form.calls === "star" ? "let $t; " : "$started(); let $t; ",
    );
    const made = `(function* () ${body}).call(this)`;
    return `get ${name}() { return ${this.#form.calls === "star" ? made : `$made(${JSON.stringify(info.title)}, ${made})`}; }`;
  }

  #key(node: Node, context: Context): string {
    const key: Node = node["key"];
    return node["computed"] ? this.#render(key, context) : this.#text.slice(key.start, key.end);
  }

  #property(node: Node, context: Context): string {
    const value: Node = node["value"];
    if (node["shorthand"] === true) {
      if (value.type !== "Identifier") return this.#text.slice(node.start, node.end);
      const name = value["name"] as string;
      const rendered = this.#identifier(value, context);
      return rendered === name ? name : `${name}: ${rendered}`;
    }
    if (node["method"] === true || node["kind"] !== "init") {
      const info = this.#info(value);
      if (info.tainted && this.#inside(info).yields) {
        this.#refuseReflection(value, false);
        return this.#lines(node, this.#tainted(node, value, info, context));
      }
      if (value["async"] === true || value["generator"] === true)
        return this.#lines(node, this.#unsupportedMethod(node));
      return this.#replace(node, context, [
        [node["key"], this.#key(node, context)],
        [value, `${this.#params(value)} ${this.#body(value, this.#inside(info), "")}`],
      ]);
    }
    return this.#replace(node, context, [[node["key"], this.#key(node, context)]]);
  }

  #field(node: Node, context: Context): string {
    const inside: Context = { yields: false, why: "in the initial value of a field", scopes: context.scopes };
    const value: Node | null = node["value"];
    if (node["static"] && value !== null && /^(New|Array|Object)Expression$/.test(value.type)) {
      return this.#refuse(
        node,
        "a static field with state: every thread has its own, so keep it in a module's variable",
      );
    }
    const given: [Node, string][] = [[node["key"], this.#key(node, context)]];
    if (value !== null) given.push([value, this.#render(value, inside)]);
    return this.#replace(node, context, given);
  }

  // ── calls ─────────────────────────────────────────────────────────────────────────────────────

  #arguments(node: Node, context: Context): string[] {
    const native = isNativeCall(node, context.scopes);
    return (node["arguments"] as Node[]).map((argument) => {
      if (native && this.#isTaintedReference(argument, context)) {
        this.#refuse(argument, "a function with atomics is handed to native code, which can't wait for it: use a loop");
      }
      return this.#render(argument, context);
    });
  }

  #isTaintedReference(node: Node, context: Context): boolean {
    if (node.type === "MemberExpression") {
      // Only private names say surely that a method is meant: `entry.free` may be anything.
      const name = keyName(node["property"], node["computed"]);
      return name !== undefined && name.startsWith("#") && this.#taint.names.has(name) && this.#isMethod(name);
    }
    if (node.type !== "Identifier" || !this.#taint.names.has(node["name"])) return false;
    const binding = lookup(node["name"], context.scopes);
    if (binding?.kind === "local")
      return binding.init !== null && isFunction(binding.init) && this.#info(binding.init).tainted;
    return binding?.kind === "function" && this.#isMethod(node["name"]);
  }

  #isMethod(name: string): boolean {
    for (const info of this.#taint.functions.values()) {
      if (info.module === this.#module && info.tainted && info.names.includes(name)) return true;
    }
    return false;
  }

  #call(node: Node, context: Context, isChained: boolean): string {
    const callee: Node = node["callee"];
    if (callee.type === "MemberExpression" && isAtomics(callee["object"])) return this.#atomics(node, context);
    if (callee.type === "Super") return this.#children(node, context);
    const call = this.#plainCall(node, context);
    if (isChained || !isTaintedCall(callee, context.scopes, this.#taint.names)) return call;
    if (isChainLink(node)) return this.#refuse(node, "a call that may use atomics stands in the middle of `?.`");
    return this.#answer(node, call, context);
  }

  /** A value that may be a generator: runs it. */
  #answer(node: Node, value: string, context: Context): string {
    return context.yields ? `($g($t = ${value}) ? yield* $t : $t)` : `$pure(${value}, ${this.#site(node)})`;
  }

  #plainCall(node: Node, context: Context): string {
    const callee: Node = node["callee"];
    const operands = this.#arguments(node, context);
    const optional = node["optional"] === true ? "?." : "";
    if (callee.type === "Identifier" && this.#isForeign(callee["name"], context)) {
      return `$foreign(${[this.#site(node), callee["name"], ...operands].join(", ")})`;
    }
    if (callee.type !== "MemberExpression") {
      return `${this.#render(callee, context)}${optional}(${operands.join(", ")})`;
    }
    const name = keyName(callee["property"], callee["computed"]);
    const object: Node = callee["object"];
    const link = callee["optional"] === true ? "?." : ".";
    if (name === undefined) {
      const dot = callee["optional"] === true ? "?." : "";
      return `${this.#unshared(object, context)}${dot}[${this.#render(callee["property"], context)}]${optional}(${operands.join(", ")})`;
    }
    if (name === "set" && link === "." && optional === "" && object.type !== "Super") {
      return `$set(${this.#site(node)}, ${[this.#render(object, context), ...operands].join(", ")})`;
    }
    if (object.type === "Identifier" && object["name"] === "Math" && name === "random") return "$env.random()";
    if (object.type === "Identifier" && COPYING.has(object["name"]) && /^(from|concat)$/.test(name)) {
      const [first, ...others] = operands;
      const copied = first === undefined ? [] : [`$unshared(${first}, ${this.#site(node)})`];
      return `${object["name"]}.${name}(${[...copied, ...others].join(", ")})`;
    }
    const receiver =
      (BULK.has(name) || BUFFER_ACCESS.test(name)) && object.type !== "Super"
        ? this.#unshared(object, context)
        : this.#render(object, context);
    const gap = this.#text.slice(object.end, callee["property"].start).replace(/[^\n]/g, "");
    return `${receiver}${gap}${link}${name}${optional}(${operands.join(", ")})`;
  }

  /** A function of a module that is imported as it is. */
  #isForeign(name: string, context: Context): boolean {
    const binding = lookup(name, context.scopes);
    return binding?.kind === "import" && isAsItIs(binding.url) && !isRealTime(binding.url);
  }

  #atomics(node: Node, context: Context): string {
    const name = keyName(node["callee"]["property"], node["callee"]["computed"]);
    if (name === undefined || !(name in OP))
      return this.#refuse(node, "Atomics is called in a form that the checker doesn't know");
    if (name === "isLockFree") return this.#children(node, context);
    const operands = (node["arguments"] as Node[]).map((argument) => {
      if (argument.type === "SpreadElement") this.#refuse(argument, "Atomics is called with a spread");
      return this.#render(argument, context);
    });
    const list = [OP[name as OpName], this.#site(node), ...operands].join(", ");
    if (context.yields) return `(yield $op(${list}))`;
    if (context.why === IN_NATIVE_CALLBACK) {
      return this.#refuse(node, "atomics in a function that native code calls: use a loop");
    }
    if (context.why === "in a setter" || context.why === IN_DEFAULT) {
      return this.#refuse(node, `atomics ${context.why}`);
    }
    return `$direct(${list})`;
  }

  #new(node: Node, context: Context): string {
    const callee: Node = node["callee"];
    const name = callee.type === "Identifier" ? (callee["name"] as string) : "";
    if (lookup(name, context.scopes) !== undefined) return this.#children(node, context);
    if (name === "DataView") return `$view(${[this.#site(node), ...this.#arguments(node, context)].join(", ")})`;
    if (name === "SharedArrayBuffer") return `$env.allocate(${this.#arguments(node, context).join(", ")})`;
    if (COPIERS.has(name) && node["arguments"].length === 1)
      return `new ${name}(${this.#unshared(node["arguments"][0], context)})`;
    if (name === "Promise") {
      return this.#answer(node, `$promise(${this.#arguments(node, context).join(", ")})`, context);
    }
    this.#arguments(node, context);
    return this.#children(node, context);
  }

  #chain(node: Node, context: Context): string {
    const inner: Node = node["expression"];
    if (inner.type === "CallExpression" && !isAtomics(inner["callee"]["object"] ?? inner)) {
      const call = this.#call(inner, context, true);
      return isTaintedCall(inner["callee"], context.scopes, this.#taint.names)
        ? this.#answer(inner, call, context)
        : call;
    }
    return this.#children(node, context);
  }

  #await(node: Node, context: Context): string {
    if (!context.yields) return this.#refuse(node, "`await` where the checker can't wait");
    return `(yield* $await(${this.#render(node["argument"], context)}))`;
  }

  // ── accesses ──────────────────────────────────────────────────────────────────────────────────

  #member(node: Node, context: Context): string {
    const object: Node = node["object"];
    if (isAtomics(object)) return this.#refuse(node, "Atomics must be called directly, as in `Atomics.load(…)`");
    const name = keyName(node["property"], node["computed"]);
    if (name !== undefined) {
      const text = this.#replace(node, context, [
        [node["property"], this.#text.slice(node["property"].start, node["property"].end)],
      ]);
      if (!this.#taint.getters.has(name) || object.type === "Super") return text;
      return this.#answer(node, text, context);
    }
    if (object.type === "Super") return this.#children(node, context);
    if (node["optional"] === true) {
      return `${this.#unshared(object, context)}?.[${this.#render(node["property"], context)}]`;
    }
    const list = `${this.#render(object, context)}, ${this.#render(node["property"], context)}, ${this.#site(node)}`;
    if (this.#form.plain === "check") return `$rd(${list})`;
    if (context.yields) return `($pr(${list}) ? yield : $v())`;
    return `$rd(${list}${context.why === IN_NATIVE_CALLBACK ? ", true" : ""})`;
  }

  /**
   * A computed member that is written or deleted in a way that the checker doesn't follow: refused
   * at run time when shared.
   */
  #target(node: Node, context: Context): string {
    if (node.type !== "MemberExpression") return this.#render(node, context);
    if (!node["computed"]) {
      return this.#replace(node, context, [
        [node["property"], this.#text.slice(node["property"].start, node["property"].end)],
      ]);
    }
    return `${this.#unshared(node["object"], context)}[${this.#render(node["property"], context)}]`;
  }

  #unshared(node: Node, context: Context): string {
    return `$unshared(${this.#render(node, context)}, ${this.#site(node)})`;
  }

  #assignment(node: Node, context: Context): string {
    const left: Node = node["left"];
    const operator = node["operator"] as string;
    if (left.type !== "MemberExpression" || !left["computed"] || left["object"].type === "Super") {
      const target = left.type.endsWith("Pattern") ? this.#pattern(left, context) : this.#target(left, context);
      const right =
        left.type === "ArrayPattern" ? this.#unshared(node["right"], context) : this.#render(node["right"], context);
      return `${target} ${operator} ${right}`;
    }
    const array = (): string => this.#render(left["object"], context);
    const index = (): string => this.#render(left["property"], context);
    const right = this.#render(node["right"], context);
    if (operator === "=") return this.#write(node, array(), index(), right, context);
    const isSimple = isRepeatable(left["object"]) && isRepeatable(left["property"]) && !/&&|\|\||\?\?/.test(operator);
    if (!isSimple) return `${this.#target(left, context)} ${operator} ${right}`;
    return this.#write(
      node,
      array(),
      index(),
      `${this.#member(left, context)} ${operator.slice(0, -1)} (${right})`,
      context,
    );
  }

  #write(node: Node, array: string, index: string, value: string, context: Context): string {
    const list = `${array}, ${index}, ${value}, ${this.#site(node)}`;
    if (this.#form.plain === "check") return `$wr(${list})`;
    if (context.yields) return `($pw(${list}) ? yield : $v())`;
    return `$wr(${list}${context.why === IN_NATIVE_CALLBACK ? ", true" : ""})`;
  }

  #pattern(node: Node, context: Context): string {
    if (node.type === "MemberExpression") return this.#target(node, context);
    if (node.type === "ArrayPattern" || node.type === "ObjectPattern" || node.type === "RestElement") {
      return this.#replace(
        node,
        context,
        childrenOf(node).map((child) => [child, this.#pattern(child, context)] as const),
      );
    }
    return this.#render(node, context);
  }

  #forOf(node: Node, context: Context): string {
    if (node["await"] === true) return this.#refuse(node, "`for await` can't be driven: use a loop over `next()`");
    return this.#replace(node, context, [
      [node["left"], this.#loopLeft(node["left"], context)],
      [node["right"], this.#unshared(node["right"], context)],
      this.#turn(node, context),
    ]);
  }

  /**
   * The body of a loop, with each turn counted: one that never comes to a step can't be stopped
   * otherwise.
   */
  #turn(node: Node, context: Context): readonly [Node, string] {
    const body: Node = node["body"];
    const text = this.#render(body, context);
    return [body, body.type === "BlockStatement" ? `{ $turn();${text.slice(1)}` : `{ $turn(); ${text} }`];
  }

  #loopLeft(node: Node, context: Context): string {
    return node.type === "VariableDeclaration" ? this.#children(node, context) : this.#pattern(node, context);
  }

  #identifier(node: Node, context: Context): string {
    const name = node["name"] as string;
    const binding: Binding | undefined = lookup(name, context.scopes);
    if (binding === undefined) {
      if (name === "Atomics") return this.#refuse(node, "Atomics must be called directly, as in `Atomics.load(…)`");
      return STANDINS.has(name) ? `$env.${name}` : name;
    }
    if (binding.kind === "state") return `$S.c.${name}`;
    // The platform's own timers and clocks, imported from base so that no test runner's fakes stand
    // in for them.
    if (binding.kind === "import" && STANDINS.has(binding.imported) && isRealTime(binding.url)) {
      return `$env.${binding.imported}`;
    }
    if (binding.kind === "import" && binding.url === "node:worker_threads") {
      return binding.imported === "*" ? "$env.workerThreads" : `$env.workerThreads.${binding.imported}`;
    }
    return name;
  }
}

/** Children that are names and not references. */
function isLabelOf(node: Node, child: Node): boolean {
  switch (node.type) {
    case "BreakStatement":
    case "ContinueStatement":
    case "LabeledStatement":
      return child === node["label"];
    case "FunctionDeclaration":
    case "FunctionExpression":
    case "ClassDeclaration":
    case "ClassExpression":
      return child === node["id"];
    case "MetaProperty":
    case "ExportSpecifier":
    case "ImportSpecifier":
      return true;
    default:
      return false;
  }
}

/** Whether a call sits inside of an optional chain, but not at its end. */
function isChainLink(node: Node): boolean {
  const callee: Node = node["callee"];
  const isOptional = (each: Node): boolean => {
    if (each["optional"] === true) return true;
    if (each.type === "MemberExpression") return isOptional(each["object"]);
    return each.type === "CallExpression" && isOptional(each["callee"]);
  };
  return node["optional"] === true || isOptional(callee);
}

/** Whether evaluating the node twice is the same as once. */
function isRepeatable(node: Node): boolean {
  if (/Call|New|Assignment|Update|Await|Yield/.test(node.type)) return false;
  return childrenOf(node).every(isRepeatable);
}

function why(info: FunctionInfo): string {
  return info.role === "plain" ? "" : `as a ${info.role}`;
}

function count(text: string): number {
  let lines = 0;
  for (const character of text) if (character === "\n") lines += 1;
  return lines;
}
