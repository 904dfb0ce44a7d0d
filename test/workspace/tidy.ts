/**
 * Finds what a reader would trip over, by functions from sources to complaints: wide lines, long
 * functions, exports and files that nothing uses, circles of imports, imports that climb, and names
 * in documents that the code doesn't have.
 *
 * Each function takes the files as a map from path to text, so that the tests can plant a fault.
 * `tidy.test.ts` runs them on the repository. Source of the idea: TigerBeetle's `src/tidy.zig`.
 */
import { basename, dirname, join, normalize } from "node:path";
import { parseSync } from "oxc-parser";

/** Paths from the repository's root, with the text of each file. */
export type Files = ReadonlyMap<string, string>;

/** Lines of comments and prose. Code is as wide as the formatter makes it. */
export const COLUMNS_MAX = 100;
/** A function of a package fits on a screen (TigerBeetle's limit). */
export const FUNCTION_LINES_MAX = 70;
/** A test tells a story from its setting to its end. */
const TEST_FUNCTION_LINES_MAX = 95;

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

interface Parsed {
  readonly text: string;
  readonly lines: readonly string[];
  readonly program: Node;
  readonly comments: readonly { readonly start: number; readonly end: number }[];
  /** The line, from 1, of a place in the text. */
  readonly lineAt: (offset: number) => number;
}

const parsedFiles = new Map<string, Parsed>();

function parse(path: string, text: string): Parsed {
  const known = parsedFiles.get(path);
  if (known?.text === text) return known;
  const result = parseSync(path, text);
  const error = result.errors[0];
  if (error !== undefined) throw new Error(`${path}: ${error.message}`);
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  const lineAt = (offset: number): number => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] as number) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
  const parsed: Parsed = {
    text,
    lines: text.split("\n"),
    program: result.program as unknown as Node,
    comments: result.comments,
    lineAt,
  };
  parsedFiles.set(path, parsed);
  return parsed;
}

const isCode = (path: string): boolean => /\.(ts|mjs)$/.test(path) && !path.endsWith(".d.mts");
const isProse = (path: string): boolean => path.endsWith(".md");

function children(node: Node): Node[] {
  return Object.values(node)
    .flatMap((value) => (Array.isArray(value) ? value : [value]))
    .filter(isNode);
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Node).type === "string";
}

function visit(node: Node, enter: (node: Node, parent: Node | undefined) => void, parent?: Node): void {
  enter(node, parent);
  for (const child of children(node)) visit(child, enter, node);
}

/** Lines of comments and documents that are wider than `COLUMNS_MAX`. */
export function wideLines(files: Files): string[] {
  const complaints: string[] = [];
  for (const [path, text] of files) {
    const wide = isCode(path) ? wideComments(path, text) : isProse(path) ? wideProse(text) : [];
    for (const line of wide) complaints.push(`${path}:${line} is wider than ${COLUMNS_MAX} columns`);
  }
  return complaints;
}

function wideComments(path: string, text: string): number[] {
  const { comments, lineAt, lines } = parse(path, text);
  const wide: number[] = [];
  for (const { start, end } of comments) {
    for (let line = lineAt(start); line <= lineAt(end - 1); line++) {
      const written = lines[line - 1] as string;
      // A remark behind code stands on a line that the formatter has laid out.
      const isAlone = /^\s*(?:\/\/|\/?\*)/.test(written);
      if (isAlone && columns(written) > COLUMNS_MAX && isBreakable(written) && !isLaidOut(written)) wide.push(line);
    }
  }
  return wide;
}

function wideProse(text: string): number[] {
  const wide: number[] = [];
  let isInBlock = false;
  for (const [index, line] of text.split("\n").entries()) {
    if (line.startsWith("```")) isInBlock = !isInBlock;
    const isTable = line.startsWith("|");
    if (!isInBlock && !isTable && !line.startsWith("    ") && columns(line) > COLUMNS_MAX && isBreakable(line)) {
      wide.push(index + 1);
    }
  }
  return wide;
}

const columns = (line: string): number => Array.from(line).length;
/** A line of one long word, such as an address, can't be broken. */
const isBreakable = (line: string): boolean => line.trim().split(/\s+/).length > 2;

/** A row of a table, a drawing, a line of code between backticks, or a directive. */
const isLaidOut = (line: string): boolean => /[^\s*] {2,}\S|[│─►┌└]|^\s*(?:\* `.*`$|\/\/ ox(?:lint|fmt)-)/.test(line);

/** Functions that don't fit on a screen. */
export function longFunctions(files: Files): string[] {
  const complaints: string[] = [];
  for (const [path, text] of files) {
    if (!isCode(path)) continue;
    const { program, lineAt } = parse(path, text);
    const most = /^(test|bench)\//.test(path) ? TEST_FUNCTION_LINES_MAX : FUNCTION_LINES_MAX;
    visit(program, (node) => {
      if (!/^(FunctionDeclaration|FunctionExpression|ArrowFunctionExpression)$/.test(node.type)) return;
      const lines = lineAt(node.end) - lineAt(node.start) + 1;
      if (lines > most)
        complaints.push(`${path}:${lineAt(node.start)} has a function of ${lines} lines, at most ${most}`);
    });
  }
  return complaints;
}

interface Import {
  /** The specifier as the text has it: `./a.ts`, `@millrace/base`, `node:fs`. */
  readonly specifier: string;
  /** Names that are taken from there; `*` for all of them. */
  readonly names: readonly string[];
}

interface Module {
  readonly imports: readonly Import[];
  /** Exported names that are declared here. */
  readonly exports: ReadonlyMap<string, { readonly line: number; readonly isType: boolean }>;
}

function moduleOf(path: string, text: string): Module {
  const { program, lineAt } = parse(path, text);
  const imports: Import[] = [];
  const exports = new Map<string, { line: number; isType: boolean }>();
  visit(program, (node) => {
    const specifier = (node["source"] as Node | null | undefined)?.["value"];
    if (typeof specifier === "string") imports.push({ specifier, names: namesTaken(node) });
    else if (node.type === "TSImportType") {
      const qualifier = (node["qualifier"] as Node | null)?.["name"];
      imports.push({ specifier: sourceOfType(node), names: [typeof qualifier === "string" ? qualifier : "*"] });
    } else if (node.type === "ExportNamedDeclaration") {
      const isType = node["exportKind"] === "type";
      for (const name of namesDeclared(node)) exports.set(name, { line: lineAt(node.start), isType });
    }
  });
  return { imports, exports };
}

function sourceOfType(node: Node): string {
  const argument = (node["source"] ?? node["argument"]) as Node;
  return String(argument["value"] ?? (argument["literal"] as Node)["value"]);
}

function namesTaken(node: Node): string[] {
  const specifiers = node["specifiers"] as Node[] | undefined;
  if (specifiers === undefined) return ["*"];
  return specifiers.map((each) => {
    const name = each["imported"] ?? each["local"];
    return /Namespace/.test(each.type) ? "*" : String((name as Node)["name"] ?? (name as Node)["value"]);
  });
}

function namesDeclared(node: Node): string[] {
  const declaration = node["declaration"] as Node | null;
  if (declaration === null) {
    return (node["specifiers"] as Node[]).map((each) => String((each["local"] as Node)["name"]));
  }
  if (declaration.type === "VariableDeclaration") {
    return (declaration["declarations"] as Node[]).flatMap((each) => {
      const name = (each["id"] as Node)["name"];
      return typeof name === "string" ? [name] : [];
    });
  }
  return [String((declaration["id"] as Node)["name"])];
}

const modulesOf = (files: Files): Map<string, Module> =>
  new Map([...files].filter(([path]) => isCode(path)).map(([path, text]) => [path, moduleOf(path, text)]));

const isSource = (path: string): boolean => /^packages\/[^/]+\/src\/.*\.ts$/.test(path);

/** The file of ours that an import leads to, or nothing for packages of others. */
function targetOf(path: string, specifier: string, files: Files): string | undefined {
  if (specifier.startsWith(".")) return normalize(join(dirname(path), specifier));
  const own = /^(?:@millrace\/([a-z-]+)|(millrace))(?:\/(?:internal\/)?(.+))?$/.exec(specifier);
  if (own === null) return undefined;
  const target = `packages/${own[1] ?? own[2]}/src/${own[3] ?? "index"}.ts`;
  return files.has(target) ? target : undefined;
}

/**
 * The files that users and other packages import from: everything that these export is meant to be
 * exported.
 */
const isFace = (path: string): boolean => /^packages\/[^/]+\/src\/(index|kernel)\.ts$/.test(path);

/**
 * Exports of packages that no other file takes. One that only tests take, and that its own file
 * doesn't use either, is kept alive by its tests alone and is named too.
 */
export function deadExports(files: Files): string[] {
  const modules = modulesOf(files);
  const takers = new Map<string, Set<string>>();
  for (const [path, { imports }] of modules) {
    for (const { specifier, names } of imports) {
      const target = targetOf(path, specifier, files);
      if (target === undefined) continue;
      for (const name of names) {
        const key = `${target} ${name}`;
        takers.set(key, (takers.get(key) ?? new Set()).add(path));
      }
    }
  }
  const entries = startedByName(files);
  const complaints: string[] = [];
  for (const [path, { exports }] of modules) {
    if (!isSource(path) || isFace(path) || isEntry(path) || entries.has(path)) continue;
    for (const [name, { line, isType }] of exports) {
      const all = [...(takers.get(`${path} ${name}`) ?? []), ...(takers.get(`${path} *`) ?? [])];
      const isUsedHere = (files.get(path) as string).match(new RegExp(`\\b${name}\\b`, "g"))?.length !== 1;
      // The type of an exported value or of its members.
      if (isType && isUsedHere) continue;
      if (all.length === 0) complaints.push(`${path}:${line} exports ${name}, which no other file imports`);
      else if (
        !isUsedHere &&
        !path.endsWith(".fault.ts") &&
        !all.some((taker) => isSource(taker) || /^(scripts|bench)\//.test(taker))
      ) {
        complaints.push(`${path}:${line} exports ${name} for tests alone`);
      }
    }
  }
  return complaints;
}

/** Files that are started or loaded by name, not imported. */
function isEntry(path: string): boolean {
  return path.endsWith(".worker.ts") || isFace(path);
}

/** Files that a thread is started with, or asked to load. */
function startedByName(files: Files): Set<string> {
  const started = new Set<string>();
  for (const [path, text] of files) {
    for (const [, name] of text.matchAll(/workerUrl\("([^"]+)"/g)) {
      started.add(normalize(join(dirname(path), `${name}.ts`)));
    }
  }
  return started;
}

/**
 * Files of packages that nothing imports, starts or names. Fakes (`*.fault.ts`) serve tests and
 * live beside the real part.
 */
export function deadFiles(files: Files): string[] {
  const modules = modulesOf(files);
  const reached = startedByName(files);
  for (const [path, { imports }] of modules) {
    for (const { specifier } of imports) {
      const target = targetOf(path, specifier, files);
      if (target !== undefined && (isSource(path) || /\.(fault|model)\.ts$/.test(target))) reached.add(target);
    }
  }
  const launchers = [...files].filter(([path]) => /^packages\/[^/]+\/(bin\/|package\.json$)/.test(path));
  return [...modules.keys()]
    .filter((path) => isSource(path) && !isEntry(path) && !reached.has(path))
    .filter((path) => !launchers.some(([, text]) => text.includes(basename(path, ".ts"))))
    .filter((path) => !/handlers?\.ts$/.test(path))
    .map((path) => `${path} is imported by nothing`);
}

/** Circles of imports between the files of a package. */
export function circles(files: Files): string[] {
  const graph = new Map<string, string[]>();
  for (const [path, { imports }] of modulesOf(files)) {
    if (!isSource(path)) continue;
    const targets = imports.map(({ specifier }) => targetOf(path, specifier, files));
    graph.set(path, targets.filter((target) => target !== undefined && target !== path) as string[]);
  }
  return circlesOf(graph).map((circle) => `circle of imports: ${circle.join(", ")}`);
}

/** Sets of nodes that reach each other (Tarjan 1972). */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const numbers = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const go = (node: string): void => {
    numbers.set(node, numbers.size);
    lowest.set(node, numbers.get(node) as number);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!numbers.has(next)) go(next);
      if (stack.includes(next)) lowest.set(node, Math.min(lowest.get(node) as number, lowest.get(next) as number));
    }
    if (lowest.get(node) !== numbers.get(node)) return;
    const circle = stack.splice(stack.indexOf(node));
    if (circle.length > 1) found.push(circle.toSorted());
  };
  for (const node of graph.keys()) if (!numbers.has(node)) go(node);
  return found;
}

/**
 * Imports from a folder to one that doesn't lie below it. `order` has the folders of a package from
 * the ground up; `.` is the package's root. The errors table of a package lies below all of its
 * folders.
 */
export function climbingImports(files: Files, order: Readonly<Record<string, readonly string[]>>): string[] {
  const complaints: string[] = [];
  for (const [path, { imports }] of modulesOf(files)) {
    const [, name, rest] = /^packages\/([^/]+)\/src\/(.*)$/.exec(path) ?? [];
    const folders = name === undefined ? undefined : order[name];
    if (folders === undefined || rest === undefined) continue;
    const from = folders.indexOf(dirname(rest));
    if (from < 0) complaints.push(`${path} lies in a folder that scripts/layers.mjs doesn't list`);
    for (const { specifier } of imports) {
      const target = specifier.startsWith(".") ? targetOf(path, specifier, files) : undefined;
      if (target === undefined || basename(target) === "errors.ts") continue;
      const to = folders.indexOf(dirname(target.replace(`packages/${name}/src/`, "")));
      if (to > from) complaints.push(`${path} imports ${specifier}, which lies above it`);
    }
  }
  return complaints;
}

/** Members of every class, interface and object constant in packages, by the name of the class. */
function membersOf(files: Files): Map<string, Set<string>> {
  const members = new Map<string, Set<string>>();
  const add = (owner: string, body: readonly Node[]): void => {
    const names = members.get(owner) ?? new Set<string>();
    for (const each of body) {
      const key = each["key"] as Node | undefined;
      if (key === undefined) continue;
      names.add(key.type === "PrivateIdentifier" ? `#${String(key["name"])}` : String(key["name"] ?? key["value"]));
    }
    members.set(owner, names);
  };
  for (const [path, text] of files) {
    if (!isSource(path)) continue;
    visit(parse(path, text).program, (node) => {
      const owner = (node["id"] as Node | null | undefined)?.["name"];
      if (typeof owner !== "string") return;
      const body = (node["body"] as Node | undefined)?.["body"];
      const init = node["init"] as Node | null | undefined;
      if (/^(ClassDeclaration|TSInterfaceDeclaration)$/.test(node.type)) add(owner, body as Node[]);
      else if (init?.type === "ObjectExpression") add(owner, init["properties"] as Node[]);
    });
  }
  return members;
}

/** Names of the reader's own files, which documents use in examples. */
const READERS_FILES = /^(handlers?|service|program|trace|slow|main|worker|app|server|config|report)\.(ts|js|mjs|json)$/;

/** `Class.member`, `#member` and file names that a document puts in code and that don't exist. */
export function unknownNames(files: Files): string[] {
  const members = membersOf(files);
  const privateMembers = new Set([...members.values()].flatMap((names) => [...names]));
  const names = new Set([...files.keys()].map((path) => basename(path)));
  const complaints: string[] = [];
  for (const [path, text] of files) {
    if (!isProse(path) || path === "CHANGELOG.md") continue;
    const ownBlocks = new Set([...text.matchAll(/^\/\/ ([\w./-]+)$/gm)].map((match) => match[1] as string));
    const prose = text.replace(/```[\s\S]*?```/g, "");
    for (const [, code = ""] of prose.matchAll(/`([^`\n]+)`/g)) {
      const [, owner, member] = /^([A-Z]\w+)\.(#?\w+)/.exec(code) ?? [];
      if (owner !== undefined && member !== undefined && !hasMember(members, owner, member)) {
        complaints.push(`${path} names ${owner}.${member}, which doesn't exist`);
      }
      if (/^#\w+$/.test(code) && !privateMembers.has(code))
        complaints.push(`${path} names ${code}, which doesn't exist`);
      const file = /^(?:[\w@.-]+\/)*[\w.-]+\.(?:ts|mjs|js|md|json)$/.exec(code)?.[0];
      if (
        file === undefined ||
        /^name\b/i.test(basename(file)) ||
        READERS_FILES.test(basename(file)) ||
        ownBlocks.has(file)
      )
        continue;
      const isThere = file.includes("/") ? [...files.keys()].some((each) => each.endsWith(file)) : names.has(file);
      if (!isThere) complaints.push(`${path} names the file ${file}, which doesn't exist`);
    }
  }
  return complaints;
}

function hasMember(members: ReadonlyMap<string, ReadonlySet<string>>, owner: string, member: string): boolean {
  const own = members.get(owner);
  if (own !== undefined) return own.has(member);
  const platform = (globalThis as Record<string, unknown>)[owner] as { prototype?: object } | undefined;
  // Neither ours nor the platform's: another project's name, which can't be checked here.
  if (platform === undefined) return true;
  return member in platform || (platform.prototype !== undefined && member in platform.prototype);
}

/**
 * Blocks of JavaScript and TypeScript in documents that no test runs: a block that runs begins with
 * `// NAME.mjs` or `// NAME.ts`, and a block `text` after it says what it prints. Others stand
 * behind `<!-- not run: REASON -->`.
 */
export function blocksNotRun(files: Files): string[] {
  const complaints: string[] = [];
  for (const [path, text] of files) {
    if (!isProse(path)) continue;
    for (const match of text.matchAll(
      /^(?:<!-- not run: (.+) -->\n+)?```(?:js|ts|javascript|typescript|mjs)\n(.*)$/gm,
    )) {
      if (match[1] !== undefined || /^\/\/ [\w.-]+\.(?:mjs|ts)$/.test(match[2] as string)) continue;
      const line = text.slice(0, match.index).split("\n").length;
      complaints.push(`${path}:${line} has a block that no test runs, without \`<!-- not run: REASON -->\``);
    }
  }
  return complaints;
}

/** Names of tests that don't fit on a line of a report. */
export function longTestNames(files: Files): string[] {
  const complaints: string[] = [];
  for (const [path, text] of files) {
    if (!path.endsWith(".test.ts")) continue;
    const { program, lineAt } = parse(path, text);
    visit(program, (node) => {
      if (node.type !== "CallExpression" || (node["callee"] as Node)["name"] !== "test") return;
      const name = (node["arguments"] as Node[])[0];
      const length = name?.type === "Literal" ? String(name["value"]).length : 0;
      if (length > 80) complaints.push(`${path}:${lineAt(node.start)} has a test with a name of ${length} characters`);
    });
  }
  return complaints;
}
