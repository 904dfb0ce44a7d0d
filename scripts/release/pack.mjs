// `npm run pack`: the tarballs of all packages, as they would be published, in
// .build/pack/tarballs.
// `pnpm pack` alone isn't enough: declarations lose what is marked @internal, files that no entry
// reaches stay at home, `require` gets entries, and README files get links that work elsewhere.
// Expects compiled packages: `npm run pack` compiles first.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { reached, withEnding, withoutBufferTypes, withoutMap } from "./files.mjs";
import { publishedManifest } from "./manifest.mjs";
import { packageNames, readJson, readText, root } from "./workspace.mjs";

/** Declarations without what is marked @internal. The workspace itself is compiled with it. */
function compileTypes(name, built) {
  const to = join(built, "types", name);
  const flags = ["--stripInternal", "--declarationMap", "false", "--sourceMap", "false"];
  const places = ["--outDir", to, "--tsBuildInfoFile", join(built, "types", `${name}.tsbuildinfo`)];
  const compiler = join(root, "node_modules/typescript/lib/tsc.js");
  execFileSync(process.execPath, [compiler, "-p", join(root, "packages", name), ...flags, ...places], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return to;
}

function write(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const inDist = (path) => path.replace(/^\.\/dist\//, "");

/** Tools that read the text and don't run it see that there is a default. */
const NAMES_DEFAULT = "0 && (module.exports.default = undefined);\n";

/**
 * Node's own loader, also under jest, whose modules have a loader and a `process` that know no ES
 * modules. Code in the main context has the real ones.
 */
const commonJs = (module, hasDefault) => `"use strict";
const { createRequire } = require("node:vm").runInThisContext("process").getBuiltinModule("node:module");
module.exports = createRequire(__filename)("./${module}");
${hasDefault ? NAMES_DEFAULT : ""}`;

/** Links of a README lead into the repository: on npm there is nothing beside the file. */
function withLinks(text, name, { repository, version }) {
  const page = `${repository.url.replace(/^git\+/, "").replace(/\.git$/, "")}/blob/v${version}`;
  return text.replace(/\]\((?!https?:|#)([^)]+)\)/g, (_, target) => `](${page}/${join("packages", name, target)})`);
}

function readmeOf(name, manifest) {
  // The package that people look up shows the front page.
  if (name === "millrace") return withLinks(readText("README.md"), "..", manifest);
  return withLinks(readText(`packages/${name}/README.md`), name, manifest);
}

/** The commands of a package, as they are. Returns the compiled files that they start. */
function stageCommands(from, to, { exports, bin = {} }) {
  const commands = [...Object.values(exports), ...Object.values(bin)].filter(
    (path) => typeof path === "string" && path.endsWith(".mjs"),
  );
  for (const path of commands) {
    mkdirSync(dirname(join(to, path)), { recursive: true });
    cpSync(join(from, path), join(to, path));
  }
  const files = commands.flatMap((path) => [...reached(from, [path]).keys()]);
  return files.filter((path) => path.startsWith("dist/")).map((path) => path.slice("dist/".length));
}

function stageModules(from, to, modules, fromCommands) {
  for (const [file, text] of reached(from, [...modules, ...fromCommands])) write(join(to, file), withoutMap(text));
  for (const module of modules) {
    const hasDefault = /^export default /m.test(readFileSync(join(from, module), "utf8"));
    write(join(to, module.replace(/\.js$/, ".cjs")), commonJs(basename(module), hasDefault));
  }
}

/** Each declaration twice: an ES module's aren't those of a CommonJS module. */
function stageTypes(from, to, entries) {
  for (const [file, compiled] of reached(from, entries)) {
    const text = withoutBufferTypes(withoutMap(compiled));
    write(join(to, file), withEnding(text, ".js"));
    write(join(to, file.replace(/\.ts$/, ".cts")), withEnding(text, ".cjs"));
  }
}

/** A CommonJS package: its files as they are. */
function stageCommonJs(name, built, dist, { exports }) {
  const entries = Object.values(exports)
    .filter((entry) => typeof entry === "object")
    .flatMap((entry) => (entry.types === undefined ? Object.values(entry) : [entry]));
  const modules = entries.map((entry) => inDist(entry.default));
  for (const [file, text] of reached(join(root, "packages", name, "dist"), modules))
    write(join(dist, file), withoutMap(text));
  const types = entries.map((entry) => inDist(entry.types));
  for (const [file, compiled] of reached(compileTypes(name, built), types))
    write(join(dist, file), withEnding(withoutBufferTypes(withoutMap(compiled)), ".js"));
}

function stageEsModules(name, built, to, manifest) {
  const from = join(root, "packages", name);
  const dist = join(to, "dist");
  const entries = Object.values(manifest.exports).filter((entry) => entry.import !== undefined);
  const fromCommands = stageCommands(from, to, manifest);
  stageModules(
    join(from, "dist"),
    dist,
    entries.map((entry) => inDist(entry.import.default)),
    fromCommands,
  );
  stageTypes(
    compileTypes(name, built),
    dist,
    entries.map((entry) => inDist(entry.import.types)),
  );
}

/** Folders that are published as they are, such as the files of the live page. */
function stageFolders(name, to, { files }) {
  const made = new Set(["bin", "dist"]);
  for (const folder of files.filter((each) => !made.has(each)))
    cpSync(join(root, "packages", name, folder), join(to, folder), { recursive: true });
}

/** The folder of a package as its tarball has it. */
function stage(name, built) {
  const to = join(built, "packages", name);
  const manifest = publishedManifest(readJson(`packages/${name}/package.json`));
  if (manifest.type === "commonjs") stageCommonJs(name, built, join(to, "dist"), manifest);
  else stageEsModules(name, built, to, manifest);
  stageFolders(name, to, manifest);
  write(join(to, "package.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  write(join(to, "README.md"), readmeOf(name, manifest));
  write(join(to, "LICENSE"), readText("LICENSE"));
  return to;
}

/**
 * Packs every package below `built`, which is emptied first. Returns what npm tells of each: name,
 * version, sizes, files; `path` is the tarball, `directory` the folder that it was made from.
 */
export function pack(built = join(root, ".build/pack")) {
  const tarballs = join(built, "tarballs");
  rmSync(built, { recursive: true, force: true });
  mkdirSync(tarballs, { recursive: true });
  const directories = packageNames.map((name) => stage(name, built));
  const output = execFileSync("npm", ["pack", "--json", "--pack-destination", tarballs, ...directories], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  return JSON.parse(output).map((packed, index) => ({
    ...packed,
    path: join(tarballs, packed.filename),
    directory: directories[index],
  }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { path } of pack()) console.log(path);
}
