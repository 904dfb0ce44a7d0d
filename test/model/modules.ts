/**
 * Finds the modules that a scenario needs and reads them: the scenario itself, and every module of
 * Millrace or of a third party that works on shared memory. All others (base, codec, Node's own)
 * are imported as they are.
 *
 * Imports through an index file go straight to the module that defines the name, so that a scenario
 * pulls in only what it uses.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire, isBuiltin } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { namesIn, type Node, parseModule } from "./syntax.ts";

/**
 * Packages whose modules touch no shared memory but what a call gives them: `$foreign` in
 * runtime.ts follows that.
 */
const AS_THEY_ARE = /\/packages\/(base|codec)\/dist\//;
const OWN_PACKAGES = /\/packages\/[^/]+\/dist\//;
const SCENARIOS = /\/model\/(scenarios|fixtures)\//;

/** A single edit of a compiled module, for a mutant. */
export interface Edit {
  /** Package and module, such as `shared-memory/run-queue`. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Where `from` stands, for text that occurs more than once. */
  readonly at?: number;
}

export interface ImportedName {
  readonly local: string;
  /** `*` for the namespace. */
  readonly imported: string;
  readonly url: string;
}

export interface Module {
  readonly url: string;
  /** For people: `shared-memory/run-queue.js`. */
  readonly label: string;
  readonly text: string;
  readonly tree: Node;
  readonly imports: readonly ImportedName[];
}

export interface ModuleSet {
  readonly modules: ReadonlyMap<string, Module>;
  readonly root: Module;
}

/**
 * Reads the module at `url` and everything that must be transformed with it, with the edits of a
 * mutant.
 */
export function readModules(url: string, edits: readonly Edit[] = []): ModuleSet {
  const modules = new Map<string, Module>();
  const open = (each: string): void => {
    if (modules.has(each)) return;
    const module = readModule(each, edits);
    modules.set(each, module);
    for (const imported of module.imports) if (isTransformed(imported.url)) open(imported.url);
  };
  open(url);
  for (const edit of edits) {
    if (![...modules.values()].some((module) => matches(module.url, edit))) {
      throw new Error(`no module of ${labelOf(url)} is ${edit.file}`);
    }
  }
  return { modules, root: modules.get(url) as Module };
}

/** Whether the module exports the platform's own timers and clocks, which have stand-ins here. */
export function isRealTime(url: string): boolean {
  return url.endsWith("/packages/base/dist/real-time.js");
}

/** Whether the module is one of Millrace that touches no shared memory but what it is given. */
export function isAsItIs(url: string): boolean {
  return AS_THEY_ARE.test(url);
}

/** Whether the module at `url` is rewritten by the checker. */
export function isTransformed(url: string): boolean {
  if (!url.startsWith("file:")) return false;
  if (SCENARIOS.test(url)) return true;
  if (AS_THEY_ARE.test(url)) return false;
  if (OWN_PACKAGES.test(url)) return true;
  return /\bAtomics\s*\./.test(textOf(url)) && !/\.build\/test\/model\/[^/]+\.js$/.test(url);
}

const texts = new Map<string, string>();

function textOf(url: string): string {
  let text = texts.get(url);
  if (text === undefined) {
    text = readFileSync(fileURLToPath(url), "utf8");
    texts.set(url, text);
  }
  return text;
}

function matches(url: string, edit: Edit): boolean {
  const [name, ...path] = edit.file.split("/");
  return url.endsWith(`/packages/${name}/dist/${path.join("/")}.js`) || url.endsWith(`/${edit.file}.js`);
}

function readModule(url: string, edits: readonly Edit[]): Module {
  let text = textOf(url);
  for (const edit of edits) {
    if (!matches(url, edit)) continue;
    text = edited(text, edit, labelOf(url));
  }
  const tree = parseModule(text);
  return { url, label: labelOf(url), text, tree, imports: importsOf(tree, url) };
}

function edited(text: string, { from, to, at }: Edit, label: string): string {
  if (at !== undefined) {
    if (!text.startsWith(from, at)) throw new Error(`${label}: ${JSON.stringify(from)} doesn't stand at ${at}`);
    return text.slice(0, at) + to + text.slice(at + from.length);
  }
  const found = text.split(from).length - 1;
  if (found !== 1) throw new Error(`${label}: ${JSON.stringify(from)} occurs ${found} times, not once`);
  return text.replace(from, () => to);
}

function labelOf(url: string): string {
  const own = /\/packages\/([^/]+)\/dist\/(.*)$/.exec(url);
  if (own !== null) return `${own[1]}/${own[2]}`;
  const test = /\/model\/(.*)$/.exec(url);
  if (test !== null) return test[1] as string;
  return url.slice(url.lastIndexOf("/node_modules/") + 1).replace(/^.*node_modules\//, "");
}

function importsOf(tree: Node, url: string): ImportedName[] {
  const names: ImportedName[] = [];
  for (const statement of tree["body"] as Node[]) {
    if (statement.type === "ImportDeclaration") {
      const from = resolve(statement["source"]["value"], url);
      for (const specifier of statement["specifiers"] as Node[]) {
        const local = specifier["local"]["name"];
        if (specifier.type === "ImportNamespaceSpecifier") names.push({ local, imported: "*", url: from });
        else {
          const imported = specifier.type === "ImportDefaultSpecifier" ? "default" : specifier["imported"]["name"];
          names.push({ local, ...definitionOf(from, imported) });
        }
      }
    } else if (statement.type === "ExportNamedDeclaration" && statement["source"] !== null) {
      const from = resolve(statement["source"]["value"], url);
      for (const specifier of statement["specifiers"] as Node[]) {
        names.push({ local: "", ...definitionOf(from, specifier["local"]["name"]) });
      }
    } else if (statement.type === "ExportAllDeclaration") {
      names.push({ local: "", imported: "*", url: resolve(statement["source"]["value"], url) });
    }
  }
  return names;
}

/** The module that really defines `name` when `url` only passes it on. */
export function definitionOf(url: string, name: string): { imported: string; url: string } {
  if (url.startsWith("file:") && OWN_PACKAGES.test(url)) {
    for (const statement of parseCached(url)["body"] as Node[]) {
      if (statement.type === "ExportAllDeclaration") {
        const from = resolve(statement["source"]["value"], url);
        if (statement["exported"]?.["name"] === name) return { imported: "*", url: from };
        if (statement["exported"] !== null) continue;
        const found = definitionOf(from, name);
        if (exportsOf(found.url).has(found.imported)) return found;
      }
      if (statement.type !== "ExportNamedDeclaration" || statement["source"] === null) continue;
      for (const specifier of statement["specifiers"] as Node[]) {
        if (specifier["exported"]["name"] !== name) continue;
        return definitionOf(resolve(statement["source"]["value"], url), specifier["local"]["name"]);
      }
    }
  }
  return { imported: name, url };
}

/** The names that a module defines and exports itself. */
function exportsOf(url: string): Set<string> {
  if (!url.startsWith("file:")) return new Set();
  const names = new Set<string>();
  for (const statement of parseCached(url)["body"] as Node[]) {
    if (statement.type !== "ExportNamedDeclaration" || statement["source"] !== null) continue;
    for (const specifier of statement["specifiers"] as Node[]) names.add(specifier["exported"]["name"]);
    const declaration: Node | null = statement["declaration"];
    if (declaration?.["id"] !== undefined) names.add(declaration["id"]["name"]);
    for (const each of (declaration?.["declarations"] ?? []) as Node[])
      for (const name of namesIn(each["id"])) names.add(name);
  }
  return names;
}

const trees = new Map<string, Node>();

function parseCached(url: string): Node {
  let tree = trees.get(url);
  if (tree === undefined) {
    tree = parseModule(textOf(url));
    trees.set(url, tree);
  }
  return tree;
}

function resolve(specifier: string, from: string): string {
  if (isBuiltin(specifier)) return specifier.startsWith("node:") ? specifier : `node:${specifier}`;
  if (specifier.startsWith(".")) return new URL(specifier, from).href;
  if (specifier.startsWith("@millrace/") || specifier === "millrace") return import.meta.resolve(specifier);
  if (SCENARIOS.test(from)) return import.meta.resolve(specifier);
  const path = createRequire(from).resolve(specifier);
  if (!existsSync(path)) throw new Error(`cannot resolve ${specifier} from ${from}`);
  return pathToFileURL(path).href;
}
