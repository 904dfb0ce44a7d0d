import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const { layers } = (await import(join(root, "scripts/layers.mjs"))) as { layers: string[][] };

interface Manifest {
  readonly name: string;
  readonly bin?: Record<string, string>;
  readonly dependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
  readonly devDependencies?: Record<string, string>;
}

function read<T>(path: string): T {
  return JSON.parse(readFileSync(join(root, path), "utf8")) as T;
}

const packages = readdirSync(join(root, "packages")).toSorted();
const levels = new Map(layers.flatMap((row, level) => row.map((name) => [name, level] as const)));
const nameOf = (npmName: string): string => npmName.replace("@millrace/", "");

/** The texts of what a package installs as commands. */
function launchersOf(name: string): string[] {
  const { bin = {} } = read<Manifest>(`packages/${name}/package.json`);
  return Object.values(bin).map((path) => readFileSync(join(root, "packages", name, path), "utf8"));
}

/** Packages of ours that a package's sources and commands import. */
function importsOf(name: string): Set<string> {
  const imports = new Set<string>();
  const sources = readdirSync(join(root, "packages", name, "src"), { recursive: true }) as string[];
  for (const source of sources.filter((file) => file.endsWith(".ts"))) {
    const text = readFileSync(join(root, "packages", name, "src", source), "utf8");
    for (const match of text.matchAll(/from "(@millrace\/[a-z-]+|millrace)(?:\/[^"]*)?"/g))
      imports.add(nameOf(match[1] as string));
  }
  for (const text of launchersOf(name)) {
    for (const match of text.matchAll(/import\("(@millrace\/[a-z-]+)/g)) imports.add(nameOf(match[1] as string));
  }
  return imports;
}

function dependenciesOf(name: string): Set<string> {
  const { dependencies = {} } = read<Manifest>(`packages/${name}/package.json`);
  return new Set(
    Object.keys(dependencies)
      .map(nameOf)
      .filter((dependency) => levels.has(dependency)),
  );
}

test("every package is in the layer table, and nothing else is", () => {
  assert.equal([...levels.keys()].toSorted(), packages);
});

test("a package depends only on packages from rows below its own", () => {
  for (const name of packages) {
    for (const dependency of dependenciesOf(name)) {
      assert.ok(
        (levels.get(dependency) as number) < (levels.get(name) as number),
        `${name} depends on ${dependency}, which isn't below it`,
      );
    }
  }
});

test("package.json, tsconfig references and imports name the same packages", () => {
  for (const name of packages) {
    const imports = [...importsOf(name)].toSorted();
    const { references = [] } = read<{ references?: { path: string }[] }>(`packages/${name}/tsconfig.json`);
    assert.equal([...dependenciesOf(name)].toSorted(), imports, `dependencies of ${name} in package.json`);
    assert.equal(
      references.map(({ path }) => path.replace("../", "")).toSorted(),
      imports,
      `references of ${name} in tsconfig.json`,
    );
  }
});

test("no package imports what its package.json doesn't list", () => {
  for (const name of packages) {
    const { dependencies = {}, peerDependencies = {} } = read<Manifest>(`packages/${name}/package.json`);
    const sources = readdirSync(join(root, "packages", name, "src"), { recursive: true }) as string[];
    for (const source of sources.filter((file) => file.endsWith(".ts"))) {
      const text = readFileSync(join(root, "packages", name, "src", source), "utf8");
      for (const [, imported] of text.matchAll(/(?:from|import) "([^".][^"]*)"/g)) {
        if (imported?.startsWith("node:")) continue;
        const [scope, rest] = (imported as string).split("/");
        const npmName = scope?.startsWith("@") ? `${scope}/${rest}` : (scope as string);
        const isListed = npmName in dependencies || npmName in peerDependencies;
        assert.ok(isListed, `packages/${name}/src/${source} imports ${imported}`);
      }
    }
  }
});

/** The files of a package that each of its files imports; types count. */
function importsWithin(name: string): Map<string, string[]> {
  const source = join("packages", name, "src");
  const files = (readdirSync(join(root, source), { recursive: true }) as string[]).filter((file) =>
    file.endsWith(".ts"),
  );
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(root, source, file), "utf8");
      return [file, [...text.matchAll(/from "(\.[^"]+)"/g)].map(([, path]) => join(dirname(file), path as string))];
    }),
  );
}

/** A way from a file back to itself, file by file; undefined without. */
function circleIn(imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, way: string[]): string[] | undefined => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const imported of imports.get(file) ?? []) {
      const circle = visit(imported, [...way, file]);
      if (circle !== undefined) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = visit(file, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test("no file imports itself by way of others", () => {
  assert.equal(
    circleIn(
      new Map([
        ["a", ["b"]],
        ["b", ["c"]],
        ["c", ["b"]],
      ]),
    ),
    ["b", "c", "b"],
  );
  for (const name of packages) assert.equal(circleIn(importsWithin(name)), undefined, name);
});

/**
 * The folders of the scheduler, from the ground up; what lies in none is the ground or the roof.
 */
const schedulerFolders = ["shared", "calls", "handler", "machine", "trace", "supervisor"];

test("no folder of the scheduler imports from one above it", () => {
  for (const [file, imports] of importsWithin("scheduler")) {
    const level = schedulerFolders.indexOf(dirname(file));
    if (level < 0) continue;
    for (const imported of imports) {
      const isBelow = imported === "errors.ts" || schedulerFolders.slice(0, level + 1).includes(dirname(imported));
      assert.ok(isBelow, `${file} imports ${imported}`);
    }
  }
});

test("the root builds every package, and lists it for tests and benchmarks", () => {
  const { references } = read<{ references: { path: string }[] }>("tsconfig.json");
  const { devDependencies = {} } = read<Manifest>("package.json");
  for (const name of packages) {
    assert.ok(
      references.some(({ path }) => path === `packages/${name}`),
      `tsconfig.json builds ${name}`,
    );
    assert.ok(
      devDependencies[read<Manifest>(`packages/${name}/package.json`).name] !== undefined,
      `package.json lists ${name}`,
    );
  }
});

test("ARCHITECTURE.md shows the table as it is", () => {
  const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  const house = layers
    .toReversed()
    .map((row) => row.toReversed().toReversed().join(" "))
    .join("\n");
  assert.ok(text.includes(`\`\`\`\n${house}\n\`\`\``), house);
});

test.run();
