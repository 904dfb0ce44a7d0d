// Every type that an exported type of `millrace` mentions can be imported from `millrace` as well.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync } from "oxc-parser";
import { test } from "uvu";
import * as assert from "uvu/assert";

const packages = fileURLToPath(new URL("../../../packages/", import.meta.url));
const index = join(packages, "millrace/src/index.ts");

/** Mentioned by what one package offers another, or the class behind `TaskContext`. */
const INTERNAL = new Set(["ChanParts", "MutexCore", "ScopeView", "SyncSpace", "TaskContext", "Values"]);

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}
/** Where a name is declared, or where it comes from. */
type Found = { readonly node: Node; readonly start: number } | { readonly from: string; readonly name: string };
interface Module {
  readonly text: string;
  /** By the name in the module. */
  readonly names: ReadonlyMap<string, Found>;
  /** By the exported name: the name in the module, or where it comes from. */
  readonly exports: ReadonlyMap<string, string | { readonly from: string; readonly name: string }>;
}

const modules = new Map<string, Module>();

const nameOf = (node: unknown): string => (node as { readonly name: string }).name;

function moduleOf(file: string): Module {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, "utf8");
  const names = new Map<string, Found>();
  const exports = new Map<string, string | { from: string; name: string }>();
  const { program } = parseSync(file, text);
  const declare = (node: Node): string[] => {
    if (node.type === "VariableDeclaration") {
      return (node.declarations as { id: Node }[]).flatMap(({ id }) => (id.type === "Identifier" ? [nameOf(id)] : []));
    }
    return node.id === undefined || node.id === null ? [] : [nameOf(node.id)];
  };
  const pathOf = (specifier: string): string | undefined => {
    if (specifier.startsWith(".")) return join(dirname(file), specifier);
    const [, name, part = "index"] = /^@millrace\/([^/]+)(?:\/(.+))?$/.exec(specifier) ?? [];
    return name === undefined ? undefined : join(packages, name, "src", `${part}.ts`);
  };
  for (const statement of program.body as unknown as Node[]) {
    const source = statement.source as { readonly value: string } | null | undefined;
    const from = source ? pathOf(source.value) : undefined;
    if (statement.type === "ImportDeclaration") {
      for (const { imported, local } of statement.specifiers as { imported?: Node; local: Node }[]) {
        if (from !== undefined && imported !== undefined) names.set(nameOf(local), { from, name: nameOf(imported) });
      }
      continue;
    }
    const declaration = (statement.declaration as Node | null | undefined) ?? statement;
    for (const name of declare(declaration)) {
      names.set(name, { node: declaration, start: statement.start as number });
      if (statement.type === "ExportNamedDeclaration") exports.set(name, name);
    }
    for (const each of (statement.type === "ExportNamedDeclaration" ? statement.specifiers : []) as Node[]) {
      const name = nameOf(each.local);
      if (from === undefined && source) continue;
      exports.set(nameOf(each.exported), from === undefined ? name : { from, name });
    }
  }
  const module = { text, names, exports };
  modules.set(file, module);
  return module;
}

interface Declared {
  readonly file: string;
  readonly name: string;
  readonly node: Node;
}

/** The declaration behind a name that a module declares, imports, or hands on. */
function declarationOf(file: string, name: string, isExported: boolean): Declared | undefined {
  const { names, exports } = moduleOf(file);
  const handedOn = isExported ? exports.get(name) : name;
  if (handedOn === undefined) return undefined;
  if (typeof handedOn !== "string") return declarationOf(handedOn.from, handedOn.name, true);
  const found = names.get(handedOn);
  if (found === undefined) return undefined;
  if ("from" in found) return declarationOf(found.from, found.name, true);
  return { file, name: handedOn, node: found.node };
}

/** Names of types in what users see of a declaration. */
function mentioned(file: string, declaration: Node): string[] {
  const { text } = moduleOf(file);
  const names: string[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const node = value as Node;
    if (node.type === "BlockStatement" || node.type === "TSMappedType" || node.type === "TSConditionalType") return;
    if (isHidden(node, text)) return;
    const { typeName, expression } = node as { typeName?: Node; expression?: Node };
    if (node.type === "TSTypeReference" && typeName?.type === "Identifier") names.push(nameOf(typeName));
    if (node.type === "TSInterfaceHeritage" && expression?.type === "Identifier") names.push(nameOf(expression));
    if (node.type === "VariableDeclarator") visit((node.id as Node).typeAnnotation);
    else for (const [key, part] of Object.entries(node)) if (key !== "body" || isBody(node)) visit(part);
  };
  visit(declaration);
  return names;
}

const isBody = ({ type }: Node): boolean => /^(ClassDeclaration|ClassBody|TSInterface)/.test(type);

function isHidden(node: Node, text: string): boolean {
  const key = node.key as Node | undefined;
  if (node.type !== "MethodDefinition" && node.type !== "PropertyDefinition") return false;
  if (key?.type === "PrivateIdentifier" || node.accessibility === "private" || node.kind === "constructor") return true;
  const before = text.slice(0, node.start as number).trimEnd();
  return before.endsWith("*/") && before.slice(before.lastIndexOf("/**")).includes("@internal");
}

test("every type that an exported one mentions is exported", () => {
  const names = [...moduleOf(index).exports.keys()];
  const exported = names.flatMap((name) => declarationOf(index, name, true) ?? []);
  assert.is(exported.length, names.length, "every export was found");
  const known = new Set(exported.map(({ node }) => node));
  const missing = new Set<string>();
  for (const { file, name, node } of exported) {
    for (const each of mentioned(file, node)) {
      const type = declarationOf(file, each, false);
      // Parts of calls' types, which nobody names.
      if (type?.file.endsWith("handler-types.ts") === true && type.file === file) continue;
      if (type !== undefined && !known.has(type.node) && !INTERNAL.has(type.name))
        missing.add(`${type.name}, by ${name}`);
    }
  }
  assert.equal([...missing].toSorted(), []);
});

test.run();
